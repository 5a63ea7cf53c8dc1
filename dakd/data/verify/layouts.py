"""The other layouts: RegDB, LLCM and tables, against their own lists.

Each function fills a `dakd.data.verify.survey.Survey` without stopping at a fault.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from dakd.data.custom import check_splits, read_table
from dakd.data.lists import disagreements, read_ids, read_index, some
from dakd.data.llcm import SUFFIXES as LLCM_SUFFIXES
from dakd.data.llcm import camera_of, tested_cameras
from dakd.data.records import MARKER
from dakd.data.regdb import CAMERAS as REGDB_CAMERAS
from dakd.data.verify.expected import ALL, NAMES, REGDB_MODALITIES, Expected, Key, tally
from dakd.data.verify.survey import Item, Survey
from dakd.data.verify.sysu import survey_sysu
from dakd.protocols import Modality

REGDB_FOLDERS = {modality: folder for folder, modality in REGDB_CAMERAS.values()}
LLCM_FOLDERS = {suffix: modality for modality, suffix in LLCM_SUFFIXES.items()}

# RegDB --------------------------------------------------------------------------------------------


def survey_regdb(survey: Survey, known: Expected) -> None:
    """Compare folders with the forty lists, and the lists of each trial with one another."""
    survey.walk(REGDB_FOLDERS.values())
    listed: dict[str, str] = {}  # file to modality
    complete = False
    for trial in range(1, 11):
        halves = {split: _regdb_half(survey, split, trial, listed) for split in ("train", "test")}
        train, test = halves.values()
        complete |= train is not None and test is not None
        if shared := sorted((train or set()) & (test or set())):
            what = f"the identities {some(shared)} are in the training and in the test lists"
            survey.fault("wrong", f"idx/*_{trial}.txt", what)
    modalities = {folder: modality for modality, folder in REGDB_FOLDERS.items()}
    for name in sorted(survey.images | listed.keys()):
        folder, *inner = name.split("/")
        modality = modalities[folder]
        pid = inner[0] if len(inner) > 1 else ""
        item = Item("disk", modality, REGDB_MODALITIES[modality], pid, name)
        (survey.found if name in survey.images else survey.missing).append(item)
        if name not in listed and complete:
            survey.extra.append(item)
    survey.report_files("the lists in idx")


def _regdb_half(survey: Survey, split: str, trial: int, listed: dict[str, str]) -> set[str] | None:
    """Read both lists of a half; return its folders, or None where the lists cannot say."""
    pairs: list[tuple[str, int]] = []
    whole = True
    for modality, folder in REGDB_FOLDERS.items():
        name = f"idx/{split}_{folder.lower()}_{trial}.txt"
        key: Key = (f"{split} {trial}", modality, ALL)
        entries = _entries(survey, name, key)
        if outside := [n for n, _ in entries if not re.fullmatch(rf"{folder}/\d+/[^/]+", n)]:
            what = f"names {len(outside):,} files that {folder} does not hold: {some(outside, 2)}"
            survey.fault("wrong", name, what, key)
        if outside or not entries:
            whole = False
            continue
        listed.update((file, modality) for file, _ in entries)
        pairs += [(PurePosixPath(file).parts[1], label) for file, label in entries]
        camera = REGDB_MODALITIES[modality]
        survey.found += [Item(f"{split} {trial}", modality, camera, label) for _, label in entries]
    if wrong := disagreements(pairs):
        what = f"visible and thermal lists do not agree: {some(wrong, 2)}"
        survey.fault("wrong", f"idx/{split}_*_{trial}.txt", what)
    return {folder for folder, _ in pairs} if whole and not wrong else None


def _entries(survey: Survey, name: str, *settled: Key) -> list[tuple[str, int]]:
    """Return the lines of a list as files below the root and labels; none where it is at fault."""
    read = survey.attempt(lambda: read_index(survey.root / name, survey.root), name, *settled)
    return [(path.relative_to(survey.root).as_posix(), label) for path, label in read or ()]


# LLCM ---------------------------------------------------------------------------------------------


def survey_llcm(survey: Survey, known: Expected) -> None:
    """Compare the training folders with their lists, and the test folders with ``test_id.txt``.

    No list tells for sure which test images there are: the released evaluation takes what the
    folders hold. An empty or absent folder such as ``test_nir/cam3`` is therefore no fault by
    itself.
    """
    survey.walk(f"{test}{suffix}" for suffix in LLCM_FOLDERS for test in ("", "test_"))
    train = _llcm_train(survey)
    key: Key = ("test", ALL, ALL)
    name = "idx/test_id.txt"
    ids = survey.attempt(lambda: read_ids(survey.root / name), name, key) or set()
    if ids and len(ids) != (number := known.lists.get("test", len(ids))):
        survey.fault(
            "wrong", name, f"lists {len(ids)} identities, a complete copy has {number}", key
        )
    if shared := sorted(ids & train):
        what = f"has identities of the training lists: {some(shared)}"
        survey.fault("wrong", name, what, (ALL, ALL, ALL))
    _llcm_test(survey, ids - train)
    survey.report_files("the lists in idx")


def _llcm_train(survey: Survey) -> set[int]:
    """Compare the training folders with the training lists; return the listed identities."""
    pairs: list[tuple[str, int]] = []
    listed: set[str] = set()
    for modality, suffix in LLCM_SUFFIXES.items():
        key: Key = ("train", modality, ALL)
        for file, label in _entries(survey, f"idx/train_{suffix}.txt", key):
            listed.add(file)
            path = PurePosixPath(file)
            if (cam := camera_of(path)) is None or not path.parent.name.isdecimal():
                what = "needs a camera in its name, as _c03_, and a number for a folder, as 0001"
                survey.fault("wrong", file, what, key)
                continue
            pid = int(path.parent.name)
            item = Item("train", modality, cam, pid, file)
            (survey.found if file in survey.images else survey.missing).append(item)
            pairs.append((f"{pid:04d}", label))
    if wrong := disagreements(pairs):
        what = f"{some(wrong, 2)}, but folders and labels must belong to each other one to one"
        survey.fault("wrong", "idx/train_*.txt", what)
    train = {file for file in survey.images if file.startswith(("vis/", "nir/"))}
    survey.note(train - listed, "images in vis and nir that no training list names, passed over")
    return {int(folder) for folder, _ in pairs}


def _llcm_test(survey: Survey, ids: set[int]) -> None:
    unlisted, stray, seen = set(), [], set()
    for file in sorted(survey.images):
        match = re.fullmatch(r"test_(vis|nir)/cam([1-9])/(\d{4,})/[^/]+", file)
        modality = LLCM_FOLDERS[match[1]] if match else None
        if match and modality and int(match[2]) not in tested_cameras(modality):
            stray.append(file)
        elif match and modality and int(match[3]) in ids:
            cam, pid = int(match[2]), int(match[3])
            survey.found.append(Item("test", modality, cam, pid, file))
            seen.add((modality, pid))
        elif match:
            unlisted.add(match[3])
        elif file.startswith("test_"):
            stray.append(file)
    survey.note(unlisted, "identities in test folders that test_id.txt does not list, passed over")
    survey.note(stray, "images in test folders outside of the cameras that are tested, passed over")
    unseen = ids - {pid for _, pid in seen}
    for suffix, modality in LLCM_FOLDERS.items():
        if ids and modality not in {m for m, _ in seen}:
            what = "holds no image of a listed identity"
            survey.fault("missing", f"test_{suffix}", what, ("test", modality, ALL))
            unseen = set()
    if unseen:
        what = f"no test folder holds an image of the identities {some(sorted(unseen))}"
        survey.fault("missing", "idx/test_id.txt", what, ("test", ALL, ALL))
    _llcm_hint(survey)


def _llcm_hint(survey: Survey) -> None:
    """Note what the test lists name and folders lack; the released evaluation does not use them."""
    for suffix in LLCM_FOLDERS:
        name = f"idx/test_{suffix}.txt"
        if (survey.root / name).is_file():
            files = {file for file, _ in _entries(survey, name) if file.startswith("test_")}
            survey.note(files - survey.images, f"images that {name} names are not there")


# Any images ---------------------------------------------------------------------------------------


def survey_custom(survey: Survey, table: Path) -> Expected:
    """Compare a table with the files that it names; return the table's own counts."""
    rows = survey.attempt(lambda: read_table(table), table.name)
    title = (
        f"Drawn people, {NAMES['custom']}" if (survey.root / MARKER).is_file() else NAMES["custom"]
    )
    if rows is None:
        return Expected(title)
    survey.attempt(lambda: check_splits(table, rows), table.name)
    folder = table.parent
    files = [f.relative_to(folder) if f.is_relative_to(folder) else f for f in rows["file"]]
    cells = rows.assign(path=[file.as_posix() for file in files])
    columns = (cells[c] for c in ("split", "modality", "cam", "pid", "path"))
    items = [Item(*row) for row in zip(*columns, strict=True)]
    for item in items:
        there = os.path.isfile(survey.root / str(item.path))  # False where no system has such names
        (survey.found if there else survey.missing).append(item)
    survey.images.update(str(item.path) for item in survey.found)
    for path, number in Counter(item.path for item in items).items():
        if number > 1:
            survey.fault("wrong", str(path), f"is in {number} rows of the table")
    survey.report_files(table.name)
    return Expected(title, dict(tally(item[:4] for item in items)))


LAYOUTS: dict[str, Callable[[Survey, Expected], None]] = {
    "sysu": survey_sysu,
    "regdb": survey_regdb,
    "llcm": survey_llcm,
}


def place(name: str, key: Key) -> str:
    """Return the file or folder that a count is about, below the dataset's folder.

    >>> place("regdb", ("train 3", "infrared", 2)), place("llcm", ("test", "visible", 5))
    ('idx/train_thermal_3.txt', 'test_vis/cam5')
    """
    split, kind, camera = key
    if ALL in (split, kind):
        return "."
    modality: Modality = "visible" if kind == "visible" else "infrared"
    cam = "" if camera == ALL else f"cam{camera}"
    if name == "sysu":
        return cam or "."
    if name == "llcm":
        folder = LLCM_SUFFIXES[modality]
        return folder if split == "train" else f"test_{folder}/{cam}".rstrip("/")
    half, _, trial = split.partition(" ")
    folder = REGDB_FOLDERS[modality]
    return f"idx/{half}_{folder.lower()}_{trial}.txt" if trial else folder
