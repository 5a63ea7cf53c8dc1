"""Writes a folder atomically: complete or not at all, even if the process is killed."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_FRESH = 60  # seconds; a younger lock without its folder may belong to a starting process


@contextlib.contextmanager
def atomic_folder(root: Path, last: str, finished: Callable[[], bool]) -> Iterator[Path]:
    """Yield a temporary folder, whose content is moved to `root` when the block succeeds.

    If `root` does not exist, the temporary folder lies beside it and is renamed. If `root` is an
    empty folder, which may be a link's target, a mount point or a working directory, it is kept:
    the temporary folder lies inside, and its entries move up, `last` at the end. An error or Ctrl-C
    in the block leaves nothing, not even parent folders that were created for `root`.

    A killed process leaves a hidden folder, ``.<name>.<process>.tmp``, until `remove_leftovers`
    finds its lock free.

    Args:
        root: a resolved path that does not exist, or an empty folder.
        last: the file that marks a complete folder.
        finished: returns whether another process has written the same meanwhile.

    Raises:
        OSError: `root` cannot be written; raised before the block begins.
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
            with contextlib.suppress(OSError):  # another process uses it
                folder.rmdir()


def _publish(temporary: Path, root: Path, last: str, moved: list[Path] | None) -> None:
    if moved is None:
        os.replace(temporary, root)
        return
    for path in sorted(temporary.iterdir(), key=lambda path: (path.name == last, path.name)):
        os.replace(path, root / path.name)
        moved.append(root / path.name)


def remove_leftovers(root: Path) -> list[Path]:
    """Remove what killed processes left beside and in `root`; return the folders in use."""
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
            except (Timeout, OSError, NotImplementedError):  # in use, not ours, or no file locks
                used.append(temporary)
    return used


@contextlib.contextmanager
def _held(temporary: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a temporary folder, which the system releases when the process dies."""
    lock = temporary.with_suffix(".lock")
    with FileLock(lock, timeout=timeout):
        try:
            yield
        finally:
            if os.name != "nt":  # Windows cannot remove an open file
                lock.unlink(missing_ok=True)
    if os.name == "nt":
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
