"""The experiments of MCE and DAKD as one call each: teacher, student, evaluation, one record.

`RECIPES` holds what differs between the datasets. Everything else is the full profile, whose sizes,
batches and schedules are those of the published codes. An interrupted recipe is continued by the
same call.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dakd.config import Config, Profile, load_profile, replace
from dakd.runtime import require

DAKD = "DAKD: Deng et al., Knowledge-Based Systems 330, 114525 (2025), abstract"


MCE = "MCE, whose network is DAKD's teacher: Cheng et al., AAAI 2023, as quoted to us"


NO_FIGURE = "No figure of the method on this dataset is known to us."


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that others report, and what their source leaves open.

    Attributes:
        who: which of our networks they stand beside, ``"teacher"`` or ``"student"``.
        source: who reports them, and where.
        values: per cent by setting of the protocol (see `dakd.evaluate.setting_name`) and metric;
            one that may belong to several settings is in all of them.
        reranked: whether they were re-ranked; both where the source does not say.
        unsaid: what else the source leaves open.
    """

    who: Literal["teacher", "student"]
    source: str
    values: Mapping[str, Mapping[str, float]]
    reranked: tuple[bool, ...] = (False,)
    unsaid: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an experiment has of its own; sizes, batches and milestones are those of the releases.

    No published script trains on LLCM. DAKD's code has a class that reads it, which gives size and
    augmentation; everything else is ours, as for SYSU-MM01.

    Attributes:
        dataset: its name.
        height, width: pixels that images are read at.
        images: Q, images of an identity and modality in a batch of eight identities.
        milestones: epochs from which on the teacher's rate is a tenth of what it was.
        trials: splits, each with networks of its own.
        published: figures that ours are shown beside.
    """

    dataset: str
    height: int = 384
    width: int = 128
    images: int = 4
    milestones: tuple[int, ...] = (21, 40)
    trials: tuple[int, ...] = (1,)
    published: tuple[Published, ...] = ()


RECIPES: dict[str, Recipe] = {
    "sysu": Recipe(
        dataset="SYSU-MM01",
        published=(
            Published(
                who="teacher",
                source=MCE,
                values={
                    "all-1": {"rank1": 74.77, "mAP": 72.01},
                    "indoor-1": {"rank1": 83.48, "mAP": 86.06},
                },
            ),
            Published(
                who="student",
                source=DAKD,
                values={"all-1": {"rank1": 76.31}},
                reranked=(False, True),
                unsaid="The abstract does not say how galleries were drawn. DAKD's test.sh "
                "re-ranks and its train.py does not; which of them gave 76.31 is not known, so "
                "both stand here.",
            ),
        ),
    ),
    "regdb": Recipe(
        dataset="RegDB",
        height=288,
        width=144,
        images=5,
        milestones=(31, 60),
        trials=tuple(range(1, 11)),
        published=(
            Published(
                who="teacher",
                source=MCE,
                values={
                    "visible-infrared": {"rank1": 93.15, "mAP": 88.32},
                    "infrared-visible": {"rank1": 93.42, "mAP": 87.95},
                },
            ),
            Published(
                who="student",
                source=DAKD,
                values={d: {"rank1": 94.83} for d in ("visible-infrared", "infrared-visible")},
                reranked=(False, True),
                unsaid="The abstract names no direction. DAKD's test.py measures one network on "
                "all ten splits, nine of which share people with its training; here each split has "
                "a network of its own, as in MCE. How 94.83 came about is not known.",
            ),
        ),
    ),
    "llcm": Recipe(dataset="LLCM", width=144),
}


def recipe(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    profile: Profile | None = None,
    release: bool = False,
) -> Config:
    """Return the configuration of an experiment.

    Args:
        name: ``"sysu"``, ``"regdb"`` or ``"llcm"``.
        root: the dataset's folder; without one, drawn people exported to its layout.
        profile: ``"full"`` is the experiment itself. Another profile has its own sizes and
            schedules, and only layout and protocol are the dataset's. By default
            ``$DAKD_PROFILE``, else ``"full"``.
        release: train as the published codes do: all six rows in which they depart from the paper,
            float32, and both networks' epochs chosen on the test set.

    Raises:
        ValueError: there is no such recipe or profile.

    >>> config = recipe("regdb", "RegDB", profile="full")
    >>> config.data.height, config.student.images, config.teacher.milestones
    (288, 5, (31, 60))
    """
    require(name in RECIPES, f"recipe {name!r} is unknown; use one of {', '.join(RECIPES)}")
    config = load_profile(profile or os.environ.get("DAKD_PROFILE") or "full")
    if release:
        config = replace(
            config,
            precision="float32",
            teacher=replace(config.teacher, selection="test"),
            student=replace(config.student, preset="release"),
        )
    where: dict[str, Any] = {"name": name, "root": _absolute(root), "cache": True, "keep": False}
    if config.profile != "full":
        return replace(config, data=replace(config.data, **where))
    own = RECIPES[name]
    return replace(
        config,
        data=replace(config.data, height=own.height, width=own.width, **where),
        teacher=replace(config.teacher, images=own.images, milestones=own.milestones),
        student=replace(config.student, images=own.images),
    )


def _absolute(root: str | os.PathLike[str] | None) -> str | None:
    """Return a folder under one name from wherever it is called, for the record."""
    return None if root is None else str(Path(root).expanduser().resolve())
