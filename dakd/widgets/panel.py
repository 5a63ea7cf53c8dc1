"""The shell that all widgets share."""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import ipywidgets as w
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D
from PIL import Image

from dakd.figures.style import styled

SCREEN = 96  # pixels of a page for an inch of a figure
SHARP = 1.25  # pixels of the picture for one of the page


@lru_cache(maxsize=4096)
def _outline(text: str, font: FontProperties) -> Path:
    return TextPath((0, 0), text, prop=font)


@lru_cache(maxsize=4096)
def _measured(text: str, font: FontProperties, ismath: bool) -> tuple[float, float, float]:
    return text_to_path.get_text_width_height_descent(text, font, ismath)


class _Outlines(RendererAgg):
    """Draws texts as outlines, and keeps those from one picture to the next.

    Fitting glyphs to the pixels anew took half the time of a picture of many short texts, and the
    browser scales the picture to other pixels anyway.
    """

    def draw_text(self, gc: Any, x: float, y: float, s: str, prop: FontProperties, angle: float,
                  ismath: Any = False, mtext: Any = None) -> None:  # fmt: skip
        if not s.strip():
            return  # a path of no point is an error
        place = Affine2D().scale(self.dpi / 72).rotate_deg(angle).translate(x, self.height - y)
        gc.set_linewidth(0.0)
        self.draw_path(gc, _outline(s, prop.copy()), place, gc.get_rgb())

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> Any:
        width, height, descent = _measured(s, prop.copy(), ismath)
        return tuple(self.dpi / 72 * side for side in (width, height, descent))


@styled
def snapshot(figure: Figure) -> bytes:
    """Return the figure as a PNG for the screen.

    `dakd.figures.png` draws everything twice, and packs it tightly: right for a file, too slow
    for a slider.
    """
    figure.set_dpi(SCREEN * SHARP)
    renderer = _Outlines(*figure.bbox.size, figure.dpi)
    figure.draw(renderer)
    buffer = io.BytesIO()
    pixels = np.asarray(renderer.buffer_rgba())[..., :3]
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


class Panel(w.VBox):
    """Controls over a picture that follows them.

    Args:
        render: called with the value of every control by name; returns a figure, or HTML.
        text: what to try, in a sentence.
        controls: widgets with a ``value``.

    Attributes:
        controls: as given; set a ``value`` to move one.
        picture: the image widget; ``bytes(picture.value)`` is a PNG.
        page: what is shown in its place where `render` returns HTML.
    """

    def __init__(self, render: Callable[..., Figure | str], text: str, **controls: Any) -> None:
        self.render, self.controls = render, controls
        # No tooltip: JupyterLab's view of an Image reads the description that an Image lacks.
        self.picture = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.page = w.HTML()
        for control in controls.values():
            control.style.description_width = "initial"
            control.observe(self.redraw, names="value")
        row = w.HBox(list(controls.values()), layout=w.Layout(flex_flow="row wrap"))
        super().__init__([w.HTML(f"<p>{text}</p>"), row, self.picture, self.page])
        self.redraw()

    def redraw(self, _change: Any = None) -> None:
        """Draw the picture for the controls' present values."""
        shown = self.render(**{name: control.value for name, control in self.controls.items()})
        self.page.value = shown if isinstance(shown, str) else ""
        self.picture.layout.display = "none" if isinstance(shown, str) else ""
        if isinstance(shown, Figure):
            self.picture.width = int(shown.get_size_inches()[0] * SCREEN)
            self.picture.value = snapshot(shown)


def choice(options: Any, label: str, value: Any = None) -> w.ToggleButtons:
    """Return a row of buttons, one of which is pressed."""
    options = list(options)
    layout = w.Layout(width="auto")
    buttons = w.ToggleButtons(options=options, description=label, layout=layout)
    buttons.style.button_width = "auto"
    if value is not None:
        buttons.value = value
    return buttons


def slider(low: int, high: int, value: int, label: str) -> w.IntSlider:
    """Return a slider that reports when it is let go."""
    return w.IntSlider(value, low, high, description=label, continuous_update=False)
