"""A grid of images with frames and texts, from which the other figures of people are built.

The grid is one array in one axes with a layout of its own. Widgets redraw two to four times as fast
as with one axes per image and constrained layout: see benchmarks/bench_widgets.py.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
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

from dakd.figures.style import PALETTE, SMALL, STYLE, TITLE, hide_axes, new_figure, styled

Images = Tensor | np.ndarray | Sequence[Any]
WIDTH = 9.0  # inches, the widest that a notebook or a README shows unscaled
GAP, PAD, LINE = 0.07, 0.07, 0.16  # inches: between images, around them, a line of small text
PITCH = 0.5  # inches, the least width of an image and its gap in a wrapped row
NARROWEST = 0.1  # inches; narrower images show nothing
FINE = 96  # pixels per inch of a grid, at least, so that its gaps are even


def to_uint8(image: Tensor | np.ndarray) -> np.ndarray:
    """Return an image (3, H, W), uint8 or float in 0..1, as a uint8 array (H, W, 3).

    Raises:
        ValueError: another shape, or floats outside 0..1 (call `denormalise` on normalised images).
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
    """Return the width of the widest line of some texts in inches; 0 for no text.

    >>> text_width([]), text_width(["person 12"]) > text_width(["12"]) > 0.1
    (0.0, True)
    """
    lines = [line for text in texts for line in text.split("\n")]
    return max((_line_width(line, size, weight) for line in lines), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One cell of a grid.

    Attributes:
        image: (3, H, W); None shows the `placeholder` instead.
        frame: colour of the frame, or None for no frame.
        above, below: texts of one or more lines.
        color: of the text above.
        highlighted: index of the line of `below` that is printed bold and green.
        opacity: 0..1.
        box: top, left, height and width in pixels of a rectangle to draw on the image.
        placeholder: text where there is no image.
    """

    image: Tensor | np.ndarray | None = None
    frame: str | None = None
    above: str = ""
    below: str = ""
    color: str = PALETTE["text"]
    highlighted: int | None = None
    opacity: float = 1.0
    box: Sequence[int] | None = None
    placeholder: str = "–"


def _widest(tiles: Iterable[Tile]) -> float:
    return text_width(text for tile in tiles for text in (tile.above, tile.below))


def wrap_rows(rows: Sequence[Sequence[Tile]], margin: float = 2 * PAD) -> list[list[list[Tile]]]:
    """Wrap rows of tiles into lines that fit the width of a grid.

    Args:
        rows: of any length.
        margin: inches to the left and to the right of the images together.

    Returns:
        The lines of each row, whose lengths differ by at most one; an empty row has one line.

    >>> [len(line) for line in wrap_rows([[Tile()] * 40])[0]]
    [14, 13, 13]
    """
    pitch = max(PITCH, _widest(tile for row in rows for tile in row) + GAP)
    most = max(1, int((WIDTH - margin) / pitch))
    parts = [np.array_split(range(len(row)), max(1, -(-len(row) // most))) for row in rows]
    return [
        [[row[i] for i in line] for line in lines] for row, lines in zip(rows, parts, strict=True)
    ]


@dataclass(frozen=True)
class _Layout:
    """Positions in a grid, in pixels of the grid."""

    unit: float  # pixels per inch
    zoom: int  # pixels of the grid per pixel of an image
    tile: tuple[int, int]  # height and width of an image
    size: tuple[int, int]  # height and width of the grid
    lefts: list[int]
    tops: list[int]

    def places(self, rows: Sequence[Sequence[Tile]]) -> Iterator[tuple[Tile, int, int]]:
        """Yield each tile and the upper left corner of its image."""
        for top, row in zip(self.tops, rows, strict=True):
            for left, tile in zip(self.lefts, row, strict=False):
                yield tile, top, left


def _lines(texts: Iterable[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def _image_size(rows: Sequence[Sequence[Tile]]) -> tuple[int, int]:
    """Return the height and width of the images, which are equal."""
    if not any(len(row) for row in rows):
        raise ValueError("there is no image to show")
    sizes = {tuple(t.image.shape[-2:]) for row in rows for t in row if t.image is not None}
    if len(sizes) > 1:
        raise ValueError(f"the images of a figure must have one size, not {sorted(sizes)}")
    return next(iter(sizes), (64, 32))


def _lay_out(
    rows: Sequence[Sequence[Tile]], cell: float, sides: tuple[float, float], gap: float, head: float
) -> _Layout:
    """Return the layout of `tile_grid`; `head` is the height of the title in inches."""
    left, right = sides
    rows_of_pixels, pixels = _image_size(rows)
    tiles = [tile for row in rows for tile in row]
    columns = max(map(len, rows))
    cell = cell or min(1.65, 6.4 / len(rows)) * pixels / rows_of_pixels
    text = _widest(tiles)
    available = WIDTH - left - right - gap + GAP
    cell = min(max(cell, text), available / columns - GAP)
    if cell < (least := max(NARROWEST, text - GAP / 2)):
        most = int(available / (least + GAP))
        remedy = f"show at most {most} in a row" if most > 0 else "shorten the texts"
        raise ValueError(
            f"{columns} images in a row, with texts up to {text:.1f} inches wide, do not fit a "
            f"figure of {WIDTH:g} inches: {remedy}"
        )
    zoom = math.ceil(FINE * cell / pixels)
    height, width, unit = zoom * rows_of_pixels, zoom * pixels, zoom * pixels / cell
    pitch = width + round(GAP * unit)
    lefts = [round((left + gap * (c > 0)) * unit) + c * pitch for c in range(columns)]
    tops: list[int] = []
    y = PAD + head
    for row in rows:
        y += LINE * _lines(tile.above for tile in row) + GAP / 2
        tops.append(round(y * unit))
        texts = _lines(tile.below for tile in row)
        y = (tops[-1] + height) / unit + GAP / 2 + (LINE * texts + GAP) * (texts > 0)
    size = (math.ceil((y + PAD) * unit), lefts[-1] + width + math.ceil(right * unit))
    return _Layout(unit, zoom, (height, width), size, lefts, tops)


def _compose(rows: Sequence[Sequence[Tile]], layout: _Layout) -> np.ndarray:
    """Return all images as one, float32 (H, W, 4) in 0..1, as matplotlib needs it."""
    canvas = np.ones((*layout.size, 4), dtype=np.float32)
    height, width = layout.tile
    for tile, top, left in layout.places(rows):
        if tile.image is not None:
            pixels = 1 - tile.opacity * (1 - to_uint8(tile.image) / np.float32(255))
            large = pixels.repeat(layout.zoom, 0).repeat(layout.zoom, 1)
            canvas[top : top + height, left : left + width, :3] = large
    return canvas


def _annotate(axes: Axes, tile: Tile, top: int, left: int, layout: _Layout) -> None:
    """Draw the texts and the box of one tile."""
    (height, width), gap = layout.tile, GAP / 2 * layout.unit
    middle = left + width / 2
    if tile.image is None:
        center = top + height / 2
        _text(axes, middle, center, tile.placeholder, va="center", color=PALETTE["dropped"])
    if tile.box is not None:
        y, x, h, w = (layout.zoom * side for side in tile.box)
        for color, thick in (("background", 3.5), ("text", 1.5)):  # visible on any image
            line: Any = {"fill": False, "edgecolor": PALETTE[color], "linewidth": thick}
            axes.add_patch(Rectangle((left + x, top + y), w, h, **line))
    if tile.above:
        _text(axes, middle, top - gap, tile.above, fontweight="bold", color=tile.color)
    for i, text in enumerate(tile.below.splitlines()):
        color, weight = ("right", "bold") if i == tile.highlighted else ("muted", None)
        under = top + height + gap + (i + 0.5) * LINE * layout.unit
        style: Any = {"va": "center_baseline", "color": PALETTE[color], "fontweight": weight}
        _text(axes, middle, under, text, **style)


def _text(axes: Any, x: float, y: float, text: str, **style: Any) -> None:
    """Write at data coordinates, as a text of the figure: it needs no clip path."""
    if text:
        given: Any = {"fontsize": SMALL, "ha": "center", "va": "bottom"} | style
        axes.figure.text(x, y, text, transform=axes.transData, **given)


def _frames(rows: Sequence[Sequence[Tile]], layout: _Layout) -> PatchCollection:
    """Return the frames of all tiles as one artist."""
    framed = [(tile.frame, (left, top)) for tile, top, left in layout.places(rows) if tile.frame]
    boxes = [Rectangle(corner, layout.tile[1], layout.tile[0]) for _, corner in framed]
    colors = [color for color, _ in framed]
    return PatchCollection(boxes, facecolor="none", edgecolor=colors, linewidth=2.5)


@styled
def tile_grid(
    rows: Sequence[Sequence[Tile]],
    *,
    row_titles: Sequence[str] | None = None,
    title: str | None = None,
    cell_width: float = 0.0,
    right: float = PAD,
    first_gap: float = 0.0,
) -> Figure:
    """Draw rows of images with frames and texts in one axes.

    Args:
        rows: tiles; rows may differ in length. All images have one size.
        row_titles: a text to the left of each row.
        cell_width: width of an image in inches; 0 chooses one by the number of rows. It grows to
            the widest text, and shrinks until the grid is at most `WIDTH` wide.
        right: margin at the right in inches.
        first_gap: extra space after the first column in inches.

    Returns:
        The figure; data coordinates of its axes are pixels of the grid.

    Raises:
        ValueError: no image, images of different sizes, or a row that does not fit the width; see
            `wrap_rows`.
    """
    names = row_titles if row_titles is not None else [""] * len(rows)
    margin = PAD + bool(any(names)) * (text_width(names, weight="normal") + PAD)
    layout = _lay_out(rows, cell_width, (margin, right), first_gap, 0.28 * bool(title))
    inches = max(layout.size[1] / layout.unit, text_width([title or ""], TITLE) + 2 * PAD)
    figure = new_figure(inches, layout.size[0] / layout.unit)
    figure.set_layout_engine("none")
    axes = hide_axes(figure.add_axes((0, 0, 1, 1)))
    extent = (0, layout.size[1], layout.size[0], 0)
    interpolation: Any = "nearest" if layout.zoom > 1 else "antialiased"
    axes.imshow(_compose(rows, layout), interpolation=interpolation, extent=extent, aspect="auto")
    axes.set(xlim=(0, inches * layout.unit), ylim=(layout.size[0], 0))
    axes.add_collection(_frames(rows, layout), autolim=False)
    for tile, top, left in layout.places(rows):
        _annotate(axes, tile, top, left, layout)
    for name, top in zip(names, layout.tops, strict=True):
        x, middle = layout.lefts[0] - PAD * layout.unit, top + layout.tile[0] / 2
        _text(axes, x, middle, name, ha="right", va="center", color=PALETTE["muted"])
    corner = PAD * layout.unit
    _text(axes, corner, corner, title or "", ha="left", va="top", fontsize=TITLE, fontweight="bold")
    return figure
