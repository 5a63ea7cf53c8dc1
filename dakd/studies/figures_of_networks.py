"""The figures that need trained networks, which are loaded from the run folder."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from dakd import figures
from dakd.analysis import Reliability, kept_accuracy, modality_gap, predict, reliability, umap_map
from dakd.augment import denormalise
from dakd.data import ImageSet
from dakd.experiment import Experiment, NotTrainedError
from dakd.figures.style import PALETTE, add_note
from dakd.figures.tiles import Tile, tile_grid
from dakd.metrics import rank_metrics
from dakd.protocols import camera_rule, sysu_trials
from dakd.runtime import make_generator
from dakd.studies.evidence import augmented_predictions

QUANTILE = 0.5  # of the paper's mask
BATCH, POINTS, SHOWN = 32, 600, 10  # images in the mask's batch, in a map, in a ranked list
MAP: Mapping[str, Any] = {"neighbours": 15, "min_dist": 0.1, "metric": "cosine", "seed": 0}
NO_GAP = {"modality accuracy": "0.50", "neighbour mixing": "1.00"}
QUERIES = {"easy": 0.9, "typical": 0.5, "hard": 0.1}  # quantiles of the average precision


def network_figures(experiment: Experiment) -> Iterator[tuple[str, Figure]]:
    """Yield the names and figures of an experiment's teacher and student.

    Args:
        experiment: an experiment with ``train=False``.

    Raises:
        NotTrainedError: the network of the next figure is missing.
    """
    folder, profile = experiment.folder / "models", experiment.config.profile
    if not folder.is_dir():  # before the embedded benchmark is drawn
        raise NotTrainedError(
            f"{folder} holds no network; `dakd train --profile {profile}` trains teacher and "
            "student"
        )
    for name, draw in FIGURES.items():
        yield name, draw(experiment)


def _with_note(figure: Figure, experiment: Experiment, text: str) -> Figure:
    """Add a text, the dataset, profile and seed below a figure."""
    c = experiment.config
    people = "drawn people (embedded benchmark)" if c.data.root is None else c.data.name
    return add_note(figure, text, f"Shown: {people}, {c.profile} profile, seed {c.seed}.")


def mask_gallery(experiment: Experiment) -> Figure:
    """Show which images of an augmented infrared batch the class-level mask keeps."""
    train, teacher = experiment.dataset.train, experiment.teacher().model
    infrared = np.flatnonzero(train.infrared)
    batch = np.sort(np.random.default_rng(0).choice(infrared, BATCH, replace=False))
    x = experiment.augmentations()["infrared"](train.images(batch), make_generator(1))
    centres = experiment.centres(teacher).infrared
    with torch.no_grad():
        predictions = predict(teacher.cpu()(x), centres, train.labels[batch])
    accuracy = kept_accuracy(predictions.confidence, predictions.correct, quantile=QUANTILE)
    figure = figures.mask_gallery(
        denormalise(x),
        confidence=predictions.confidence,
        correct=predictions.correct,
        kept=accuracy.mask,
        title=f"The mask on one batch: the teacher is right on {100 * accuracy.kept:.0f} % of what "
        f"is kept, on {100 * accuracy.dropped:.0f} % of the rest",
    )
    text = "An augmented infrared batch; beneath each image the teacher's class-level confidence. "
    return _with_note(figure, experiment, f"{text}✓ ✗: does it name the person?")


def reliability_diagram(experiment: Experiment) -> Figure:
    """Show the teacher's accuracy over its confidence on augmented training images."""
    results: dict[str, Reliability] = {
        modality: reliability(predictions.confidence, predictions.correct)
        for modality, predictions in augmented_predictions(experiment)
    }
    figure = figures.reliability_diagram(results, title="Reliability of the teacher, class level")
    return _with_note(figure, experiment, "On training images, augmented as for the student.")


def gap_triptych(experiment: Experiment) -> Figure:
    """Show maps of test images and gap measures of the untrained network, teacher and DAKD."""
    test = experiment.dataset.test
    student = experiment.student().model  # first, because it raises if it is missing
    models = {
        "untrained": experiment.untrained(),
        "teacher": experiment.teacher().model,
        "DAKD": student,
    }
    pick = np.sort(np.random.default_rng(0).permutation(len(test))[:POINTS])
    maps, captions = {}, {}
    for name, model in models.items():
        z = experiment.embeddings(model)
        maps[name] = umap_map(z[pick], **MAP)
        gap = modality_gap(z, test.infrared, test.pids)
        lines = [f"{key} {gap[key]:.2f} (no gap: {none})" for key, none in NO_GAP.items()]
        margin = round(gap["across"] - gap["others"], 2) + 0.0  # no -0.00
        captions[name] = "\n".join([*lines, f"margin {margin:.2f}"])
    title = "The modality gap: untrained, teacher, DAKD"
    infrared = test.infrared[pick]
    figure = figures.modality_maps(maps, infrared=infrared, captions=captions, title=title)
    options = ", ".join(f"{key} {value}" for key, value in MAP.items())
    text = f"UMAP of {len(pick)} of {len(test)} images of people not trained on ({options}); "
    text += "numbers of all. Margin: mean cosine of the same person across modalities minus that "
    return _with_note(figure, experiment, f"{text}of other people.")


def ranked_lists(experiment: Experiment) -> Figure:
    """Show an easy, a typical and a hard query of the first trial, as DAKD ranks their gallery."""
    test, z = experiment.dataset.test, experiment.embeddings(experiment.student().model)
    trial = sysu_trials(test, mode="all", shots=1, trials=1)[0]
    similarity = z[trial.query] @ z[trial.gallery].T  # (Q, G)
    pids, cams = ((a[trial.query], a[trial.gallery]) for a in (test.pids, test.cams))
    scores = rank_metrics(similarity, *pids, *cams, protocol="sysu").per_query["AP"].dropna()
    order = scores.sort_values(kind="stable").index
    lists = {}
    for name, quantile in QUERIES.items():
        number = int(order[round(quantile * (len(order) - 1))])
        row = trial.query[number]
        ranked = trial.gallery[similarity[number].argsort(descending=True, stable=True).numpy()]
        labels = (test.pids[row], test.pids[ranked], test.cams[row], test.cams[ranked])
        kept = ~camera_rule(*labels, protocol="sysu")  # (G,)
        lists[f"{name}\nAP {scores[number]:.2f}"] = _tiles(test, row, ranked[kept][:SHOWN])
    title = "Ranked lists of DAKD: ✓ the right person, ✗ somebody else"
    rows = list(lists.values())
    figure = tile_grid(rows, row_titles=list(lists), title=title, cell_width=0.68, first_gap=0.12)
    quantiles = ", ".join(f"{100 * q:.0f} %" for q in QUERIES.values())
    text = f"All-search, single-shot, first trial; queries at the quantiles {quantiles} of average "
    text += "precision (AP). In a row without ✓ the person comes later."
    return _with_note(figure, experiment, text)


def _tiles(test: ImageSet, query: int, ranked: np.ndarray) -> list[Tile]:
    """Return a query and its ranked gallery as a row of tiles."""
    camera = f"cam {test.cams[query]}"
    image = test.images([query])[0]
    tiles = [Tile(image=image, frame=PALETTE["infrared"], above="query", below=camera)]
    for rank, (row, image) in enumerate(zip(ranked, test.images(ranked), strict=True), start=1):
        right, camera = test.pids[row] == test.pids[query], f"cam {test.cams[row]}"
        color, above = PALETTE["right" if right else "wrong"], f"{rank} {'✓' if right else '✗'}"
        tiles.append(Tile(image=image, frame=color, color=color, above=above, below=camera))
    return tiles


FIGURES: Mapping[str, Callable[[Experiment], Figure]] = MappingProxyType({
    "mask_gallery": mask_gallery,
    "reliability": reliability_diagram,
    "modality_gap": gap_triptych,
    "ranked_lists": ranked_lists,
})  # fmt: skip
