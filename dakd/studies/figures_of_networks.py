"""The pictures that need trained networks: found in the run folder, never trained here."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from dakd import figures
from dakd.analysis import Reliability, kept_accuracy, modality_gap, predict, reliability, umap_map
from dakd.augment import denormalise
from dakd.data import ImageSet
from dakd.evaluate.embed import extract
from dakd.experiment import Experiment, NotTrainedError
from dakd.figures.style import PALETTE, add_note
from dakd.figures.tiles import Tile, tile_grid
from dakd.metrics import camera_rule, rank_metrics
from dakd.protocols import sysu_trials
from dakd.runtime import make_generator, pick_device

QUANTILE = 0.5  # of the paper's mask
BATCH, POINTS, SHOWN = 32, 600, 10  # images of the mask's batch, of a map, of a ranked list
MAP: Mapping[str, Any] = {"neighbours": 15, "min_dist": 0.1, "metric": "cosine", "seed": 0}
NO_GAP = {"modality accuracy": "0.50", "neighbour mixing": "1.00"}
QUERIES = {"easy": 0.9, "typical": 0.5, "hard": 0.1}  # by quantiles of the average precision


def of_networks(experiment: Experiment) -> Iterator[tuple[str, Figure]]:
    """Draw the pictures of an experiment's teacher and student, one by one, with their names.

    Args:
        experiment: one that does not train.

    Raises:
        NotTrainedError: the next picture needs a network that is not there; nothing is trained.
    """
    folder, profile = experiment.folder / "models", experiment.config.profile
    if not folder.is_dir():  # said before a benchmark is drawn for nothing
        raise NotTrainedError(
            f"{folder} holds no network; `dakd train --profile {profile}` trains teacher and "
            "student"
        )
    for name, draw in PICTURES.items():
        yield name, draw(experiment)


def _noted(figure: Figure, experiment: Experiment, text: str) -> Figure:
    """Say beneath a picture whom it shows and which training it is."""
    c = experiment.config
    people = "drawn people (embedded benchmark)" if c.data.root is None else c.data.name
    return add_note(figure, text, f"Shown: {people}, {c.profile} profile, seed {c.seed}.")


def mask_gallery(experiment: Experiment) -> Figure:
    """Show what the class level's mask keeps of one augmented infrared batch, and drops."""
    train, teacher = experiment.dataset.train, experiment.teacher().model
    infrared = np.flatnonzero(train.infrared)
    batch = np.sort(np.random.default_rng(0).choice(infrared, BATCH, replace=False))
    x = experiment.augmentations()["infrared"](train.images(batch), make_generator(1))
    centres = experiment.centres(teacher).infrared
    with torch.no_grad():
        said = predict(teacher.cpu()(x), centres, train.labels[batch])
    cut = kept_accuracy(said.confidence, said.correct, quantile=QUANTILE)
    figure = figures.mask_gallery(
        denormalise(x),
        confidence=said.confidence,
        correct=said.correct,
        kept=cut.mask,
        title=f"The mask on one batch: the teacher is right on {100 * cut.kept:.0f} % of what "
        f"is kept, on {100 * cut.dropped:.0f} % of the rest",
    )
    text = "An augmented infrared batch; beneath each image the teacher's class-level confidence. "
    return _noted(figure, experiment, f"{text}✓ ✗: does it name the person?")


def reliability_diagram(experiment: Experiment) -> Figure:
    """Show the teacher's accuracy over its confidence on augmented training images."""
    train, teacher, c = experiment.dataset.train, experiment.teacher().model, experiment.config
    results: dict[str, Reliability] = {}
    for side, look in experiment.augmentations().items():
        rows = np.flatnonzero(train.infrared == (side == "infrared"))
        draw = partial(look, generator=make_generator(c.seed, pick_device(c.device)))
        z = extract(teacher, train, rows=rows, transform=draw, device=c.device)
        said = predict(z, getattr(experiment.centres(teacher), side), train.labels[rows])
        results[side] = reliability(said.confidence, said.correct)
    figure = figures.reliability_diagram(results, title="Reliability of the teacher, class level")
    return _noted(figure, experiment, "On training images, augmented as for the student.")


def gap_triptych(experiment: Experiment) -> Figure:
    """Show maps of test images before training, of the teacher and of DAKD, with their numbers."""
    test = experiment.dataset.test
    student = experiment.student().model  # first, so that a missing one is told at once
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
    figure = figures.modality_maps(
        maps, infrared=test.infrared[pick], captions=captions, title=title
    )
    how = ", ".join(f"{key} {value}" for key, value in MAP.items())
    text = (
        f"UMAP of {len(pick)} of {len(test)} images of people not trained on ({how}); numbers of "
    )
    text += (
        "all. Margin: mean cosine of the same person across modalities minus that of other people."
    )
    return _noted(figure, experiment, text)


def ranked_lists(experiment: Experiment) -> Figure:
    """Show an easy, a typical and a hard query of the first trial, as DAKD ranks their gallery."""
    test, z = experiment.dataset.test, experiment.embeddings(experiment.student().model)
    trial = sysu_trials(test, mode="all", shots=1, trials=1)[0]
    similarity = z[trial.query] @ z[trial.gallery].T  # (Q, G)
    people, places = ((a[trial.query], a[trial.gallery]) for a in (test.pids, test.cams))
    scores = rank_metrics(similarity, *people, *places, protocol="sysu").per_query["AP"].dropna()
    order = scores.sort_values(kind="stable").index
    lists = {}
    for name, quantile in QUERIES.items():
        number = int(order[round(quantile * (len(order) - 1))])
        row = trial.query[number]
        ranked = trial.gallery[similarity[number].argsort(descending=True, stable=True).numpy()]
        who = (test.pids[row], test.pids[ranked], test.cams[row], test.cams[ranked])
        counted = ~camera_rule(*who, protocol="sysu")  # (G,)
        lists[f"{name}\nAP {scores[number]:.2f}"] = _tiles(test, row, ranked[counted][:SHOWN])
    title = "Ranked lists of DAKD: ✓ the right person, ✗ somebody else"
    rows = list(lists.values())
    figure = tile_grid(rows, row_titles=list(lists), title=title, cell_width=0.68, first_gap=0.12)
    at = ", ".join(f"{100 * q:.0f} %" for q in QUERIES.values())
    text = (
        f"All-search, single-shot, first trial; queries at the quantiles {at} of average precision"
    )
    return _noted(figure, experiment, f"{text} (AP). In a row without ✓ the person comes later.")


def _tiles(test: ImageSet, query: int, ranked: np.ndarray) -> list[Tile]:
    """Return a query and its ranked gallery as a row of pictures."""
    seen = f"cam {test.cams[query]}"
    image = test.images([query])[0]
    tiles = [Tile(image=image, frame=PALETTE["infrared"], above="query", below=seen)]
    for rank, (row, image) in enumerate(zip(ranked, test.images(ranked), strict=True), start=1):
        right, seen = test.pids[row] == test.pids[query], f"cam {test.cams[row]}"
        color, above = PALETTE["right" if right else "wrong"], f"{rank} {'✓' if right else '✗'}"
        tiles.append(Tile(image=image, frame=color, color=color, above=above, below=seen))
    return tiles


PICTURES: Mapping[str, Callable[[Experiment], Figure]] = MappingProxyType({
    "mask_gallery": mask_gallery,
    "reliability": reliability_diagram,
    "modality_gap": gap_triptych,
    "ranked_lists": ranked_lists,
})  # fmt: skip
