"""The shell that all widgets share."""

import io
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dakd.figures.style import styled

SCREEN = 96  # pixels of a page for an inch of a figure
SHARP = 1.25  # pixels of the picture for one of the page


@styled
def snapshot(figure: Figure) -> bytes:
    """Return the figure as a PNG for the screen.

    `dakd.figures.png` draws everything twice, and packs it tightly: right for a file, too slow
    for a slider.
    """
    figure.set_dpi(SCREEN * SHARP)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = io.BytesIO()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
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
