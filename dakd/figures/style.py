"""One palette, one type scale, one way to make and to save a figure."""

import io
import os
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

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
CHARACTERS = 13.4  # of small text in an inch, at most
UNDATED: Any = {  # without the date equal figures are equal files
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
    "svg.hashsalt": "dakd",  # the same names inside the file every time
    "svg.fonttype": "path",  # slides need not have the font, whose widths the layout goes by
    "pdf.fonttype": 42,  # the font itself: text stays text, and journals accept it
}
styled = matplotlib.rc_context(STYLE)  # decorates every function that draws


class ShownFigure(Figure):
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
    figure = ShownFigure(figsize=(width, height), facecolor=PALETTE["ground"])
    pad, space = (0.025, 0.0) if dense else (0.06, 0.04)  # inches, share of a panel
    figure.set_layout_engine("constrained", w_pad=pad, h_pad=pad, wspace=space, hspace=space)
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=TITLE, fontweight="bold", x=0.01, ha="left")
    return figure


@styled
def note(figure: Figure, *lines: str) -> Figure:
    """Write what a reader must know beneath a figure, or over its legend, and return the figure.

    The figure grows by the lines, which are broken where it ends.
    """
    width, height = figure.get_size_inches()
    text = "\n".join(textwrap.fill(line, int(CHARACTERS * width)) for line in lines)
    room = 0.06 + 0.16 * (1 + text.count("\n"))  # inches
    figure.set_size_inches(width, height + room)
    look: Any = {"fontsize": SMALL, "color": PALETTE["muted"], "ha": "left", "linespacing": 1.2}
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        _lift(figure, room)
        figure.text(0.07 / width, 0.07 / (height + room), text, **look)
    elif figure.legends:
        figure.legends[0].set_title(text)
        figure.legends[0].get_title().set(**look)
    else:
        figure.supxlabel(text, x=0.01, **look)
    return figure


def _lift(figure: Figure, room: float) -> None:
    """Move all axes up by some inches, where each has its place and size."""
    total = figure.get_size_inches()[1]
    for axes in figure.axes:
        x, y, width, height = axes.get_position().bounds
        share = (total - room) / total
        axes.set_position((x, y * share + room / total, width, height * share))


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
def png(figure: Figure, dpi: float = DPI, *, colours: int | None = None) -> bytes:
    """Return the figure as the bytes of a PNG picture; equal figures give equal bytes.

    Args:
        figure: the figure.
        dpi: pixels per inch.
        colours: 2 to 256: keep so many, which makes a sheet of pictures a third as large.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "dakd"})
    if colours is None:
        return buffer.getvalue()
    # Coverage, not frequency: clothes keep their colours though most of a sheet is background.
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
    """Write the figure, atomically: PNG, or PDF or SVG for slides, as the path ends.

    Args:
        figure: the figure.
        path: ends in ``.png``, ``.pdf`` or ``.svg``.
        dpi: of a PNG, and of the points that a PDF or an SVG holds as pixels.
        colours: of a PNG, see `png`.

    Returns:
        The path.

    Raises:
        ValueError: the path ends otherwise.
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
