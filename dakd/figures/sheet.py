"""A sheet of pictures with frames and texts, which the other drawings of people are made of.

A sheet is one array in one axes, and lays itself out by arithmetic. Widgets redraw three to eleven
times as fast as with an axes for each picture and a layout engine: benchmarks/bench_widgets.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from torch import Tensor

from dakd.figures.style import PALETTE, SMALL, STYLE, TITLE, bare, new_figure, styled

Images = Tensor | np.ndarray | Sequence[Any]
WIDTH = 9.0  # inches, the widest a notebook or a README shows without shrinking
GAP, PAD, LINE = 0.07, 0.07, 0.16  # inches: between pictures, around them, a line of small text
PITCH = 0.5  # inches that a picture of a broken row takes at least, with its gap
NARROWEST = 0.1  # inches; a picture of a person says nothing below
FINE = 96  # a sheet has at least so many pixels an inch, so that its gaps look even


def picture(image: Tensor | np.ndarray) -> np.ndarray:
    """Return an image (3, H, W), uint8 or float in 0..1, as uint8 (H, W, 3).

    Raises:
        ValueError: another shape, or floats outside 0..1 (normalised images: `denormalise` first).
    """
    array = torch.as_tensor(image).detach().cpu()
    if array.ndim != 3 or array.shape[0] != 3:
        raise ValueError(f"an image to show must be (3, H, W), not {tuple(array.shape)}")
    if array.is_floating_point():
        low, high = float(array.min()), float(array.max())
        if not -0.01 <= low <= high <= 1.01:
            raise ValueError(
                f"float images must lie in 0..1, not {low:.2f}..{high:.2f}; call "
                "dakd.augment.denormalise first"
            )
        array = (array.clamp(0, 1) * 255).round().to(torch.uint8)
    return array.permute(1, 2, 0).numpy()


@lru_cache(maxsize=4096)
def _line_width(line: str, size: float, weight: str) -> float:
    font = FontProperties(family=STYLE["font.family"], size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(line, font, False)[0] / 72


def text_width(texts: Iterable[str], size: float = SMALL, weight: str = "bold") -> float:
    """Return the inches that the widest line of some texts takes; 0 without any.

    >>> text_width([]), text_width(["person 12"]) > text_width(["12"]) > 0.1
    (0.0, True)
    """
    lines = [line for text in texts for line in text.split("\n")]
    return max((_line_width(line, size, weight) for line in lines), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One place of a sheet.

    Attributes:
        image: (3, H, W); None leaves `blank` in its place.
        frame: a colour around the image.
        above, below: texts of one or more lines.
        ink: colour of the text above.
        marked: the line of `below` that is printed bold and green.
        strength: 1, or less for an image that is faded out.
        box: top, left, height and width in pixels of a rectangle to draw on the image.
        blank: what is written where there is no image.
    """

    image: Tensor | np.ndarray | None = None
    frame: str | None = None
    above: str = ""
    below: str = ""
    ink: str = PALETTE["ink"]
    marked: int | None = None
    strength: float = 1.0
    box: Sequence[int] | None = None
    blank: str = "–"


def _widest(tiles: Iterable[Tile]) -> float:
    return text_width(text for tile in tiles for text in (tile.above, tile.below))


def broken(rows: Sequence[Sequence[Tile]], margin: float = 2 * PAD) -> list[list[list[Tile]]]:
    """Break rows of tiles into lines that a sheet has room for.

    Args:
        rows: of any length.
        margin: inches at the left and at the right of the pictures together.

    Returns:
        For each row its lines, of equal length but for one picture; an empty row has one.

    >>> [len(line) for line in broken([[Tile()] * 40])[0]]
    [14, 13, 13]
    """
    pitch = max(PITCH, _widest(tile for row in rows for tile in row) + GAP)
    most = max(1, int((WIDTH - margin) / pitch))
    parts = [np.array_split(range(len(row)), max(1, -(-len(row) // most))) for row in rows]
    return [
        [[row[i] for i in line] for line in lines] for row, lines in zip(rows, parts, strict=True)
    ]


@dataclass(frozen=True)
class _Plan:
    """Where everything of a sheet stands, in its own pixels."""

    unit: float  # pixels an inch
    zoom: int  # pixels of the sheet for one of an image
    tile: tuple[int, int]  # height and width of a picture
    size: tuple[int, int]  # of the sheet
    lefts: list[int]
    tops: list[int]


def _lines(texts: Iterable[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def _image_size(rows: Sequence[Sequence[Tile]]) -> tuple[int, int]:
    """Return height and width that all images share."""
    if not any(len(row) for row in rows):
        raise ValueError("there is no image to show")
    sizes = {tuple(t.image.shape[-2:]) for row in rows for t in row if t.image is not None}
    if len(sizes) > 1:
        raise ValueError(f"the images of a sheet must have one size, not {sorted(sizes)}")
    return next(iter(sizes), (64, 32))


def _plan(
    rows: Sequence[Sequence[Tile]], cell: float, left: float, right: float, lead: float, head: float
) -> _Plan:
    """Lay a sheet out; see `sheet`. `head` is the room for its title in inches."""
    rows_of_pixels, pixels = _image_size(rows)
    tiles = [tile for row in rows for tile in row]
    columns = max(map(len, rows))
    cell = cell or min(1.65, 6.4 / len(rows)) * pixels / rows_of_pixels
    text = _widest(tiles)
    room = WIDTH - left - right - lead + GAP
    cell = min(max(cell, text), room / columns - GAP)
    if cell < (least := max(NARROWEST, text - GAP / 2)):
        most = int(room / (least + GAP))
        remedy = f"show at most {most} in a row" if most > 0 else "shorten the texts"
        raise ValueError(
            f"{columns} pictures in a row, with texts up to {text:.1f} inches wide, do not fit a "
            f"sheet of {WIDTH:g} inches: {remedy}"
        )
    zoom = math.ceil(FINE * cell / pixels)
    height, width, unit = zoom * rows_of_pixels, zoom * pixels, zoom * pixels / cell
    pitch = width + round(GAP * unit)
    lefts = [round((left + lead * (c > 0)) * unit) + c * pitch for c in range(columns)]
    tops: list[int] = []
    y = PAD + head
    for row in rows:
        y += LINE * _lines(tile.above for tile in row) + GAP / 2
        tops.append(round(y * unit))
        texts = _lines(tile.below for tile in row)
        y = (tops[-1] + height) / unit + GAP / 2 + (LINE * texts + GAP) * (texts > 0)
    size = (math.ceil((y + PAD) * unit), lefts[-1] + width + math.ceil(right * unit))
    return _Plan(unit, zoom, (height, width), size, lefts, tops)


def _compose(rows: Sequence[Sequence[Tile]], plan: _Plan) -> np.ndarray:
    """Return all pictures as one, float (H, W, 4) in 0..1.

    That is what matplotlib scales; it would turn anything else into it at twice the cost.
    """
    paper = np.ones((*plan.size, 4), dtype=np.float32)
    height, width = plan.tile
    for top, row in zip(plan.tops, rows, strict=True):
        for left, tile in zip(plan.lefts, row, strict=False):
            if tile.image is None:
                continue
            pixels = 1 - tile.strength * (1 - picture(tile.image) / np.float32(255))
            large = pixels.repeat(plan.zoom, 0).repeat(plan.zoom, 1)
            paper[top : top + height, left : left + width, :3] = large
    return paper


def _write(axes: Axes, tile: Tile, top: int, left: int, plan: _Plan) -> None:
    """Write the texts of one tile, and draw its box."""
    (height, width), gap = plan.tile, GAP / 2 * plan.unit
    middle = left + width / 2
    if tile.image is None:
        _text(axes, middle, top + height / 2, tile.blank, va="center", color=PALETTE["dropped"])
    if tile.box is not None:
        y, x, h, w = (plan.zoom * side for side in tile.box)
        for ink, thick in ((PALETTE["ground"], 3.5), (PALETTE["ink"], 1.5)):  # seen on any image
            axes.add_patch(Rectangle((left + x, top + y), w, h, fill=False, edgecolor=ink,
                                     linewidth=thick))  # fmt: skip
    if tile.above:
        _text(axes, middle, top - gap, tile.above, fontweight="bold", color=tile.ink)
    for i, text in enumerate(tile.below.split("\n") if tile.below else []):
        ink, weight = (PALETTE["right"], "bold") if i == tile.marked else (PALETTE["muted"], None)
        under = top + height + gap + (i + 0.5) * LINE * plan.unit
        _text(axes, middle, under, text, va="center_baseline", color=ink, fontweight=weight)


def _text(axes: Any, x: float, y: float, text: str, **look: Any) -> None:
    """Write at data coordinates; on the figure, which spares every text a clip path."""
    if text:
        given: Any = {"fontsize": SMALL, "ha": "center", "va": "bottom"} | look
        axes.figure.text(x, y, text, transform=axes.transData, **given)


def _frames(rows: Sequence[Sequence[Tile]], plan: _Plan) -> PatchCollection:
    """Return the frames of all tiles, one thing to draw."""
    inks, boxes = [], []
    for top, row in zip(plan.tops, rows, strict=True):
        for left, tile in zip(plan.lefts, row, strict=False):
            if tile.frame:
                inks.append(tile.frame)
                boxes.append(Rectangle((left, top), plan.tile[1], plan.tile[0]))
    return PatchCollection(boxes, facecolor="none", edgecolor=inks, linewidth=2.5)


@styled
def sheet(
    rows: Sequence[Sequence[Tile]],
    *,
    row_titles: Sequence[str] | None = None,
    title: str | None = None,
    cell: float = 0.0,
    right: float = PAD,
    lead: float = 0.0,
) -> Figure:
    """Draw rows of pictures with frames and texts, one axes in all.

    Args:
        rows: tiles; a row may be shorter than another. All images have one size.
        row_titles: a text to the left of each row.
        title: of the figure.
        cell: width of a picture in inches, 0 for what suits so many rows. It grows to its widest
            text, and shrinks until the sheet is at most `WIDTH` wide.
        right: room left at the right edge in inches.
        lead: extra space after the first column in inches.

    Returns:
        The figure; data coordinates of its axes are pixels of the sheet.

    Raises:
        ValueError: no image, images of different sizes, or more in a row than there is room for;
            `broken` makes lines of them.
    """
    names = row_titles if row_titles is not None else [""] * len(rows)
    margin = PAD + bool(any(names)) * (text_width(names, weight="normal") + PAD)
    plan = _plan(rows, cell, margin, right, lead, 0.28 * bool(title))
    inches = max(plan.size[1] / plan.unit, text_width([title or ""], TITLE) + 2 * PAD)
    figure = new_figure(inches, plan.size[0] / plan.unit)
    figure.set_layout_engine("none")
    axes = bare(figure.add_axes((0, 0, 1, 1)))
    extent = (0, plan.size[1], plan.size[0], 0)
    way: Any = "nearest" if plan.zoom > 1 else "antialiased"  # large images are averaged
    axes.imshow(_compose(rows, plan), interpolation=way, extent=extent, aspect="auto")
    axes.set(xlim=(0, inches * plan.unit), ylim=(plan.size[0], 0))
    axes.add_collection(_frames(rows, plan), autolim=False)
    for name, top, row in zip(names, plan.tops, rows, strict=True):
        x, middle = plan.lefts[0] - PAD * plan.unit, top + plan.tile[0] / 2
        _text(axes, x, middle, name, ha="right", va="center", color=PALETTE["muted"])
        for left, tile in zip(plan.lefts, row, strict=False):
            _write(axes, tile, top, left, plan)
    corner = PAD * plan.unit
    _text(axes, corner, corner, title or "", ha="left", va="top", fontsize=TITLE, fontweight="bold")
    return figure
