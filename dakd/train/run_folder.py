"""The folder of one training: who may write into it, its snapshots, and when it stops."""

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
from dakd.train.distributed import ALONE, World
from dakd.train.history import TrainingError
from dakd.train.snapshot import Snapshot, read_snapshot, write_snapshot
from dakd.train.stopping import Stopped, asked_to_stop

SNAPSHOTS, FAILURE = "snapshots", "failure.safetensors"
ASK_EVERY = 8  # steps between the moments in which several processes ask whether to stop
WAITS = (0, 5, 25, 60)  # seconds before each further try to write what a training ends with


@dataclass
class RunFolder:
    """The folder of one training; `open_run` makes it.

    Attributes:
        path: the folder, or None where nothing is written.
        settings: what the training follows from; another training may not write here.
        engine: how often snapshots are written, and how many are kept.
        world: the processes that train together; the main one writes.
        stop: says whether the user has asked this process to stop.
    """

    path: Path | None
    settings: Mapping[str, Any]
    engine: EngineConfig
    world: World = ALONE
    stop: Callable[[], bool] = field(default=lambda: False)
    _begun: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)
    _before: float = 0.0
    _steps: int = 0
    _agreed: bool = False

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes."""
        return self.path is not None and self.world.main

    @property
    def seconds(self) -> float:
        """How long the training took so far, all its parts together."""
        return self._before + time.monotonic() - self._begun

    @property
    def due(self) -> bool:
        """Whether it is time for a snapshot."""
        late = time.monotonic() - self._saved >= self.engine.snapshot_seconds
        return self.stopping or (self.writes and late)

    @property
    def stopping(self) -> bool:
        """Whether training stops here, in all processes."""
        return self.stop() if self.world.size == 1 else self._agreed

    def ask(self) -> None:
        """After every step: find out now and then whether any process was asked to stop."""
        self._steps += 1
        if self.world.size > 1 and self._steps % ASK_EVERY == 0:
            self._agreed = self.world.any(self.stop())

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Write a snapshot after `step` steps and delete the oldest.

        Raises:
            TrainingError: a tensor is not finite.
            OSError: there is no room.
        """
        if self.path is None or not self.writes:
            return
        self._saved = time.monotonic()
        tensors = snapshot.tensors.items()
        if bad := [k for k, v in tensors if v.is_floating_point() and not v.isfinite().all()]:
            error = TrainingError(
                f"{bad[0]} not finite after {step} steps; lower the learning rate or use "
                "precision='float32'"
            )
            raise self.fail(error, snapshot)
        folder = self.path / SNAPSHOTS
        snapshot.notes["seconds"] = self.seconds
        write_snapshot(folder / f"{step:09d}.safetensors", snapshot, self.settings)
        files = sorted(folder.glob("*.safetensors"))
        ours = [file for file in files if file.stem <= f"{step:09d}"]  # others could not be read
        for old in {*files} - {*ours[-self.engine.keep_snapshots :]}:
            with contextlib.suppress(OSError):  # it is being looked at
                old.unlink()

    def latest(self, check: Callable[[Snapshot], None] = lambda snapshot: None) -> Snapshot | None:
        """Return the latest snapshot that training can go on from, if there is any.

        Args:
            check: raises ValueError for a snapshot that does not fit.

        Raises:
            TrainingError: it belongs to a training with other settings, or there are some and
                training can go on from none.
        """
        if self.path is None:
            return None
        misfit = ""
        for file in sorted((self.path / SNAPSHOTS).glob("[0-9]*.safetensors"), reverse=True):
            try:
                snapshot = read_snapshot(file)
            except (OSError, ValueError) as error:
                misfit = misfit or f"{file} cannot be read: {error}"
                warnings.warn(f"{file} is passed over, it cannot be read: {error}", stacklevel=2)
                continue
            _refuse_other(self.path, snapshot.notes["settings"], self.settings)
            try:
                check(snapshot)
            except ValueError as error:
                misfit = misfit or f"{file} does not fit: {error}"
                warnings.warn(f"{file} is passed over, it does not fit: {error}", stacklevel=2)
                continue
            self._before = snapshot.notes["seconds"]
            return snapshot
        if misfit:
            raise TrainingError(
                f"the training in {self.path} cannot be continued. {misfit}. Delete the folder to "
                "train anew, or give another folder"
            )
        return None

    def finish(self, write: Callable[[], object]) -> bool:
        """Write what a training ends with, by `write`, and then delete the snapshots.

        Where it fails, all snapshots but the latest make room, and it is tried again for a while.

        Returns:
            Whether it is written. If not, a warning has said so, and the snapshots are kept.
        """
        for wait in (*WAITS, None):
            try:
                write()
            except Exception as error:  # whatever the libraries raise for a full disk
                if wait is None or self.stop():
                    warnings.warn(
                        f"the trained network is in memory only, {self.path} cannot be written: "
                        f"{error}; make room, and save it by "
                        "dakd.train.checkpoint.save_checkpoint or repeat the command, which "
                        "goes on from the last snapshot",
                        stacklevel=3,
                    )
                    return False
                warnings.warn(
                    f"{self.path} cannot be written: {error}; make room, it is tried again in "
                    f"{wait} s",
                    stacklevel=3,
                )
                self._make_room()
                self._sleep(wait)
            else:
                self.clear()
                return True
        raise AssertionError("the last wait returns")

    def _make_room(self) -> None:
        if self.path and self.writes:
            with contextlib.suppress(OSError):
                (self.path / FAILURE).unlink(missing_ok=True)
                for old in sorted((self.path / SNAPSHOTS).glob("*.safetensors"))[:-1]:
                    old.unlink()

    def _sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the user asks to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stop():
            time.sleep(0.1)

    def fail(self, error: TrainingError, snapshot: Snapshot) -> TrainingError:
        """Keep the state in which training failed and return the error that says where it is."""
        if self.path is None:
            return error
        try:
            if self.writes:
                write_snapshot(self.path / FAILURE, snapshot, self.settings)
        except OSError as full:
            return TrainingError(f"{error}. The state could not be written: {full}")
        return TrainingError(
            f"{error}. The state after the last step is in {self.path / FAILURE}, for looking at; "
            "the snapshots before it are kept"
        )

    def clear(self) -> None:
        """Delete the snapshots, once the checkpoint is written."""
        if self.path and self.writes:
            shutil.rmtree(self.path / SNAPSHOTS, ignore_errors=True)
            (self.path / FAILURE).unlink(missing_ok=True)


@contextmanager
def open_run(
    path: str | Path | None,
    settings: Mapping[str, Any],
    engine: EngineConfig,
    *,
    world: World = ALONE,
    size: int = 0,
) -> Iterator[RunFolder]:
    """Yield the run folder, checked and locked; Ctrl-C and SIGTERM become requests to stop.

    Args:
        path: the folder, made when missing; None writes nothing.
        settings: JSON values that decide the result.
        engine: how often snapshots are written, and how many are kept.
        world: the processes that train together; the main one writes.
        size: of one snapshot, in bytes.

    Raises:
        TrainingError: the folder belongs to other settings, or another process trains into it.
        OSError: the folder cannot be written to, or the disk has no room for the snapshots.
    """
    settings = json.loads(json.dumps(settings))
    if path is None:
        yield RunFolder(None, settings, engine, world)
        return
    folder = Path(path).expanduser()
    if is_complete(folder):
        _refuse_other(folder, load_checkpoint(folder)[2]["config"], settings)
    if world.main:
        check_room(folder, size * (engine.keep_snapshots + 2))
    with _locked(folder) if world.main else nullcontext(), asked_to_stop() as stop:
        run = RunFolder(folder, settings, engine, world, stop)
        if is_complete(folder):
            run.clear()  # it was ended between its last two writes
        yield run
        if world.any(stop()):
            raise Stopped(f"stopped; {folder} is finished, the same command goes on after it")


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


def check_room(folder: Path, needed: int = 0) -> None:
    """Refuse a folder that cannot be written to, or whose disk has less room, in bytes.

    Raises:
        OSError: the message says which.
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
            "GB; make room, or give a folder on another disk"
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
