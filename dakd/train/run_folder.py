"""The folder of one training: its lock, its snapshots, and requests to stop."""

import contextlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dakd.config import EngineConfig, flat
from dakd.runtime import atomic_path
from dakd.train.checkpoint import is_complete, load_checkpoint
from dakd.train.distributed import SINGLE_PROCESS, DistributedContext
from dakd.train.history import TrainingError
from dakd.train.snapshot import Snapshot, read_snapshot, write_snapshot
from dakd.train.stopping import Stopped, stop_requests

SNAPSHOTS = "snapshots"
POLL_EVERY = 8  # steps; several processes exchange requests to stop this often
RETRY_AFTER = (0, 5, 25, 60)  # seconds before each further attempt to write the checkpoint


@dataclass
class RunFolder:
    """The folder of one training; `open_run` makes it.

    Attributes:
        path: the folder, or None where nothing is written.
        settings: decide the result of the training; one with other settings may not write here.
        engine: how often snapshots are written, and how many are kept.
        context: the processes that train together; the main one writes.
        stop_requested: tells whether the user has asked this process to stop.
    """

    path: Path | None
    settings: Mapping[str, Any]
    engine: EngineConfig
    context: DistributedContext = SINGLE_PROCESS
    stop_requested: Callable[[], bool] = field(default=lambda: False)
    _started: float = field(default_factory=time.monotonic)
    _last_snapshot: float = field(default_factory=time.monotonic)
    _seconds_before: float = 0.0
    _steps: int = 0
    _stop_in_all: bool = False

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.path is not None and self.context.is_main

    @property
    def seconds(self) -> float:
        """Training time so far, including that before interruptions."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def snapshot_due(self) -> bool:
        """Whether it is time for a snapshot."""
        late = time.monotonic() - self._last_snapshot >= self.engine.snapshot_seconds
        return self.stopping or (self.writes and late)

    @property
    def stopping(self) -> bool:
        """Whether all processes stop now."""
        return self.stop_requested() if self.context.size == 1 else self._stop_in_all

    def poll_stop(self) -> None:
        """Call after every step; every few steps, the processes exchange requests to stop."""
        self._steps += 1
        if self.context.size > 1 and self._steps % POLL_EVERY == 0:
            self._stop_in_all = self.context.any(self.stop_requested())

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Write a snapshot after `step` steps and delete the oldest.

        Raises:
            TrainingError: a tensor is not finite.
            OSError: the disk is full.
        """
        if self.path is None or not self.writes:
            return
        self._last_snapshot = time.monotonic()
        tensors = snapshot.tensors.items()
        if bad := [k for k, v in tensors if v.is_floating_point() and not v.isfinite().all()]:
            raise TrainingError(
                f"{bad[0]} not finite after {step} steps; lower the learning rate or use "
                "precision='float32'"
            )
        folder = self.path / SNAPSHOTS
        snapshot.metadata["seconds"] = self.seconds
        write_snapshot(folder / f"{step:09d}.safetensors", snapshot, self.settings)
        files = sorted(folder.glob("*.safetensors"))
        ours = [file for file in files if file.stem <= f"{step:09d}"]  # later ones were unreadable
        for old in {*files} - {*ours[-self.engine.keep_snapshots :]}:
            with contextlib.suppress(OSError):  # another program has it open
                old.unlink()

    def latest(self, check: Callable[[Snapshot], None] = lambda snapshot: None) -> Snapshot | None:
        """Return the latest snapshot that training can continue from, if there is one.

        Args:
            check: raises ValueError for a snapshot that does not fit.

        Raises:
            TrainingError: it belongs to a training with other settings, or there are snapshots but
                training can continue from none of them.
        """
        if self.path is None:
            return None
        misfit = ""
        for file in sorted((self.path / SNAPSHOTS).glob("[0-9]*.safetensors"), reverse=True):
            try:
                snapshot = read_snapshot(file)
            except (OSError, ValueError) as error:
                misfit = misfit or f"{file} cannot be read: {error}"
                warnings.warn(f"{file} is skipped, it cannot be read: {error}", stacklevel=2)
                continue
            _refuse_other(self.path, snapshot.metadata["settings"], self.settings)
            try:
                check(snapshot)
            except ValueError as error:
                misfit = misfit or f"{file} does not fit: {error}"
                warnings.warn(f"{file} is skipped, it does not fit: {error}", stacklevel=2)
                continue
            self._seconds_before = snapshot.metadata["seconds"]
            return snapshot
        if misfit:
            raise TrainingError(
                f"the training in {self.path} cannot be continued. {misfit}. Delete the folder to "
                "train again, or give another folder"
            )
        return None

    def finish(self, write: Callable[[], object]) -> bool:
        """Write the checkpoint by `write`, then delete the snapshots.

        If writing fails, all snapshots but the latest are deleted and it is tried again, for about
        90 seconds.

        Returns:
            Whether it is written. If not, a warning was given, and at least the latest snapshot is
            kept.
        """
        for wait in (*RETRY_AFTER, None):
            try:
                write()
            except Exception as error:  # whatever the libraries raise for a full disk
                if wait is None or self.stop_requested():
                    warnings.warn(
                        f"the trained network is in memory only, {self.path} cannot be written: "
                        f"{error}; free disk space, then save it with "
                        "dakd.train.checkpoint.save_checkpoint or repeat the command, which "
                        "continues from the last snapshot",
                        stacklevel=3,
                    )
                    return False
                warnings.warn(
                    f"{self.path} cannot be written: {error}; free disk space, the next attempt is "
                    f"in {wait} s",
                    stacklevel=3,
                )
                self._free_space()
                self._sleep(wait)
            else:
                self.clear()
                return True
        raise AssertionError("the last wait returns")

    def _free_space(self) -> None:
        if self.path and self.writes:
            with contextlib.suppress(OSError):
                for old in sorted((self.path / SNAPSHOTS).glob("*.safetensors"))[:-1]:
                    old.unlink()

    def _sleep(self, seconds: float) -> None:
        """Wait, but stop waiting as soon as the user asks to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stop_requested():
            time.sleep(0.1)

    def clear(self) -> None:
        """Delete the snapshots, once the checkpoint is written."""
        if self.path and self.writes:
            shutil.rmtree(self.path / SNAPSHOTS, ignore_errors=True)


@contextmanager
def open_run(
    path: str | Path | None,
    settings: Mapping[str, Any],
    engine: EngineConfig,
    *,
    context: DistributedContext = SINGLE_PROCESS,
    size: int = 0,
) -> Iterator[RunFolder]:
    """Yield the run folder, checked and locked. Ctrl-C and SIGTERM become requests to stop.

    Args:
        path: the folder, made when missing; None writes nothing.
        settings: JSON values that decide the result of the training.
        engine: how often snapshots are written, and how many are kept.
        context: the processes that train together; the main one writes.
        size: bytes of one snapshot.

    Raises:
        TrainingError: the folder has other settings, or another process trains into it.
        OSError: the folder cannot be written to, or its disk has no space for the snapshots.
    """
    settings = json.loads(json.dumps(settings))
    if path is None:
        yield RunFolder(None, settings, engine, context)
        return
    folder = Path(path).expanduser()
    if is_complete(folder):
        _refuse_other(folder, load_checkpoint(folder)[2]["config"], settings)
    if context.is_main:
        check_space(folder, size * (engine.keep_snapshots + 2))
    with _locked(folder) if context.is_main else nullcontext(), stop_requests() as requested:
        run = RunFolder(folder, settings, engine, context, requested)
        if is_complete(folder):
            run.clear()  # killed between its last two writes
        yield run
        if context.any(requested()):
            raise Stopped(f"stopped; {folder} is finished, the same command continues after it")


def _refuse_other(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    known, asked = flat(there), flat({k: v for k, v in here.items() if k in there})
    apart = [
        f"  {name}: {known.get(name, 'nothing')} there, {asked.get(name, 'nothing')} here"
        for name in sorted({*known, *asked})
        if name.split(".")[0] in here and known.get(name) != asked.get(name)
    ]
    if apart:
        raise TrainingError(
            f"{folder} holds a training with other settings; give another folder or delete it:\n"
            + "\n".join(apart)
        )


def check_space(folder: Path, needed: int = 0) -> None:
    """Raise unless `folder` can be written to and its disk has `needed` bytes free.

    Raises:
        OSError: it cannot, or it has not.
    """
    try:
        with atomic_path(folder / ".probe") as probe:
            probe.write_bytes(b"dakd")
        (folder / ".probe").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {error}; give another folder") from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e9:.1f} GB free and its snapshots may need {needed / 1e9:.1f} "
            "GB; free disk space, or give a folder on another disk"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            f"another process is training into {folder}; wait for it, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
