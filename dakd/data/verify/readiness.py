"""Whether a copy of a dataset can be used to train, and to evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from dakd.data import Name, load_dataset
from dakd.data.records import Dataset, ImageSet
from dakd.data.regdb import TRIALS
from dakd.data.verify.survey import below
from dakd.protocols import PROTOCOLS, People
from dakd.protocols.trials import GALLERY_CAMS

BATCH = 8  # identities in a batch, by default


@dataclass(frozen=True)
class Readiness:
    """Whether a command can use a copy.

    Attributes:
        command: ``"train"`` or ``"evaluate"``.
        where: the file or folder at fault.
        fault: why the command must fail; empty if it need not.
        note: which options it needs, and which identities it leaves out.
    """

    command: str
    where: str
    fault: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.command}: not possible, {self.fault}"
        return f"{self.command}: possible" + (f"; {self.note}" if self.note else "")


def check_readiness(name: str, root: Path, unreadable: set[str]) -> list[Readiness]:
    """Load a copy as training and evaluation do, and return whether they can use it, in this order.

    Of RegDB's ten splits, the first that cannot be used is returned.

    Args:
        name: ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``.
        root: the dataset's folder; for ``"custom"`` the table.
        unreadable: images that cannot be decoded, by path below the dataset's folder.
    """
    verdicts: dict[str, Readiness] = {}
    for trial in TRIALS if name == "regdb" else (None,):
        try:
            data = load_dataset(cast(Name, name), root, trial=trial, height=16, width=8, keep=False)
            found = _judge(data, root, unreadable)
        except (OSError, ValueError, ImportError) as error:
            found = [Readiness(c, ".", f"loading fails: {error}") for c in ("train", "evaluate")]
        for one in found:
            if one.command not in verdicts or (one.fault and not verdicts[one.command].fault):
                verdicts[one.command] = one
    return list(verdicts.values())


def _judge(data: Dataset, root: Path, unreadable: set[str]) -> list[Readiness]:
    trial = f" (trial {data.trial})" if data.trial else ""
    where = root.name if data.name == "custom" else "."
    found = []
    for command, images in (("train", data.train), ("evaluate", data.test)):
        fault, note = _train(images) if command == "train" else (_evaluate(data.name, images), "")
        files = (r.path for r in images.records if r.path is not None)
        damaged = sum(below(file, data.root or Path()) in unreadable for file in files)
        if damaged and not fault:
            fault = f"{damaged:,} of its images cannot be read"
        found.append(Readiness(command, where, fault and fault + trial, note))
    return found


def _train(images: ImageSet) -> tuple[str, str]:
    """Return why training must fail, and which identities it leaves out or options it needs."""
    if not len(images):
        return "there is no training image", ""
    if absent := _absent(images):
        return f"there is no {absent} training image, and a batch needs both modalities", ""
    both = np.intersect1d(images.pids[images.infrared], images.pids[~images.infrared])
    if not len(both):
        return "no training identity has both a visible and an infrared image", ""
    notes = []
    if single := images.num_classes - len(both):
        notes.append(f"{single:,} identities without an image in one modality are left out")
    if len(both) < BATCH:
        notes.append(
            f"a batch can have {len(both)} identities at most, and has {BATCH} by default: use "
            f"--teacher.identities {len(both)} --student.identities {len(both)}"
        )
    return "", "; ".join(notes)


def _evaluate(name: str, images: ImageSet) -> str:
    """Return why the dataset's protocol must fail; empty if it need not."""
    if not len(images):
        return "there is no test image"
    if absent := _absent(images):
        return f"there is no {absent} test image, and one modality is searched by the other"
    drop = PROTOCOLS[name if name in PROTOCOLS else None].drop
    people = images.table[["pid", "cam", "modality"]].drop_duplicates()
    query, visible = (people[people["modality"] == side] for side in ("infrared", "visible"))
    pairs = query.merge(visible, on="pid", suffixes=("", "_gallery"))
    pids, cams, others = (pairs[c].to_numpy() for c in ("pid", "cam", "cam_gallery"))
    dropped = drop(People(pids, cams), People(pids, others)) if drop else np.zeros(len(pairs), bool)
    galleries = {f"the gallery of {mode}-search": cams for mode, cams in GALLERY_CAMS.items()}
    if name != "sysu":
        galleries = {"the visible ones": tuple(people["cam"])}
    for gallery, allowed in galleries.items():
        if not (np.isin(others, allowed) & ~dropped).any():
            return f"no identity of the infrared test images is in {gallery}"
    return ""


def _absent(images: ImageSet) -> str:
    """Return the modality of which there is no image; empty if there is none."""
    return "infrared" if not images.infrared.any() else "visible" if images.infrared.all() else ""
