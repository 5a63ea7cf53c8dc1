"""The teacher's confidence: histograms, masks, calibration."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dakd.analysis import Reliability, RiskCoverage
from dakd.figures.style import PALETTE, SMALL, colour, new_figure, percent_axis, styled
from dakd.figures.tiles import Images, Tile, tile_grid, wrap_rows

LEAST = 0.05  # smaller probabilities are not printed


@styled
def confidence_histograms(
    confidence: np.ndarray,
    correct: np.ndarray,
    *,
    threshold: float | None = None,
    label: str = "confidence",
    title: str | None = None,
    bins: int = 24,
) -> Figure:
    """Show stacked histograms of the confidence of right and of wrong predictions.

    Args:
        confidence, correct: (N,) each.
        threshold: of the mask, drawn as a line with the accuracy on both sides of it.
        label: of the confidence axis.
        bins: number of bins over the range of the confidences.
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=bool)
    figure = new_figure(6.4, 3.2, title=title)
    axes = figure.subplots()
    axes.hist(
        [confidence[correct], confidence[~correct]],
        bins,
        stacked=True,
        color=[PALETTE["right"], PALETTE["wrong"]],
        label=[f"right ({correct.sum()})", f"wrong ({(~correct).sum()})"],
        edgecolor=PALETTE["background"],
        linewidth=0.6,
    )
    for patch in axes.containers[1]:
        patch.set_hatch("////")
    axes.set(xlabel=label, ylabel="images")
    axes.ticklabel_format(axis="x", useOffset=False)
    if threshold is not None:
        axes.axvline(threshold, color=PALETTE["text"], linewidth=1.5, linestyle="--")
        sides = {"right": confidence < threshold, "left": confidence >= threshold}
        for align, mask in sides.items():
            if mask.any():
                text = f"  {100 * correct[mask].mean():.0f} % right  "
                axes.text(threshold, 1, text, transform=axes.get_xaxis_transform(), va="top",
                          ha=align, fontsize=SMALL, fontweight="bold")  # fmt: skip
        axes.margins(y=0.18)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def mask_gallery(
    images: Images,
    *,
    confidence: ArrayLike,
    correct: ArrayLike,
    kept: ArrayLike,
    predictions: Sequence[Mapping[int, float]] | None = None,
    labels: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Show the images that a mask keeps above those that it drops, by falling confidence.

    Args:
        images: a batch, (n, 3, H, W).
        confidence: of the teacher, (n,), printed below each image unless it equals the probability
            of the top prediction.
        correct: whether the teacher's prediction is right (✓ or ✗), (n,).
        kept: the mask, (n,) bool.
        predictions: the top predictions of each image, {class: probability}, printed below the
            confidence, one per line; only the first may be below `LEAST`.
        labels: true classes, (n,), printed above the images; their prediction is bold and green.

    Raises:
        ValueError: no image, or arguments of different lengths.
    """
    shown = list(images)
    score, mask = np.asarray(confidence, dtype=float), np.asarray(kept, dtype=bool)
    right = np.asarray(correct, dtype=bool)
    top = [{}] * len(shown) if predictions is None else list(predictions)
    true = np.full(len(shown), -1) if labels is None else np.asarray(labels)
    lengths = {len(shown), len(score), len(right), len(mask), len(top), len(true)}
    if len(lengths) != 1 or not shown:
        raise ValueError(f"images, confidence, correct and kept differ in length: {lengths}")
    digits = 2 if np.ptp(score) > 0.05 else 5  # instance-level confidences differ little
    each = zip(shown, score, right, top, true.tolist(), strict=True)
    tiles = [_tile(*values, digits) for values in each]
    order = np.argsort(-score, kind="stable")
    parts = [[tiles[i] for i in order if mask[i] == side] for side in (True, False)]
    rows, names = [], []
    for name, lines in zip(("kept", "dropped"), wrap_rows(parts, margin=0.9), strict=True):
        if lines[0]:
            rows += lines
            names += [name, *[""] * (len(lines) - 1)]
    return tile_grid(rows, row_titles=names, title=title, cell_width=0.5)


def _short(value: float, digits: int = 2) -> str:
    """Return a probability without its leading zero."""
    return f"{value:.{digits}f}".removeprefix("0")


def _tile(
    image: Any, score: float, right: bool, top: Mapping[int, float], label: int, digits: int
) -> Tile:
    """Return an image with the teacher's predictions."""
    color, sign = (PALETTE["right"], "✓") if right else (PALETTE["wrong"], "✗")
    best = max(top.values(), default=-1.0)
    printed = {name: p for name, p in top.items() if p >= min(best, LEAST)}
    lines = [] if np.isclose(best, score) else [_short(score, digits)]
    highlighted = len(lines) + list(printed).index(label) if label in printed else None
    lines += [f"{name}: {_short(p)}" for name, p in printed.items()]
    above = f"{label} {sign}" if label >= 0 else sign
    below = "\n".join(lines)
    return Tile(
        image=image, frame=color, color=color, above=above, below=below, highlighted=highlighted
    )


@styled
def reliability_diagram(results: Mapping[str, Reliability], *, title: str | None = None) -> Figure:
    """Plot accuracy against confidence; on the diagonal the confidence is calibrated.

    Args:
        results: name -> `dakd.analysis.reliability`; the area of a dot shows the size of its bin.
    """
    figure = new_figure(4.8, 4.3, title=title)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PALETTE["dropped"], linestyle="--", linewidth=1)
    others = itertools.cycle("sDvP")
    for name, result in results.items():
        table, marker = result.table, {"visible": "o", "infrared": "^"}.get(name) or next(others)
        size = 20 + 160 * table["count"] / table["count"].sum()
        label, color = f"{name}: ECE {100 * result.ece:.1f} %", colour(name)
        axes.plot("confidence", "accuracy", data=table, color=color, linewidth=1.4, label="")
        axes.scatter("confidence", "accuracy", data=table, s=size, color=color, marker=marker,
                     label=label, edgecolor=PALETTE["background"], zorder=3)  # fmt: skip
    axes.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.04), aspect="equal")
    axes.set(xlabel="confidence", ylabel="accuracy")
    axes.text(0.97, 0.05, "overconfident", ha="right", fontsize=SMALL, color=PALETTE["muted"])
    axes.text(0.03, 0.93, "underconfident", fontsize=SMALL, color=PALETTE["muted"])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    return figure


@styled
def risk_coverage_curve(
    results: Mapping[str, RiskCoverage], *, title: str | None = None, quantile: float | None = 0.5
) -> Figure:
    """Plot risk (error rate) against coverage (fraction of the most confident images kept).

    Args:
        results: name -> `dakd.analysis.risk_coverage`. A name that begins with a modality or a
            method, such as ``"visible, class level"``, has its colour.
        quantile: of a mask, whose coverage is marked.
    """
    figure = new_figure(5.8, 3.4 + 0.2 * len(results), title=title)
    axes = figure.subplots()
    for linestyle, (name, result) in zip(("-", "--", "-.", ":") * 3, results.items(), strict=False):
        label = f"{name}: area {result.area:.3f} (best {result.best:.3f})"
        color = colour(name.split(",")[0])
        axes.plot(result.coverage, result.risk, color=color, linestyle=linestyle, label=label)
    if quantile is not None:
        axes.axvline(1 - quantile, color=PALETTE["text"], linewidth=1, linestyle=":")
        axes.text(1 - quantile, 0.98, "kept by the mask ", transform=axes.get_xaxis_transform(),
                  ha="right", va="top", fontsize=SMALL)  # fmt: skip
    axes.set(xlabel="coverage: fraction of images kept", ylabel="risk: error rate among them")
    axes.set(xlim=(0, 1), ylim=(0, None))
    percent_axis(axes.xaxis)
    percent_axis(axes.yaxis)
    rest = partial(np.subtract, 1)  # its own inverse
    above = axes.secondary_xaxis("top", functions=(rest, rest))
    above.set_xlabel("quantile of the mask")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure
