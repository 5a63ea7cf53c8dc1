"""The ablation: difference of each variant from a baseline, with confidence intervals."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dakd.figures.style import PALETTE, SMALL, new_figure, styled
from dakd.figures.tiles import WIDTH

NEEDED = {"label", "group", "mean", "low", "high", "t_low", "t_high", "each"}


@styled
def difference_plot(
    differences: pd.DataFrame,
    *,
    baseline: str,
    measure: str,
    further: Mapping[str, pd.DataFrame] | None = None,
    title: str | None = None,
) -> Figure:
    """Show differences from a baseline: seeds as dots, their mean, and two intervals.

    The thick line is the bootstrap interval, the thin one Student's t interval. Variants whose t
    interval excludes zero are coloured.

    Args:
        differences: one row per variant, in the order shown: ``label``, ``group``, and the columns
            of `dakd.analysis.paired_differences`, as fractions.
        baseline: name of the baseline, for the axis.
        measure: name of the measure, for the axis.
        further: measure -> the same rows in a further measure, one panel each.

    Raises:
        ValueError: a column is missing, there is no row, or `further` has other rows.
    """
    panels = {measure: differences, **(further or {})}
    for name, table in panels.items():
        if missing := NEEDED - set(table.columns):
            raise ValueError(f"the differences lack the columns {', '.join(sorted(missing))}")
        if list(table["label"]) != list(differences["label"]):
            raise ValueError(f"the rows of {name!r} are not those of {measure!r}")
    if differences.empty:
        raise ValueError("no variant to show")
    rows, heads, end = _places(differences["group"])
    figure = new_figure(WIDTH, 0.9 + 0.24 * end + 0.3 * bool(title), title=title)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, table) in zip(grid, panels.items(), strict=True):
        axes.axvline(0, color=PALETTE["text"], linewidth=1)
        for y, (_, row) in zip(rows, table.iterrows(), strict=True):
            _interval(axes, y, row)
        axes.grid(False, axis="y")
        axes.set_xlabel(f"{name}: points above or below {baseline}")
    grid[0].set_yticks(rows, list(differences["label"]))
    grid[0].set_ylim(end, -0.6)
    for group, y in heads.items():
        grid[0].annotate(
            group, (0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0), va="center",
            textcoords="offset points", ha="right", fontsize=SMALL, fontweight="bold",
        )  # fmt: skip
    return figure


def _places(groups: pd.Series) -> tuple[list[float], dict[str, float], float]:
    """Return the y position of each row, of each group's heading, and of the end, downwards."""
    heads, rows, y = {}, {}, 0.0
    for group in dict.fromkeys(groups):
        heads[group] = y
        for place in [i for i, own in enumerate(groups) if own == group]:
            y = round(y + 0.9, 1)
            rows[place] = y
        y = round(y + 1.2, 1)
    return [rows[place] for place in range(len(rows))], heads, round(y - 0.6, 1)


def _interval(axes: Axes, y: float, row: pd.Series) -> None:
    """Draw a variant: two intervals, seeds as dots, the mean as a diamond and as a number."""
    significant = row["t_low"] > 0 or row["t_high"] < 0
    color = PALETTE["right" if row["mean"] > 0 else "wrong"] if significant else PALETTE["dropped"]
    for low, high, width in (("t_low", "t_high", 1), ("low", "high", 4)):
        axes.plot([100 * row[low], 100 * row[high]], [y, y], color=color, linewidth=width)
    each = [100 * value for value in row["each"]]
    axes.plot(each, [y] * len(each), "o", markersize=3, color=PALETTE["text"], zorder=3)
    axes.plot(100 * row["mean"], y, "D", markersize=6, color=color, zorder=2)
    axes.annotate(
        f"{100 * row['mean']:+.1f}", (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=SMALL,
    )  # fmt: skip
