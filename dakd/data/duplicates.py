"""Images that are in a dataset more than once: in both splits, in both modalities, or listed twice.

Scores are too high where a network was trained on a test image, or has to find a copy of its query.
"""

import hashlib
import os
import stat
import weakref
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from dakd.data.records import Dataset
from dakd.protocols import Modality

PROBE = 4096  # bytes from the middle of a file that are compared first
_THREADS = 8
_KNOWN: weakref.WeakKeyDictionary[Dataset, list[tuple["Listed", ...]]] = weakref.WeakKeyDictionary()


class Listed(NamedTuple):
    """One row of a dataset, with its file."""

    split: Literal["train", "test"]
    modality: Modality
    pid: int
    cam: int
    path: Path


def duplicates(dataset: Dataset) -> list[tuple[Listed, ...]]:
    """Return the groups of rows that hold the same image.

    Two files hold the same image if their bytes are equal, or if they are one file under two names.
    Only files of equal size are opened, and a few KiB are compared first, so a large dataset needs
    about one short read per file. The result is cached with the dataset.

    An image that was saved again in another format or size is not recognised. Drawn images have no
    file and are left out, and so are files that cannot be read.

    Args:
        dataset: from `dakd.data.load_dataset`.

    Returns:
        Groups of two or more rows, ordered by their first row, training first.
    """
    if dataset not in _KNOWN:
        splits: Iterable[Literal["train", "test"]] = ("train", "test")
        listed = [
            Listed(split, r.modality, r.pid, r.cam, r.path)
            for split in splits
            for r in getattr(dataset, split).records
            if r.path is not None
        ]
        same = same_files([row.path for row in listed])
        _KNOWN[dataset] = [tuple(listed[row] for row in rows) for rows in same]
    return list(_KNOWN[dataset])


def same_files(paths: Iterable[Path]) -> list[list[int]]:
    """Return the positions of files with equal content, in groups of two or more.

    Args:
        paths: files; one that cannot be read is in no group, one listed twice is a group.
    """
    paths = list(paths)
    groups = [list(range(len(paths)))]
    with ThreadPoolExecutor(_THREADS) as pool:
        for read in (_size, _probe, _content):
            groups = _divide(groups, partial(_read_all, pool, read, paths))
    return groups


def describe_duplicates(groups: Iterable[tuple[Listed, ...]]) -> str:
    """Return the kinds of repetition and how often each occurs, counting every image once.

    >>> one = Listed("train", "visible", 1, 1, Path("a.png"))
    >>> describe_duplicates([(one, Listed("test", "visible", 9, 1, Path("b.png")))])
    '1 in both splits (a.png = b.png)'
    """
    kinds: dict[str, list[tuple[Listed, ...]]] = defaultdict(list)
    for group in groups:
        splits, modalities = ({row[column] for row in group} for column in (0, 1))
        kind = "in both splits" if len(splits) > 1 else "as visible and as infrared"
        kinds[kind if len(splits) + len(modalities) > 2 else "listed more than once"].append(group)
    return ", ".join(
        f"{len(found):,} {kind} ({found[0][0].path.name} = {found[0][1].path.name})"
        for kind, found in sorted(kinds.items(), reverse=True)
    )


def _divide(
    groups: list[list[int]], read_all: Callable[[list[int]], list[Hashable]]
) -> list[list[int]]:
    """Split groups by a property of their files; drop files without an equal."""
    rows = [row for group in groups for row in group]
    values = iter(read_all(rows))
    parts: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        for row in group:
            if (value := next(values)) is not None:
                parts[number, value].append(row)
    return sorted(part for part in parts.values() if len(part) > 1)


def _read_all(
    pool: ThreadPoolExecutor,
    read: Callable[[Path], Hashable],
    paths: list[Path],
    rows: list[int],
) -> list[Hashable]:
    return list(pool.map(lambda row: _or_none(read, paths[row]), rows))


def _or_none(read: Callable[[Path], Hashable], path: Path) -> Hashable:
    try:
        return read(path)
    except OSError:
        return None


def _size(path: Path) -> int | None:
    about = path.stat()
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def _probe(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size // 2 - PROBE // 2))
        return hashlib.sha256(file.read(PROBE)).digest()


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
