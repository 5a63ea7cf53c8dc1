"""Pictures of people: sheets, rows, pairs, CutSwap step by step, Grad-CAM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from dakd.figures.sheet import Images, Tile, broken, picture, sheet
from dakd.figures.style import PALETTE, SMALL, colour, styled


def _titles(titles: Sequence[str] | None, count: int, what: str) -> Sequence[str]:
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} {what} titles for {count} {what}s of images")
    return titles if titles is not None else [""] * count


def _headed(
    images: Sequence[Any], heads: Sequence[str], modalities: Sequence[str] | None
) -> list[Tile]:
    """Return a row of images under their titles."""
    kinds = _titles(modalities, len(images), "column")
    inks = [colour(kind) if kind else PALETTE["ink"] for kind in kinds]
    each = zip(images, heads, inks, strict=True)
    return [Tile(image=image, above=text, ink=ink) for image, text, ink in each]


def contact_sheet(
    images: Images,
    *,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    column_modalities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show a grid of images, for example a person a row and a camera a column.

    Args:
        images: (R, C, 3, H, W), or R lists of C images; None is a hole.
        row_titles, column_titles: R and C texts.
        column_modalities: ``"visible"`` or ``"infrared"`` for each column; colours its title.
        title: of the figure.

    Raises:
        ValueError: titles that do not fit, no image, images of different sizes, or more columns
            than there is room for.
    """
    rows = [list(row) for row in images]
    columns = max((len(row) for row in rows), default=0)
    names = _titles(row_titles, len(rows), "row")
    heads = _titles(column_titles, columns, "column")
    full = [[*row, *[None] * (columns - len(row))] for row in rows]
    above = [heads if r == 0 else [""] * columns for r in range(len(rows))]
    tiles = [_headed(*row, column_modalities) for row in zip(full, above, strict=True)]
    return sheet(tiles, row_titles=names, title=title)


def strip(
    images: Images,
    *,
    titles: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show images (n, 3, H, W) in a row, or in as many lines as they need; see `contact_sheet`."""
    row = list(images)
    (lines,) = broken([_headed(row, _titles(titles, len(row), "column"), modalities)])
    return sheet(lines, title=title)


def pairs(
    visible: Images,
    infrared: Images,
    *,
    titles: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show visible images over infrared ones, (n, 3, H, W) each; a column is one person."""
    rows = [list(visible), list(infrared)]
    if len(rows[0]) != len(rows[1]):
        raise ValueError(f"{len(rows[0])} visible and {len(rows[1])} infrared images do not pair")
    return contact_sheet(
        rows, row_titles=["visible", "infrared"], column_titles=titles, title=title
    )


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
        original, paper, release: (n, 3, H, W) each, a column an image.
        rectangles: top, left, height, width in pixels, (n, 4); height 0 draws none.
        title: of the figure.
    """
    boxes = [box if box[2] else None for box in np.asarray(rectangles).tolist()]
    pairs = zip(original, boxes, strict=True)
    rows = [
        [Tile(image=image) for image in original],
        [Tile(image=image, box=box) for image, box in pairs],
        [Tile(image=image) for image in paper],
        [Tile(image=image) for image in release],
    ]
    names = ["image", "rectangle", "paper:\ninside", "release:\neverywhere"]
    return sheet(rows, row_titles=names, title=title)


@styled
def gradcam_overlay(
    images: Images,
    heats: np.ndarray,
    *,
    titles: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show images over the places that matter in them.

    Args:
        images: (n, 3, H, W).
        heats: importance in 0..1, (n, H, W), see `dakd.analysis.gradcam`.
        titles: one for each image.
        title: of the figure.
    """
    plain = [picture(image) for image in images]
    if len(heats) != len(plain):
        raise ValueError(f"{len(plain)} images, but {len(heats)} heat maps")
    hot = colormaps["inferno"](np.asarray(heats))[..., :3]  # (n, H, W, 3)
    mixed = torch.from_numpy(0.4 * np.stack(plain) / 255 + 0.6 * hot).movedim(-1, 1)
    heads = _titles(titles, len(plain), "column")
    rows = [
        [Tile(image=image, above=text) for image, text in zip(images, heads, strict=True)],
        [Tile(image=image) for image in mixed],
    ]
    figure = sheet(rows, row_titles=["image", "Grad-CAM"], title=title, right=0.75)
    width, height = figure.get_size_inches()
    place = (1 - 0.65 / width, 0.1 / height, 0.1 / width, 1 - 0.9 / height)
    over_white = ListedColormap(0.4 + 0.6 * colormaps["inferno"](np.linspace(0, 1, 256))[:, :3])
    bar = figure.colorbar(ScalarMappable(cmap=over_white), cax=figure.add_axes(place))
    bar.set_label("importance (1 = the image's greatest)", fontsize=SMALL)
    return figure
