"""Corrupted images, and what a corruption costs each method."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dakd.corruption import FAMILIES, SEVERITIES, corrupt
from dakd.figures.pictures import contact_sheet
from dakd.figures.rankings import NAMES
from dakd.figures.sheet import WIDTH, Tile, sheet
from dakd.figures.style import PALETTE, colour, new_figure, per_cent, styled
from dakd.figures.training import INKS
from dakd.runtime import make_generator, require

SIDES = {"none": "none", "query": "queries", "gallery": "gallery", "both": "both"}
MARKS = "osD^vPX*"
SPARE = (PALETTE["muted"], *INKS[:4])
CELL = ["method", "where", "family", "severity"]


class Look(NamedTuple):
    """How a method is drawn everywhere in a figure."""

    label: str
    ink: str
    fill: str
    mark: str


def corruption_sheet(
    images: Tensor, *, severity: int = 3, seed: int = 0, title: str | None = None
) -> Figure:
    """Show images under all twenty kinds of corruption, a row a family.

    Args:
        images: uint8 (n, 3, H, W), shown side by side: one visible and one infrared, for example.
        severity: 1 to 5.
        seed: of the corruptions.
        title: of the figure.
    """
    rows: list[list[Tile]] = []
    for kinds in FAMILIES.values():
        rows.append([])
        for kind in ("clean", *kinds):
            generator = make_generator(seed, images.device)
            shown = images if kind == "clean" else corrupt(images, kind, severity, generator)
            joined = torch.cat(list(shown), dim=-1)  # (3, H, n * W)
            rows[-1].append(Tile(image=joined, above=kind.replace("_", " ")))
    return sheet(rows, row_titles=list(FAMILIES), title=title, cell=WIDTH)


def severity_sheet(
    image: Tensor, kinds: Sequence[str], *, seed: int = 0, title: str | None = None
) -> Figure:
    """Show one image, uint8 (3, H, W), clean and at the five severities; a kind a row."""
    rows = [
        [image]
        + [corrupt(image[None], kind, s, make_generator(seed, image.device))[0] for s in SEVERITIES]
        for kind in kinds
    ]
    return contact_sheet(
        rows,
        row_titles=[kind.replace("_", " ") for kind in kinds],
        column_titles=["clean", *map(str, SEVERITIES)],
        title=title,
    )


@styled
def robustness_bars(
    table: pd.DataFrame,
    *,
    measures: Sequence[str] = ("rank1", "mAP"),
    curves: str | None = None,
    labels: Mapping[str, str] | None = None,
    twins: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Compare methods on clean images, corrupted queries, a corrupted gallery, and both.

    A bar is a mean, its line ± one standard deviation: over seeds, each of them a dot, or over
    trials where the table holds one seed.

    Args:
        table: from `dakd.studies.robustness.robustness_table`, or from
            `dakd.studies.evidence.robustness_tables`.
        measures: columns to show, a panel each.
        curves: a column to plot over the severity beneath, as `severity_curves` does.
        labels: what a method is called in the figure; one that is not in it keeps its name.
        twins: methods that have the colour of another one, and are hollow.
        title: of the figure.

    Raises:
        ValueError: a missing column, or no row of a side or of a family.
    """
    rows = _part(table, measures, family="all")
    looks = _looks(table, labels or {}, twins or {})
    families = _families(table) if curves else []
    figure = new_figure(WIDTH, 2.9 + 2.2 * bool(curves) + 0.35 * bool(title), title=title)
    panels = _panels(figure, measures, families)
    for measure in measures:
        _bars(panels[measure], rows, looks, measure)
    if curves:
        _curves({family: panels[family] for family in families}, table, looks, curves)
    handles = panels[measures[0]].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


@styled
def severity_curves(
    table: pd.DataFrame,
    *,
    measure: str = "mAP",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Plot a measure over the severity, both sides corrupted, a panel a family; 0 is clean.

    Args:
        table, labels, title: as for `robustness_bars`; lines are ± one standard deviation, too.
        measure: a column of the table.

    Raises:
        ValueError: a missing column, or no row of a family.
    """
    families = _families(table)
    width = min(WIDTH, 2.6 + 2.9 * len(families))
    figure = new_figure(width, 2.7 + 0.35 * bool(title), title=title)
    panels = _panels(figure, families)
    _curves(panels, table, _looks(table, labels or {}, {}), measure)
    handles = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def _panels(figure: Figure, *lines: Sequence[str]) -> dict[str, Axes]:
    """Return panels by name, in lines that are all as wide as the figure."""
    lines = tuple(line for line in lines if len(line))
    width = math.lcm(*map(len, lines))
    return figure.subplot_mosaic(
        [[n for n in line for _ in range(width // len(line))] for line in lines]
    )


def _bars(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], measure: str) -> None:
    """Draw a group of bars a side."""
    sides = [side for side in SIDES if side in set(rows["where"])]
    width, ink = 0.84 / len(looks), PALETTE["ink"]
    for i, (method, look) in enumerate(looks.items()):
        own = rows[rows["method"] == method]
        cells = _cells(own, measure).set_index("where").reindex(sides)
        place = np.arange(len(sides)) + (i - (len(looks) - 1) / 2) * width
        bars = axes.bar(place, cells["mean"], 0.82 * width, color=look.fill, edgecolor=look.ink,
                        linewidth=1, label=look.label, yerr=cells["spread"],
                        error_kw={"ecolor": ink, "elinewidth": 1.2})  # fmt: skip
        for bar in bars:
            bar.set_hatch("/////" if look.fill != look.ink else "")
        if _seeds(own) > 1:
            at = own["where"].map(dict(zip(sides, place, strict=True)))
            axes.plot(at, own[measure], "o", markersize=3, color=PALETTE["ground"],
                      markeredgecolor=ink, markeredgewidth=0.7)  # fmt: skip
    axes.set_xticks(range(len(sides)), [SIDES[side] for side in sides])
    axes.set(title=NAMES.get(measure, measure), xlabel="corrupted images")
    axes.grid(False, axis="x")
    per_cent(axes.yaxis)


def _curves(
    panels: Mapping[str, Axes], table: pd.DataFrame, looks: Mapping[str, Look], measure: str
) -> None:
    """Draw a curve a method into the panel of every family, at one scale."""
    clean = table[table["where"] == "none"]
    for family, axes in panels.items():
        rows = pd.concat([clean, _part(table, [measure], family=family)])
        for i, (method, look) in enumerate(looks.items()):
            cells = _cells(rows[rows["method"] == method], measure).sort_values("severity")
            level = cells["severity"].astype(float) + 0.05 * (i - (len(looks) - 1) / 2)
            stroke = "-" if look.fill == look.ink else "--"
            axes.errorbar(level, cells["mean"], cells["spread"], color=look.ink, linestyle=stroke,
                          linewidth=1.4, elinewidth=0.9, marker=look.mark, markersize=4,
                          markerfacecolor=look.fill, label=look.label)  # fmt: skip
        axes.set(title=family, xlabel="severity", xticks=range(6), xlim=(-0.4, 5.4))
        per_cent(axes.yaxis)
    first, top = next(iter(panels.values())), max(a.get_ylim()[1] for a in panels.values())
    first.set_ylabel(f"{NAMES.get(measure, measure)}, both corrupted")
    for axes in panels.values():
        axes.set_ylim(0, top)
        axes.tick_params(labelleft=axes is first)


def _families(table: pd.DataFrame) -> list[str]:
    """Return the families of a table in their own order; refuse one without any."""
    known = set(table.get("family", ()))
    return [family for family in FAMILIES if family in known] or ["noise"]


def _part(table: pd.DataFrame, measures: Sequence[str], *, family: str) -> pd.DataFrame:
    """Return the rows of a family; refuse a table that lacks them or a column."""
    columns = {*CELL} | {*measures} | {f"{measure}_std" for measure in measures}
    missing = sorted(columns - set(table.columns))
    require(not missing, f"the table lacks the columns {', '.join(missing)}")
    rows = table[table["family"] == family]
    require(len(rows) > 0, f"the table has no row of family {family!r}; use robustness_table")
    return rows


def _seeds(rows: pd.DataFrame) -> int:
    """Return the number of trainings in a table."""
    return rows["seed"].nunique() if "seed" in rows else 1


def _cells(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return mean and spread of every cell, over seeds, or over trials where there is one seed."""
    cells = rows.groupby(CELL, sort=False, dropna=False)
    spread = cells[measure].std() if _seeds(rows) > 1 else cells[f"{measure}_std"].first()
    return pd.DataFrame({"mean": cells[measure].mean(), "spread": spread}).reset_index()


def _looks(
    table: pd.DataFrame, labels: Mapping[str, str], twins: Mapping[str, str]
) -> dict[str, Look]:
    """Return how every method of a table is drawn, in the table's order."""
    looks, inks, spare, marks = {}, {}, itertools.cycle(SPARE), itertools.cycle(MARKS)
    for method in table["method"].unique():
        like = twins.get(method, method)
        if like not in inks:
            own = colour(like)
            inks[like] = next(spare) if own == PALETTE["muted"] else own
        fill = PALETTE["ground"] if method in twins else inks[like]
        looks[method] = Look(labels.get(method, method), inks[like], fill, next(marks))
    return looks
