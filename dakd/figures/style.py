"""Colours, font sizes, and how a figure is made and saved."""

import io
import os
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from dakd.runtime import atomic_path

# Okabe-Ito hues with their lightness spread, so that they also differ in greyscale.
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
    "text": "#20262E",
    "muted": "#5E6772",
    "grid": "#D9DDE2",
    "background": "#FFFFFF",
}
SMALL, BODY, TITLE = 9.0, 10.0, 12.0  # points
DPI = 150
CHARACTERS = 13.4  # of small text per inch, at most
UNDATED: Any = {  # without a date, equal figures give equal files
    ".pdf": {"CreationDate": None, "Creator": "dakd"},
    ".svg": {"Date": None, "Creator": "dakd"},
}

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
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "text.color": PALETTE["text"],
    "lines.linewidth": 1.8,
    "patch.linewidth": 0.0,
    "svg.hashsalt": "dakd",  # the same element ids in every file
    "svg.fonttype": "path",  # independent of the fonts that are installed
    "pdf.fonttype": 42,  # embedded TrueType: text stays text, and journals accept it
}
styled = matplotlib.rc_context(STYLE)  # decorator for every function that draws


class NotebookFigure(Figure):
    """A Figure that displays itself in a notebook without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        width, height = (int(side * 96) for side in self.get_size_inches())
        return png(self), {"width": width, "height": height}  # 9 pt text is 9 pt on screen


def new_figure(width: float, height: float, *, title: str | None = None) -> Figure:
    """Return an empty figure of `width` x `height` inches with constrained layout."""
    figure = NotebookFigure(figsize=(width, height), facecolor=PALETTE["background"])
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.04)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=TITLE, fontweight="bold", x=0.01, ha="left")
    return figure


@styled
def add_note(figure: Figure, *lines: str) -> Figure:
    """Write lines below a figure, or above its legend, and return the figure.

    The lines wrap at the figure's width, and the figure grows by their height.
    """
    width, height = figure.get_size_inches()
    text = "\n".join(textwrap.fill(line, int(CHARACTERS * width)) for line in lines)
    extra = 0.06 + 0.16 * (1 + text.count("\n"))  # inches
    figure.set_size_inches(width, height + extra)
    style: Any = {"fontsize": SMALL, "color": PALETTE["muted"], "ha": "left", "linespacing": 1.2}
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        for axes in figure.axes:  # up; their size in inches stays
            box = axes.get_position()
            low, high = ((y * height + extra) / (height + extra) for y in (box.y0, box.y1))
            axes.set_position((box.x0, low, box.width, high - low))
        figure.text(0.07 / width, 0.07 / (height + extra), text, **style)
    elif figure.legends:
        figure.legends[0].set_title(text)
        figure.legends[0].get_title().set(**style)
    else:
        figure.supxlabel(text, x=0.01, **style)
    return figure


def colour(name: str) -> str:
    """Return the colour of a modality or a method; an unknown name gets a muted grey."""
    key = name.lower().replace(" ", "_")
    aliases = {"dakd": "student", "full_mlkd": "student", "rgb": "visible", "ir": "infrared"}
    return PALETTE.get(aliases.get(key, key), PALETTE["muted"])


def percent_axis(axis: Any) -> None:
    """Label an axis of fractions in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def hide_axes(axes: Axes) -> Axes:
    """Remove ticks, grid and frame, for images and diagrams."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return axes


@styled
def png(figure: Figure, dpi: float = DPI, *, colours: int | None = None) -> bytes:
    """Return the figure as PNG bytes; equal figures give equal bytes.

    Args:
        figure: the figure.
        dpi: pixels per inch.
        colours: 2 to 256: quantise to so many colours; a grid of images takes a third of the size.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "dakd"})
    if colours is None:
        return buffer.getvalue()
    # Not by frequency: clothes keep their colours although most pixels are background.
    method, small = Image.Quantize.MAXCOVERAGE, io.BytesIO()
    few = Image.open(buffer).convert("RGB").quantize(colours, method=method, kmeans=2)
    few.save(small, "PNG", optimize=True, dpi=(dpi, dpi))
    return small.getvalue()


@styled
def save(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    dpi: float = DPI,
    colours: int | None = None,
) -> Path:
    """Write the figure atomically, as PNG, PDF or SVG by the suffix of the path.

    Args:
        figure: the figure.
        path: with suffix ``.png``, ``.pdf`` or ``.svg``.
        dpi: of a PNG, and of what a PDF or an SVG holds as pixels.
        colours: of a PNG, see `png`.

    Returns:
        The path.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    if path.suffix not in (".png", *UNDATED):
        raise ValueError(f"figures are saved as .png, .pdf or .svg, not {path.name!r}")
    with atomic_path(path) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(png(figure, dpi, colours=colours))
        else:
            figure.savefig(temporary, dpi=dpi, metadata=UNDATED[path.suffix])
    return path
