"""The ablation: how much every variant differs from a baseline, with its interval."""

import pandas as pd
from matplotlib.figure import Figure

from dakd.figures.pictures import WIDTH
from dakd.figures.style import PALETTE, SMALL, new_figure, styled


@styled
def difference_plot(
    differences: pd.DataFrame, *, baseline: str, measure: str, title: str | None = None
) -> Figure:
    """Show differences from a baseline: every seed a dot, their mean, and two intervals.

    The thick line is the bootstrap's interval, the thin one Student's t. Colour is for the variants
    whose t interval leaves zero out.

    Args:
        differences: a row a variant, in the order shown: ``label``, ``group``, and the columns of
            `dakd.analysis.paired_differences`.
        baseline: what they are differences from, for the axis.
        measure: what is measured, for the axis.
        title: of the figure.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    needed = {"label", "group", "mean", "low", "high", "t_low", "t_high", "each"}
    if missing := needed - set(differences.columns):
        raise ValueError(f"the differences lack the columns {', '.join(sorted(missing))}")
    if differences.empty:
        raise ValueError("no variant to show")
    groups = list(dict.fromkeys(differences["group"]))
    lines = len(differences) + 0.9 * len(groups)
    figure = new_figure(WIDTH, 0.9 + 0.24 * lines + 0.3 * bool(title), title=title)
    axes = figure.subplots()
    axes.axvline(0, color=PALETTE["ink"], linewidth=1)
    y, ticks, names = 0.0, [], []
    for group in groups:
        axes.annotate(
            group, (0, y), xycoords=("axes fraction", "data"), xytext=(-4, 0), va="center",
            textcoords="offset points", ha="right", fontsize=SMALL, fontweight="bold",
        )  # fmt: skip
        for _, row in differences[differences["group"] == group].iterrows():
            y += 0.9
            sure = row["t_low"] > 0 or row["t_high"] < 0
            ink = PALETTE["right" if row["mean"] > 0 else "wrong"] if sure else PALETTE["dropped"]
            for low, high, width in (("t_low", "t_high", 1), ("low", "high", 4)):
                axes.plot([100 * row[low], 100 * row[high]], [y, y], color=ink, linewidth=width)
            axes.plot(
                [100 * v for v in row["each"]], [y] * len(row["each"]), "o", markersize=3,
                color=PALETTE["ink"], zorder=3, linewidth=0,
            )  # fmt: skip
            axes.plot(100 * row["mean"], y, "D", markersize=6, color=ink, zorder=2)
            axes.annotate(
                f"{100 * row['mean']:+.1f}", (1, y), xycoords=("axes fraction", "data"),
                xytext=(4, 0), textcoords="offset points", va="center", fontsize=SMALL,
            )  # fmt: skip
            ticks.append(y)
            names.append(row["label"])
        y += 1.2
    axes.set_yticks(ticks, names)
    axes.set_ylim(y - 0.6, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(f"{measure}: points above or below {baseline}")
    return figure
