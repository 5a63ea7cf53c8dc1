"""Loss curves of a running training."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Self

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from dakd import figures
from dakd.train.history import HISTORY, read_history
from dakd.widgets.panel import Panel, fine_slider

PAUSE = 20  # between two redraws, in durations of a redraw: the training keeps the CPU


def newest_history(folder: Path, since: float = 0.0) -> pd.DataFrame:
    """Return the history that was written last, or an empty one.

    Args:
        folder: contains run folders.
        since: only histories written after this time, in seconds since 1970.
    """
    written = {}
    for path in folder.glob(f"*/{HISTORY}"):
        with contextlib.suppress(OSError):  # the file is being replaced
            written[path.stat().st_mtime] = path.parent
    late = [when for when in written if when >= since]
    return read_history(written[max(late)]) if late else pd.DataFrame()


class LiveCurves(Panel):
    """Loss curves of the training that runs in the ``with`` block, read from its history file.

    Args:
        folder: contains run folders, as ``Experiment(...).folder / "models"`` does.
        seconds: least time between two redraws.

    Example:
        ``with widgets.LiveCurves(experiment.folder / "models"): experiment.teacher()``
    """

    def __init__(self, folder: str | Path, *, seconds: float = 2.0) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self._over, self.history = threading.Event(), pd.DataFrame()
        super().__init__(
            self._render,
            "Redrawn from the history file during training.",
            smooth=fine_slider(0.98, 0.8, 0.02, "smoothing"),
        )

    def _render(self, smooth: float) -> Figure | str:
        if self.history.empty and self._over.is_set():
            return "Nothing was trained: the network exists already."
        if self.history.empty:
            return "No step yet."
        title = f"{len(self.history):,} steps"
        return figures.loss_curves(self.history, smooth=smooth, title=title)

    def _update(self) -> None:
        self.history = newest_history(self.folder, self._begun)
        self.redraw()

    def _follow(self) -> None:
        pause = self.seconds
        while not self._over.wait(pause):
            begun = time.monotonic()
            self._update()
            pause = max(self.seconds, PAUSE * (time.monotonic() - begun))

    def __enter__(self) -> Self:
        self._begun, self._over = time.time(), threading.Event()
        display(self)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self._update()  # with the last steps
