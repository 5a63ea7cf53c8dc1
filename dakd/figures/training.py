"""Loss curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dakd.figures.style import PALETTE, SMALL, new_figure, styled

NOT_LOSSES = ("epoch", "step", "loss", "lr", "images_per_second", "memory_mb")
SIDES = ("visible", "infrared")  # a term of one modality has its colour
COLORS = ("#7F3C8D", "#8C6D31", "#1CA3A3", "#B2182B", "#5E6772", "#7A9A01")  # not used for a method
LINESTYLES = ("-", "--", "-.", ":")


def loss_parts(history: pd.DataFrame) -> list[str]:
    """Return the columns of a history that are terms of the loss."""
    return [column for column in history.columns if column not in NOT_LOSSES]


@styled
def loss_curves(
    history: pd.DataFrame,
    parts: Sequence[str] | None = None,
    *,
    smooth: float = 0.8,
    title: str | None = None,
) -> Figure:
    """Plot the total loss, its terms and the learning rate over the steps.

    Args:
        history: one row per step: epoch, step, loss, one column per term, lr.
        parts: terms to show; None shows all.
        smooth: 0..1, weight of the past in the exponential moving average; raw values are drawn
            in a light shade.

    Raises:
        ValueError: the history has no such term.
    """
    known = loss_parts(history)
    parts = known if parts is None else list(parts)
    missing = [part for part in parts if part not in known]
    if missing:
        raise ValueError(f"the history has no term {missing[0]!r}; it has {', '.join(known)}")
    figure = new_figure(8.6, 4.4, title=title)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[1.2, 2, 0.6])
    total, pieces, rate = panels
    steps = np.arange(1, len(history) + 1)
    for axes, names in ((total, ["loss"]), (pieces, parts)):
        for name in names:
            color, linestyle = _line_style(name, known)
            running = history[name].ewm(alpha=1 - min(smooth, 0.999)).mean()
            mean = running.where(history[name].notna())  # no line where a term is not used
            axes.plot(steps, history[name], color=color, alpha=0.18, linewidth=0.8)
            axes.plot(steps, mean, color=color, linestyle=linestyle, label=name.replace("_", " "))
    if parts:
        pieces.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL)
    rate.plot(steps, history["lr"], color=PALETTE["muted"], linewidth=1.4)
    rate.set_ylim(0, None)
    rate.set_yticks([0, history["lr"].max()], ["0", f"{history['lr'].max():.1g}"])
    rate.set_xlabel("step")
    for axes, label in zip(panels, ("total loss", "terms, unweighted", "lr"), strict=True):
        axes.set_ylabel(label)
    figure.align_ylabels()
    return figure


def _line_style(name: str, parts: Sequence[str]) -> tuple[str, str]:
    """Return colour and line style of a term; terms of one modality differ by line style.

    >>> _line_style("class_visible", ["instance_visible", "class_visible"])
    ('#1F6FB4', '--')
    """
    if name not in parts:
        return PALETTE["text"], "-"
    sides = {part: next((s for s in SIDES if s in part.split("_")), None) for part in parts}
    side = sides[name]
    number = [part for part in parts if sides[part] == side].index(name)
    if side:
        return PALETTE[side], LINESTYLES[number % len(LINESTYLES)]
    return COLORS[number % len(COLORS)], LINESTYLES[number // len(COLORS) % len(LINESTYLES)]
