"""Loss curves of a training that is running."""

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import ipywidgets as w
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from dakd import figures
from dakd.train.history import HISTORY, read_history
from dakd.widgets.panel import Panel

SHARE = 20  # pause between two drawings, in times of one: the training keeps the processor


def newest_history(folder: Path, since: float = 0.0) -> pd.DataFrame:
    """Return the history that was written last, after `since`; empty if none was.

    Args:
        folder: holds run folders, one below the other.
        since: seconds since the epoch, by the clock of the file system.
    """
    written = {}
    for path in folder.glob(f"*/{HISTORY}"):
        with contextlib.suppress(OSError):  # it is being replaced
            written[path.stat().st_mtime] = path.parent
    late = [when for when in written if when >= since]
    return read_history(written[max(late)]) if late else pd.DataFrame()


class LiveCurves(Panel):
    """The loss curves of what trains below `folder` while the ``with`` block runs.

    The training knows nothing of it: both read and write the history on the disk.

    Args:
        folder: holds run folders, as ``Experiment(...).folder / "models"`` does.
        seconds: between two drawings.

    Example:
        ``with widgets.LiveCurves(lab.folder / "models"): teacher = lab.teacher()``
    """

    def __init__(self, folder: str | Path, *, seconds: float = 2.0) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self._over, self.history = threading.Event(), pd.DataFrame()
        super().__init__(
            self._render,
            "Drawn from the history on the disk while it grows.",
            smooth=w.FloatSlider(
                0.8, min=0, max=0.98, step=0.02, description="smoothing", continuous_update=False
            ),
        )

    def _render(self, smooth: float) -> Figure | str:
        if self.history.empty:
            over = self._over.is_set()
            return "No step yet." if not over else "The run folder held the network already."
        title = f"{len(self.history):,} steps"
        return figures.loss_curves(self.history, smooth=smooth, title=title)

    def _look(self) -> None:
        self.history = newest_history(self.folder, self._begun)
        self.redraw()

    def _follow(self) -> None:
        pause = self.seconds
        while not self._over.wait(pause):
            begun = time.monotonic()
            self._look()
            pause = max(self.seconds, SHARE * (time.monotonic() - begun))

    def __enter__(self) -> Self:
        self._begun, self._over = time.time(), threading.Event()
        display(self)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()  # at all of it; what trains afterwards is not drawn here
