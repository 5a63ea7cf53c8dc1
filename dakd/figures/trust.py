"""Is the teacher's confidence right? Histograms, masks, calibration."""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dakd.analysis import Reliability, RiskCoverage
from dakd.figures.sheet import Images, Tile, broken, sheet
from dakd.figures.style import PALETTE, SMALL, colour, new_figure, per_cent, styled

LEAST = 0.05  # the probability of a guess that is worth a line


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
    """Stack right on wrong predictions over confidence, with the mask's threshold.

    Args:
        confidence, correct: (N,) each.
        threshold: drawn as a line; accuracy is printed on its both sides.
        label: which confidence this is.
        title: of the figure.
        bins: number of bins over the range of the confidences.
    """
    confidence, correct = np.asarray(confidence), np.asarray(correct, dtype=bool)
    figure = new_figure(6.4, 3.2, title=title)
    axes = figure.subplots()
    edges = np.linspace(confidence.min(), confidence.max(), bins + 1)
    axes.hist(
        [confidence[correct], confidence[~correct]],
        edges.tolist(),
        stacked=True,
        color=[PALETTE["right"], PALETTE["wrong"]],
        label=[f"right ({correct.sum()})", f"wrong ({(~correct).sum()})"],
        edgecolor=PALETTE["ground"],
        linewidth=0.6,
    )
    for patch in axes.containers[1]:
        patch.set_hatch("////")
    axes.set(xlabel=label, ylabel="images")
    axes.ticklabel_format(axis="x", useOffset=False)
    if threshold is not None:
        axes.axvline(threshold, color=PALETTE["ink"], linewidth=1.5, linestyle="--")
        sides = (("right", confidence < threshold, -6), ("left", confidence >= threshold, 6))
        for align, mask, shift in sides:
            if mask.any():
                text = f"{100 * correct[mask].mean():.0f} % right"
                axes.annotate(text, (threshold, 1), xycoords=("data", "axes fraction"), va="top",
                              xytext=(shift, 2), textcoords="offset points", ha=align,
                              fontsize=SMALL, fontweight="bold")  # fmt: skip
        axes.margins(y=0.18)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def mask_gallery(
    images: Images,
    *,
    confidence: ArrayLike,
    correct: ArrayLike,
    kept: ArrayLike,
    guesses: Sequence[Mapping[int, float]] | None = None,
    labels: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Show what a mask keeps over what it drops, the most confident first in either part.

    Args:
        images: a batch, (n, 3, H, W).
        confidence: the teacher's, printed under each image unless its first guess says the same.
        correct: whether the teacher names the right person (✓ or ✗).
        kept: the mask.
        guesses: for each image the teacher's best guesses, {class: probability}, printed under
            the confidence, a line each; all but the best are left out below `LEAST`.
        labels: true classes, (n,), printed above the images; a guess of it is bold and green.
        title: of the figure.

    Raises:
        ValueError: lengths that do not fit.
    """
    pictures = list(images)
    score, mask = np.asarray(confidence, dtype=float), np.asarray(kept, dtype=bool)
    right = np.asarray(correct, dtype=bool)
    said = [{}] * len(pictures) if guesses is None else list(guesses)
    true = np.full(len(pictures), -1) if labels is None else np.asarray(labels)
    lengths = {len(pictures), len(score), len(right), len(mask), len(said), len(true)}
    if len(lengths) != 1 or not pictures:
        raise ValueError(f"images, confidence, correct and kept differ in length: {lengths}")
    digits = 2 if np.ptp(score) > 0.05 else 5  # flat instance-level confidences need more
    tiles = [
        _judged(*facts, digits)
        for facts in zip(pictures, score, right, said, true.tolist(), strict=True)
    ]
    order = np.argsort(-score, kind="stable")
    parts = {"kept": order[mask[order]], "dropped": order[~mask[order]]}
    parts = {name: part for name, part in parts.items() if len(part)}
    lines = broken([[tiles[i] for i in part] for part in parts.values()], margin=0.9)
    rows, names = [], []
    for name, part in zip(parts, lines, strict=True):
        rows += part
        names += [name, *[""] * (len(part) - 1)]
    return sheet(rows, row_titles=names, title=title, cell=0.5)


def short(value: float, digits: int = 2) -> str:
    """Return a probability without the zero before its point.

    >>> short(0.8149), short(0.00812, 5), short(0.9999)
    ('.81', '.00812', '1.00')
    """
    return f"{value:.{digits}f}".removeprefix("0")


def _judged(
    image: Any, score: float, right: bool, guesses: Mapping[int, float], label: int, digits: int
) -> Tile:
    """Return an image with what the teacher says of it."""
    ink = PALETTE["right"] if right else PALETTE["wrong"]
    sign = "✓" if right else "✗"
    best = max(guesses.values(), default=-1.0)
    said = {name: p for name, p in guesses.items() if p >= min(best, LEAST)}
    lines = [] if np.isclose(best, score) else [short(score, digits)]
    marked = len(lines) + list(said).index(label) if label in said else None
    lines += [f"{name}: {short(p)}" for name, p in said.items()]
    above = f"{label} {sign}" if label >= 0 else sign
    return Tile(image=image, frame=ink, ink=ink, above=above, below="\n".join(lines), marked=marked)


@styled
def reliability_diagram(results: Mapping[str, Reliability], *, title: str | None = None) -> Figure:
    """Plot accuracy against confidence; on the diagonal the confidence can be taken at its word.

    Args:
        results: for each name, from `dakd.analysis.reliability`; the dots grow with their count.
        title: of the figure.
    """
    figure = new_figure(4.8, 4.3, title=title)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PALETTE["dropped"], linestyle="--", linewidth=1)
    others = itertools.cycle("sDvP")
    for name, result in results.items():
        table, marker = result.table, {"visible": "o", "infrared": "^"}.get(name) or next(others)
        size = 20 + 160 * table["count"] / table["count"].sum()
        label = f"{name}: ECE {100 * result.ece:.1f} %"
        axes.plot(table["confidence"], table["accuracy"], color=colour(name), linewidth=1.4)
        axes.scatter(table["confidence"], table["accuracy"], s=size, color=colour(name),
                     marker=marker, label=label, edgecolor=PALETTE["ground"], zorder=3)  # fmt: skip
    axes.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.04), aspect="equal")
    axes.set(xlabel="confidence", ylabel="share of right predictions")
    axes.text(0.97, 0.05, "over-confident", ha="right", fontsize=SMALL, color=PALETTE["muted"])
    axes.text(0.03, 0.93, "under-confident", fontsize=SMALL, color=PALETTE["muted"])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.1))
    return figure


@styled
def risk_coverage_curve(
    results: Mapping[str, RiskCoverage], *, title: str | None = None, quantile: float | None = 0.5
) -> Figure:
    """Plot the error rate of what is kept, from only the most confident image to all.

    Args:
        results: for each name, from `dakd.analysis.risk_coverage`. A name that begins with a
            modality or a method, such as ``"visible, class level"``, has its colour.
        title: of the figure.
        quantile: of the mask; its coverage is marked.
    """
    figure = new_figure(5.8, 3.4 + 0.2 * len(results), title=title)
    axes = figure.subplots()
    for stroke, (name, result) in zip(("-", "--", "-.", ":") * 3, results.items(), strict=False):
        label = f"{name}: area {result.area:.3f} (best {result.best:.3f})"
        ink = colour(name.split(",")[0])
        axes.plot(result.coverage, result.risk, color=ink, linestyle=stroke, label=label)
    if quantile is not None:
        axes.axvline(1 - quantile, color=PALETTE["ink"], linewidth=1, linestyle=":")
        axes.annotate("kept by the mask", (1 - quantile, 1), xycoords=("data", "axes fraction"),
                      xytext=(-4, -2), textcoords="offset points", ha="right", va="top",
                      fontsize=SMALL)  # fmt: skip
    axes.set(xlabel="coverage: share of images kept", ylabel="error rate among them")
    axes.set(xlim=(0, 1), ylim=(0, None))
    per_cent(axes.xaxis)
    per_cent(axes.yaxis)
    rest = partial(np.subtract, 1)  # its own inverse
    above = axes.secondary_xaxis("top", functions=(rest, rest))
    above.set_xlabel("quantile of the mask")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure
