"""Loss curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dakd.figures.style import PALETTE, SMALL, new_figure, styled

BOOKKEEPING = ("epoch", "step", "loss", "lr", "images_per_second")
INKS = ("#1F6FB4", "#EF9433", "#00876C", "#CC79A7", "#B2182B", "#8C6D31", "#56B4E9", "#7F3C8D")
STROKES = ("-", "--", "-.", ":")


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
    figure = new_figure(8.6, 4.4, title=title)
    total, pieces, rate = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, 2, 0.6]}
    )
    steps = np.arange(1, len(history) + 1)
    for axes, names in ((total, ["loss"]), (pieces, parts)):
        for name in names:
            i = known.index(name) if name in known else -1
            ink = PALETTE["ink"] if i < 0 else INKS[i % len(INKS)]
            stroke = STROKES[i // len(INKS) % 4] if i >= 0 else "-"
            running = history[name].ewm(alpha=1 - min(smooth, 0.999)).mean()
            mean = running.where(history[name].notna())  # a part that is over leaves no tail
            axes.plot(steps, history[name], color=ink, alpha=0.18, linewidth=0.8)
            axes.plot(steps, mean, color=ink, linestyle=stroke, label=name.replace("_", " "))
    total.set_ylabel("total loss")
    pieces.set_ylabel("parts, unweighted")
    if parts:
        pieces.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=SMALL)
    rate.plot(steps, history["lr"], color=PALETTE["muted"], linewidth=1.4)
    rate.set(ylabel="lr", xlabel="step", ylim=(0, None))
    rate.set_yticks([0, history["lr"].max()], ["0", f"{history['lr'].max():.1g}"])
    for axes in (total, pieces, rate):
        axes.yaxis.set_label_coords(-0.075, 0.5)
    return figure
