"""The losses of a training, step by step: checked, shown, and on disk while it runs.

``history.jsonl`` holds one JSON object a step. It can be read at any time, also while it grows.
"""

import contextlib
import importlib.util
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch

from dakd.losses import LossTerms
from dakd.runtime import atomic_path

HISTORY = "history.jsonl"
LOOK_EVERY = 8  # steps between two looks at the losses; each look waits for the device


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says where it stopped and why."""


def read_history(folder: str | Path, *, whole: bool = False) -> pd.DataFrame:
    """Return the history of a run folder, one row a step; empty before the first look.

    Args:
        folder: of the run.
        whole: nothing is being written any more.

    Raises:
        ValueError: a line is damaged, of a history that is whole.
    """
    return pd.DataFrame(read_rows(folder, whole=whole))


def read_rows(folder: str | Path, *, whole: bool = False) -> list[dict[str, float]]:
    """Return the rows of a history as they were written.

    A line that is still being written is left out.

    Raises:
        ValueError: a line is damaged, of a history that is `whole`.
    """
    rows: list[dict[str, float]] = []
    path = Path(folder) / HISTORY
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(isinstance(v, int | float) for v in row.values()):
            if whole:
                raise ValueError(f"line {number} of {path} is no JSON object of numbers")
            break
        rows.append(row)
    return rows


def write_history(path: Path, history: pd.DataFrame) -> None:
    """Write one JSON object a row; what a row lacks is left out."""
    rows = history.to_dict(orient="records")
    _write([{str(k): v for k, v in row.items() if not pd.isna(v)} for row in rows], path)


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class History:
    """Collects losses on the device and looks at them every few steps.

    Args:
        folder: where ``history.jsonl`` grows, if anywhere.
        rows: of the steps before this one, when a training is continued.
        tensorboard: write TensorBoard's files too.
        device: that computes; its peak memory is counted from here on.
    """

    def __init__(
        self,
        folder: Path | None = None,
        rows: list[dict[str, float]] | None = None,
        *,
        tensorboard: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.rows = list(rows or [])
        self.folder = folder
        self._behind = False  # the file lacks rows
        self.images_per_step = 0
        self.bar: Any = None
        self._waiting: list[tuple[dict[str, float], LossTerms, np.ndarray]] = []
        self._since = time.perf_counter()
        self._gpu = device if device and device.type == "cuda" else None
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        self._board: Any = _board(folder, len(self.rows)) if folder and tensorboard else None
        if folder:
            with atomic_path(folder / HISTORY) as path:
                _write(self.rows, path)

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return len(self._waiting) >= LOOK_EVERY

    def start(self) -> None:
        """Start the clock of the next few steps, after whatever else took time."""
        self._since = time.perf_counter()

    def add(self, place: dict[str, float], terms: LossTerms, pids: np.ndarray) -> None:
        """Keep a step's losses without waiting for the device."""
        parts = {name: value.detach() for name, value in terms.parts.items()}
        self._waiting.append((place, LossTerms(terms.total.detach(), parts), pids))

    def look(self) -> None:
        """Read the kept losses, refuse non-finite ones, show and write the others.

        Raises:
            TrainingError: a loss is not finite.
        """
        if not self._waiting:
            return
        names = ["loss", *self._waiting[0][1].parts]
        values = torch.stack(
            [torch.stack([t.total, *t.parts.values()]) for _, t, _ in self._waiting]
        ).tolist()
        seconds = time.perf_counter() - self._since
        speed = self.images_per_step * len(self._waiting) / max(seconds, 1e-9)
        about = {"images_per_second": speed, "memory_mb": _memory_mb(self._gpu)}
        fresh: list[dict[str, float]] = []
        for (place, _, pids), row in zip(self._waiting, values, strict=True):
            losses = dict(zip(names, row, strict=True))
            if bad := [name for name, value in losses.items() if not np.isfinite(value)]:
                self._keep(fresh)
                raise TrainingError(
                    f"{', '.join(bad)} not finite at epoch {place['epoch']:.0f}, step "
                    f"{place['step']:.0f}, identities {sorted(set(pids.tolist()))}; lower the "
                    "learning rate, use precision='float32', or look at these images"
                )
            fresh.append({**place, **losses, **about})
        self._keep(fresh)
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{values[-1][0]:.3f}", images_s=f"{speed:.0f}")
        self._waiting.clear()
        self.start()

    def _keep(self, fresh: list[dict[str, float]]) -> None:
        self._show(fresh)
        self.rows += fresh
        try:
            self._append(fresh)
        except OSError:
            self._behind = True  # `settle` says so

    def _show(self, fresh: list[dict[str, float]]) -> None:
        """Give TensorBoard the rows, or go on without it once it fails."""
        try:
            for number, row in enumerate(fresh if self._board else (), start=len(self.rows)):
                for name, value in row.items():
                    self._board.add_scalar(name, value, number)
        except Exception as error:  # its writer is a thread, whose errors come late and as any kind
            warnings.warn(f"TensorBoard's files end here: {error}; training goes on", stacklevel=2)
            self._board = None

    def _append(self, fresh: list[dict[str, float]]) -> None:
        if self.folder and self._behind:
            with atomic_path(self.folder / HISTORY) as path:
                _write(self.rows, path)
            self._behind = False
        elif self.folder:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in fresh)

    def settle(self) -> None:
        """Look, and make sure that the file is whole and on the disk.

        Raises:
            OSError: it is not; the rows are kept and written when there is room again.
        """
        self.look()
        self._append([])
        if self.folder:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close TensorBoard's files."""
        if self._board:
            with contextlib.suppress(Exception):  # as in `_show`
                self._board.close()


def _memory_mb(gpu: torch.device | None) -> float:
    """Return a GPU's peak memory in use, without a GPU what this process holds, in MB."""
    if gpu:
        return torch.cuda.max_memory_allocated(gpu) / 1e6
    return psutil.Process().memory_info().rss / 1e6


def _board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where TensorBoard is not installed or cannot start."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
    except Exception as error:  # the packages do not fit each other, or there is no room
        warnings.warn(f"no files for TensorBoard: {error}", stacklevel=3)
        return None
