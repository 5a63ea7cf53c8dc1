"""Corrupted images, and the accuracy of methods on them."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dakd.corruption import FAMILIES, corrupt
from dakd.figures.rankings import NAMES
from dakd.figures.style import PALETTE, colour, new_figure, percent_axis, styled
from dakd.figures.tiles import WIDTH, Tile, tile_grid
from dakd.figures.training import COLORS
from dakd.runtime import make_generator, require

SIDES = {"none": "none", "query": "queries", "gallery": "gallery", "both": "both"}
MARKERS = "osD^vPX*"
EXTRA_COLORS = (PALETTE["muted"], *COLORS[:4])
KEYS = ["method", "where", "family", "severity"]


class MethodStyle(NamedTuple):
    """Label, colours and marker of a method in a figure."""

    label: str
    color: str
    fill: str
    marker: str


def corruption_grid(
    images: Tensor, *, severity: int = 3, seed: int = 0, title: str | None = None
) -> Figure:
    """Show images under all twenty kinds of corruption, one row per family.

    Args:
        images: uint8 (n, 3, H, W), shown side by side, for example a visible and an infrared one.
        severity: 1 to 5.
        seed: of the corruptions.
    """

    def tile(kind: str) -> Tile:
        generator = make_generator(seed, images.device)
        shown = images if kind == "clean" else corrupt(images, kind, severity, generator)
        joined = torch.cat(list(shown), dim=-1)  # (3, H, n * W)
        return Tile(image=joined, above=kind.replace("_", " "))

    rows = [[tile(kind) for kind in ("clean", *kinds)] for kinds in FAMILIES.values()]
    return tile_grid(rows, row_titles=list(FAMILIES), title=title, cell_width=WIDTH)


@styled
def robustness_bars(
    table: pd.DataFrame,
    *,
    measures: Sequence[str] = ("rank1", "mAP"),
    curves: str | None = None,
    labels: Mapping[str, str] | None = None,
    hollow: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Compare methods on clean images, corrupted queries, a corrupted gallery, and both.

    Bars are means, lines ± one standard deviation, over seeds (shown as dots), or over trials if
    the table has one seed.

    Args:
        table: from `dakd.studies.robustness.robustness_table`, or from
            `dakd.studies.evidence.robustness_tables`.
        measures: columns to show, one panel each.
        curves: a column to plot over the severity below, as `severity_curves` does.
        hollow: method -> another one, in whose colour it is drawn hollow.

    Raises:
        ValueError: a missing column, or no row of a side or of a family.
    """
    rows = _part(table, measures, family="all")
    styles = _styles(table, labels or {}, hollow or {})
    families = _families(table) if curves else []
    figure = new_figure(WIDTH, 2.9 + 2.2 * bool(curves) + 0.35 * bool(title), title=title)
    width = math.lcm(len(measures), len(families) or 1)
    mosaic: Any = [[name for name in line for _ in range(width // len(line))]
                   for line in (measures, families) if line]  # fmt: skip
    panels = figure.subplot_mosaic(mosaic)
    for measure in measures:
        _bars(panels[measure], rows, styles, measure)
    if curves:
        _curves({family: panels[family] for family in families}, table, styles, curves)
    return _with_legend(figure)


@styled
def severity_curves(
    table: pd.DataFrame,
    *,
    measure: str = "mAP",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plot a measure against the severity of corrupting both sides, one panel per family.

    Severity 0 is clean; error bars are ± one standard deviation.

    Args:
        table: as in `robustness_bars`.
        measure: a column of the table.

    Raises:
        ValueError: a missing column, or no row of a family.
    """
    families = _families(table)
    width = min(WIDTH, 2.6 + 2.9 * len(families))
    figure = new_figure(width, 2.7 + 0.35 * bool(title), title=title)
    panels = figure.subplots(1, len(families), squeeze=False)[0]
    styles = _styles(table, labels or {}, {})
    _curves(dict(zip(families, panels, strict=True)), table, styles, measure)
    return _with_legend(figure)


def _with_legend(figure: Figure) -> Figure:
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def _bars(axes: Axes, rows: pd.DataFrame, styles: Mapping[str, MethodStyle], measure: str) -> None:
    """Draw one group of bars per side."""
    sides = [side for side in SIDES if side in set(rows["where"])]
    width, color = 0.84 / len(styles), PALETTE["text"]
    for i, (method, style) in enumerate(styles.items()):
        own = rows[rows["method"] == method]
        cells = _cells(own, measure).set_index("where").reindex(sides)
        place = np.arange(len(sides)) + (i - (len(styles) - 1) / 2) * width
        hatch = "/////" if style.fill != style.color else ""
        axes.bar(place, cells["mean"], 0.82 * width, color=style.fill, edgecolor=style.color,
                 hatch=hatch, linewidth=1, label=style.label, yerr=cells["spread"],
                 error_kw={"ecolor": color, "elinewidth": 1.2})  # fmt: skip
        if _seeds(own) > 1:
            at = own["where"].map(dict(zip(sides, place, strict=True)))
            axes.plot(at, own[measure], "o", markersize=3, color=PALETTE["background"],
                      markeredgecolor=color, markeredgewidth=0.7)  # fmt: skip
    axes.set_xticks(range(len(sides)), [SIDES[side] for side in sides])
    axes.set(title=NAMES.get(measure, measure), xlabel="corrupted images")
    axes.grid(False, axis="x")
    percent_axis(axes.yaxis)


def _curves(
    panels: Mapping[str, Axes], table: pd.DataFrame, styles: Mapping[str, MethodStyle], measure: str
) -> None:
    """Draw one curve per method in the panel of each family, with a shared scale."""
    clean = table[table["where"] == "none"]
    for family, axes in panels.items():
        rows = pd.concat([clean, _part(table, [measure], family=family)])
        for i, (method, style) in enumerate(styles.items()):
            cells = _cells(rows[rows["method"] == method], measure).sort_values("severity")
            level = cells["severity"].astype(float) + 0.05 * (i - (len(styles) - 1) / 2)
            linestyle = "-" if style.fill == style.color else "--"
            axes.errorbar(level, cells["mean"], cells["spread"], color=style.color,
                          linestyle=linestyle, linewidth=1.4, elinewidth=0.9, marker=style.marker,
                          markersize=4, markerfacecolor=style.fill,
                          label=style.label)  # fmt: skip
        axes.set(title=family, xlabel="severity", xticks=range(6), xlim=(-0.4, 5.4))
        percent_axis(axes.yaxis)
    first, top = next(iter(panels.values())), max(a.get_ylim()[1] for a in panels.values())
    first.set_ylabel(f"{NAMES.get(measure, measure)}, both corrupted")
    for axes in panels.values():
        axes.set_ylim(0, top)
        axes.tick_params(labelleft=axes is first)


def _families(table: pd.DataFrame) -> list[str]:
    """Return the families of a table in the order of `FAMILIES`."""
    known = set(table.get("family", ()))
    return [family for family in FAMILIES if family in known] or ["noise"]


def _part(table: pd.DataFrame, measures: Sequence[str], *, family: str) -> pd.DataFrame:
    """Return the rows of a family; raise an error if they or a column are missing."""
    columns = {*KEYS} | {*measures} | {f"{measure}_std" for measure in measures}
    missing = sorted(columns - set(table.columns))
    require(not missing, f"the table lacks the columns {', '.join(missing)}")
    rows = table[table["family"] == family]
    require(len(rows) > 0, f"the table has no row of family {family!r}; use robustness_table")
    return rows


def _seeds(rows: pd.DataFrame) -> int:
    """Return the number of seeds in a table."""
    return rows["seed"].nunique() if "seed" in rows else 1


def _cells(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, or over trials if there is one seed."""
    cells = rows.groupby(KEYS, sort=False, dropna=False)
    spread = cells[measure].std() if _seeds(rows) > 1 else cells[f"{measure}_std"].first()
    return pd.DataFrame({"mean": cells[measure].mean(), "spread": spread}).reset_index()


def _styles(
    table: pd.DataFrame, labels: Mapping[str, str], hollow: Mapping[str, str]
) -> dict[str, MethodStyle]:
    """Return the style of each method, in the order of the table."""
    styles, colors = {}, {}
    extra, markers = itertools.cycle(EXTRA_COLORS), itertools.cycle(MARKERS)
    for method in table["method"].unique():
        like = hollow.get(method, method)
        if like not in colors:
            own = colour(like)
            colors[like] = next(extra) if own == PALETTE["muted"] else own
        fill = PALETTE["background"] if method in hollow else colors[like]
        label = labels.get(method, method)
        styles[method] = MethodStyle(label, colors[like], fill, next(markers))
    return styles
