"""Configurations of the published experiments on SYSU-MM01, RegDB and LLCM.

`RECIPES` has the settings that differ between the datasets. The others are those of the full
profile, whose sizes, batches and schedules are those of the released code.
`dakd.studies.reproduction` runs a recipe.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dakd.config import Config, Profile, load_profile, replace
from dakd.runtime import require

DAKD = "DAKD: Deng et al., Knowledge-Based Systems 330, 114525 (2025), abstract"
MCE = "MCE, whose network is DAKD's teacher: Cheng et al., AAAI 2023, second-hand"
NETWORKS = ("teacher", "student")
NO_RESULT = "We know of no published result of the method on this dataset."


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published results.

    Attributes:
        network: the network they belong to, ``"teacher"`` or ``"student"``.
        source: the publication.
        values: per cent by setting of the protocol (see `dakd.evaluate.setting_name`) and metric;
            a value whose setting is not stated is repeated for all possible settings.
        reranked: whether they were re-ranked; both if the source does not state it.
        caveat: what else the source does not state.
    """

    network: Literal["teacher", "student"]
    source: str
    values: Mapping[str, Mapping[str, float]]
    reranked: tuple[bool, ...] = (False,)
    caveat: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a dataset's experiment, those of the released code.

    No released script trains on LLCM. Its image size and augmentation are those of the dataset
    class in DAKD's code; the other settings are those for SYSU-MM01.

    Attributes:
        dataset: its name.
        height, width: image size in pixels.
        images: Q, images per identity and modality in a batch of eight identities.
        milestones: epochs at which the teacher's learning rate is multiplied by 0.1.
        trials: splits, each with its own networks.
        published: published results.
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
                network="teacher",
                source=MCE,
                values={
                    "all-1": {"rank1": 74.77, "mAP": 72.01},
                    "indoor-1": {"rank1": 83.48, "mAP": 86.06},
                },
            ),
            Published(
                network="student",
                source=DAKD,
                values={"all-1": {"rank1": 76.31}},
                reranked=(False, True),
                caveat="The abstract does not state how galleries were drawn. DAKD's test.sh "
                "re-ranks and its train.py does not; it is not known which of them gave 76.31, so "
                "both are compared.",
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
                network="teacher",
                source=MCE,
                values={
                    "visible-infrared": {"rank1": 93.15, "mAP": 88.32},
                    "infrared-visible": {"rank1": 93.42, "mAP": 87.95},
                },
            ),
            Published(
                network="student",
                source=DAKD,
                values={d: {"rank1": 94.83} for d in ("visible-infrared", "infrared-visible")},
                reranked=(False, True),
                caveat="The abstract does not state the direction. DAKD's test.py evaluates one "
                "network on all ten splits, nine of which share identities with its training; "
                "here each split has its own network, as in MCE. It is not known how 94.83 was "
                "computed.",
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
        root: the dataset's folder; without it, drawn people exported in its layout.
        profile: ``"full"`` is the published experiment. Other profiles have their own sizes and
            schedules, and share only layout and protocol with it. By default ``$DAKD_PROFILE``,
            else ``"full"``.
        release: train as the released code does: all six differences from the paper, float32, and
            the epochs of both networks selected on the test set.

    Raises:
        ValueError: the recipe or profile is unknown.

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
    settings: dict[str, Any] = {"name": name, "root": absolute(root), "cache": True, "keep": False}
    data = replace(config.data, **settings)
    if config.profile != "full":
        return replace(config, data=data)
    own = RECIPES[name]
    return replace(
        config,
        data=replace(data, height=own.height, width=own.width),
        teacher=replace(config.teacher, images=own.images, milestones=own.milestones),
        student=replace(config.student, images=own.images),
    )


def absolute(root: str | os.PathLike[str] | None) -> str | None:
    """Return the absolute path of a folder, for the record."""
    return None if root is None else str(Path(root).expanduser().resolve())
