"""Bar charts that compare methods, with their spread over seeds."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from dakd.figures.rankings import NAMES
from dakd.figures.style import PALETTE, SMALL, colour, new_figure, percent_axis, styled
from dakd.figures.tiles import WIDTH


@styled
def benchmark_bars(
    table: pd.DataFrame,
    *,
    measures: Sequence[str] = ("rank1", "mAP"),
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show the mean of each method over seeds as a bar, seeds as dots, ± one std as a line.

    Args:
        table: one row per method and seed: ``method`` and one column per measure, as fractions.
        measures: columns to show, one panel each.

    Raises:
        ValueError: a missing column, or a table with several settings of the protocol.
    """
    missing = {"method", *measures} - set(table.columns)
    if missing:
        raise ValueError(f"the table lacks the columns {', '.join(sorted(missing))}")
    for name in ("mode", "shots"):
        if name in table and table[name].nunique() > 1:
            raise ValueError(f"the table has several values of {name!r}; select one first")
    data = table.assign(name=table["method"].replace(dict(labels or {})))
    colors = dict(zip(data["name"], data["method"].map(colour), strict=True))
    height = 0.9 + 0.5 * len(colors) + 0.3 * bool(title)
    figure = new_figure(min(WIDTH, 4.5 * len(measures)), height, title=title)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    color = PALETTE["text"]
    bars = {"hue": "name", "palette": colors, "saturation": 1, "width": 0.66, "errorbar": "sd"}
    dots = {"color": PALETTE["background"], "edgecolor": color, "linewidth": 0.8, "size": 4}
    for axes, measure in zip(panels, measures, strict=True):
        shared = {"data": data, "x": measure, "y": "name", "ax": axes}
        seaborn.barplot(**shared, **bars, err_kws={"color": color, "linewidth": 1.5})
        seaborn.stripplot(**shared, **dots, jitter=False)
        spread = data.groupby("name", sort=False)[measure].agg(["mean", "std", "max"]).fillna(0)
        for row, (mean, std, most) in enumerate(spread.to_numpy()):
            text = f"{100 * mean:.1f}" + (f" ± {100 * std:.1f}" if std else "")
            axes.annotate(text, (max(mean + std, most), row), va="center",
                          xytext=(7, 0), textcoords="offset points", fontsize=SMALL)  # fmt: skip
        axes.set(title=NAMES.get(measure, measure), xlabel=None, ylabel=None)
        axes.set_xlim(0, axes.get_xlim()[1] * 1.22)
        axes.grid(False, axis="y")
        percent_axis(axes.xaxis)
    return figure
