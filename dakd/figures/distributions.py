"""Distributions: a scatter plot of brightness, and histograms."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dakd.figures.style import BODY, PALETTE, colour, new_figure, percent_axis, styled


@styled
def brightness_scatter(
    visible: np.ndarray, infrared: np.ndarray, *, title: str | None = None
) -> Figure:
    """Plot the mean brightness of each person in infrared against that in visible images.

    Args:
        visible, infrared: mean grey levels in 0..1, one per person, (n,) each.
    """
    visible, infrared = np.asarray(visible), np.asarray(infrared)
    figure = new_figure(4.6, 4.2, title=title)
    axes = figure.subplots()
    axes.scatter(visible, infrared, s=26, color=PALETTE["muted"], alpha=0.8, linewidth=0)
    low = min(visible.min(), infrared.min()) - 0.02
    high = max(visible.max(), infrared.max()) + 0.02
    line = axes.plot([low, high], [low, high], linestyle="--", linewidth=1)[0]
    line.set(color=PALETTE["dropped"], label="equally bright")
    axes.legend(loc="lower right")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel("visible grey level (0 to 1)", color=PALETTE["visible"])
    axes.set_ylabel("infrared grey level (0 to 1)", color=PALETTE["infrared"])
    correlation = np.corrcoef(visible, infrared)[0, 1]
    axes.set_title(f"correlation {correlation:.2f} over {len(visible)} people", fontsize=BODY)
    return figure


@styled
def histogram(
    samples: dict[str, Any], *, label: str, title: str | None = None, bins: int = 30
) -> Figure:
    """Compare distributions of one quantity by histograms with shared bins.

    Args:
        samples: group name -> values; a group named after a modality or method has its colour.
        label: the quantity and its unit.
        bins: number of bins over the range of all groups.
    """
    figure = new_figure(6.4, 3.0, title=title)
    axes = figure.subplots()
    arrays = {name: np.asarray(values, dtype=float).ravel() for name, values in samples.items()}
    every = np.concatenate(list(arrays.values()))
    edges = np.linspace(every.min(), every.max() or 1, bins + 1)
    styles = ["-", "--", ":", "-."]
    for i, (name, values) in enumerate(arrays.items()):
        height = np.histogram(values, edges)[0] / len(values)
        color = colour(name) if colour(name) != PALETTE["muted"] else list(PALETTE.values())[5 - i]
        axes.stairs(height, edges, color=color, alpha=0.18, fill=True)
        axes.stairs(height, edges, color=color, linewidth=1.8, linestyle=styles[i % 4], label=name)
    axes.set(xlabel=label, ylabel="fraction of the group")
    percent_axis(axes.yaxis)
    if len(arrays) > 1:
        axes.legend()
    return figure
