"""Rankings: one set by hand, and those of a trial."""

from collections.abc import Sequence

import ipywidgets as w
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from dakd import figures
from dakd.data.records import Dataset
from dakd.evaluate import PROTOCOL_OF
from dakd.metrics import rank_metrics
from dakd.protocols import PROTOCOLS, Trial, camera_rule
from dakd.widgets.panel import Panel, slider


def render_ranking(positions: Sequence[int], length: int = 10) -> Figure:
    """Show a ranking with right images at given ranks, and its metrics.

    Args:
        positions: ranks from 1; a rank that is taken moves to the next free one.
        length: images in the gallery.

    Raises:
        ValueError: a position outside 1..length, or more right images than ranks.
    """
    correct = np.zeros(length, dtype=bool)
    for position in positions:
        if not 1 <= position <= length or correct.all():
            raise ValueError(f"position {position} does not fit a gallery of {length} images")
        free = [(position - 1 + step) % length for step in range(length)]
        correct[next(place for place in free if not correct[place])] = True
    pids = np.where(correct, 0, np.arange(1, length + 1))  # each wrong image shows another person
    similarity = np.linspace(1, 0, length)[None]  # (1, length)
    scores = rank_metrics(similarity, [0], pids, ranks=(1, 5))
    title = (
        f"AP {scores.mAP:.3f}   INP {scores.mINP:.3f}   "
        f"rank-1 {scores.cmc[1]:.0f}   rank-5 {scores.cmc[5]:.0f}"
    )
    return figures.ranked_items(correct, title=title)


def ranking_playground(length: int = 10, right: Sequence[int] = (2, 4, 9)) -> Panel:
    """Move the right images of a ranking, and see AP, INP and rank-k."""
    sliders = {
        f"image_{i}": slider(1, length, position, f"right image {i}")
        for i, position in enumerate(right, start=1)
    }
    return Panel(
        lambda **values: render_ranking(list(values.values()), length),
        "Move one right image at a time. Which move changes AP most, and which one INP? (If a "
        "rank is taken, the image moves to the next free one.)",
        **sliders,
    )


def render_query(
    dataset: Dataset,
    embeddings: Tensor,
    trial: Trial,
    *,
    query: int,
    apply_rule: bool = True,
    count: int = 10,
) -> Figure:
    """Show one query of a trial and its ranked gallery.

    Args:
        dataset: its name selects the protocol, see `dakd.evaluate.PROTOCOL_OF`.
        embeddings: unit-length embeddings of its test split, (N, D).
        trial: query and gallery rows of the test split, see `dakd.protocols`.
        query: index into ``trial.query``.
        apply_rule: grey out what the `dakd.protocols.camera_rule` drops, which then takes no rank;
            otherwise every gallery image counts.
        count: ranked images to show.

    Raises:
        KeyError: the dataset has no protocol of its own.
        IndexError: no such query.
    """
    images, gallery, row = dataset.test, trial.gallery, int(trial.query[query])
    pids, cams = images.pids, images.cams
    protocol = PROTOCOL_OF[dataset.name] if apply_rule else None
    who = (pids[[row]], pids[gallery], cams[[row]], cams[gallery])
    dropped = camera_rule(*who, protocol=protocol)[0]  # (G,)
    similarity = embeddings[row] @ embeddings[gallery].T  # (G,)
    correct = pids[gallery] == pids[row]  # ties: wrong images first, as in rank_metrics
    order = np.lexsort((correct, -similarity.numpy()))[:count]
    top = gallery[order]
    ap, note = None, "no right image in this gallery"
    if (correct & ~dropped).any():
        ap = rank_metrics(similarity[None], *who, protocol=protocol).mAP
        note = f"{(~dropped).sum()} images in the gallery"
    return figures.ranking(
        images.images([row])[0],
        images.images(top),
        correct=pids[top] == pids[row],
        dropped=dropped[order],
        similarity=similarity[order].numpy(),
        captions=[f"cam {cam}" for cam in cams[top]],
        ap=ap,
        modality="infrared" if images.infrared[row] else "visible",
        title=f"Query {query}: person {pids[row]}, camera {cams[row]}; {note}",
    )


def query_browser(dataset: Dataset, embeddings: Tensor, trial: Trial) -> Panel:
    """Browse the queries of a trial, with the protocol's camera rule on or off.

    Args:
        dataset, embeddings, trial: as in `render_query`.
    """
    rule, text, switch = PROTOCOLS[PROTOCOL_OF[dataset.name]], "Browse the queries.", {}
    if rule.drop is not None:
        text += f" Grey images are dropped by the camera rule: {rule.drops}."
        switch = {"apply_rule": w.Checkbox(value=True, description="camera rule", indent=False)}
    return Panel(
        lambda **values: render_query(dataset, embeddings, trial, **values),
        text,
        query=slider(0, len(trial.query) - 1, 0, "query"),
        **switch,
    )
