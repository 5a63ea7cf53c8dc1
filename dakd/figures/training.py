"""Loss curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dakd.figures.sheet import text_width
from dakd.figures.style import PALETTE, SMALL, new_figure, styled

BOOKKEEPING = ("epoch", "step", "loss", "lr", "images_per_second", "memory_mb")
SIDES = ("visible", "infrared")  # a part of one modality has its colour
INKS = ("#7F3C8D", "#8C6D31", "#1CA3A3", "#B2182B", "#5E6772", "#7A9A01")  # of no method
STROKES = ("-", "--", "-.", ":")
WIDE, HIGH, LEFT = 8.6, 4.4, 0.8  # inches: the figure, and the room for the numbers at its left


def loss_parts(history: pd.DataFrame) -> list[str]:
    """Return the columns of a history that are parts of the loss."""
    return [column for column in history.columns if column not in BOOKKEEPING]


@styled
def loss_curves(
    history: pd.DataFrame,
    parts: Sequence[str] | None = None,
    *,
    smooth: float = 0.8,
    title: str | None = None,
) -> Figure:
    """Plot the total loss and its parts over the steps, and the learning rate beneath.

    Args:
        history: a row a step: epoch, step, loss, a column a part, lr.
        parts: columns to show; all parts without.
        smooth: 0..1, weight of the past in the running mean; the raw values stay as a shadow.
        title: of the figure.

    Raises:
        ValueError: a part that the history does not hold.
    """
    known = loss_parts(history)
    parts = known if parts is None else list(parts)
    missing = [part for part in parts if part not in known]
    if missing:
        raise ValueError(f"the history has no part {missing[0]!r}; it has {', '.join(known)}")
    labels = [name.replace("_", " ") for name in parts]
    figure, (total, pieces, rate) = _panels(labels, title)
    steps = np.arange(1, len(history) + 1)
    for axes, names in ((total, ["loss"]), (pieces, parts)):
        for name in names:
            ink, stroke = _line(name, known)
            running = history[name].ewm(alpha=1 - min(smooth, 0.999)).mean()
            mean = running.where(history[name].notna())  # a part that is over leaves no tail
            axes.plot(steps, history[name], color=ink, alpha=0.18, linewidth=0.8)
            axes.plot(steps, mean, color=ink, linestyle=stroke, label=name.replace("_", " "))
    if parts:
        pieces.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL)
    rate.plot(steps, history["lr"], color=PALETTE["muted"], linewidth=1.4)
    rate.set_ylim(0, None)
    rate.set_yticks([0, history["lr"].max()], ["0", f"{history['lr'].max():.1g}"])
    _rule((total, pieces), rate)
    return figure


def _panels(labels: Sequence[str], title: str | None) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with room for the total, the parts, their legend, and the learning rate.

    It is laid out by arithmetic; an engine would lay out all ticks and texts once more.
    """
    figure = new_figure(WIDE, HIGH, title=title)
    figure.set_layout_engine("none")
    right = WIDE - 0.15 - bool(labels) * (0.55 + text_width(labels, weight="normal"))
    sides = {"left": LEFT / WIDE, "right": right / WIDE, "bottom": 0.5 / HIGH,
             "top": 1 - (0.1 + 0.3 * bool(title)) / HIGH, "hspace": 0.15}  # fmt: skip
    panels = figure.subplots(3, 1, sharex=True,
                             gridspec_kw={"height_ratios": [1.2, 2, 0.6], **sides})  # fmt: skip
    for axes, label in zip(panels, ("total loss", "parts, unweighted", "lr"), strict=True):
        axes.set_ylabel(label)
        axes.yaxis.set_label_coords((0.24 - LEFT) / (right - LEFT), 0.5)
    panels[-1].set_xlabel("step")
    return figure, panels


def _rule(upper: Sequence[Axes], lowest: Axes) -> None:
    """Draw the grid over the steps in the upper panels; ticks of their own would be slow."""
    first, last = lowest.get_xlim()
    lowest.set_xlim(first, last)
    ticks = [x for x in lowest.get_xticks() if first <= x <= last]
    for axes in upper:
        axes.xaxis.set_visible(False)
        axes.vlines(ticks, 0, 1, transform=axes.get_xaxis_transform(), zorder=0.5,
                    colors=PALETTE["line"], linewidths=0.6)  # fmt: skip


def _line(name: str, parts: Sequence[str]) -> tuple[str, str]:
    """Return colour and stroke of a part; those of one modality differ by their stroke.

    >>> _line("class_visible", ["instance_visible", "class_visible"])
    ('#1F6FB4', '--')
    """
    if name not in parts:
        return PALETTE["ink"], "-"
    sides = {part: next((s for s in SIDES if s in part.split("_")), None) for part in parts}
    side = sides[name]
    number = [part for part in parts if sides[part] == side].index(name)
    if side:
        return PALETTE[side], STROKES[number % len(STROKES)]
    return INKS[number % len(INKS)], STROKES[number // len(INKS) % len(STROKES)]
