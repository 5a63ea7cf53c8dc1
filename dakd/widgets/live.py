"""Loss curves of a training that is running."""

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
from dakd.history import HISTORY, read_history
from dakd.widgets.panel import Panel


def newest_history(folder: Path, since: float = 0.0) -> pd.DataFrame:
    """Return the history below `folder` that was written last, after `since`; empty if none was.

    Args:
        folder: holds run folders, at any depth.
        since: seconds since the epoch, by the clock of the file system.
    """
    written = [(path.stat().st_mtime, path) for path in folder.rglob(HISTORY)]
    late = [entry for entry in written if entry[0] >= since]
    return read_history(max(late)[1].parent) if late else pd.DataFrame()


class LiveCurves(Panel):
    """The loss curves of whatever trains below `folder` while the ``with`` block runs.

    The training knows nothing of it: both read and write the history on the disk.

    Args:
        folder: holds run folders, for example ``Experiment.folder``.
        seconds: between two drawings.

    Example:
        ``with widgets.LiveCurves(lab.folder): teacher = lab.teacher()``
    """

    def __init__(self, folder: str | Path, *, seconds: float = 2.0) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self._begun = time.time()
        self._over = threading.Event()
        super().__init__(
            self._render,
            "Drawn from the history on the disk while it grows. No curve: the run folder holds the "
            "network already.",
            smooth=w.FloatSlider(
                0.8, min=0, max=0.98, step=0.02, description="smoothing", continuous_update=False
            ),
        )

    def _render(self, smooth: float) -> Figure | str:
        self.history = newest_history(self.folder, self._begun)
        if self.history.empty:
            return ""
        title = f"{len(self.history):,} steps"
        return figures.loss_curves(self.history, smooth=smooth, title=title)

    def _follow(self) -> None:
        while not self._over.wait(self.seconds):
            self.redraw()

    def __enter__(self) -> Self:
        self._begun = time.time()
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
        self.redraw()
