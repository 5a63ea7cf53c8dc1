"""Images of people: grids, rows, pairs, CutSwap step by step, Grad-CAM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from dakd.figures.style import PALETTE, SMALL, colour, styled
from dakd.figures.tiles import Images, Tile, tile_grid, to_uint8, wrap_rows


def _titles(titles: Sequence[str] | None, count: int, what: str) -> Sequence[str]:
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} {what} titles for {count} {what}s of images")
    return titles if titles is not None else [""] * count


def _headed(
    images: Sequence[Any], heads: Sequence[str], modalities: Sequence[str] | None
) -> list[Tile]:
    """Return a row of images with their titles above."""
    kinds = _titles(modalities, len(images), "column")
    colors = [colour(kind) if kind else PALETTE["text"] for kind in kinds]
    each = zip(images, heads, colors, strict=True)
    return [Tile(image=image, above=text, color=color) for image, text, color in each]


def image_grid(
    images: Images,
    *,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    column_modalities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show a grid of images, for example one row per person and one column per camera.

    Args:
        images: (R, C, 3, H, W), or R lists of up to C images; None is an empty cell.
        row_titles, column_titles: R and C texts.
        column_modalities: ``"visible"`` or ``"infrared"`` for each column; colours its title.

    Raises:
        ValueError: the number of titles does not match, there is no image, images differ in size,
            or the columns do not fit the width.
    """
    rows = [list(row) for row in images]
    columns = max((len(row) for row in rows), default=0)
    names = _titles(row_titles, len(rows), "row")
    heads = _titles(column_titles, columns, "column")
    above = [heads, *[[""] * columns] * (len(rows) - 1)]
    full = [[*row, *[None] * (columns - len(row))] for row in rows]
    tiles = [_headed(*row, column_modalities) for row in zip(full, above, strict=True)]
    return tile_grid(tiles, row_titles=names, title=title)


def strip(
    images: Images,
    *,
    titles: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show images (n, 3, H, W) in a row that wraps; see `image_grid`."""
    row = list(images)
    (lines,) = wrap_rows([_headed(row, _titles(titles, len(row), "column"), modalities)])
    return tile_grid(lines, title=title)


def pairs(
    visible: Images,
    infrared: Images,
    *,
    titles: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show visible images above infrared ones, (n, 3, H, W) each; a column is one person.

    Raises:
        ValueError: different numbers of visible and infrared images.
    """
    rows = [list(visible), list(infrared)]
    if len(rows[0]) != len(rows[1]):
        raise ValueError(f"{len(rows[0])} visible and {len(rows[1])} infrared images do not pair")
    return image_grid(rows, row_titles=["visible", "infrared"], column_titles=titles, title=title)


def cutswap_strip(
    original: Images,
    rectangles: Tensor | np.ndarray | Sequence[Sequence[int]],
    paper: Images,
    release: Images,
    *,
    title: str | None = None,
) -> Figure:
    """Show CutSwap step by step: image, rectangle, the paper's result, the release's.

    Args:
        original, paper, release: (n, 3, H, W) each, one column per image.
        rectangles: top, left, height, width in pixels, (n, 4); none is drawn for height 0.
    """
    boxes = [box if box[2] else None for box in np.asarray(rectangles).tolist()]
    plain = [[Tile(image=image) for image in images] for images in (original, paper, release)]
    boxed = [Tile(image=image, box=box) for image, box in zip(original, boxes, strict=True)]
    rows = [plain[0], boxed, *plain[1:]]
    names = ["image", "rectangle", "paper:\ninside", "release:\neverywhere"]
    return tile_grid(rows, row_titles=names, title=title)


@styled
def gradcam_overlay(
    images: Images,
    heatmaps: np.ndarray,
    *,
    titles: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show images above their Grad-CAM heat maps.

    Args:
        images: (n, 3, H, W).
        heatmaps: importance in 0..1, (n, H, W), see `dakd.analysis.gradcam`.
        titles: one per image.

    Raises:
        ValueError: the numbers of images, heat maps and titles differ.
    """
    plain = [to_uint8(image) for image in images]
    if len(heatmaps) != len(plain):
        raise ValueError(f"{len(plain)} images, but {len(heatmaps)} heat maps")
    hot = colormaps["inferno"](np.asarray(heatmaps))[..., :3]  # (n, H, W, 3)
    mixed = torch.from_numpy(0.4 * np.stack(plain) / 255 + 0.6 * hot).movedim(-1, 1)
    heads = _titles(titles, len(plain), "column")
    rows = [_headed(list(images), heads, None), [Tile(image=image) for image in mixed]]
    figure = tile_grid(rows, row_titles=["image", "Grad-CAM"], title=title, right=0.75)
    width, height = figure.get_size_inches()
    place = (1 - 0.65 / width, 0.1 / height, 0.1 / width, 1 - 0.9 / height)
    over_white = ListedColormap(0.4 + 0.6 * colormaps["inferno"](np.linspace(0, 1, 256))[:, :3])
    bar = figure.colorbar(ScalarMappable(cmap=over_white), cax=figure.add_axes(place))
    bar.set_label("importance (1 = maximum of the image)", fontsize=SMALL)
    return figure
