"""Decoded images on disk, shared by all workers and processes.

Each split is one file of raw uint8 images (N, 3, H, W), named after the dataset, the split, the
size and two digests, for example ``sysu-train-384x128-<location>-<content>.u8``. *Content* changes
with the list of files, their sizes and modification times, and the resampling filter; *location*
with the list, the filter and the dataset's folder. A file with new content replaces the older one
of the same location.

SYSU-MM01 at 384 x 128 takes 6.6 GB on disk, of which a process maps a few images at a time.
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
_MAPPED_AT_ONCE = 64  # images; pages that are read count as memory of the process until unmapped
_DECODED_AT_ONCE = 256  # images in memory while a file is written


def with_cache(
    dataset: Dataset, folder: str | os.PathLike[str], *, workers: int | None = None,
    show: bool = True,
) -> Dataset:  # fmt: skip
    """Return the dataset with images that are read from a cache on disk, which is built if needed.

    A cache is used only while every file has the size and modification time that it had when it was
    decoded; otherwise a new cache replaces it. If several processes need the same cache, one builds
    it and the others wait. The folder may hold caches of many datasets and sizes. It may be deleted
    whenever no process reads from it.

    Args:
        dataset: any dataset of image files.
        folder: the folder of the caches, created if missing; best on a fast local disk.
        workers: threads that decode; by default one per core, at most 16.
        show: show a progress bar while images are decoded.

    Raises:
        ValueError: the images are drawn, or are cached already; or `workers` is below 1.
        ImageError: an image is missing or cannot be decoded. No partial file is left.
        OSError: the disk has too little space for the cache, or cannot be written.
    """
    require(workers is None or workers >= 1, f"workers must be 1 or more, not {workers}")
    folder = Path(folder).expanduser().resolve()
    plans = [_plan(dataset, split, folder) for split in ("train", "test")]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i, plan in enumerate(plans):
        if (file := plan.find()) is None:
            with FileLock(folder / f".{plan.location}.lock"):
                if (file := plan.find()) is None:  # no other process built it meanwhile
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
    """Images in a cache file, which is mapped into memory only during a read.

    Args:
        path: the file.
        shape: (N, 3, H, W) of the images in the file.
        filter: the filter with which they were resized.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], filter: str = "") -> None:
        self.path, self.shape, self._filter = path, shape, filter

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 images (n, 3, H, W).

        Raises:
            ImageError: the file was removed or truncated after the dataset was loaded.
        """
        images = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        order = np.argsort(rows, kind="stable")  # reading in file order is faster
        for start in range(0, len(order), _MAPPED_AT_ONCE):
            mapped = self._map()
            for place in order[start : start + _MAPPED_AT_ONCE]:
                images[place] = mapped[rows[place]]
        return torch.from_numpy(images)

    def _map(self) -> np.ndarray:
        try:
            return np.memmap(self.path, np.uint8, mode="r", shape=self.shape)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"cannot read the image cache {self.path}: {error}; load the dataset again to "
                "rebuild it"
            ) from error


@dataclass(frozen=True)
class _Plan:
    """The cache file of one split: its name and its images."""

    folder: Path
    title: str
    location: str
    content: str
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
        return self.folder / f"{self.location}-{self.content}.u8"

    def find(self) -> Path | None:
        """Return a complete file of the same images, perhaps from another copy of the dataset.

        A file is moved into place when it is complete; its size guards against later damage.
        """
        for path in [self.path, *self.folder.glob(f"{self.title}-*-{self.content}.u8")]:
            with contextlib.suppress(OSError):  # no such file, or just removed
                if path.stat().st_size == self.bytes:
                    return path
        return None


def _plan(dataset: Dataset, split: str, folder: Path) -> _Plan:
    source = getattr(dataset, split).source
    if not isinstance(source, FileSource):
        raise ValueError(
            f"the {split} images of {dataset.name!r} come from {type(source).__name__}, not from "
            "files, and only files can be cached: keep drawn images in memory (keep=True), or "
            "write them with `dakd export` and load the export"
        )
    root = dataset.root or Path()
    kind = f"{_FORMAT} {source.filter}"
    whole = f"{kind} {os.path.realpath(root)}"
    content, location = (hashlib.sha256(os.fsencode(text)) for text in (kind, whole))
    for path in source.paths:
        inside = path.relative_to(root) if path.is_relative_to(root) else path
        name = os.fsencode(inside.as_posix()) + b"\0"
        try:
            stat = path.stat()
        except OSError as error:
            raise ImageError(f"no image {path}: {error}; complete your copy of it") from error
        location.update(name)
        content.update(name + f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    title = f"{dataset.name}-{split}-{source.size[1]}x{source.size[0]}"
    return _Plan(
        folder, title, f"{title}-{location.hexdigest()[:8]}", content.hexdigest()[:16], source
    )


def _build(plan: _Plan, missing: int, workers: int, show: bool) -> Path:
    """Decode all images into a new file, move it into place, and remove the outdated one.

    The caller holds the lock of ``plan.location``, so no process uses temporary files of that name.
    """
    for leftover in plan.folder.glob(f".{plan.location}-*.tmp.u8"):  # of a build that was killed
        leftover.unlink()
    free = shutil.disk_usage(plan.folder).free
    if free < missing:
        raise OSError(
            errno.ENOSPC,
            f"the image cache needs {missing / 2**20:,.0f} MiB in {plan.folder}, where "
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
            for image in pool.map(plan.source.decode, rows):
                file.write(image.data)
                bar.update()
        file.flush()
        os.fsync(file.fileno())
    for stale in plan.folder.glob(f"{plan.location}-*.u8"):
        if stale != plan.path:
            with contextlib.suppress(OSError):  # Windows keeps a file that is being read
                stale.unlink()
    return plan.path
