"""Ranked lists, CMC curves, and the spread over trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike
from torch import Tensor

from dakd.figures.style import (
    BODY,
    PALETTE,
    SMALL,
    colour,
    hide_axes,
    new_figure,
    percent_axis,
    styled,
)
from dakd.figures.tiles import WIDTH, Images, Tile, tile_grid

NAMES = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20"}


def _marks(correct: ArrayLike, dropped: ArrayLike | None) -> list[tuple[str, str]]:
    """Return the colour and the sign of each ranked image."""
    hit = np.asarray(correct, dtype=bool)
    out = np.zeros_like(hit) if dropped is None else np.asarray(dropped, dtype=bool)
    if hit.shape != out.shape:
        raise ValueError(f"{hit.size} values of correct, but {out.size} of dropped")
    right, wrong = (PALETTE["right"], "✓"), (PALETTE["wrong"], "✗")
    gone = (PALETTE["dropped"], "–")
    return [gone if d else right if c else wrong for c, d in zip(hit, out, strict=True)]


def ranking(
    query: Tensor | np.ndarray,
    gallery: Images,
    *,
    correct: ArrayLike,
    dropped: ArrayLike | None = None,
    similarity: ArrayLike | None = None,
    captions: Sequence[str] | None = None,
    ap: float | None = None,
    modality: str = "infrared",
    title: str | None = None,
    columns: int = 10,
    shown: int | None = None,
) -> Figure:
    """Show a query and its ranked gallery: ✓ right, ✗ wrong, – dropped by the camera rule.

    Args:
        query: one image (3, H, W).
        gallery: the ranked images, best first, (n, 3, H, W).
        correct, dropped: of each ranked image, (n,) bool; a dropped one takes no rank.
        similarity: printed below each image, (n,).
        captions: printed below each image, for example its camera.
        ap: average precision of this query, 0..1, printed below the query.
        modality: of the query, ``"visible"`` or ``"infrared"``; colours its frame.
        columns: images per line.
        shown: number of images to show; if none of them is right, the first right one follows.

    Raises:
        ValueError: arguments of different lengths.
    """
    images = list(gallery)
    marks = _marks(correct, dropped)
    if len(marks) != len(images):
        raise ValueError(f"{len(images)} ranked images, but {len(marks)} values of correct")
    signs = [sign for _, sign in marks]
    ranks = np.cumsum([sign != "–" for sign in signs])
    tiles = []
    for i, (color, sign) in enumerate(marks):
        texts = [captions[i]] if captions is not None else []
        texts += [f"{np.asarray(similarity)[i]:.2f}"] if similarity is not None else []
        style: Any = {"frame": color, "color": color, "below": "\n".join(texts)}
        style |= {"above": "–", "opacity": 0.35} if sign == "–" else {"above": f"{ranks[i]} {sign}"}
        tiles.append(Tile(image=images[i], **style))
    line = _shortened(tiles, signs, shown)
    start = Tile(image=query, frame=colour(modality), above="query",
                 below="" if ap is None else f"AP {ap:.2f}")  # fmt: skip
    columns += 2 * (len(line) == (shown or 0) + 2)  # for the dots and the first right image
    rows = [[Tile(placeholder=""), *line[i : i + columns]] for i in range(0, len(line), columns)]
    rows[0][0] = start
    return tile_grid(rows, title=title, cell_width=0.9, first_gap=0.12)


def _shortened(tiles: list[Tile], signs: Sequence[str], shown: int | None) -> list[Tile]:
    """Return the first tiles; if none is right, an ellipsis and the first right one follow."""
    first = signs.index("✓") if "✓" in signs else 0
    kept = tiles[:shown]
    return kept if first < len(kept) else [*kept, Tile(placeholder="…"), tiles[first]]


@styled
def ranked_items(
    correct: ArrayLike,
    *,
    dropped: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Show a ranking as coloured tiles, one per gallery image, with the precision at each hit.

    Args:
        correct, dropped: of each item, best first, (n,) bool; a dropped one takes no rank.
    """
    marks = _marks(correct, dropped)
    figure = new_figure(min(WIDTH, max(5.0, 0.75 * len(marks))), 1.75, title=title)
    axes = hide_axes(figure.subplots())
    rank = hits = 0
    for i, (color, sign) in enumerate(marks):
        gone = sign == "–"
        tile = FancyBboxPatch((i + 0.12, 0), 0.76, 1, boxstyle="round,pad=0,rounding_size=0.12")
        tile.set(facecolor=color, alpha=0.35 if gone else 1.0)
        axes.add_patch(tile)
        rank, hits = rank + (not gone), hits + (sign == "✓")
        dark = PALETTE["text"]
        on_tile: Any = {"fontsize": 18, "ha": "center", "va": "center"}
        axes.text(i + 0.5, 0.5, sign, color=dark if gone else "white", **on_tile)
        head, head_color = ("dropped", color) if gone else (f"rank {rank}", dark)
        axes.text(i + 0.5, 1.25, head, color=head_color, ha="center", fontsize=SMALL)
        if sign == "✓":
            axes.text(i + 0.5, -0.45, f"{hits}/{rank}", ha="center", fontsize=BODY, color=color)
    axes.set(xlim=(0, len(marks)), ylim=(-0.6, 1.6))
    return figure


@styled
def cmc_curve(
    curves: Mapping[str, Mapping[int, float]],
    *,
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
    chance: Any = None,
) -> Figure:
    """Plot CMC curves: the fraction of queries whose person is among the first k identities.

    Args:
        curves: name -> `RankMetrics.cmc`, {rank: fraction}.
        chance: the same for a random ranking, drawn as a thin dashed line.
    """
    figure = new_figure(5.6, 3.6, title=title)
    axes = figure.subplots()
    for marker, (name, curve) in zip("osD^vP*", curves.items(), strict=False):
        points, label = pd.Series(curve).sort_index(), (labels or {}).get(name, name)
        axes.plot(points, marker=marker, markersize=5, color=colour(name), label=label)
    if chance is not None:
        points = pd.Series(chance).sort_index()
        axes.plot(points, color=PALETTE["text"], linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel="rank k (identities)", ylabel="queries with a match up to rank k")
    axes.set(ylim=(0, 1.02), xticks=sorted({k for curve in curves.values() for k in curve}))
    percent_axis(axes.yaxis)
    axes.legend()
    return figure


@styled
def trial_spread(
    tables: Mapping[str, pd.DataFrame],
    *,
    measures: Sequence[str] = ("rank1", "mAP", "mINP"),
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show trials as dots, and their mean ± one standard deviation as a line.

    Args:
        tables: setting -> `Result.trials` (one row per trial, fractions).
        measures: columns to show, one panel each.
    """
    figure = new_figure(WIDTH, 0.9 + 0.42 * len(tables) + 0.3 * bool(title), title=title)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for row, (name, table) in enumerate(tables.items()):
            _dots(axes, row, table[measure].to_numpy(), colour(name))
        axes.set_title(NAMES.get(measure, measure))
        axes.set_ylim(len(tables) - 0.4, -0.6)
        axes.grid(False, axis="y")
        percent_axis(axes.xaxis)
    names = [(labels or {}).get(name, name) for name in tables]
    panels[0].set_yticks(range(len(tables)), names, color=PALETTE["text"])
    return figure


def _dots(axes: Axes, row: int, values: np.ndarray, color: str) -> None:
    offsets = np.linspace(-0.16, 0.16, len(values))  # so that equal trials stay visible
    axes.scatter(values, row + offsets, s=16, color=color, alpha=0.55, linewidth=0)
    mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    axes.plot([mean - spread, mean + spread], [row, row], color=PALETTE["text"], linewidth=1.4)
    axes.plot([mean], [row], marker="|", markersize=13, markeredgewidth=2.2, color=PALETTE["text"])
