"""Controls over a figure: what all widgets are made of."""

from collections.abc import Callable
from typing import Any

import ipywidgets as w
from matplotlib.figure import Figure

from dakd.figures.style import png

CSS_DPI = 96  # CSS pixels per inch of a figure
DPI = 120  # image pixels per inch: sharp, and fast enough to follow a slider


class Panel(w.VBox):
    """Controls, and below them a figure that follows them.

    Args:
        render: called with the value of every control by name; returns a figure, or HTML.
        text: what to try, in a sentence.
        controls: widgets with a ``value``.

    Attributes:
        controls: as given; set a ``value`` to move one.
        image: the image widget; ``bytes(image.value)`` is a PNG.
        html: shown instead of the image where `render` returns HTML.
    """

    def __init__(self, render: Callable[..., Figure | str], text: str, **controls: Any) -> None:
        self.render, self.controls = render, controls
        # No tooltip: JupyterLab's view of an Image reads the description that an Image lacks.
        self.image = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.html = w.HTML()
        for control in controls.values():
            control.style.description_width = "initial"
            control.observe(self.redraw, names="value")
        row = w.HBox(list(controls.values()), layout=w.Layout(flex_flow="row wrap"))
        super().__init__([w.HTML(f"<p>{text}</p>"), row, self.image, self.html])
        self.redraw()

    def redraw(self, _change: Any = None) -> None:
        """Draw the figure for the current values of the controls."""
        shown = self.render(**{name: control.value for name, control in self.controls.items()})
        self.html.value = shown if isinstance(shown, str) else ""
        self.image.layout.display = "none" if isinstance(shown, str) else ""
        if isinstance(shown, Figure):
            self.image.width = int(shown.get_size_inches()[0] * CSS_DPI)
            self.image.value = png(shown, DPI)


def choice(options: Any, label: str, value: Any = None) -> w.ToggleButtons:
    """Return a row of buttons, one of which is pressed."""
    layout = w.Layout(width="auto")
    buttons = w.ToggleButtons(options=list(options), description=label, layout=layout)
    buttons.style.button_width = "auto"
    if value is not None:
        buttons.value = value
    return buttons


def slider(low: int, high: int, value: int, label: str) -> w.IntSlider:
    """Return an integer slider that updates when it is released."""
    return w.IntSlider(value, low, high, description=label, continuous_update=False)


def fine_slider(high: float, value: float, step: float, label: str) -> w.FloatSlider:
    """Return a slider from 0 in steps, which updates when it is released."""
    style = {"description": label, "continuous_update": False}
    return w.FloatSlider(value, min=0, max=high, step=step, **style)
