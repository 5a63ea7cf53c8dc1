"""Every picture of README, docs and slides, written by one command (`dakd figures`)."""

from collections.abc import Iterator
from pathlib import Path

from dakd.experiment import Experiment
from dakd.figures import save
from dakd.studies.figures_of_networks import of_networks
from dakd.studies.figures_of_results import of_images, of_results

FOR_SLIDES = ("ablation_main",)  # the others are shown in README or docs, too
DPI = {"contact_sheet": 90, "cutswap": 110}  # many pictures make a large file
FEW = ("contact_sheet", "cutswap", "mask_gallery", "ranked_lists")  # colours, for the same reason


def draw(
    folder: str | Path, *, slides: str | Path | None = None, experiment: Experiment | None = None
) -> Iterator[Path]:
    """Write every picture, one by one; return the paths. The same input gives the same bytes.

    Args:
        folder: of the PNG files; those of results are drawn from the tables that lie there.
        slides: of the same pictures, and of a shorter ablation, as PDF and SVG; none without.
        experiment: whose networks are shown, one that does not train; without one their figures
            stay as they are.

    Raises:
        NotTrainedError: at the first picture whose network is missing; these are the last ones.
    """
    folder = Path(folder)
    made = [
        of_images().items(),
        of_results(folder).items(),
        of_networks(experiment) if experiment else (),
    ]
    for some in made:
        for name, figure in some:
            if name not in FOR_SLIDES:
                colours = 256 if name in FEW else None
                path = folder / f"{name}.png"
                yield save(figure, path, dpi=DPI.get(name, 150), colours=colours)
            if slides:
                for ending in (".pdf", ".svg"):
                    yield save(figure, Path(slides, name + ending), dpi=300)
