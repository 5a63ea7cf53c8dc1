"""Pictures of people: sheets, rows, pairs, CutSwap step by step, Grad-CAM."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from dakd.figures.style import BODY, PALETTE, SMALL, bare, colour, new_figure, per_cent, styled

Images = Tensor | np.ndarray | Sequence[Any]
WIDTH = 9.0  # inches, the widest a notebook or a README shows without shrinking


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


def show(
    axes: Axes,
    image: Tensor | np.ndarray | None,
    *,
    frame: str | None = None,
    shape: float | None = None,
) -> None:
    """Draw one image into `axes`, with a frame of a colour; None leaves a dash of that `shape`."""
    bare(axes)
    if image is None:
        axes.text(0.5, 0.5, "–", ha="center", va="center", color=PALETTE["dropped"])
        axes.set_box_aspect(shape)
        return
    axes.imshow(picture(image), interpolation="nearest")
    if frame:
        axes.spines[:].set(visible=True, color=frame, linewidth=2.5)


def _titles(titles: Sequence[str] | None, count: int, what: str) -> Sequence[str]:
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} {what} titles for {count} {what}s of images")
    return titles if titles is not None else [""] * count


def _height_over_width(images: Sequence[Sequence[Any]]) -> float:
    if not any(len(row) for row in images):
        raise ValueError("there is no image to show")
    first = next((image for row in images for image in row if image is not None), None)
    return 2.0 if first is None else first.shape[-2] / first.shape[-1]


@styled
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
        ValueError: titles that do not fit, or no image.
    """
    rows = [list(row) for row in images]
    columns = max((len(row) for row in rows), default=0)
    row_titles = _titles(row_titles, len(rows), "row")
    column_titles = _titles(column_titles, columns, "column")
    modalities = _titles(column_modalities, columns, "column")
    shape = _height_over_width(rows)
    words = max(len(line) for text in column_titles for line in [*text.split("\n"), ""])
    low = max(min(1.65, 6.4 / len(rows)) / shape, 0.088 * words)  # titles must not touch
    cell = min(WIDTH / (columns + 0.8), low)
    height = len(rows) * cell * shape + 0.3 * any(column_titles) + 0.35 * bool(title)
    figure = new_figure(columns * cell + 0.75 * any(row_titles), height, title=title, dense=True)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for r, row in enumerate(rows):
        for c in range(columns):
            show(grid[r, c], row[c] if c < len(row) else None, shape=shape)
        if row_titles[r]:
            grid[r, 0].set_ylabel(
                row_titles[r], rotation=0, ha="right", va="center", fontsize=SMALL
            )
    for c, (text, modality) in enumerate(zip(column_titles, modalities, strict=True)):
        ink = colour(modality) if modality else PALETTE["ink"]
        grid[0, c].set_title(text, color=ink, fontsize=SMALL, loc="center")
    return figure


def strip(
    images: Images,
    *,
    titles: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Show one row of images (n, 3, H, W); see `contact_sheet`."""
    return contact_sheet(
        [list(images)], column_titles=titles, column_modalities=modalities, title=title
    )


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


@styled
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
    rows = [original, original, paper, release]
    names = ["image", "rectangle", "paper:\ninside", "release:\neverywhere"]
    figure = contact_sheet(rows, row_titles=names, title=title)
    columns = len(list(original))
    boxes = torch.as_tensor(np.asarray(rectangles)).tolist()
    for axes, (top, left, height, width) in zip(
        figure.axes[columns : 2 * columns], boxes, strict=True
    ):
        if height == 0:
            continue
        corner = (left - 0.5, top - 0.5)
        for ink, thick in ((PALETTE["ground"], 3.5), (PALETTE["ink"], 1.5)):  # seen on any image
            box = Rectangle(corner, width, height, fill=False, edgecolor=ink, linewidth=thick)
            axes.add_patch(box)
    return figure


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
    columns = len(list(images))
    if len(heats) != columns:
        raise ValueError(f"{columns} images, but {len(heats)} heat maps")
    rows = [list(images), list(images)]
    figure = contact_sheet(
        rows, row_titles=["image", "Grad-CAM"], column_titles=titles, title=title
    )
    for axes, heat in zip(figure.axes[columns : 2 * columns], heats, strict=True):
        shown = axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.8, aspect=30, pad=0.01)
    bar.set_label("importance (1 = the image's greatest)", fontsize=SMALL)
    return figure


@styled
def brightness_scatter(
    visible: np.ndarray, infrared: np.ndarray, *, title: str | None = None
) -> Figure:
    """Plot each person's mean brightness in one modality against that in the other.

    Args:
        visible, infrared: mean grey levels in 0..1, (n,) each, a value a person.
        title: of the figure.
    """
    visible, infrared = np.asarray(visible), np.asarray(infrared)
    figure = new_figure(4.6, 4.2, title=title)
    axes = figure.subplots()
    axes.scatter(visible, infrared, s=26, color=PALETTE["muted"], alpha=0.8, linewidth=0)
    low = min(visible.min(), infrared.min()) - 0.02
    high = max(visible.max(), infrared.max()) + 0.02
    line = axes.plot([low, high], [low, high], linestyle="--", linewidth=1)[0]
    line.set(color=PALETTE["dropped"], label="equally bright")
    axes.legend(loc="lower right")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel("visible grey level (0 to 1)", color=PALETTE["visible"])
    axes.set_ylabel("infrared grey level (0 to 1)", color=PALETTE["infrared"])
    correlation = np.corrcoef(visible, infrared)[0, 1]
    axes.set_title(f"correlation {correlation:.2f} over {len(visible)} people", fontsize=BODY)
    return figure


@styled
def histogram(
    samples: dict[str, Any], *, label: str, title: str | None = None, bins: int = 30
) -> Figure:
    """Compare distributions of one quantity, as outlines over shared bins.

    Args:
        samples: values of each group; a group named like a modality or method has its colour.
        label: the quantity and its unit.
        title: of the figure.
        bins: number of bins over the range of all groups.
    """
    figure = new_figure(6.4, 3.0, title=title)
    axes = figure.subplots()
    arrays = {name: np.asarray(values, dtype=float).ravel() for name, values in samples.items()}
    every = np.concatenate(list(arrays.values()))
    edges = np.linspace(every.min(), every.max() or 1, bins + 1)
    styles = ["-", "--", ":", "-."]
    for i, (name, values) in enumerate(arrays.items()):
        height, _ = np.histogram(values, edges)
        height = height / len(values)
        ink = colour(name) if colour(name) != PALETTE["muted"] else list(PALETTE.values())[5 - i]
        axes.stairs(height, edges, color=ink, alpha=0.18, fill=True)
        axes.stairs(height, edges, color=ink, linewidth=1.8, linestyle=styles[i % 4], label=name)
    axes.set(xlabel=label, ylabel="share of the group")
    per_cent(axes.yaxis)
    if len(arrays) > 1:
        axes.legend()
    return figure
