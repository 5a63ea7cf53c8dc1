"""Decoded pictures on disk, shared by all workers and processes.

Each split is one file of raw uint8 pictures (N, 3, H, W), named after the dataset, the split, the
size and two digests, for example ``sysu-train-384x128-<where>-<what>.u8``. *What* changes with the
list of files, their sizes and modification times, and the resampling filter; *where* with the list,
the filter and the dataset's folder: a new *what* makes the older file of the same *where* useless.

SYSU-MM01 at 384 x 128 takes 6.6 GB on disk. A process maps a few pictures of that at a time.
"""

import contextlib
import errno
import hashlib
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from dakd.data.decoding import ImageError
from dakd.data.records import Dataset, FileSource, FixedFilter
from dakd.runtime import atomic_path, progress, require

_FORMAT = 3  # part of every name: files of an older format are never read
_MAPPED_AT_ONCE = 64  # pictures; pages that were read count as this process's memory until let go
_DECODED_AT_ONCE = 256  # pictures in memory while a file is written


def with_cache(
    dataset: Dataset, folder: str | os.PathLike[str], *, workers: int | None = None,
    show: bool = True,
) -> Dataset:  # fmt: skip
    """Return the dataset with pictures that are read from a cache on disk, built where needed.

    A cache is used only when every file has the size and the modification time it had when it was
    decoded; otherwise a new one is built and takes the place of the old. Of several processes that
    ask for the same cache one builds and the others wait. The folder may serve many datasets and
    sizes, and may be deleted whenever no process reads from it.

    Args:
        dataset: any dataset of image files.
        folder: where the caches are; created when missing. A fast local disk is best.
        workers: threads that decode; one for each core, 16 at most, if not given.
        show: a progress bar while pictures are decoded.

    Raises:
        ValueError: the pictures are drawn, or have a cache already; or `workers` is below 1.
        ImageError: a picture is missing or cannot be decoded. Nothing is left behind.
        OSError: the disk has too little space for what has to be built, or cannot be written.
    """
    require(workers is None or workers >= 1, f"workers must be 1 or more, not {workers}")
    folder = Path(folder).expanduser().resolve()
    plans = [_plan(dataset, split, folder) for split in ("train", "test")]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, plan in enumerate(plans):
        if (file := plan.find()) is None:
            with FileLock(folder / f".{plan.where}.lock"):
                if (file := plan.find()) is None:  # nobody built it while we waited
                    missing = sum(p.bytes for p in plans[i:] if p.find() is None)
                    file = _build(plan, missing, workers or min(16, os.cpu_count() or 1), show)
        files.append(file)
    sources = [
        CachedSource(file, plan.shape, plan.source.filter)
        for file, plan in zip(files, plans, strict=True)
    ]
    train, test = (
        replace(split, source=source, keep=False, _kept={})
        for split, source in zip((dataset.train, dataset.test), sources, strict=True)
    )
    return replace(dataset, train=train, test=test)


class CachedSource(FixedFilter):
    """Pictures in a cache file, mapped into memory for the length of a read and no longer.

    Args:
        path: the file.
        shape: (N, 3, H, W), what the file holds.
        filter: that the images were resized with.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], filter: str = "") -> None:
        self.path, self.shape, self._filter = path, shape, filter

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 pictures (n, 3, H, W).

        Raises:
            ImageError: the file was removed or cut off after the dataset was loaded.
        """
        pictures = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        order = np.argsort(rows, kind="stable")  # a disk likes to be read from front to back
        for start in range(0, len(order), _MAPPED_AT_ONCE):
            mapped = self._map()
            for place in order[start : start + _MAPPED_AT_ONCE]:
                pictures[place] = mapped[rows[place]]
        return torch.from_numpy(pictures)

    def _map(self) -> np.ndarray:
        try:
            return np.memmap(self.path, np.uint8, mode="r", shape=self.shape)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"cannot read the picture cache {self.path}: {error}; load the dataset again to "
                "build it anew"
            ) from error


@dataclass(frozen=True)
class _Plan:
    """The cache file of one split: what it must hold and how it is called."""

    folder: Path
    title: str
    where: str
    what: str
    source: FileSource

    @property
    def shape(self) -> tuple[int, int, int, int]:
        width, height = self.source.size
        return len(self.source.paths), 3, height, width

    @property
    def bytes(self) -> int:
        return math.prod(self.shape)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.where}-{self.what}.u8"

    def find(self) -> Path | None:
        """Return a whole file of these very pictures; another copy of the dataset may have made it.

        A file is put in place when it is complete; the count of bytes guards against damage since.
        """
        for path in [self.path, *self.folder.glob(f"{self.title}-*-{self.what}.u8")]:
            with contextlib.suppress(OSError):  # no such file, or removed a moment ago
                if path.stat().st_size == self.bytes:
                    return path
        return None


def _plan(dataset: Dataset, split: str, folder: Path) -> _Plan:
    source = getattr(dataset, split).source
    if not isinstance(source, FileSource):
        raise ValueError(
            f"the {split} pictures of {dataset.name!r} come from {type(source).__name__}, not from "
            "image files, and only files can be cached: keep drawn pictures in memory (keep=True), "
            "or write them with `dakd export` and load what was written"
        )
    root = dataset.root or Path()
    kind = f"{_FORMAT} {source.filter}"
    whole = f"{kind} {os.path.realpath(root)}"
    what, where = (hashlib.sha256(os.fsencode(text)) for text in (kind, whole))
    for path in source.paths:
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        name = os.fsencode(inside.as_posix()) + b"\0"
        try:
            stat = path.stat()
        except OSError as error:
            raise ImageError(f"no image {path}: {error}; complete your copy of it") from error
        where.update(name)
        what.update(name + f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    title = f"{dataset.name}-{split}-{source.size[1]}x{source.size[0]}"
    return _Plan(folder, title, f"{title}-{where.hexdigest()[:8]}", what.hexdigest()[:16], source)


def _build(plan: _Plan, missing: int, workers: int, show: bool) -> Path:
    """Decode every picture into a new file, put it in place, remove the one it makes useless.

    The caller holds the lock of ``plan.where``, so what lies around under that name is nobody's.
    """
    for leftover in plan.folder.glob(f".{plan.where}-*.tmp.u8"):  # of a build that was killed
        leftover.unlink()
    free = shutil.disk_usage(plan.folder).free
    if free < missing:
        raise OSError(
            errno.ENOSPC,
            f"the picture cache needs {missing / 2**20:,.0f} MiB in {plan.folder}, where "
            f"{free / 2**20:,.0f} MiB are free; free some, or choose another folder",
        )
    count = plan.shape[0]
    with (
        atomic_path(plan.path) as temporary,
        open(temporary, "wb") as file,
        ThreadPoolExecutor(workers) as pool,
        progress(None, total=count, title=f"cache {plan.title}", show=show) as bar,
    ):
        for start in range(0, count, _DECODED_AT_ONCE):
            rows = range(start, min(start + _DECODED_AT_ONCE, count))
            for picture in pool.map(plan.source.decode, rows):
                file.write(picture.data)
                bar.update()
        file.flush()
        os.fsync(file.fileno())
    for stale in plan.folder.glob(f"{plan.where}-*.u8"):
        if stale != plan.path:
            with contextlib.suppress(OSError):  # Windows keeps a file that is being read
                stale.unlink()
    return plan.path
