"""What every reader returns: a `Dataset` of two `ImageSet` objects, whose rows are `Record`."""

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from dakd.augment import PipelineName
from dakd.data.decoding import read_image
from dakd.protocols import Modality
from dakd.runtime import require

Filter = Literal["lanczos", "bicubic", "bilinear"]
MARKER = "dakd_export.json"  # in the folder of an export, whose people are drawn
SAMPLED = 256  # files whose content a dataset's fingerprint includes
_KEEPING = threading.Lock()
_READ_BATCH = 1024  # images between the source and the memory of an ImageSet at a time


@dataclass(frozen=True, slots=True)
class Record:
    """One image of one person.

    Attributes:
        pid: identity number, as in the dataset.
        cam: camera number, from 1.
        modality: ``"visible"`` or ``"infrared"``.
        number: the image's number inside its identity and camera, from 1.
        path: the file, or None for an image that is drawn.
    """

    pid: int
    cam: int
    modality: Modality
    number: int
    path: Path | None = None


class ImageSource(Protocol):
    """Reads images by their row numbers."""

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 images (n, 3, H, W); n may be 0."""


class FixedFilter:
    """A source whose filter cannot change, since images may have been resized with it already."""

    _filter: str

    @property
    def filter(self) -> str:
        """Name of the filter with which images are resized; read-only."""
        return self._filter

    @filter.setter
    def filter(self, name: str) -> None:
        raise AttributeError(
            f"the filter of a source cannot change (it is {self._filter!r}): load the dataset with "
            f"filter={name!r}"
        )


class FileSource(FixedFilter):
    """Image files, decoded on request by several threads.

    Args:
        paths: one file for each row.
        height, width: size to which every image is resized, in pixels.
        filter: Pillow's resampling filter; the published results are of Lanczos.

    Raises:
        ValueError: the filter is unknown.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        height: int,
        width: int,
        filter: Filter = "lanczos",
    ) -> None:
        known = get_args(Filter)
        require(filter in known, f"filter {filter!r} is unknown; use one of {', '.join(known)}")
        self.paths = list(paths)
        self.size = (width, height)
        self._filter = filter

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 images (n, 3, H, W).

        Raises:
            ImageError: a file cannot be decoded; see `read_image`.
        """
        if len(rows) == 0:
            return torch.empty((0, 3, *self.size[::-1]), dtype=torch.uint8)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self.decode, rows))))  # (n, 3, H, W)

    def decode(self, row: int) -> np.ndarray:
        """Return one image, uint8 (3, H, W), as `dakd.data.decoding.read_image` decodes it.

        Raises:
            ImageError: the file cannot be decoded.
        """
        image = read_image(self.paths[row])
        if image.size != self.size:
            image = image.resize(self.size, Image.Resampling[self.filter.upper()])
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (3, H, W)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one split, with their identities, cameras and modalities as columns.

    Decoded images are kept in memory (H x W x 3 bytes each) unless ``keep=False``.

    Attributes:
        records: one `Record` per row.
        source: reads the images.
        keep: keep decoded images in memory.
        pipeline: the dataset whose training augmentations are applied; see
            `dakd.augment.visible_train`.
    """

    records: Sequence[Record]
    source: ImageSource
    keep: bool = True
    pipeline: PipelineName = "sysu"
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def pids(self) -> np.ndarray:
        """Identity numbers, (N,) int64."""
        return np.array([r.pid for r in self.records], dtype=np.int64)

    @cached_property
    def cams(self) -> np.ndarray:
        """Camera numbers, (N,) int64."""
        return np.array([r.cam for r in self.records], dtype=np.int64)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Image numbers inside their identity and camera, (N,) int64."""
        return np.array([r.number for r in self.records], dtype=np.int64)

    @cached_property
    def infrared(self) -> np.ndarray:
        """True where a row is infrared, (N,) bool."""
        return np.array([r.modality == "infrared" for r in self.records], dtype=bool)

    @cached_property
    def classes(self) -> np.ndarray:
        """The distinct identities in ascending order, (K,) int64."""
        return np.unique(self.pids)

    @cached_property
    def labels(self) -> np.ndarray:
        """Index of every row's identity in `classes`, (N,) int64."""
        return np.searchsorted(self.classes, self.pids)

    @property
    def filter(self) -> str:
        """Name of the filter with which files are resized; empty where nothing is resized."""
        return getattr(self.source, "filter", "")

    @property
    def num_classes(self) -> int:
        """K, the number of identities."""
        return len(self.classes)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as a table: pid, cam, modality, number, path."""
        columns = ["pid", "cam", "modality", "number", "path"]
        return pd.DataFrame(
            [[r.pid, r.cam, r.modality, r.number, str(r.path or "")] for r in self.records],
            columns=columns,
        )

    def images(self, rows: Sequence[int] | np.ndarray | None = None) -> Tensor:
        """Return images as uint8, (n, 3, H, W); all of them without `rows`.

        Args:
            rows: row numbers (n,), or a mask (N,) bool.

        Raises:
            ImageError: a file cannot be decoded.
            IndexError: a row does not exist.
        """
        rows = np.arange(len(self)) if rows is None else self._row_numbers(rows)
        if not self.keep or rows.size == 0:
            return self.source.read(rows)
        with _KEEPING:  # several threads may be the first
            known = self._kept.setdefault("known", torch.zeros(len(self), dtype=torch.bool))
        unknown = np.unique(rows[~known.numpy()[rows]])
        for start in range(0, len(unknown), _READ_BATCH):
            part = unknown[start : start + _READ_BATCH]
            decoded = self.source.read(part)
            with _KEEPING:
                if "images" not in self._kept:
                    shape = (len(self), *decoded.shape[1:])
                    self._kept["images"] = torch.empty(shape, dtype=torch.uint8)
            self._kept["images"][part] = decoded
            known[part] = True
        return self._kept["images"].index_select(0, torch.from_numpy(rows))  # copies whole rows

    def _row_numbers(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        given = np.asarray(rows)
        if given.dtype == bool and given.shape == (len(self),):
            return np.flatnonzero(given)
        if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
            raise IndexError(
                f"rows must be row numbers (n,) or a mask ({len(self)},), "
                f"not {given.dtype} of shape {given.shape}"
            )
        if given.size and (given.min() < 0 or given.max() >= len(self)):
            raise IndexError(
                f"rows {given.min()}..{given.max()} are out of range for {len(self)} images"
            )
        return given.astype(np.int64)

    def select(self, rows: np.ndarray) -> "ImageSet":
        """Return the images of some rows; those that are in memory here are not read again."""
        rows = self._row_numbers(rows)
        records = [self.records[row] for row in rows]
        return ImageSet(records, _Part(self, rows), keep=False, pipeline=self.pipeline)

    def __getitem__(self, row: int) -> tuple[Tensor, Record]:
        """Return one image, uint8 (3, H, W), and its record."""
        return self.images([row])[0], self.records[row]


class _Part:
    """Some rows of an `ImageSet`, as a source of images."""

    def __init__(self, images: ImageSet, rows: np.ndarray) -> None:
        self.whole, self.rows, self.filter = images, rows, images.filter

    def read(self, rows: np.ndarray) -> Tensor:
        return self.whole.images(self.rows[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A training and a test split with disjoint identities.

    Attributes:
        name: as given to `dakd.data.load_dataset`.
        train, test: the splits.
        root: folder on disk, if any.
        content: digits that identify the images where the sizes of files cannot.
        trial: which of a dataset's several splits this is (RegDB has ten), from 1.
        drawn: whether its people are drawn, in the layout of the dataset.
        filter: resampling filter with which the files are resized; empty for drawn images.
    """

    name: str
    train: ImageSet
    test: ImageSet
    root: Path | None = None
    content: str = ""
    trial: int | None = None
    drawn: bool = False
    filter: Filter | Literal[""] = ""

    @property
    def summary(self) -> pd.DataFrame:
        """Identities and images of each split, modality and camera."""
        parts = [self.train.table.assign(split="train"), self.test.table.assign(split="test")]
        groups = pd.concat(parts).groupby(["split", "modality", "cam"], sort=False)
        counts = groups.agg(identities=("pid", "nunique"), images=("pid", "size"))
        return counts.sort_index(ascending=[False, False, True])

    @cached_property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits that change with a record, the size of its file, or the filter.

        Reading all files would take minutes, so only the content of `SAMPLED` of them is included,
        evenly spread over the rows.
        """
        digest = hashlib.sha256((self.content + self.filter).encode())
        for name, split in (("train", self.train), ("test", self.test)):
            step = max(1, 2 * len(split) // SAMPLED)
            for row, r in enumerate(split.records):
                size = r.path.stat().st_size if r.path else 0
                digest.update(f"{name} {r.pid} {r.cam} {r.modality} {r.number} {size};".encode())
                if r.path and row % step == 0:
                    digest.update(r.path.read_bytes())
        return digest.hexdigest()[:10]
