"""The same picture more than once in a dataset: in both splits, in both modalities, listed twice.

A network that has seen a test picture in training, or is asked to find a picture in itself, scores
what it should not.
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
    """One row of a dataset."""

    split: Literal["train", "test"]
    modality: Modality
    pid: int
    cam: int
    path: Path


def duplicates(dataset: Dataset) -> list[tuple[Listed, ...]]:
    """Return the rows that show the same picture: a group for each picture that has several.

    Files count as the same picture if they hold the same bytes, or are one file under two names.
    Only files of equal size are opened, and first a few KiB of them are compared, so that a large
    dataset costs about one short read a file. The answer is remembered as long as the dataset is.

    Pictures that were saved anew, in another format or size, are not recognised. Drawn pictures
    have no file and are left out, and so is a file that cannot be read.

    Args:
        dataset: from `dakd.data.load_dataset`.

    Returns:
        Groups of two rows or more, in the order of their first row, training first.
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
    """Return the positions of files with the same content, a group for each that is there twice.

    Args:
        paths: files; one that cannot be read belongs to no group, and one listed twice is its own
            copy.
    """
    paths = list(paths)
    groups = [list(range(len(paths)))]
    with ThreadPoolExecutor(_THREADS) as pool:
        for look in (_size, _probe, _content):
            groups = _divide(groups, partial(_look_all, pool, look, paths))
    return groups


def in_words(groups: Iterable[tuple[Listed, ...]]) -> str:
    """Return what kinds of repetition there are and how often, each picture counted once.

    >>> a, b = Path("a.png"), Path("b.png")
    >>> in_words([(Listed("train", "visible", 1, 1, a), Listed("test", "visible", 9, 1, b))])
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
    groups: list[list[int]], look_all: Callable[[list[int]], list[Hashable]]
) -> list[list[int]]:
    """Split groups by what is seen of their members; those with one member are dropped."""
    rows = [row for group in groups for row in group]
    seen = iter(look_all(rows))
    parts: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        for row in group:
            if (mark := next(seen)) is not None:
                parts[number, mark].append(row)
    return sorted(part for part in parts.values() if len(part) > 1)


def _look_all(
    pool: ThreadPoolExecutor,
    look: Callable[[Path], Hashable],
    paths: list[Path],
    rows: list[int],
) -> list[Hashable]:
    return list(pool.map(lambda row: _or_none(look, paths[row]), rows))


def _or_none(look: Callable[[Path], Hashable], path: Path) -> Hashable:
    try:
        return look(path)
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
