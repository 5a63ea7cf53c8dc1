"""A folder that is written whole or not at all, also where the process is killed."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_FRESH = 60  # seconds for which a lock without its folder may be that of a process about to start


@contextlib.contextmanager
def whole_or_nothing(root: Path, last: str, finished: Callable[[], bool]) -> Iterator[Path]:
    """Yield a new folder; when the block succeeds, what it holds is in `root`.

    Where nothing is called `root`, the new folder lies beside it and takes the name. An empty
    folder, which may be a link's target, a mount point or somebody's working directory, stays
    itself: the new one lies inside, and its entries move up, the one called `last` at the end. An
    error or Ctrl-C in the block leaves nothing, nor folders above `root` that were made for it.

    A process that is killed leaves a hidden folder, ``.<name>.<process>.tmp``, until `sweep` finds
    that nobody holds its lock.

    Args:
        root: a resolved path; nothing, or an empty folder.
        last: the file that says that all is there.
        finished: whether another process wrote the same meanwhile.

    Raises:
        OSError: `root` cannot be written, which shows before the block begins.
    """
    inside = root.is_dir()
    place = root if inside else root.parent
    made = [folder for folder in (place, *place.parents) if not folder.exists()]
    place.mkdir(parents=True, exist_ok=True)
    temporary = place / f".{root.name}.{os.getpid()}.tmp"
    moved: list[Path] = []
    done = False
    try:
        with _held(temporary):
            try:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                yield temporary
                try:
                    _publish(temporary, root, last, moved if inside else None)
                except OSError:  # another process may have written the same meanwhile
                    if not finished():
                        raise
                done = True
            finally:
                for path in () if done else moved:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                shutil.rmtree(temporary, ignore_errors=True)
    finally:
        for folder in () if done else made:
            with contextlib.suppress(OSError):  # somebody else uses it by now
                folder.rmdir()


def _publish(temporary: Path, root: Path, last: str, moved: list[Path] | None) -> None:
    if moved is None:
        os.replace(temporary, root)
        return
    for path in sorted(temporary.iterdir(), key=lambda path: (path.name == last, path.name)):
        os.replace(path, root / path.name)
        moved.append(root / path.name)


def sweep(root: Path) -> list[Path]:
    """Remove what killed processes left of `root`, beside it and in it; return what is in use."""
    used = []
    for place in (root.parent, root):
        for path in place.iterdir() if place.is_dir() else ():
            if not re.fullmatch(rf"\.{re.escape(root.name)}\.\d+\.(tmp|lock)", path.name):
                continue
            temporary = path.with_suffix(".tmp")
            if not temporary.exists() and _age(path) < _FRESH:
                continue
            try:
                with _held(temporary, timeout=0):
                    shutil.rmtree(temporary, ignore_errors=True)
            except (Timeout, OSError, NotImplementedError):  # at work, not ours, or no locks here
                used.append(temporary)
    return used


@contextlib.contextmanager
def _held(temporary: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a temporary folder, which the system lets go of when the process dies."""
    lock = temporary.with_suffix(".lock")
    with FileLock(lock, timeout=timeout):
        try:
            yield
        finally:
            if os.name != "nt":  # where an open file cannot be removed
                lock.unlink(missing_ok=True)
    if os.name == "nt":
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # gone by now
        return 0.0
