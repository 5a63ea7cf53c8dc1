"""The losses of a training per step: checked, shown, and written while it runs.

``history.jsonl`` holds one JSON object per step and can be read at any time.
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
FLUSH_EVERY = 8  # steps; reading the losses waits for the device


class TrainingError(RuntimeError):
    """Training cannot continue; the message says where it stopped and why."""


def read_history(folder: str | Path, *, complete: bool = False) -> pd.DataFrame:
    """Return the history of a run folder, one row per step.

    Args:
        folder: of the run.
        complete: the training has ended; otherwise a damaged last line is still being written.

    Raises:
        ValueError: a line of a complete history is damaged.
    """
    return pd.DataFrame(read_rows(folder, complete=complete))


def read_rows(folder: str | Path, *, complete: bool = False) -> list[dict[str, float]]:
    """Return the rows of a history as dictionaries; see `read_history`."""
    rows: list[dict[str, float]] = []
    path = Path(folder) / HISTORY
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(isinstance(v, int | float) for v in row.values()):
            if complete:
                raise ValueError(f"line {number} of {path} is no JSON object of numbers")
            break
        rows.append(row)
    return rows


def write_history(path: Path, history: pd.DataFrame) -> None:
    """Write one JSON object per row, without missing values."""
    rows = history.to_dict(orient="records")
    _write([{str(k): v for k, v in row.items() if not pd.isna(v)} for row in rows], path)


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class History:
    """Collects losses on the device; reads, checks and writes them every few steps.

    Args:
        folder: where ``history.jsonl`` is written, if anywhere.
        rows: of the earlier steps, if the training is resumed.
        tensorboard: also write TensorBoard event files.
        device: whose peak memory is recorded, counted from now on.
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
        self._incomplete = False  # the file lacks rows
        self.images_per_step = 0
        self.bar: Any = None
        self._pending: list[tuple[dict[str, float], LossTerms, np.ndarray]] = []
        self._since = time.perf_counter()
        self._gpu = device if device and device.type == "cuda" else None
        if self._gpu:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        self._board: Any = _board(folder, len(self.rows)) if folder and tensorboard else None
        if folder:
            with atomic_path(folder / HISTORY) as path:
                _write(self.rows, path)

    @property
    def flush_due(self) -> bool:
        """Whether enough steps are pending."""
        return len(self._pending) >= FLUSH_EVERY

    def start(self) -> None:
        """Restart the clock, so that what came before is not counted as training time."""
        self._since = time.perf_counter()

    def add(self, position: dict[str, float], terms: LossTerms, pids: np.ndarray) -> None:
        """Append the losses of a step without waiting for the device."""
        parts = {name: value.detach() for name, value in terms.parts.items()}
        self._pending.append((position, LossTerms(terms.total.detach(), parts), pids))

    def flush(self) -> None:
        """Read the pending losses; show and write those that are finite.

        Raises:
            TrainingError: a loss is not finite.
        """
        if not self._pending:
            return
        names = ["loss", *self._pending[0][1].parts]
        values = torch.stack(
            [torch.stack([t.total, *t.parts.values()]) for _, t, _ in self._pending]
        ).tolist()
        seconds = time.perf_counter() - self._since
        speed = self.images_per_step * len(self._pending) / max(seconds, 1e-9)
        measured = {"images_per_second": speed, "memory_mb": _memory_mb(self._gpu)}
        new: list[dict[str, float]] = []
        for (position, _, pids), row in zip(self._pending, values, strict=True):
            losses = dict(zip(names, row, strict=True))
            if bad := [name for name, value in losses.items() if not np.isfinite(value)]:
                self._record(new)
                raise TrainingError(
                    f"{', '.join(bad)} not finite at epoch {position['epoch']:.0f}, step "
                    f"{position['step']:.0f}, identities {sorted(set(pids.tolist()))}; lower the "
                    "learning rate, use precision='float32', or check these images"
                )
            new.append({**position, **losses, **measured})
        self._record(new)
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{values[-1][0]:.3f}", images_s=f"{speed:.0f}")
        self._pending.clear()
        self.start()

    def _record(self, new: list[dict[str, float]]) -> None:
        self._to_tensorboard(new)
        self.rows += new
        try:
            self._append(new)
        except OSError:
            self._incomplete = True  # `sync` reports it

    def _to_tensorboard(self, new: list[dict[str, float]]) -> None:
        """Write rows for TensorBoard; if that fails, training continues without it."""
        try:
            for number, row in enumerate(new if self._board else (), start=len(self.rows)):
                for name, value in row.items():
                    self._board.add_scalar(name, value, number)
        except Exception as error:  # raised late by a writer thread, of any kind
            warnings.warn(
                f"no more files for TensorBoard: {error}; training continues", stacklevel=2
            )
            self._board = None

    def _append(self, new: list[dict[str, float]]) -> None:
        if self.folder and self._incomplete:
            with atomic_path(self.folder / HISTORY) as path:
                _write(self.rows, path)
            self._incomplete = False
        elif self.folder:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in new)

    def sync(self) -> None:
        """Flush, and make sure that the file is complete and on the disk.

        Raises:
            OSError: it cannot be written; the rows are kept for the next attempt.
        """
        self.flush()
        self._append([])
        if self.folder:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Close the TensorBoard writer."""
        if self._board:
            with contextlib.suppress(Exception):  # as in `_to_tensorboard`
                self._board.close()


def _memory_mb(gpu: torch.device | None) -> float:
    """Return the peak memory of a GPU, or the resident memory of this process, in MB."""
    if gpu:
        return torch.cuda.max_memory_allocated(gpu) / 1e6
    return psutil.Process().memory_info().rss / 1e6


def _board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer, or None if it is not installed or cannot start."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "tensorboard"), purge_step=step)
    except Exception as error:  # incompatible packages, or a full disk
        warnings.warn(f"no files for TensorBoard: {error}", stacklevel=3)
        return None
