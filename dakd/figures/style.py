"""One palette, one type scale, one way to make and to save a figure."""

import io
import os
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from dakd.runtime import atomic_path

# Okabe-Ito hues, moved apart in lightness so that a grey print still tells them apart.
PALETTE = {
    "visible": "#1F6FB4",
    "infrared": "#EF9433",
    "untrained": "#BFC3C9",
    "only_kd": "#CC79A7",
    "student": "#00876C",
    "teacher": "#2B3443",
    "right": "#1B8A5A",
    "wrong": "#C23B22",
    "dropped": "#9AA0A8",
    "ink": "#20262E",
    "muted": "#5E6772",
    "line": "#D9DDE2",
    "ground": "#FFFFFF",
}
SMALL, BODY, TITLE = 9.0, 10.0, 12.0  # points
DPI = 150

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": BODY,
    "axes.titlesize": BODY,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": BODY,
    "axes.labelcolor": PALETTE["muted"],
    "axes.edgecolor": PALETTE["dropped"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "text.color": PALETTE["ink"],
    "lines.linewidth": 1.8,
    "patch.linewidth": 0.0,
    "svg.hashsalt": "dakd",
}
styled = matplotlib.rc_context(STYLE)  # decorates every function that draws


class Sheet(Figure):
    """A Figure that shows itself in a notebook, once, without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (int(side * 96) for side in self.get_size_inches())
        return png(self), {"width": width, "height": height}  # so that 9 pt is shown as 9 pt


def new_figure(
    width: float, height: float, *, title: str | None = None, dense: bool = False
) -> Figure:
    """Return an empty figure of `width` x `height` inches that lays itself out.

    Args:
        width, height: inches.
        title: above everything.
        dense: put the panels close together, for pictures.
    """
    figure = Sheet(figsize=(width, height), facecolor=PALETTE["ground"])
    pad, space = (0.025, 0.0) if dense else (0.06, 0.04)  # inches, share of a panel
    figure.set_layout_engine("constrained", w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=TITLE, fontweight="bold", x=0.01, ha="left")
    return figure


def colour(name: str) -> str:
    """Return the colour of a modality or a method; anything unknown is muted grey.

    Example:
        >>> colour("teacher") == PALETTE["teacher"], colour("DAKD") == PALETTE["student"]
        (True, True)
    """
    key = name.lower().replace(" ", "_")
    aliases = {"dakd": "student", "full_mlkd": "student", "rgb": "visible", "ir": "infrared"}
    return PALETTE.get(aliases.get(key, key), PALETTE["muted"])


def ink_on(background: str) -> str:
    """Return black or white, whichever reads better on a background."""
    red, green, blue = to_rgb(background)
    return PALETTE["ink"] if 0.299 * red + 0.587 * green + 0.114 * blue > 0.6 else "#FFFFFF"


def per_cent(axis: Any) -> None:
    """Label an axis of fractions in per cent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def bare(axes: Axes) -> Axes:
    """Remove ticks, grid and frame, for pictures and diagrams."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


@styled
def png(figure: Figure, dpi: float = DPI) -> bytes:
    """Return the figure as the bytes of a PNG picture; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "dakd"})
    return buffer.getvalue()


@styled
def save(
    figure: Figure, path: str | os.PathLike[str], *, dpi: float = DPI, svg: bool = False
) -> Path:
    """Write the figure as PNG, atomically, and beside it as SVG if asked.

    Returns:
        The path of the PNG.

    Raises:
        ValueError: the path does not end in ``.png``.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"figures are saved as .png, not {path.name!r}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(png(figure, dpi))
    if svg:
        with atomic_path(path.with_suffix(".svg")) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": "dakd"})
    return path
