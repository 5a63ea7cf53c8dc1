"""The shell that all widgets share."""

from collections.abc import Callable
from typing import Any

import ipywidgets as w
from matplotlib.figure import Figure

from dakd import figures


class Panel(w.VBox):
    """Controls over a picture that follows them.

    Args:
        render: called with the value of every control by name.
        text: what to try, in a sentence.
        controls: widgets with a ``value``.

    Attributes:
        controls: as given; set a ``value`` to move one.
        picture: the image widget; ``bytes(picture.value)`` is a PNG.
    """

    def __init__(self, render: Callable[..., Figure], text: str, **controls: Any) -> None:
        self.render, self.controls = render, controls
        # No tooltip: JupyterLab's view of an Image reads the description that an Image lacks.
        self.picture = w.Image(format="png", layout=w.Layout(max_width="100%"))
        for control in controls.values():
            control.style.description_width = "initial"
            control.observe(self.redraw, names="value")
        row = w.HBox(list(controls.values()), layout=w.Layout(flex_flow="row wrap"))
        super().__init__([w.HTML(f"<p>{text}</p>"), row, self.picture])
        self.redraw()

    def redraw(self, _change: Any = None) -> None:
        """Draw the picture for the controls' present values."""
        figure = self.render(**{name: control.value for name, control in self.controls.items()})
        self.picture.width = int(figure.get_size_inches()[0] * 96)
        self.picture.value = figures.png(figure)


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
