"""What a copy of a dataset is good for: to train on, and to evaluate on."""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dakd.data.custom import load_custom
from dakd.data.llcm import load_llcm
from dakd.data.records import Dataset, ImageSet
from dakd.data.regdb import TRIALS, load_regdb
from dakd.data.sysu import load_sysu

BATCH = 8  # identities of a batch, if nothing else is asked for
_SIZE: dict[str, Any] = {"height": 16, "width": 8, "keep": False}  # nothing is decoded
_SYSU_GALLERIES = {"all-search": (1, 2, 4, 5), "indoor-search": (1, 2)}


@dataclass(frozen=True)
class Readiness:
    """Whether a command can work with a copy.

    Attributes:
        command: ``"train"`` or ``"evaluate"``.
        where: the file or folder to look at.
        fault: why it must fail; empty if it need not.
        note: what it needs, or leaves out.
    """

    command: str
    where: str
    fault: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.command}: not possible, {self.fault}"
        return f"{self.command}: possible" + (f"; {self.note}" if self.note else "")


def readiness(name: str, root: Path, unreadable: set[str]) -> list[Readiness]:
    """Load a copy as training and evaluation do, and return what they would say, the former first.

    Of RegDB's ten splits the first that lacks something speaks for all.

    Args:
        name: ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``.
        root: the dataset's folder; for ``"custom"`` the table.
        unreadable: images that cannot be decoded, by path below the dataset's folder.
    """
    load: dict[str, Any] = {"sysu": load_sysu, "llcm": load_llcm, "custom": load_custom}
    readers = [partial(load_regdb, trial=t) for t in TRIALS] if name == "regdb" else [load[name]]
    verdicts: dict[str, Readiness] = {}
    for reader in readers:
        try:
            found = _judge(reader(root, **_SIZE), name, root, unreadable)
        except (OSError, ValueError, ImportError) as error:
            found = [Readiness(c, ".", f"loading fails: {error}") for c in ("train", "evaluate")]
        for one in found:
            if one.command not in verdicts or (one.fault and not verdicts[one.command].fault):
                verdicts[one.command] = one
    return list(verdicts.values())


def _judge(data: Dataset, name: str, root: Path, unreadable: set[str]) -> list[Readiness]:
    trial = f" (trial {data.trial})" if data.trial else ""
    where = root.name if name == "custom" else "."
    found = []
    for command, images, judge in (
        ("train", data.train, _train), ("evaluate", data.test, partial(_evaluate, name)),
    ):  # fmt: skip
        fault, note = judge(images)
        damaged = [r for r in images.records if _below(r.path, data.root) in unreadable]
        if damaged and not fault:
            fault = f"{len(damaged):,} of its images cannot be read"
        found.append(Readiness(command, where, fault and fault + trial, note))
    return found


def _below(path: Path | None, root: Path | None) -> str:
    if path is None or root is None:
        return ""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _train(images: ImageSet) -> tuple[str, str]:
    """Return why training must fail, and what it leaves out or needs."""
    if not len(images):
        return "there is no training image", ""
    if lacking := _lacking(images):
        return f"there is no {lacking} training image, and a batch shows people in both", ""
    both = np.intersect1d(images.pids[images.infrared], images.pids[~images.infrared])
    if not len(both):
        return "no training identity has both a visible and an infrared image", ""
    notes = []
    if alone := images.num_classes - len(both):
        notes.append(f"{alone:,} identities without an image in one modality are left out")
    if len(both) < BATCH:
        notes.append(
            f"a batch can show {len(both)} identities at most, and shows {BATCH} if nothing else "
            f"is asked for (--teacher.identities {len(both)} --student.identities {len(both)})"
        )
    return "", "; ".join(notes)


def _evaluate(name: str, images: ImageSet) -> tuple[str, str]:
    """Return why the dataset's protocol must fail, and nothing to be noted."""
    if not len(images):
        return "there is no test image", ""
    if lacking := _lacking(images):
        return f"there is no {lacking} test image, and one modality is searched by the other", ""
    views: dict[str, set[tuple[int, int]]] = {"visible": set(), "infrared": set()}
    for r in images.records:
        views[r.modality].add((r.pid, r.cam))
    searches = _SYSU_GALLERIES if name == "sysu" else {"": tuple(np.unique(images.cams))}
    for search, cams in searches.items():
        gallery: dict[int, set[int]] = defaultdict(set)
        for pid, cam in views["visible"]:
            gallery[pid] |= {cam} & set(cams)
        if not any(_left(name, cam, gallery[pid]) for pid, cam in views["infrared"]):
            where = f"the gallery of {search}" if search else "the visible ones"
            return f"nobody of the infrared test images is among {where}", ""
    return "", ""


def _left(name: str, query: int, gallery: set[int]) -> set[int]:
    """Return the cameras of a person's gallery images that the protocol's camera rule leaves."""
    if name == "sysu":
        return gallery - {2} if query == 3 else gallery
    return gallery - {query} if name == "llcm" else gallery


def _lacking(images: ImageSet) -> str:
    return "infrared" if not images.infrared.any() else "visible" if images.infrared.all() else ""
