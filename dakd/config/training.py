"""Schedules of teacher and student, the switches of the method, and how a training runs."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from dakd.config.checks import check_choices, check_fraction, check_positive
from dakd.runtime import require


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Batches and optimiser of one training; subclasses add what is theirs.

    Attributes:
        epochs: passes of `steps` batches.
        steps: batches an epoch; None is as many as the sampler's epoch has.
        identities: P, identities in a batch.
        images: Q, images of an identity and modality in a batch.
        sampler: ``"published"``, identities anew for every batch and images with replacement, or
            ``"balanced"``, all of them equally often (see `dakd.data.sampler`).
        lr: Adam's learning rate at its highest.
        weight_decay: Adam's L2 penalty.
        schedule: ``"constant"``, ``"onecycle"``, or ``"multistep"`` (linear warm-up over
            `warmup` epochs, then a tenth from each of `milestones` on).
        warmup: epochs of linear warm-up.
        milestones: epochs, counted from 0, from which on the rate is a tenth of what it was.
        pipeline: the augmentation of ``"sysu"``, ``"regdb"`` or ``"llcm"`` as published (see
            `dakd.augment`); ``"auto"`` is the dataset's own.
        cutswap: ``"paper"``, ``"release"`` or ``"none"``.
        pad: pixels of padding before the random crop.
        holdout: share of the training identities that are not learned from and choose the epoch
            that is reported, by mAP among them; 0 learns from all.
        selection: the epoch that is reported: the ``"last"`` one, or the one with the best mAP on
            the ``"test"`` set (mean over all galleries), which is then no test any more.
    """

    epochs: int = 160
    steps: int | None = None
    identities: int = 8
    images: int = 4
    sampler: Literal["published", "balanced"] = "published"
    lr: float = 3.5e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "onecycle", "multistep"] = "constant"
    warmup: int = 0
    milestones: tuple[int, ...] = ()
    pipeline: Literal["auto", "sysu", "regdb", "llcm"] = "auto"
    cutswap: Literal["paper", "release", "none"] = "none"
    pad: int = 10
    holdout: float = 0.0
    selection: Literal["last", "test"] = "last"

    def __post_init__(self) -> None:
        check_positive(self, "epochs", "identities", "images", "lr")
        check_fraction(self, "holdout")
        where = type(self).__name__
        require(self.steps is None or self.steps > 0, f"{where}.steps must be positive or None")
        for name in ("pad", "weight_decay", "warmup"):
            value = getattr(self, name)
            told = f"{where}.{name} must not be negative, not {value}"
            require(0 <= value < math.inf, told)
        require(
            min(self.milestones, default=1) > 0,
            f"{where}.milestones must be positive epochs, not {self.milestones}",
        )
        check_choices(self)
        require(
            not (self.holdout and self.selects_on_test),
            f"{where}: holdout and the test set cannot both choose the epoch; set selection='last' "
            "with holdout, or holdout=0",
        )

    def cutswap_in(self, pipeline: str) -> Literal["paper", "release", "none"]:
        """Return the variant of CutSwap that is used in a dataset's pipeline."""
        return self.cutswap

    @property
    def selects_on_test(self) -> bool:
        """Whether the reported epoch is chosen on the test set."""
        return self.selection == "test"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(ScheduleConfig):
    """Training of the teacher, MCE; defaults are those that its authors published for SYSU-MM01.

    With ``selection="test"`` every second epoch from the twelfth on is tested, as published.

    Attributes:
        identity_epochs: epochs of plain identity classification before the prototype objective,
            for a network that starts from random weights. Ours: the published teacher starts
            from ImageNet weights; 0 in the full profile.
    """

    identity_epochs: int = 0
    weight_decay: float = 5e-4
    schedule: Literal["constant", "onecycle", "multistep"] = "multistep"
    warmup: int = 10
    milestones: tuple[int, ...] = (21, 40)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.identity_epochs >= 0,
            f"TeacherConfig.identity_epochs must not be negative, not {self.identity_epochs}",
        )


@dataclass(frozen=True, kw_only=True)
class StudentConfig(ScheduleConfig):
    """Distillation into the student; defaults are those of DAKD's release for SYSU-MM01.

    Where paper and release disagree, `preset` decides; ``"preset"`` or None in another field
    leaves it to the preset and the ablation, any other value is stronger than both.

    Attributes:
        preset: ``"paper"`` or ``"release"`` (the six differences are listed in docs/method.md).
        ablation: ``"full_mlkd"`` (all of DAKD), ``"only_kd"``, ``"mlkd_no_instance"`` or
            ``"mlkd_no_class"``.
        init: the student starts from ``"fresh"`` weights, as `ModelConfig.weights` says (as
            published, from ImageNet weights), or from the ``"teacher"``'s.
        mask_acts_on, mask_keep, swapped_temperatures: differences 1, 2 and 3
            (see `dakd.distill.Switches`, also for the switches below them).
        cutswap: difference 4, the student's variant of CutSwap; in the pipelines of RegDB and LLCM
            ``"preset"`` is none, as in the release.
        passes: difference 5, forward passes a step; of two the first is thrown away, but has moved
            the batch-norm statistics.
        batch_statistics: whether batch norm sees each ``"modality"`` by itself, visible first, as
            published, or both ``"joint"``.
        selection: difference 6; ``"last"`` or ``"test"``, after every epoch.
        temperatures, standardised, quantile, instance_weight, class_weight, weight: of the
            distillation loss.
        identity_weight: of a cross-entropy of the student's similarities to the teacher's class
            centres, beyond the paper; with ``weight=0`` nothing is distilled.
    """

    preset: Literal["paper", "release"] = "paper"
    ablation: Literal["full_mlkd", "only_kd", "mlkd_no_instance", "mlkd_no_class"] = "full_mlkd"
    init: Literal["fresh", "teacher"] = "fresh"
    mask_acts_on: Literal["samples", "mean", "preset"] = "preset"
    mask_keep: Literal["confident", "uncertain", "none", "preset"] = "preset"
    swapped_temperatures: tuple[float, ...] | None = None
    cutswap: Literal["paper", "release", "none", "preset"] = "preset"  # type: ignore[assignment]
    passes: Literal[1, 2] | None = None
    batch_statistics: Literal["modality", "joint"] = "modality"
    selection: Literal["last", "test", "preset"] = "preset"  # type: ignore[assignment]
    temperatures: tuple[float, ...] | None = None
    standardised: bool | None = None
    quantile: float | None = None
    instance_weight: float | None = None
    class_weight: float | None = None
    weight: float | None = None
    identity_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.identity_weight >= 0,
            f"StudentConfig.identity_weight must not be negative, not {self.identity_weight}",
        )

    def cutswap_in(self, pipeline: str) -> Literal["paper", "release", "none"]:
        """Return the variant of CutSwap that is used in a dataset's pipeline."""
        if self.cutswap != "preset":
            return self.cutswap
        return self.preset if pipeline == "sysu" else "none"

    @property
    def forward_passes(self) -> int:
        """Forward passes a step."""
        return self.passes or (2 if self.preset == "release" else 1)

    @property
    def selects_on_test(self) -> bool:
        """Whether the reported epoch is chosen on the test set."""
        chosen = {"paper": "last", "release": "test"}[self.preset]
        return (chosen if self.selection == "preset" else self.selection) == "test"

    @property
    def switches(self) -> dict[str, Any]:
        """The switches of `dakd.distill.DAKDLoss` that are set here."""
        names = "mask_acts_on mask_keep swapped_temperatures temperatures standardised quantile"
        names += " instance_weight class_weight weight"
        given = {name: getattr(self, name) for name in names.split()}
        return {name: value for name, value in given.items() if value not in (None, "preset")}


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How a training runs: nothing here decides what it results in.

    Attributes:
        workers: threads that fetch batches ahead; None is 2 with a GPU, none on the CPU.
        compile: compile the networks with `torch.compile`; rounds otherwise, and needs a compiler.
        deterministic: on a GPU, use only kernels that give the same result every time (slower).
        snapshot_seconds: time between two snapshots of a training that writes a folder; 0 writes
            one after every step.
        keep_snapshots: how many are kept.
        tensorboard: write TensorBoard's files into the run folder, where it is installed.
    """

    workers: int | None = None
    compile: bool = False
    deterministic: bool = False
    snapshot_seconds: float = 300.0
    keep_snapshots: int = 2
    tensorboard: bool = True

    def __post_init__(self) -> None:
        check_positive(self, "keep_snapshots")
        for name in ("workers", "snapshot_seconds"):
            value = getattr(self, name)
            require(
                value is None or value >= 0,
                f"EngineConfig.{name} must not be negative, not {value}",
            )
