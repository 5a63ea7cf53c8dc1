"""SYSU-MM01's layout: folders against identity lists and the official draws."""

import re
from collections import defaultdict
from functools import partial

from dakd.data.lists import some
from dakd.data.sysu import CAMERAS, Permutations, read_part, read_permutations
from dakd.data.verify.expected import ALL, Expected, Key
from dakd.data.verify.survey import Item, Kind, Survey

DRAWS = "exp/rand_perm_cam.mat"


def survey_sysu(survey: Survey, known: Expected) -> None:
    """Compare folders with the identity lists and, where it is, with ``rand_perm_cam.mat``.

    The official draws hold the number of images of every identity in every camera. Without them
    only a gap in the numbers tells which image is missing.
    """
    survey.walk(f"cam{cam}" for cam in CAMERAS)
    splits = _sysu_splits(survey, known)
    draws = _sysu_draws(survey)
    images = _sysu_images(survey, splits)
    for pid, split in splits.items():
        for cam, modality in CAMERAS.items():
            files = images[cam, pid]
            last = max(files, default=0)
            if draws is not None:
                last = draws[cam, pid].shape[1] if (cam, pid) in draws else 0
            for number in sorted({*files, *range(1, last + 1)}):
                path = files.get(number, f"cam{cam}/{pid:04d}/{number:04d}.jpg")
                item = Item(split, modality, cam, pid, path)
                (survey.found if number in files else survey.missing).append(item)
                if number > last:
                    survey.extra.append(item)
            if not last and (folder := f"cam{cam}/{pid:04d}") in survey.empty:
                kind: Kind = "missing" if draws is None else "extra"
                survey.fault(kind, folder, "holds no image", (split, modality, cam))
    survey.report_files("the numbers around it" if draws is None else DRAWS)
    seen = {item.camera for item in survey.found + survey.missing}
    for cam in sorted(CAMERAS.keys() - seen) if splits else ():
        what = "there is no image of any listed identity"
        survey.fault("missing", f"cam{cam}", what, (ALL, CAMERAS[cam], cam))


def _sysu_splits(survey: Survey, known: Expected) -> dict[int, str]:
    """Return the split of each listed identity, in ascending order."""
    lists: dict[str, set[int]] = {}
    for part in ("train", "val", "test"):
        name = f"exp/{part}_id.txt"
        key: Key = ("test" if part == "test" else "train", ALL, ALL)
        ids = survey.attempt(partial(read_part, survey.root, part), name, key)
        lists[part] = ids or set()
        if ids and len(ids) != (number := known.lists.get(part, len(ids))):
            what = f"lists {len(ids)} identities, a complete copy has {number}"
            survey.fault("wrong", name, what, key)
    for part, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := sorted(lists[part] & lists[other]):
            what = f"has identities of {part}_id.txt: {some(shared)}"
            survey.fault("wrong", f"exp/{other}_id.txt", what, (ALL, ALL, ALL))
    parts = [(pid, part) for part, ids in lists.items() for pid in ids]
    return {pid: "test" if part == "test" else "train" for pid, part in sorted(parts)}


def _sysu_draws(survey: Survey) -> Permutations | None:
    if (survey.root / DRAWS).is_file():
        return survey.attempt(lambda: read_permutations(survey.root / DRAWS), DRAWS)
    survey.notes.append(
        f"without {DRAWS}, only gaps in the numbers tell which images are missing; it is "
        "evaluation/data_split/rand_perm_cam.mat of https://github.com/wuancong/SYSU-MM01"
    )
    return None


def _sysu_images(survey: Survey, splits: dict[int, str]) -> dict[tuple[int, int], dict[int, str]]:
    """Return the files of listed identities by camera, identity and image number."""
    images: dict[tuple[int, int], dict[int, str]] = defaultdict(dict)
    unlisted, stray = set(), []
    for name in sorted(survey.images):
        match = re.fullmatch(r"cam([1-6])/(\d{4,})/([^/]+)\.(?i:jpg|jpeg|png)", name)
        if not match:
            stray.append(name)
        elif int(match[2]) not in splits:
            unlisted.add(match[2])
        elif not re.fullmatch(r"\d{1,4}", match[3]):
            survey.fault("wrong", name, "the name must be the image's number, as in 0001.jpg")
        elif (number := int(match[3])) in (have := images[int(match[1]), int(match[2])]):
            survey.fault("wrong", name, f"is image {number}, as is {have[number]}; remove one")
        else:
            have[number] = name
    survey.note(unlisted, "identities with images that no list names, passed over")
    survey.note(stray, "images outside of the folders of identities, passed over")
    return images
