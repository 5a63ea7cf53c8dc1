"""Ranked lists, match curves, and the spread over trials."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike
from torch import Tensor

from dakd.figures.sheet import WIDTH, Images, Tile, sheet
from dakd.figures.style import (
    BODY,
    PALETTE,
    SMALL,
    bare,
    colour,
    ink_on,
    new_figure,
    per_cent,
    styled,
)

NAMES = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20"}


def _marks(correct: ArrayLike, dropped: ArrayLike | None) -> list[tuple[str, str]]:
    """Return colour and sign of each ranked image."""
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
        correct, dropped: for each ranked image; a dropped one takes no rank.
        similarity: printed under each image.
        captions: printed under each image, for example its camera.
        ap: average precision of this query, printed under the query.
        modality: of the query, ``"visible"`` or ``"infrared"``; colours its frame.
        title: of the figure.
        columns: images a line.
        shown: show this many; if none of them is right, the first right one follows as one more.

    Raises:
        ValueError: lengths that do not fit.
    """
    images = list(gallery)
    marks = _marks(correct, dropped)
    if len(marks) != len(images):
        raise ValueError(f"{len(images)} ranked images, but {len(marks)} values of correct")
    signs = [sign for _, sign in marks]
    ranks = np.cumsum([sign != "–" for sign in signs])
    tiles = []
    for i, (ink, sign) in enumerate(marks):
        texts = [captions[i]] if captions is not None else []
        texts += [f"{np.asarray(similarity)[i]:.2f}"] if similarity is not None else []
        look = {"above": "–", "strength": 0.35} if sign == "–" else {"above": f"{ranks[i]} {sign}"}
        tiles.append(Tile(image=images[i], frame=ink, ink=ink, below="\n".join(texts), **look))
    line = _shortened(tiles, signs, shown)
    start = Tile(image=query, frame=colour(modality), above="query",
                 below="" if ap is None else f"AP {ap:.2f}")  # fmt: skip
    columns += 2 * (len(line) == (shown or 0) + 2)  # the first right one, and the dots before it
    rows = [[Tile(blank=""), *line[i : i + columns]] for i in range(0, len(line), columns)]
    rows[0][0] = start
    return sheet(rows, title=title, cell=0.9, lead=0.12)


def _shortened(tiles: list[Tile], signs: Sequence[str], shown: int | None) -> list[Tile]:
    """Return the first tiles; if none of them is right, dots and the first right one follow.

    >>> tiles = [Tile(above=text) for text in "abcd"]
    >>> [tile.above or tile.blank for tile in _shortened(tiles, ["✗", "✗", "–", "✓"], 2)]
    ['a', 'b', '…', 'd']
    >>> len(_shortened(tiles, ["✓", "✗", "✓", "✗"], 2))
    2
    """
    first = signs.index("✓") if "✓" in signs else 0
    kept = tiles[:shown]
    return kept if first < len(kept) else [*kept, Tile(blank="…"), tiles[first]]


@styled
def ranked_items(
    correct: ArrayLike,
    *,
    dropped: ArrayLike | None = None,
    title: str | None = None,
) -> Figure:
    """Show a ranking without pictures: a tile a gallery image, with the precision at each hit.

    Args:
        correct, dropped: for each item, best first; a dropped one takes no rank.
        title: of the figure, for example its metrics.
    """
    marks = _marks(correct, dropped)
    figure = new_figure(min(WIDTH, max(5.0, 0.75 * len(marks))), 1.75, title=title)
    axes = bare(figure.subplots())
    rank = hits = 0
    for i, (ink, sign) in enumerate(marks):
        tile = FancyBboxPatch((i + 0.12, 0), 0.76, 1, boxstyle="round,pad=0,rounding_size=0.12")
        tile.set(facecolor=ink, alpha=0.35 if sign == "–" else 1.0)
        axes.add_patch(tile)
        axes.text(i + 0.5, 0.5, sign, ha="center", va="center", fontsize=18, color=ink_on(ink))
        if sign == "–":
            axes.text(i + 0.5, 1.25, "dropped", ha="center", fontsize=SMALL, color=ink)
            continue
        rank, hits = rank + 1, hits + (sign == "✓")
        axes.text(i + 0.5, 1.25, f"rank {rank}", ha="center", fontsize=SMALL)
        if sign == "✓":
            axes.text(i + 0.5, -0.45, f"{hits}/{rank}", ha="center", fontsize=BODY, color=ink)
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
    """Plot the share of queries whose person is among the first k identities.

    Args:
        curves: for each name, `RankMetrics.cmc`: {rank: fraction}.
        labels: what a name is called in the figure; one that is not in it stays.
        title: of the figure.
        chance: a further {rank: fraction}, drawn as a thin dashed line.
    """
    figure = new_figure(5.6, 3.6, title=title)
    axes = figure.subplots()
    for marker, (name, curve) in zip("osD^vP*", curves.items(), strict=False):
        ranks = sorted(curve)
        values = [curve[k] for k in ranks]
        label = (labels or {}).get(name, name)
        axes.plot(ranks, values, marker=marker, markersize=5, color=colour(name), label=label)
    if chance is not None:
        ranks = sorted(chance)
        axes.plot(ranks, [chance[k] for k in ranks], color=PALETTE["ink"], linestyle="--",
                  linewidth=1, label="chance")  # fmt: skip
    axes.set(xlabel="rank k (identities)", ylabel="queries found within k", ylim=(0, 1.02))
    axes.set_xticks(sorted({k for curve in curves.values() for k in curve}))
    per_cent(axes.yaxis)
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
    """Show every trial as a dot, and mean ± one standard deviation as a bar through them.

    Args:
        tables: for each setting, `Result.trials` (a row a trial, fractions).
        measures: its columns to show.
        labels: what a setting is called in the figure; one that is not in it keeps its name.
        title: of the figure.
    """
    figure = new_figure(WIDTH, 0.9 + 0.42 * len(tables) + 0.3 * bool(title), title=title)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        for row, (name, table) in enumerate(tables.items()):
            _dots(axes, row, table[measure].to_numpy(), colour(name))
        axes.set_title(NAMES.get(measure, measure))
        axes.set_ylim(len(tables) - 0.4, -0.6)
        axes.grid(False, axis="y")
        per_cent(axes.xaxis)
    names = [(labels or {}).get(name, name) for name in tables]
    panels[0].set_yticks(range(len(tables)), names, color=PALETTE["ink"])
    return figure


def _dots(axes: Axes, row: int, values: np.ndarray, ink: str) -> None:
    offsets = np.linspace(-0.16, 0.16, len(values))  # so that equal trials stay visible
    axes.scatter(values, row + offsets, s=16, color=ink, alpha=0.55, linewidth=0)
    mean, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    axes.plot([mean - spread, mean + spread], [row, row], color=PALETTE["ink"], linewidth=1.4)
    axes.plot([mean], [row], marker="|", markersize=13, markeredgewidth=2.2, color=PALETTE["ink"])
