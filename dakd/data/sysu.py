"""SYSU-MM01 from disk: ``cam1/<4-digit identity>/<number>.jpg`` to ``cam6``, lists in ``exp``.

Names and folders are checked when the dataset is loaded; images are decoded on request.
Source: Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import scipy.io

from dakd.data.lists import check_layout, is_number, read_ids, some
from dakd.data.records import Dataset, FileSource, Filter, ImageSet, Record
from dakd.protocols import Modality

CAMERAS: dict[int, Modality] = {
    1: "visible",
    2: "visible",
    3: "infrared",
    4: "visible",
    5: "visible",
    6: "infrared",
}
SUFFIXES = (".jpg", ".jpeg", ".png")
Permutations = dict[tuple[int, int], np.ndarray]


def load_sysu(
    root: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    keep: bool = True,
    filter: Filter = "lanczos",
) -> Dataset:
    """Read a folder in SYSU-MM01's layout.

    The training split holds the identities of both ``train_id`` and ``val_id`` (395 in the licensed
    data), as in the published results; the test split those of ``test_id`` (96). Rows are sorted by
    identity, camera and image number. Only ``cam1`` to ``cam6`` are read, and in them only images
    of the listed identities; an identity that a camera did not record has no folder there.

    Args:
        root: the folder that holds ``cam1`` to ``cam6`` and ``exp``.
        height, width: image size in pixels.
        keep: keep decoded images in memory.
        filter: resampling filter with which files are resized.

    Raises:
        FileNotFoundError: a folder or an identity list is missing.
        ValueError: an identity list, a file name or an identity's images are wrong.
    """
    root = Path(os.path.expanduser(root))
    check_layout(
        root,
        [*(f"cam{c}" for c in CAMERAS), "exp"],
        "SYSU-MM01",
        probe="cam1",
        what="cam1 ... cam6 and exp",
    )
    train_ids = read_part(root, "train") | read_part(root, "val")
    test_ids = read_part(root, "test")
    if shared := sorted(train_ids & test_ids):
        raise ValueError(
            f"identities {some(shared)} are in both the training and the test lists of "
            f"{root / 'exp'}; restore the lists of the download"
        )

    def split(ids: set[int]) -> ImageSet:
        records = _find_records(root, ids)
        paths = [r.path for r in records if r.path is not None]
        source = FileSource(paths, height=height, width=width, filter=filter)
        return ImageSet(records, source, keep=keep)

    return Dataset(
        name="sysu", train=split(train_ids), test=split(test_ids), root=root, filter=filter
    )


def read_permutations(path: str | os.PathLike[str]) -> Permutations:
    """Read the official gallery draws, ``rand_perm_cam.mat``.

    Returns:
        For each (camera, identity) with images an int64 array (10, n): row t orders the n images,
        numbered from 1, for trial t.

    Raises:
        FileNotFoundError: the file does not exist; the message says where to get it.
        ValueError: the file does not hold permutations.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}. The official draws are not part of the SYSU-MM01 download: copy "
            "evaluation/data_split/rand_perm_cam.mat of https://github.com/wuancong/SYSU-MM01 to "
            "exp/rand_perm_cam.mat under the dataset's root, or use sampling='agw'"
        )
    permutations: Permutations = {}
    for cam, identities in enumerate(_read_mat(path, "rand_perm_cam").ravel(), start=1):
        for pid, matrix in enumerate(np.ravel(identities), start=1):
            draws = np.asarray(matrix)  # (10, n)
            if draws.size == 0:
                continue
            good = draws.ndim == 2 and draws.dtype.kind in "iuf"
            if not good or (np.sort(draws) != np.arange(1, draws.shape[1] + 1)).any():
                raise ValueError(
                    f"{path}: camera {cam}, identity {pid} holds no permutations; copy the file "
                    "from https://github.com/wuancong/SYSU-MM01 again"
                )
            permutations[cam, pid] = draws.astype(np.int64)
    return permutations


def read_part(root: Path, part: str) -> set[int]:
    """Return the identities of ``<part>_id.txt`` or, where there is none, ``<part>_id.mat``.

    Raises:
        FileNotFoundError: neither file exists.
        ValueError: it lists no identities.
    """
    text, mat = (root / "exp" / f"{part}_id{suffix}" for suffix in (".txt", ".mat"))
    if text.is_file():
        return read_ids(text)
    if not mat.is_file():
        raise FileNotFoundError(
            f"neither {text} nor {mat.name} exists; the SYSU-MM01 download has both in exp"
        )
    numbers = _read_mat(mat, "id").ravel()
    try:
        ids = {int(number) for number in numbers}  # MATLAB may store 6 as 6.0
    except (ValueError, TypeError, OverflowError):
        ids = set()
    if not ids or min(ids) < 1 or max(ids) >= 10**18:
        raise ValueError(f"{mat} holds no identity numbers; restore the original file")
    return ids


def _read_mat(path: Path, key: str) -> np.ndarray:
    try:
        return scipy.io.loadmat(path)[key]
    except Exception as error:  # scipy raises many kinds on damaged files
        raise ValueError(
            f"cannot read {key!r} from {path}: {error}; copy the file again"
        ) from error


def _find_records(root: Path, ids: Iterable[int]) -> list[Record]:
    records: list[Record] = []
    without = []
    for pid in sorted(ids):
        before = len(records)
        for cam, modality in CAMERAS.items():
            folder = root / f"cam{cam}" / f"{pid:04d}"
            if folder.is_dir():
                images = _list_images(folder)
                records += [Record(pid, cam, modality, n, images[n]) for n in sorted(images)]
        if len(records) == before:
            without.append(pid)
    if without:
        raise ValueError(
            f"identities {some(without)} are listed in {root / 'exp'} but no camera has a folder "
            f"such as {root / 'cam1' / f'{without[0]:04d}'}; the copy is incomplete, "
            "unpack it again"
        )
    return records


def _list_images(folder: Path) -> dict[int, Path]:
    """Return the files of one identity and camera by image number; other files are ignored."""
    images: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if not is_number(path.stem):
            raise ValueError(
                f"{path}: the name must be the image's number, as in 0001.jpg; remove or rename it"
            )
        if (number := int(path.stem)) in images:
            raise ValueError(
                f"{path} and {images[number].name} are both image {number}; remove one"
            )
        images[number] = path
    if not images:
        raise ValueError(f"{folder} holds no image; unpack it again, or remove the empty folder")
    return images
