"""Corrupted images, and what a corruption costs each method."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dakd.corruption import FAMILIES, SEVERITIES, corrupt
from dakd.figures.benchmark import LABELS
from dakd.figures.pictures import WIDTH, contact_sheet, show
from dakd.figures.rankings import NAMES
from dakd.figures.style import PALETTE, SMALL, bare, colour, new_figure, per_cent, styled
from dakd.figures.training import INKS, STROKES
from dakd.runtime import make_generator, require

SIDES = {"none": "none", "query": "queries", "gallery": "gallery", "both": "both"}
MARKS = "osD^vP"


@styled
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
    columns = 1 + max(map(len, FAMILIES.values()))
    shape = images.shape[-2] / images.shape[-1] / len(images)
    height = len(FAMILIES) * (WIDTH / (columns + 0.6) * shape + 0.25) + 0.35 * bool(title)
    figure = new_figure(WIDTH, height, title=title, dense=True)
    grid = figure.subplots(len(FAMILIES), columns)
    for line, (family, kinds) in zip(grid, FAMILIES.items(), strict=True):
        line[0].set_ylabel(family, rotation=0, ha="right", va="center", fontsize=SMALL)
        for axes, kind in itertools.zip_longest(line, ("clean", *kinds)):
            bare(axes)
            if kind is None:
                continue
            generator = make_generator(seed, images.device)
            shown = images if kind == "clean" else corrupt(images, kind, severity, generator)
            show(axes, torch.cat(list(shown), dim=-1))  # (3, H, n * W)
            name = kind.replace("_", " ")
            axes.set_title(name, fontsize=SMALL, loc="center", fontweight="normal")
    return figure


@styled
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
    table: pd.DataFrame, *, measures: Sequence[str] = ("rank1", "mAP"), title: str | None = None
) -> Figure:
    """Compare methods on clean images, corrupted queries, a corrupted gallery, and both.

    Args:
        table: from `dakd.robustness.robustness_table`; the lines are ± one standard deviation.
        measures: columns to show, a panel each.
        title: of the figure.

    Raises:
        ValueError: a missing column, or no row of a side.
    """
    rows = _part(table, measures, family="all")
    sides = [side for side in SIDES if side in set(rows["where"])]
    looks = _looks(table)
    figure = new_figure(WIDTH, 2.9 + 0.35 * bool(title), title=title)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    width = 0.8 / len(looks)
    for axes, measure in zip(panels, measures, strict=True):
        for i, (method, (ink, _, _)) in enumerate(looks.items()):
            own = rows[rows["method"] == method].set_index("where").reindex(sides)
            place = np.arange(len(sides)) + (i - (len(looks) - 1) / 2) * width
            error = {"ecolor": PALETTE["ink"], "elinewidth": 1.2}
            axes.bar(place, own[measure], 0.92 * width, color=ink, label=LABELS.get(method, method),
                     yerr=own[f"{measure}_std"], error_kw=error)  # fmt: skip
        axes.set_xticks(range(len(sides)), [SIDES[side] for side in sides])
        axes.set(title=NAMES.get(measure, measure), xlabel="corrupted images")
        axes.grid(False, axis="x")
        per_cent(axes.yaxis)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@styled
def severity_curves(
    table: pd.DataFrame, *, measure: str = "mAP", title: str | None = None
) -> Figure:
    """Plot a measure over the severity, a panel a family; severity 0 is clean.

    Args:
        table: from `dakd.robustness.robustness_table`; the bands are ± one standard deviation.
        measure: a column of it.
        title: of the figure.

    Raises:
        ValueError: a missing column, or no row of a family.
    """
    families = [family for family in FAMILIES if family in set(table.get("family", ()))]
    rows = pd.concat([_part(table, [measure], family=family) for family in families or ["noise"]])
    clean = table[table["where"] == "none"]
    figure = new_figure(WIDTH, 2.7 + 0.35 * bool(title), title=title)
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for axes, family in zip(panels, families, strict=True):
        for method, (ink, stroke, mark) in _looks(table).items():
            own = pd.concat([clean, rows[rows["family"] == family]])
            own = own[own["method"] == method].sort_values("severity")
            level, mean = own["severity"].astype(int), own[measure]
            spread = own[f"{measure}_std"]
            axes.fill_between(level, mean - spread, mean + spread, color=ink, alpha=0.12, lw=0)
            axes.plot(level, mean, color=ink, linestyle=stroke, marker=mark, markersize=4,
                      label=LABELS.get(method, method))  # fmt: skip
        axes.set(title=family, xlabel="severity", xticks=range(6))
        per_cent(axes.yaxis)
    panels[0].set_ylabel(NAMES.get(measure, measure))
    panels[0].set_ylim(0, None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _part(table: pd.DataFrame, measures: Sequence[str], *, family: str) -> pd.DataFrame:
    """Return the rows of a family; refuse a table that lacks them or a column."""
    columns = {"method", "where", "family", "severity"}
    columns |= {*measures} | {f"{measure}_std" for measure in measures}
    missing = sorted(columns - set(table.columns))
    require(not missing, f"the table lacks the columns {', '.join(missing)}")
    rows = table[table["family"] == family]
    require(len(rows) > 0, f"the table has no row of family {family!r}; use robustness_table")
    return rows


def _looks(table: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Return colour, stroke and marker of every method of a table."""
    looks, spare = {}, itertools.cycle(INKS[4:])  # the first belong to modalities and methods
    for method, stroke, mark in zip(table["method"].unique(), STROKES * 9, MARKS * 6, strict=False):
        own = colour(method)
        looks[method] = (next(spare) if own == PALETTE["muted"] else own, stroke, mark)
    return looks
