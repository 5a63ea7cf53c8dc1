"""A diagram of DAKD."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from scipy.special import softmax
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
ALIGNMENT = (
    "Every vertical arrow is a divergence KL(teacher ‖ student) of softmaxes,\n"
    "summed over five temperatures t."
)
LOSS = "0.9 · [ ½ (instance v + instance r)\n        + ½ (class v + class r) ]"
WORDS = (
    "Centres C: the teacher's mean z of\neach person in that modality.\n"
    "Confidence: the largest entry of the\nteacher's softmax; the mask cuts at\n"
    "the batch's median."
)
SIDES = ("visible", "infrared")


@styled
def method_overview(
    visible: Tensor | np.ndarray,
    infrared: Tensor | np.ndarray,
    *,
    title: str = "DAKD: dual-aligned knowledge self-distillation",
) -> Figure:
    """Draw the method: two modalities, teacher and student, two levels, mask, temperatures.

    Args:
        visible, infrared: an image (3, H, W) of a person in each modality, uint8 or float in 0..1;
            the visible one is shown with CutSwap.
        title: above the diagram.
    """
    figure = new_figure(WIDTH, HEIGHT)
    figure.set_layout_engine("none")  # all positions are given
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    _input(axes, 0.15, "visible", "v", _swapped(to_uint8(visible)))
    _input(axes, 1.05, "infrared", "r", to_uint8(infrared))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")  # after imshow, which moves them
    left: dict[str, Any] = {"ha": "left", "fontweight": "bold"}
    _text(axes, 0.15, HEIGHT - 0.28, title, fontsize=TITLE + 1, **left)
    _text(axes, 0.15, HEIGHT - 0.56, SUMMARY, ha="left", fontsize=BODY)
    _network(axes, TOP, "Teacher", "first: trained on identities,\nthen frozen")
    _network(axes, BOTTOM, "Student", "second: random weights,\nlearns from the teacher")
    instance = ("Instance level", "z", "the embedding of an image", "D entries of z")
    by_class = ("Class level", "z·Cᵀ / 0.05", "similarities to class centres C", "K people")
    _level(axes, LEFT, *instance, sharp=0.6)
    _level(axes, RIGHT, *by_class, sharp=1.6)
    _text(axes, 0.15, 1.6, "Temperature-modulated alignment", fontsize=BODY, **left)
    _text(axes, 0.15, 1.4, ALIGNMENT, ha="left", va="top")
    _temperatures(axes)
    _text(axes, RIGHT, 1.6, "Loss of the student", fontsize=BODY, **left)
    _text(axes, RIGHT, 1.4, LOSS, ha="left", va="top")
    _text(axes, RIGHT, 0.13, WORDS, ha="left", va="bottom", color=PALETTE["muted"])
    return figure


def _text(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write small text, centred unless `style` says otherwise."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": SMALL, **style})


def _box(axes: Axes, x: float, y: float, width: float, height: float, **style: Any) -> None:
    shape = "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=shape, linewidth=1.2, **style))


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, bend: float = 0
) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.6}
    style |= {"connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=color, **style))


def _input(axes: Axes, x: float, name: str, mark: str, image: np.ndarray) -> None:
    """Draw an image of a person, with CutSwap's rectangle on the visible one."""
    color = PALETTE[name]
    _box(axes, x, MIDDLE - 0.875, 0.8, 1.75, facecolor=color + "30", edgecolor=color)
    height = min(1.6, 0.7 * image.shape[0] / image.shape[1])
    width = height * image.shape[1] / image.shape[0]
    left, low = x + 0.4 - width / 2, MIDDLE - height / 2
    axes.imshow(image, extent=(left, left + width, low, low + height), zorder=3)
    _text(axes, x + 0.4, MIDDLE + 1.06, f"{name} {mark}", fontsize=BODY, color=color,
          fontweight="bold")  # fmt: skip
    if name == "visible":
        corner = (left + 0.25 * width, low + 0.45 * height)
        style: dict[str, Any] = {"fill": False, "edgecolor": "white", "linewidth": 1.6}
        axes.add_patch(Rectangle(corner, 0.55 * width, 0.4 * height, zorder=4, **style))
        words = "CutSwap: one colour\nchannel in a rectangle"
        _text(axes, x, MIDDLE - 0.98, words, ha="left", va="top", color=color)


def _swapped(image: np.ndarray) -> np.ndarray:
    """Return an image after the paper's CutSwap, with a fixed rectangle and the red channel."""
    height, width = image.shape[:2]
    rows = slice(round(0.15 * height), round(0.55 * height))
    columns = slice(round(0.25 * width), round(0.8 * width))
    swapped = image.copy()
    swapped[rows, columns] = image[rows, columns, :1]
    return swapped


def _network(axes: Axes, y: float, name: str, state: str) -> None:
    """Draw a network with its incoming and outgoing arrows."""
    color = PALETTE[name.lower()]
    _box(axes, 2.3, y - 0.42, 1.35, 0.84, facecolor=color, edgecolor=color)
    _text(axes, 2.975, y + 0.1, name, color="white", fontsize=TITLE, fontweight="bold")
    _text(axes, 2.975, y - 0.17, "ResNet → z", color="white")
    _text(axes, 2.975, y - 0.5, state, va="top", color=color)
    up = 1 if y == TOP else -1
    _arrow(axes, (1.93, MIDDLE + 0.25 * up), (2.27, y), PALETTE["muted"], bend=-0.3 * up)
    _arrow(axes, (3.68, y), (4.0, y), color)


def _level(
    axes: Axes, x: float, name: str, formula: str, question: str, entries: str, *, sharp: float
) -> None:
    """Draw a level of alignment: distributions of teacher and student in each modality."""
    width, low, high = 2.35, 1.9, TOP + 0.92
    muted = PALETTE["muted"]
    _box(axes, x, low, width, high - low, facecolor=PANEL, edgecolor=PALETTE["grid"])
    _text(axes, x + 0.12, high - 0.19, name, ha="left", fontsize=BODY + 1, fontweight="bold")
    _text(axes, x + width - 0.12, high - 0.19, formula, ha="right", fontsize=BODY)
    _text(axes, x + 0.12, high - 0.41, question, ha="left", color=muted)
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
        _text(axes, centre, BOTTOM - 0.24, entries, color=muted)
        _text(axes, centre, BOTTOM - 0.49, side, color=PALETTE[side], fontweight="bold")


def _note(axes: Axes, x: float, y: float, text: str) -> None:
    """Write a text on an arrow."""
    behind = {"facecolor": PANEL, "pad": 1.5, "linewidth": 0}
    _text(axes, x, y, text, zorder=4, linespacing=1.1, bbox=behind)


def _bars(axes: Axes, centre: float, low: float, logits: np.ndarray, color: str) -> None:
    share = softmax(logits)
    left = centre - 0.42 + 0.07 * np.arange(len(logits))
    height = 0.58 * share / share.max()
    axes.bar(left, height, 0.052, bottom=low, align="edge", color=color, zorder=3)


def _mask(axes: Axes, centre: float) -> None:
    """Draw the confidence mask: images by rising confidence, the upper half kept."""
    axes.add_patch(Rectangle((centre - 0.5, MIDDLE - 0.42), 1.0, 0.86, facecolor=PANEL, zorder=3))
    left, height = centre - 0.4 + 0.1 * np.arange(8), 0.1 + 0.04 * np.arange(8)
    color = PALETTE["infrared"]
    fill = ["none"] * 4 + [color] * 4
    axes.bar(left, height, 0.075, bottom=MIDDLE, align="edge", color=fill, edgecolor=color,
             linewidth=1, zorder=4)  # fmt: skip
    _note(axes, centre, MIDDLE - 0.23, "mask: the\nconfident half")


def _temperatures(axes: Axes) -> None:
    """Draw one distribution at the five temperatures."""
    logits = np.sort(np.random.default_rng(4).normal(size=14))[::-1]
    logits = (logits - logits.mean()) / logits.std()
    for i, t in enumerate(TEMPERATURES):
        left = 1.7 + 0.66 * i
        axes.bar(left + 0.038 * np.arange(14), 3.2 * softmax(logits / t), 0.03, bottom=0.36,
                 align="edge", color=PALETTE["teacher"])  # fmt: skip
        _text(axes, left + 0.26, 0.22, f"t = {t}")
    low = "low t: a few entries,\nmodality-specific\ndetail"
    high = "high t: all entries,\nmodality-invariant\ngeneralities"
    _text(axes, 1.6, 0.55, low, ha="right", color=PALETTE["muted"])
    _text(axes, 5.0, 0.55, high, ha="left", color=PALETTE["muted"])
