"""A diagram of DAKD."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

from dakd.figures.style import BODY, PALETTE, SMALL, TITLE, new_figure, styled
from dakd.figures.tiles import WIDTH, to_uint8

HEIGHT = 6.5  # inches; the diagram is laid out in inches, from the lower left corner
TEMPERATURES = (2, 3, 4, 5, 6)
TOP, MIDDLE, BOTTOM = 4.8, 3.7, 2.6  # teacher, images, student
LEFT, RIGHT = 4.05, 6.55  # the two levels
PANEL = "#F6F7F9"
SUMMARY = (
    "A second network of the same architecture imitates the outputs of the first for each image "
    "of both modalities, at two levels."
)
SIDES = ("visible", "infrared")


@styled
def method_overview(
    visible: Tensor | np.ndarray | None = None,
    infrared: Tensor | np.ndarray | None = None,
    *,
    title: str = "DAKD: dual-aligned knowledge self-distillation",
) -> Figure:
    """Draw the method: two modalities, teacher and student, two levels, mask, temperatures.

    Args:
        visible, infrared: an image (3, H, W) of a person in each modality, uint8 or float in 0..1;
            the visible one is shown with CutSwap. None draws a silhouette.
        title: above the diagram.
    """
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("none")  # all positions are given
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    axes.set_axis_off()
    axes.text(0.15, HEIGHT - 0.28, title, fontsize=TITLE + 1, fontweight="bold", va="center")
    axes.text(0.15, HEIGHT - 0.56, SUMMARY, va="center")
    _inputs(axes, visible, infrared)
    _network(axes, TOP, "Teacher", "first: trained on identities,\nthen frozen", PALETTE["teacher"])
    _network(axes, BOTTOM, "Student", "second: random weights,\nlearns from the teacher",
             PALETTE["student"])  # fmt: skip
    _level(axes, LEFT, "Instance level", "z", "the embedding of an image",
           "D entries of z", sharp=0.6)  # fmt: skip
    _level(axes, RIGHT, "Class level", "z·Cᵀ / 0.05", "similarities to class centres C",
           "K people", sharp=1.6)  # fmt: skip
    _temperatures(axes)
    _loss(axes)
    return figure


def _box(axes: Axes, x: float, y: float, width: float, height: float, **style: object) -> None:
    shape = "round,pad=0,rounding_size=0.1"
    box = FancyBboxPatch((x, y), width, height, boxstyle=shape, mutation_aspect=1, linewidth=1.2)
    box.set(**style)
    axes.add_patch(box)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, bend: float = 0
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            linewidth=1.6,
            color=color,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def _inputs(axes: Axes, visible: object, infrared: object) -> None:
    """Draw two images of a person, with CutSwap's rectangle on the visible one."""
    for name, mark, image, x in (
        ("visible", "v", visible, 0.15),
        ("infrared", "r", infrared, 1.05),
    ):
        color = PALETTE[name]
        _box(axes, x, MIDDLE - 0.875, 0.8, 1.75, facecolor=color + "30", edgecolor=color)
        if image is None:
            _silhouette(axes, x, color)
        else:
            shown = to_uint8(image)  # type: ignore[arg-type]
            if name == "visible":
                shown = _swapped(shown)
            height = min(1.6, 0.7 * shown.shape[0] / shown.shape[1])
            width = height * shown.shape[1] / shown.shape[0]
            left, low = x + 0.4 - width / 2, MIDDLE - height / 2
            axes.imshow(shown, extent=(left, left + width, low, low + height), zorder=3)
            if name == "visible":
                corner = (left + 0.25 * width, low + 0.45 * height)
                axes.add_patch(Rectangle(corner, 0.55 * width, 0.4 * height, fill=False, zorder=4,
                                         edgecolor=PALETTE["background"],
                                         linewidth=1.6))  # fmt: skip
        axes.text(
            x + 0.4,
            MIDDLE + 1.0,
            f"{name} {mark}",
            ha="center",
            fontsize=BODY,
            color=color,
            fontweight="bold",
        )
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))  # imshow moved them
    axes.text(0.15, MIDDLE - 0.98, "CutSwap: one colour\nchannel in a rectangle", va="top",
              fontsize=SMALL, color=PALETTE["visible"])  # fmt: skip


def _swapped(image: np.ndarray) -> np.ndarray:
    """Return an image after the paper's CutSwap, with a fixed rectangle and the red channel."""
    height, width = image.shape[:2]
    swapped = image.copy()
    rows = slice(round(0.15 * height), round(0.55 * height))
    columns = slice(round(0.25 * width), round(0.8 * width))
    swapped[rows, columns] = image[rows, columns, :1]
    return swapped


def _silhouette(axes: Axes, x: float, color: str) -> None:
    axes.add_patch(FancyBboxPatch((x + 0.33, MIDDLE + 0.45), 0.14, 0.16, facecolor=color,
                                  boxstyle="round,pad=0,rounding_size=0.07"))  # fmt: skip
    for left, low, width, height in ((0.24, -0.12, 0.32, 0.52), (0.26, -0.72, 0.12, 0.6),
                                     (0.42, -0.72, 0.12, 0.6)):  # fmt: skip
        axes.add_patch(FancyBboxPatch((x + left, MIDDLE + low), width, height, facecolor=color,
                                      boxstyle="round,pad=0,rounding_size=0.05"))  # fmt: skip


def _network(axes: Axes, y: float, name: str, state: str, color: str) -> None:
    """Draw a network with its incoming and outgoing arrows."""
    _box(axes, 2.3, y - 0.42, 1.35, 0.84, facecolor=color, edgecolor=color)
    axes.text(2.975, y + 0.1, name, ha="center", va="center", color="white", fontsize=TITLE,
              fontweight="bold")  # fmt: skip
    axes.text(2.975, y - 0.17, "ResNet → z", ha="center", va="center", color="white",
              fontsize=SMALL)  # fmt: skip
    axes.text(2.975, y - 0.5, state, ha="center", va="top", color=color, fontsize=SMALL)
    up = 1 if y == TOP else -1
    _arrow(axes, (1.93, MIDDLE + 0.25 * up), (2.27, y), PALETTE["muted"], bend=-0.3 * up)
    _arrow(axes, (3.68, y), (4.0, y), color)


def _level(
    axes: Axes, x: float, name: str, formula: str, question: str, entries: str, *, sharp: float
) -> None:
    """Draw a level of alignment: distributions of teacher and student in each modality."""
    width, low, high = 2.35, 1.9, TOP + 0.92
    _box(axes, x, low, width, high - low, facecolor=PANEL, edgecolor=PALETTE["grid"])
    axes.text(x + 0.12, high - 0.19, name, fontsize=BODY + 1, fontweight="bold", va="center")
    axes.text(x + width - 0.12, high - 0.19, formula, ha="right", va="center")
    axes.text(x + 0.12, high - 0.41, question, fontsize=SMALL, color=PALETTE["muted"], va="center")
    for i, side in enumerate(SIDES):
        centre = x + 0.63 + 1.12 * i
        shape = np.random.default_rng(3 + i).normal(size=12) * sharp
        shift = np.random.default_rng(20 + i).normal(size=12) * 0.25
        _bars(axes, centre, TOP - 0.3, shape, PALETTE["teacher"])
        _bars(axes, centre, BOTTOM - 0.12, shape + shift, PALETTE["student"])
        _arrow(axes, (centre, TOP - 0.38), (centre, BOTTOM + 0.54), PALETTE[side])
        if side == "infrared":
            _mask(axes, centre)
        else:
            _note(axes, centre, MIDDLE + 0.06, "every\nimage")
        axes.text(centre, BOTTOM - 0.24, entries, ha="center", va="center", fontsize=SMALL,
                  color=PALETTE["muted"])  # fmt: skip
        axes.text(centre, BOTTOM - 0.49, side, ha="center", va="center", fontsize=SMALL,
                  color=PALETTE[side], fontweight="bold")  # fmt: skip


def _note(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a text on an arrow."""
    axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, zorder=4,
              linespacing=1.1, bbox={"facecolor": PANEL, "pad": 1.5, "linewidth": 0})  # fmt: skip


def _bars(axes: Axes, centre: float, low: float, logits: np.ndarray, color: str) -> None:
    share = np.exp(logits) / np.exp(logits).sum()
    height = 0.58 * share / share.max()
    left = centre - 0.42 + 0.07 * np.arange(len(logits))
    axes.bar(left, height, 0.052, bottom=low, align="edge", color=color, zorder=3)


def _mask(axes: Axes, centre: float) -> None:
    """Draw the confidence mask: images by rising confidence, the upper half kept."""
    color = PALETTE["infrared"]
    axes.add_patch(Rectangle((centre - 0.5, MIDDLE - 0.42), 1.0, 0.86, facecolor=PANEL, zorder=3))
    for i in range(8):
        style = {"facecolor": color} if i >= 4 else {"fill": False}
        height = 0.1 + 0.04 * i
        axes.add_patch(Rectangle((centre - 0.4 + 0.1 * i, MIDDLE), 0.075, height, edgecolor=color,
                                 linewidth=1, zorder=4, **style))  # fmt: skip
    _note(axes, centre, MIDDLE - 0.23, "mask: the\nconfident half")


def _temperatures(axes: Axes) -> None:
    """Draw one distribution at the five temperatures."""
    logits = np.sort(np.random.default_rng(4).normal(size=14))[::-1]
    logits = (logits - logits.mean()) / logits.std()
    axes.text(0.15, 1.55, "Temperature-modulated alignment", fontsize=BODY, fontweight="bold")
    axes.text(0.15, 1.4, "Every vertical arrow is a divergence KL(teacher ‖ student) of "
              "softmaxes,\nsummed over five temperatures t.", fontsize=SMALL, va="top")  # fmt: skip
    for i, t in enumerate(TEMPERATURES):
        share = torch.softmax(torch.from_numpy(logits.copy()) / t, 0).numpy()
        left = 1.7 + 0.66 * i
        axes.bar(left + 0.038 * np.arange(14), 3.2 * share, 0.03, bottom=0.36, align="edge",
                 color=PALETTE["teacher"])  # fmt: skip
        axes.text(left + 0.26, 0.22, f"t = {t}", ha="center", va="center", fontsize=SMALL)
    for x, side, text in (
        (1.6, "right", "low t: a few entries,\nmodality-specific\ndetail"),
        (5.0, "left", "high t: all entries,\nmodality-invariant\ngeneralities"),
    ):
        axes.text(x, 0.55, text, ha=side, va="center", fontsize=SMALL, color=PALETTE["muted"])


def _loss(axes: Axes) -> None:
    """Write the total loss and the definitions of the terms used in the diagram."""
    axes.text(RIGHT, 1.55, "Loss of the student", fontsize=BODY, fontweight="bold")
    axes.text(RIGHT, 1.4, "0.9 · [ ½ (instance v + instance r)\n        + ½ (class v + class r) ]",
              fontsize=SMALL, va="top")  # fmt: skip
    words = (
        "Centres C: the teacher's mean z of\neach person in that modality.\n"
        "Confidence: the largest entry of the\nteacher's softmax; the mask cuts at\n"
        "the batch's median."
    )
    axes.text(RIGHT, 0.13, words, fontsize=SMALL, color=PALETTE["muted"])
