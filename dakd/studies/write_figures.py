"""Write all figures of README, docs and slides (`dakd figures`)."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from dakd.experiment import Experiment
from dakd.figures import save
from dakd.studies.figures_of_networks import network_figures
from dakd.studies.figures_of_results import image_figures, result_figures

FOR_SLIDES = ("ablation_main",)  # the others are also shown in README or docs
DPI = {"contact_sheet": 90, "cutswap": 110}  # lower for figures of many images, to save space
PALETTED = ("contact_sheet", "cutswap", "mask_gallery", "ranked_lists")  # for the same reason


def draw(
    folder: str | Path, *, slides: str | Path | None = None, experiment: Experiment | None = None
) -> Iterator[Path]:
    """Write all figures and yield their paths; the same input gives the same bytes.

    Args:
        folder: for the PNG files; also the folder of the tables.
        slides: folder for the same figures and a shorter ablation as PDF and SVG; None skips them.
        experiment: an experiment with ``train=False`` whose networks are shown; None skips figures
            of networks.

    Raises:
        NotTrainedError: the network of a figure is missing; figures of networks are drawn last.
    """
    folder = Path(folder)
    groups = [
        image_figures().items(),
        result_figures(folder).items(),
        network_figures(experiment) if experiment else (),
    ]
    for name, figure in itertools.chain.from_iterable(groups):
        if name not in FOR_SLIDES:
            colours = 256 if name in PALETTED else None
            path = folder / f"{name}.png"
            yield save(figure, path, dpi=DPI.get(name, 150), colours=colours)
        if slides:
            for suffix in (".pdf", ".svg"):
                yield save(figure, Path(slides, name + suffix), dpi=300)
