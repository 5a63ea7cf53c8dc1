"""How many identities and images a complete copy of a dataset has, where that is known."""

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dakd.config import SyntheticConfig
from dakd.data.llcm import tested_cameras
from dakd.data.records import MARKER
from dakd.data.regdb import CAMERAS as REGDB_CAMERAS
from dakd.data.synthetic import identity_numbers, records_of
from dakd.protocols import Modality

ALL = "all"
DISK = "disk"  # the images that ten splits share
Key = tuple[str, str, int | str]  # split, modality and camera; "all" for the sum over them
Count = tuple[int | None, int | None]  # identities and images; None where not known

NAMES = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM", "custom": "a table of images"}

# SYSU-MM01: counted from rand_perm_cam.mat and the identity lists of
# https://github.com/wuancong/SYSU-MM01; the sums are those of the literature. "train" includes the
# identities of val_id, as in the published results.
SYSU_LISTS = {"train": 296, "val": 99, "test": 96}
SYSU: dict[Key, Count] = {
    ("train", "visible", 1): (194, 4721),
    ("train", "visible", 2): (195, 5753),
    ("train", "visible", 4): (382, 5811),
    ("train", "visible", 5): (390, 5973),
    ("train", "visible", ALL): (395, 22258),
    ("train", "infrared", 3): (392, 7909),
    ("train", "infrared", 6): (200, 4000),
    ("train", "infrared", ALL): (395, 11909),
    ("test", "visible", 1): (56, 1374),
    ("test", "visible", 2): (56, 1565),
    ("test", "visible", 4): (94, 1918),
    ("test", "visible", 5): (95, 1918),
    ("test", "visible", ALL): (96, 6775),
    ("test", "infrared", 3): (93, 1883),
    ("test", "infrared", 6): (96, 1920),
    ("test", "infrared", ALL): (96, 3803),
}

# RegDB: 412 people with 10 visible and 10 thermal images, split in halves by ten pairs of lists.
# Source: Nguyen et al., "Person Recognition System Based on a Combination of Body Images from
# Visible Light and Thermal Cameras", Sensors 2017. "disk" counts the images in the folders,
# "train 1" to "test 10" the lines of the lists.
REGDB_MODALITIES = {modality: cam for cam, (_, modality) in REGDB_CAMERAS.items()}


def _regdb(halves: dict[str, int], per_identity: int) -> dict[Key, Count]:
    people = sum(halves.values())
    counts: dict[Key, Count] = {
        (DISK, modality, cam): (people, people * per_identity)
        for modality, cam in REGDB_MODALITIES.items()
    }
    counts[DISK, ALL, ALL] = people, 2 * people * per_identity
    for trial in range(1, 11):
        for split, half in halves.items():
            for modality, cam in REGDB_MODALITIES.items():
                counts[f"{split} {trial}", modality, cam] = half, half * per_identity
    return counts


# LLCM: 1,064 people, 713 of them for training, and 46,767 images. Source: Zhang & Wang, CVPR 2023,
# and the released code, which reads nine test cameras in visible light and all but the third, whose
# folder is empty, in infrared. The number of images of each camera is not published.
LLCM_LISTS = {"test": 351}
LLCM: dict[Key, Count] = {
    ("train", ALL, ALL): (713, None),
    ("test", ALL, ALL): (351, None),
    **{("test", "visible", cam): (None, None) for cam in tested_cameras("visible")},
    **{("test", "infrared", cam): (None, None) for cam in tested_cameras("infrared")},
    (ALL, ALL, ALL): (1064, 46767),
}


@dataclass(frozen=True)
class Expected:
    """What a copy is compared with.

    Attributes:
        title: what the copy claims to be, for the first line of a report.
        counts: identities and images by split, modality and camera.
        lists: identities of each identity list.
    """

    title: str
    counts: dict[Key, Count] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)


def overlap(one: Key, other: Key) -> bool:
    """Return whether two counts have images in common."""
    return all(a == b or ALL in (a, b) for a, b in zip(one, other, strict=True))


def tally(images: Iterable[tuple[Any, ...]]) -> dict[Key, tuple[int, int]]:
    """Count identities and images.

    Args:
        images: split, modality, camera and identity of each; what follows them is ignored.

    >>> tally([("test", "visible", 1, 7), ("test", "visible", 2, 7)])["test", "visible", "all"]
    (1, 2)
    """
    identities: dict[Key, set[Hashable]] = defaultdict(set)
    numbers: dict[Key, int] = defaultdict(int)
    for split, modality, cam, pid, *_ in images:
        keys: list[Key] = [
            (split, modality, cam),
            (split, modality, ALL),
            (split, ALL, ALL),
            (ALL, ALL, ALL),
        ]
        for key in keys:
            identities[key].add(pid)
            numbers[key] += 1
    return {key: (len(identities[key]), numbers[key]) for key in numbers}


def expected_counts(name: str, root: Path) -> Expected:
    """Return the counts of a complete copy of a dataset, or of an export by its marker.

    Args:
        name: ``"sysu"``, ``"regdb"``, ``"llcm"``, or ``"custom"``, of which nothing is known.
        root: the dataset's folder.

    Raises:
        ValueError: the marker is damaged, or belongs to another layout.
    """
    drawn = (root / MARKER).is_file()
    if name == "custom":  # whose table holds its counts
        return Expected("Drawn people, " * drawn + NAMES[name])
    if drawn:
        return _drawn(name, root / MARKER)
    if name == "sysu":
        return Expected(NAMES[name], SYSU, SYSU_LISTS)
    if name == "regdb":
        return Expected(NAMES[name], _regdb({"train": 206, "test": 206}, per_identity=10))
    return Expected(NAMES[name], LLCM, LLCM_LISTS)


def _drawn(name: str, marker: Path) -> Expected:
    """Derive the counts of an export from its configuration and the rules of its layout."""
    try:
        content = json.loads(marker.read_text("utf-8"))
        layout, config = content["layout"], SyntheticConfig(**content["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"does not say what was drawn ({error}); export it again") from error
    if layout != name:
        raise ValueError(f"this is an export in the layout {layout!r}; verify it as {layout!r}")
    title = f"Drawn people, NOT {NAMES[name]} but in its layout"
    splits = dict(zip(("train", "test"), identity_numbers(config), strict=True))
    if name == "regdb":
        people = sum(map(len, splits.values()))
        halves = {"train": people - people // 2, "test": people // 2}
        return Expected(title, _regdb(halves, config.images_per_camera))
    modalities: tuple[Modality, ...] = ("visible", "infrared")
    counts = tally(
        (split, modality, record.cam, record.pid)
        for split, pids in splits.items()
        for record in records_of(config, pids)
        for modality in ([record.modality] if name == "sysu" else modalities)
        if name == "sysu" or record.cam in tested_cameras(modality)
    )
    lists = {split: len(pids) for split, pids in splits.items()}
    if name == "sysu":
        lists["val"] = sum(pid % 4 == 0 for pid in splits["train"])  # a quarter is for validation
        lists["train"] -= lists["val"]
    return Expected(title, dict(counts), lists)
