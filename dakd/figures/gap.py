"""The modality gap: maps and bar charts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dakd.figures.style import BODY, PALETTE, SMALL, colour, hide_axes, new_figure, styled
from dakd.figures.tiles import WIDTH

COLOURINGS = ("modality", "camera", "identity")
MARKERS = {False: "o", True: "^"}  # visible, infrared: distinguishable without colour


def point_colours(
    colouring: str, infrared: np.ndarray, cams: np.ndarray | None, pids: np.ndarray | None
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the colour of each point, (N,), and the legend, {text: colour}.

    Args:
        colouring, infrared, cams, pids: as in `modality_maps`.

    Raises:
        ValueError: an unknown colouring, or its `cams` or `pids` are missing.

    >>> point_colours("camera", np.array([False]), np.array([2]), None)[1]["camera 2"]
    '#1f77b4'
    """
    if colouring == "modality":
        colors = np.where(infrared, PALETTE["infrared"], PALETTE["visible"])
        return colors, {name: PALETTE[name] for name in ("visible", "infrared")}
    if colouring not in COLOURINGS:
        raise ValueError(f"colouring {colouring!r} is unknown; use one of {', '.join(COLOURINGS)}")
    groups, needed = (cams, "cams") if colouring == "camera" else (pids, "pids")
    if groups is None:
        raise ValueError(f"colouring by {colouring} needs {needed}")
    known, number = np.unique(groups, return_inverse=True)
    palette = "tab10" if colouring == "camera" else "hsv"  # few cameras, many identities
    colors = seaborn.color_palette(palette, len(known)).as_hex()
    legend = {f"{colouring} {key}": color for key, color in zip(known, colors, strict=True)}
    legend = legend if len(known) <= 8 else {}
    shapes = {"visible": PALETTE["muted"], "infrared": PALETTE["muted"]}
    return np.array(colors)[number], legend | shapes


@styled
def modality_maps(
    points: Mapping[str, np.ndarray],
    *,
    infrared: np.ndarray,
    colouring: str = "modality",
    cams: np.ndarray | None = None,
    pids: np.ndarray | None = None,
    captions: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show two-dimensional maps of several networks side by side; triangles are infrared.

    Args:
        points: network -> coordinates, (N, 2).
        infrared: True for infrared points, (N,) bool.
        colouring: ``"modality"``, ``"camera"`` (needs `cams`) or ``"identity"`` (needs `pids`).
        cams, pids: (N,) each.
        captions: network -> text below its map, for example measures of its gap.

    Raises:
        ValueError: an unknown colouring, or points of another shape.
    """
    infrared = np.asarray(infrared, dtype=bool)
    colors, legend = point_colours(colouring, infrared, cams, pids)
    lines = max((text.count("\n") + 1 for text in (captions or {}).values()), default=0)
    side = WIDTH / max(len(points), 2)
    figure = new_figure(WIDTH, side + 0.55 + 0.17 * lines + 0.3 * bool(title), title=title)
    panels = figure.subplots(1, len(points), squeeze=False)[0]
    for axes, (name, xy) in zip(panels, points.items(), strict=True):
        if np.shape(xy) != (len(infrared), 2):
            raise ValueError(f"points of {name!r} must be ({len(infrared)}, 2), not {np.shape(xy)}")
        _scatter(axes, np.asarray(xy), infrared, colors)
        axes.set_title(name)
        axes.set_xlabel((captions or {}).get(name, ""), fontsize=SMALL, color=PALETTE["text"])
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[text == "infrared"], color=color, label=text)
        for text, color in legend.items()
    ]
    spacing = {"columnspacing": 0.9, "handletextpad": 0.1}
    figure.legend(handles=handles, loc="outside lower center", ncols=8, **spacing)
    return figure


def _scatter(axes: Axes, xy: np.ndarray, infrared: np.ndarray, colors: np.ndarray) -> None:
    size = np.clip(6000 / len(xy), 5, 26)
    for side, marker in MARKERS.items():
        rows = infrared == side
        axes.scatter(xy[rows, 0], xy[rows, 1], s=size, c=list(colors[rows]), marker=marker,
                     alpha=0.75, linewidth=0, rasterized=True)  # fmt: skip
    hide_axes(axes)
    axes.spines[:].set(visible=True, color=PALETTE["grid"], linewidth=0.8)


@styled
def gap_bars(
    table: pd.DataFrame,
    *,
    measures: Sequence[str] | None = None,
    seeds: pd.DataFrame | None = None,
    title: str | None = None,
) -> Figure:
    """Compare measures across the rows of a table, one panel per measure.

    Args:
        table: for example one row per network (see `dakd.analysis.modality_gap`).
        measures: columns to show; None shows all.
        seeds: the same columns, with any number of rows per name; each value is a dot below the
            bar of its name.

    Raises:
        ValueError: a measure is not in a table.
    """
    shown = list(table.columns) if measures is None else list(measures)
    for name, frame in (("table", table), ("seeds", seeds)):
        if frame is not None and (missing := [m for m in shown if m not in frame]):
            raise ValueError(f"{name} lacks the columns {', '.join(missing)}")
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    row = 0.34 if seeds is None else 0.42  # inches
    figure = new_figure(WIDTH, lines * (0.55 + row * len(table)) + 0.3 * bool(title), title=title)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, measure in zip(grid.flat, shown, strict=False):
        _bars(axes, table[measure], None if seeds is None else seeds[measure])
        axes.set_title(measure, fontsize=BODY)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    return figure


def _bars(axes: Axes, values: pd.Series, seeds: pd.Series | None) -> None:
    """Draw each value as a bar with its number, and below it one dot per seed of its name."""
    colors = {name: colour(str(name)) for name in values.index}
    height, lift = (0.72, 0.0) if seeds is None else (0.5, 0.12)
    rows = np.arange(len(values))
    axes.barh(rows - lift, values, color=list(colors.values()), height=height)
    for row, value in enumerate(values):
        text = f"  {round(value, 3) + 0.0:.3f}"  # no -0.000
        axes.text(max(value, 0), row - lift, text, va="center", fontsize=SMALL)
    reach = [0.0, *values]
    if seeds is not None:
        dots = seeds[seeds.index.isin(values.index)]
        reach += list(dots)
        place, fill = values.index.get_indexer(dots.index) + 0.28, dots.index.map(colors)
        axes.scatter(dots, place, s=16, c=list(fill), linewidth=0.6, edgecolor=PALETTE["text"],
                     clip_on=False)  # fmt: skip
    axes.set_xlim(1.6 * min(reach), 1.4 * max(*reach, 1e-3))
    axes.spines["left"].set_position("zero")
    axes.spines["bottom"].set_visible(False)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks(rows, [str(name) for name in values.index])
    axes.set_ylim(len(values) - 0.5, -0.5)
