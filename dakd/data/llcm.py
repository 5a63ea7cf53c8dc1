"""LLCM from disk: images of nine cameras, each in visible and in infrared light.

Training images are those of ``idx/train_vis.txt`` and ``idx/train_nir.txt``; test images those that
the folders ``test_vis/cam1 .. cam9`` and ``test_nir/cam1 .. cam9`` hold of the identities in
``idx/test_id.txt``, as in the released evaluation. Names and folders are checked when the dataset
is loaded; images are decoded on request. Source: Zhang & Wang, "Diverse Embedding
Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared Person
Re-identification", CVPR 2023.
"""

import os
import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path, PurePath

from dakd.data.lists import (
    check_layout,
    disagreements,
    is_image,
    is_number,
    read_ids,
    read_index,
    some,
)
from dakd.data.records import Dataset, FileSource, Filter, ImageSet, Record
from dakd.protocols import Modality

CAMERAS = range(1, 10)
SUFFIXES: dict[Modality, str] = {"visible": "vis", "infrared": "nir"}  # of folders and lists
Row = tuple[int, int, Modality, Path]  # identity, camera, modality, file


def load_llcm(
    root: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    keep: bool = True,
    filter: Filter = "lanczos",
) -> Dataset:
    """Read a folder in LLCM's layout.

    The identity is the number of an image's folder; the labels of the training lists must
    correspond to these folders one to one, and are otherwise not used. The camera of a training
    image is in its name (``0001_c03_...``), that of a test image in its folder. Rows
    are sorted by identity, camera, modality (visible first) and image number; the number is the
    position among the files of that identity, camera and modality by name, from 1.

    Args:
        root: the folder that holds ``vis``, ``nir``, ``test_vis``, ``test_nir`` and ``idx``.
        height, width: image size in pixels.
        keep: keep decoded images in memory.
        filter: resampling filter with which files are resized.

    Raises:
        FileNotFoundError: a folder, a list or a listed image is missing.
        ValueError: a list, a name or an identity's images are wrong.
    """
    root = Path(os.path.expanduser(root))
    check_layout(root, ("vis", "nir", "test_vis", "test_nir", "idx"), "LLCM", probe="test_vis")
    train = _train_rows(root)
    test_ids = read_ids(root / "idx" / "test_id.txt")
    if shared := sorted(test_ids & {pid for pid, *_ in train}):
        raise ValueError(
            f"identities {some(shared)} are in both the training lists and test_id.txt of "
            f"{root / 'idx'}; restore the lists of the download"
        )

    def split(rows: list[Row]) -> ImageSet:
        records = _numbered(rows)
        paths = [r.path for r in records if r.path is not None]
        source = FileSource(paths, height=height, width=width, filter=filter)
        return ImageSet(records, source, keep=keep, pipeline="llcm")

    return Dataset(
        name="llcm",
        train=split(train),
        test=split(_test_rows(root, test_ids)),
        root=root,
        filter=filter,
    )


def camera_of(path: PurePath) -> int | None:
    """Return the camera in the name of a training image, or None if there is none.

    >>> camera_of(PurePath("nir/0001/0001_c03_s185535_f7010_nir.jpg"))
    3
    """
    found = re.search(r"_c(\d+)(?=[_.])", path.name)
    return int(found[1]) if found and int(found[1]) in CAMERAS else None


def tested_cameras(modality: Modality) -> tuple[int, ...]:
    """Return the cameras that are tested: all nine, but infrared without the empty camera 3.

    >>> tested_cameras("infrared")
    (1, 2, 4, 5, 6, 7, 8, 9)
    """
    return tuple(cam for cam in CAMERAS if (modality, cam) != ("infrared", 3))


def _train_rows(root: Path) -> list[Row]:
    rows: list[Row] = []
    pairs: list[tuple[str, int]] = []
    for modality, suffix in SUFFIXES.items():
        list_file = root / "idx" / f"train_{suffix}.txt"
        entries = read_index(list_file, root)
        if missing := [str(path.relative_to(root)) for path, _ in entries if not path.is_file()]:
            raise FileNotFoundError(
                f"{len(missing)} of {len(entries)} images that {list_file} lists do not exist, "
                f"such as {some(missing, 3)}; the copy is incomplete, unpack it again"
            )
        rows += (found := [_train_row(path, modality) for path, _ in entries])
        pairs += [(f"{row[0]:04d}", label) for row, (_, label) in zip(found, entries, strict=True)]
    if wrong := disagreements(pairs):
        raise ValueError(
            f"train_vis.txt and train_nir.txt of {root / 'idx'}: {some(wrong, 3)}, but each "
            "identity has one folder and one label; restore the lists of the download"
        )
    return rows


def _train_row(path: Path, modality: Modality) -> Row:
    if not is_number(path.parent.name):
        raise ValueError(f"{path}: the folder's name must be the identity's number, as in 0001")
    if (cam := camera_of(path)) is None:
        raise ValueError(
            f"{path}: no camera 1 to 9 in the name, as _c03_ in 0001_c03_s185535_f7010_nir.jpg; "
            "restore the name of the download"
        )
    return int(path.parent.name), cam, modality, path


def _test_rows(root: Path, ids: Iterable[int]) -> list[Row]:
    """Return the rows of the test folders; a camera's folder may be empty or absent."""
    rows: list[Row] = []
    without = []
    for pid in sorted(ids):
        before = len(rows)
        for modality, suffix in SUFFIXES.items():
            for cam in tested_cameras(modality):
                folder = root / f"test_{suffix}" / f"cam{cam}" / f"{pid:04d}"
                files = folder.iterdir() if folder.is_dir() else ()
                rows += [(pid, cam, modality, path) for path in files if is_image(path)]
        if len(rows) == before:
            without.append(pid)
    if without:
        raise ValueError(
            f"identities {some(without)} are listed in {root / 'idx' / 'test_id.txt'}, but no "
            f"camera has an image in a folder such as {root / 'test_vis' / 'cam1'}"
            f"{os.sep}{without[0]:04d}; the copy is incomplete, unpack it again"
        )
    return rows


def _numbered(rows: list[Row]) -> list[Record]:
    """Sort rows and number the files of each identity, camera and modality by name."""
    order = list(SUFFIXES)
    rows = sorted(rows, key=lambda row: (*row[:2], order.index(row[2]), row[3].name))
    return [
        Record(pid, cam, modality, number, path)
        for (pid, cam, modality), group in groupby(rows, key=lambda row: row[:3])
        for number, (*_, path) in enumerate(group, start=1)
    ]
