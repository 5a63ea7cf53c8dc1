"""RegDB from disk: ``Visible/<identity>``, ``Thermal/<identity>`` and the ten splits in ``idx``.

Lists, names and folders are checked when the dataset is loaded; images are decoded on request.
Source: Nguyen et al., "Person Recognition System Based on a Combination of Body Images from Visible
Light and Thermal Cameras", Sensors 2017.
"""

import os
from itertools import groupby
from pathlib import Path

from dakd.config import fingerprint
from dakd.data.lists import check_layout, disagreements, read_index, some
from dakd.data.records import Dataset, FileSource, Filter, ImageSet, Record
from dakd.protocols import Modality

CAMERAS: dict[int, tuple[str, Modality]] = {1: ("Visible", "visible"), 2: ("Thermal", "infrared")}
TRIALS = range(1, 11)
Row = tuple[int, int, Path]  # label, camera, file


def load_regdb(
    root: str | os.PathLike[str],
    *,
    trial: int = 1,
    height: int,
    width: int,
    keep: bool = True,
    filter: Filter = "lanczos",
) -> Dataset:
    """Read one of the ten splits of a folder in RegDB's layout.

    The identity number is the label in the lists of ``idx``. Each split is numbered separately,
    from 0, so a training and a test identity of the same number are different people; the name of
    a file's folder is the person. Camera 1 is the visible, camera 2 the thermal camera, whose
    modality is called infrared. An image's number is its position by name among the identity's
    images of that camera, from 1; rows are sorted by identity, camera and number.

    Args:
        root: the folder that holds ``Visible``, ``Thermal`` and ``idx``.
        trial: which of the ten splits, 1 to 10; each has a model of its own.
        height, width: image size in pixels.
        keep: keep decoded images in memory.
        filter: resampling filter with which files are resized.

    Raises:
        FileNotFoundError: a folder, a list or a listed image is missing.
        ValueError: the trial is unknown, or the lists contradict themselves or each other.
    """
    if trial not in TRIALS:
        raise ValueError(f"trial {trial!r} is unknown; RegDB is split in the trials 1 to 10")
    root = Path(os.path.expanduser(root))
    check_layout(root, ("Visible", "Thermal", "idx"), "RegDB", probe="Thermal")
    train, test = (_read_split(root, split, int(trial)) for split in ("train", "test"))
    if shared := sorted(_identities(train) & _identities(test)):
        raise ValueError(
            f"identities {some(shared)} are in both the training and the test lists of trial "
            f"{trial} in {root / 'idx'}; restore the lists of the download"
        )
    _check_files(root, [path for *_, path in train + test])

    def split(rows: list[Row]) -> ImageSet:
        records = _numbered(rows)
        paths = [r.path for r in records if r.path is not None]
        source = FileSource(paths, height=height, width=width, filter=filter)
        return ImageSet(records, source, keep=keep, pipeline="regdb")

    # All bitmaps and all splits have the same size: only the lists distinguish trials.
    rows_of = [[(r[0], r[2].relative_to(root).as_posix()) for r in rows] for rows in (train, test)]
    return Dataset(
        name="regdb",
        train=split(train),
        test=split(test),
        root=root,
        content=fingerprint(rows_of),
        trial=int(trial),
        filter=filter,
    )


def _read_split(root: Path, split: str, trial: int) -> list[Row]:
    """Return the rows of both lists of a split, whose folders and labels must agree."""
    rows: list[Row] = []
    for cam, (folder, _) in CAMERAS.items():
        file = root / "idx" / f"{split}_{folder.lower()}_{trial}.txt"
        for path, label in read_index(file, root):
            parts = path.relative_to(root).parts
            if len(parts) != 3 or parts[0] != folder or not parts[1].isdecimal():
                raise ValueError(
                    f"{file} lists {'/'.join(parts)}, which is not {folder}/<identity's number>/"
                    "<image>; restore the lists of the download"
                )
            rows.append((label, cam, path))
    if wrong := disagreements([(str(_identity(path)), label) for label, _, path in rows]):
        raise ValueError(
            f"{split}_visible_{trial}.txt and {split}_thermal_{trial}.txt of {root / 'idx'}: "
            f"{some(wrong, 3)}, but each identity has one folder and one label; restore the lists "
            "of the download"
        )
    return rows


def _identity(path: Path) -> int:
    return int(path.parent.name)


def _identities(rows: list[Row]) -> set[int]:
    return {_identity(path) for *_, path in rows}


def _check_files(root: Path, paths: list[Path]) -> None:
    if missing := [path.relative_to(root).as_posix() for path in paths if not path.is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} images that the lists in {root / 'idx'} name do not "
            f"exist, such as {some(missing, 3)}; the copy is incomplete, unpack it again"
        )


def _numbered(rows: list[Row]) -> list[Record]:
    """Sort rows, and number the files of each identity and camera by name."""
    rows = sorted(rows, key=lambda row: (*row[:2], row[2].name))
    return [
        Record(pid, cam, CAMERAS[cam][1], number, path)
        for (pid, cam), group in groupby(rows, key=lambda row: row[:2])
        for number, (*_, path) in enumerate(group, start=1)
    ]
