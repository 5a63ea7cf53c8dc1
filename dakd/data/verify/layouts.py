"""The layouts of the datasets: in which folders their images are, and what their lists name."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from dakd.data.lists import IMAGES, is_number, read_ids
from dakd.data.llcm import SUFFIXES as LLCM_FOLDERS
from dakd.data.llcm import camera_of, tested_cameras
from dakd.data.regdb import CAMERAS as REGDB_CAMERAS
from dakd.data.regdb import TRIALS
from dakd.data.sysu import CAMERAS as SYSU_CAMERAS
from dakd.data.sysu import SUFFIXES as SYSU_SUFFIXES
from dakd.data.sysu import read_part, read_permutations
from dakd.data.verify.expected import ALL, DISK, Key, overlap
from dakd.data.verify.survey import Entry, Kind, Survey

DRAWS = "exp/rand_perm_cam.mat"


@dataclass(frozen=True)
class Part:
    """The lists of one split.

    Attributes:
        name: the list's path, with ``*`` where there are several.
        split: what it lists.
        read: reads the listed identities, given the dataset's folder; None for lists of images.
        images: the folder of the images that each list of images names, by the list's path.
    """

    name: str
    split: str
    read: Callable[[Path], set[int]] | None = None
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folder structure of a dataset, as ``<folder>/<identity>/<image>`` and lists.

    Attributes:
        folders: split, modality and camera of the images in each folder; ``"all"`` where a list
            says the split, and the image's name the camera.
        digits: least digits of an identity's folder, by split; 1 if not given.
        suffixes: suffixes of image files.
        divisions: the lists; the parts of a division have no identity in common.
        hints: lists that loading does not read, and that may be absent.
        whole: the lists name every image of the folders.
        compare_numbers: reports images that are missing or extra by their number, given the survey
            and the split of each identity, and returns what shows it; None where lists do.
    """

    folders: Mapping[str, Key]
    digits: Mapping[str, int] = field(default_factory=dict)
    suffixes: Sequence[str] = IMAGES
    divisions: Sequence[Sequence[Part]]
    hints: Sequence[str] = ()
    whole: bool = False
    compare_numbers: Callable[[Survey, Mapping[int, str]], str] | None = None

    def record(self, path: str) -> Entry | None:
        """Return an image's labels by its path; None where the path is not one of the layout."""
        image = PurePosixPath(path)
        pid = image.parent.name
        split, modality, camera = self.folders.get(str(image.parent.parent), ("", "", None))
        camera = camera_of(image) if camera == ALL else camera
        fits = is_number(pid) and len(pid) >= self.digits.get(split, 1)
        if not fits or camera is None or image.suffix.lower() not in self.suffixes:
            return None
        return Entry(split, modality, int(camera), int(pid), path)

    def location(self, key: Key) -> str:
        """Return the file or folder that a count is about."""
        lists = {
            path: (part.split, self.folders[folder][1], ALL)
            for division in self.divisions
            for part in division
            for path, folder in part.images.items()
        }
        inside = [
            [path for path, about in places.items() if overlap(key, about)]
            for places in (self.folders, lists)
        ]
        return os.path.commonpath(inside[0] or inside[1]).replace(os.sep, "/") or "."


def _compare_numbers(survey: Survey, splits: Mapping[int, str]) -> str:
    """Compare the numbers with the official draws, which hold how many images there must be.

    Without them, only a gap in the numbers shows that an image is missing.
    """
    images = _by_number(survey)
    draws = None
    if (survey.root / DRAWS).is_file():
        draws = survey.attempt(lambda: read_permutations(survey.root / DRAWS), DRAWS)
    else:
        survey.notes.append(
            f"without {DRAWS}, only gaps in the numbers show which images are missing; it is "
            "evaluation/data_split/rand_perm_cam.mat of https://github.com/wuancong/SYSU-MM01"
        )
    last = {key: max(files) for key, files in images.items()}
    if draws is not None:
        last = {key: draw.shape[1] for key, draw in draws.items()}
    for pid, cam in ((pid, cam) for pid in sorted(splits) for cam in SYSU_CAMERAS):
        files, most = images.get((cam, pid), {}), last.get((cam, pid), 0)
        entry = Entry(splits[pid], SYSU_CAMERAS[cam], cam, pid, f"cam{cam}/{pid:04d}")
        absent = sorted(set(range(1, most + 1)) - files.keys())
        survey.missing += [entry._replace(path=f"{entry.path}/{n:04d}.jpg") for n in absent]
        survey.extra.update(str(files[number].path) for number in files if number > most)
        if not most and entry.path in survey.empty:
            kind: Kind = "missing" if draws is None else "extra"
            survey.add(kind, str(entry.path), "holds no image", entry[:3])
    return "the numbers around it" if draws is None else DRAWS


def _by_number(survey: Survey) -> dict[tuple[int, int], dict[int, Entry]]:
    """Return the images by camera and identity, then by number; drop those without a number."""
    images: dict[tuple[int, int], dict[int, Entry]] = defaultdict(dict)
    for entry in survey.found:
        path, name = str(entry.path), PurePosixPath(str(entry.path)).stem
        same = images[entry.camera, entry.pid]
        if not re.fullmatch("[0-9]{1,4}", name):
            survey.add("wrong", path, "the name must be the image's number, as in 0001.jpg")
        elif other := same.get(int(name)):
            survey.add("wrong", path, f"is image {int(name)}, as is {other.path}; remove one")
        else:
            same[int(name)] = entry
    survey.found = [entry for files in images.values() for entry in files.values()]
    return {key: files for key, files in images.items() if files}


SYSU = Layout(
    folders={f"cam{cam}": (ALL, modality, cam) for cam, modality in SYSU_CAMERAS.items()},
    digits={ALL: 4},
    suffixes=SYSU_SUFFIXES,
    divisions=[
        [
            Part(f"exp/{part}_id.txt", split, partial(read_part, part=part))
            for part, split in (("train", "train"), ("val", "train"), ("test", "test"))
        ]
    ],
    compare_numbers=_compare_numbers,
)
REGDB = Layout(
    folders={folder: (DISK, modality, cam) for cam, (folder, modality) in REGDB_CAMERAS.items()},
    divisions=[
        [
            Part(
                f"idx/{split}_*_{trial}.txt",
                f"{split} {trial}",
                images={
                    f"idx/{split}_{folder.lower()}_{trial}.txt": folder
                    for folder, _ in REGDB_CAMERAS.values()
                },
            )
            for split in ("train", "test")
        ]
        for trial in TRIALS
    ],
    whole=True,
)
LLCM = Layout(
    folders={folder: ("train", modality, ALL) for modality, folder in LLCM_FOLDERS.items()}
    | {
        f"test_{folder}/cam{cam}": ("test", modality, cam)
        for modality, folder in LLCM_FOLDERS.items()
        for cam in tested_cameras(modality)
    },
    digits={"test": 4},
    divisions=[
        [
            Part(
                "idx/train_*.txt",
                "train",
                images={f"idx/train_{folder}.txt": folder for folder in LLCM_FOLDERS.values()},
            ),
            Part("idx/test_id.txt", "test", lambda root: read_ids(root / "idx/test_id.txt")),
        ]
    ],
    hints=[f"idx/test_{folder}.txt" for folder in LLCM_FOLDERS.values()],
)
LAYOUTS = {"sysu": SYSU, "regdb": REGDB, "llcm": LLCM}
