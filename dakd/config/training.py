"""Configuration of training: schedules, the switches of the method, and how a training runs."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from dakd.config.checks import check_choices, check_fraction, check_positive
from dakd.runtime import require


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Batches and optimiser of a training, common to teacher and student.

    Attributes:
        epochs: number of epochs.
        steps: batches per epoch; None is the length of the sampler's epoch.
        identities: P, identities per batch.
        images: Q, images per identity and modality in a batch.
        sampler: ``"published"``, which draws identities independently for every batch and images
            with replacement, or ``"balanced"``, which uses all equally often (see
            `dakd.data.sampler`).
        lr: Adam's peak learning rate.
        weight_decay: Adam's L2 penalty.
        schedule: ``"constant"``, ``"onecycle"``, or ``"multistep"`` (linear warm-up over
            `warmup` epochs, then a factor of 0.1 at each of `milestones`).
        warmup: epochs of linear warm-up.
        milestones: epochs, counted from 0, at which the learning rate is multiplied by 0.1.
        pipeline: the published augmentation of ``"sysu"``, ``"regdb"`` or ``"llcm"`` (see
            `dakd.augment`); ``"auto"`` is the dataset's own.
        cutswap: ``"paper"``, ``"release"`` or ``"none"``.
        pad: pixels of padding before the random crop.
        holdout: fraction of the training identities held out to select the reported epoch by
            validation mAP; 0 trains on all identities.
        selection: the reported epoch: ``"last"``, or the one with the best mAP on the ``"test"``
            set (mean over all galleries), whose numbers are then no test results.
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
            require(0 <= value < math.inf, f"{where}.{name} must not be negative, not {value}")
        require(
            min(self.milestones, default=1) > 0,
            f"{where}.milestones must be positive epochs, not {self.milestones}",
        )
        check_choices(self)
        require(
            not (self.holdout and self.selects_on_test),
            f"{where}: holdout and the test set cannot both select the epoch; set selection='last' "
            "with holdout, or holdout=0",
        )

    def cutswap_in(self, pipeline: str) -> Literal["paper", "release", "none"]:
        """Return the variant of CutSwap used in a dataset's pipeline."""
        return self.cutswap

    @property
    def selects_on_test(self) -> bool:
        """Whether the reported epoch is selected on the test set."""
        return self.selection == "test"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(ScheduleConfig):
    """Training of the teacher, MCE; the defaults are those published for SYSU-MM01.

    With ``selection="test"`` every second epoch from the twelfth on is tested, as published.

    Attributes:
        identity_epochs: epochs of identity classification before the prototype objective, for a
            network that starts from random weights. Differs from the paper: the published teacher
            starts from ImageNet weights; 0 in the full profile.
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
class DistillConfig:
    """Switches of the distillation loss that override preset and ablation; None keeps them.

    `dakd.distill.Switches` describes each of them.

    Attributes:
        mask_acts_on, mask_keep, swapped_temperatures: differences 1, 2 and 3 between paper and
            release (docs/method.md).
        temperatures, standardised, centre_temperature, masked_modalities, quantile: of the terms.
        instance_weight, class_weight, weight: weights of the two levels and of their sum.
    """

    mask_acts_on: Literal["samples", "mean"] | None = None
    mask_keep: Literal["confident", "uncertain", "none"] | None = None
    masked_modalities: tuple[str, ...] | None = None
    quantile: float | None = None
    temperatures: tuple[float, ...] | None = None
    swapped_temperatures: tuple[float, ...] | None = None
    centre_temperature: float | None = None
    standardised: bool | None = None
    instance_weight: float | None = None
    class_weight: float | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.quantile is not None:
            check_fraction(self, "quantile")
        if self.centre_temperature is not None:
            check_positive(self, "centre_temperature")
        for name in ("temperatures", "swapped_temperatures"):
            values = getattr(self, name)
            require(
                values is None or min(values, default=1) > 0,
                f"DistillConfig.{name} must be positive, not {values}",
            )
        for name in ("instance_weight", "class_weight", "weight"):
            value = getattr(self, name)
            require(
                value is None or value >= 0,
                f"DistillConfig.{name} must not be negative, not {value}",
            )
        require(
            set(self.masked_modalities or ()) <= {"visible", "infrared"},
            "DistillConfig.masked_modalities must be among 'visible' and 'infrared', not "
            f"{self.masked_modalities}",
        )

    @property
    def overrides(self) -> dict[str, Any]:
        """The switches that are not None, as keyword arguments of `dakd.distill.DAKDLoss`."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class StudentConfig(ScheduleConfig):
    """Distillation into the student; the defaults are those of DAKD's release for SYSU-MM01.

    `preset` sets the six switches in which paper and release differ. A field that is ``"preset"``
    or None follows the preset and the ablation; any other value takes precedence.

    Attributes:
        preset: ``"paper"`` or ``"release"`` (the six differences are listed in docs/method.md).
        ablation: ``"full_mlkd"`` (all of DAKD), ``"only_kd"``, ``"mlkd_no_instance"`` or
            ``"mlkd_no_class"``.
        distill: switches of the loss.
        init: initial weights of the student: ``"fresh"``, those of `ModelConfig.weights` (as
            published, from ImageNet), or the ``"teacher"``'s.
        cutswap: difference 4, the variant of CutSwap; ``"preset"`` uses none on RegDB and LLCM,
            as in the release.
        passes: difference 5, forward passes per step; with two, the output of the first is
            discarded, but it updates the batch-norm statistics.
        batch_statistics: batch-norm statistics per ``"modality"``, visible first, as published, or
            over both (``"joint"``).
        selection: difference 6; ``"last"``, or ``"test"`` after every epoch.
        identity_weight: weight of a cross-entropy over similarities to the teacher's class
            centres. Differs from the paper: it has no such term. ``distill.weight=0`` disables
            distillation.
    """

    preset: Literal["paper", "release"] = "paper"
    ablation: Literal["full_mlkd", "only_kd", "mlkd_no_instance", "mlkd_no_class"] = "full_mlkd"
    distill: DistillConfig = field(default_factory=DistillConfig)
    init: Literal["fresh", "teacher"] = "fresh"
    cutswap: Literal["paper", "release", "none", "preset"] = "preset"  # type: ignore[assignment]
    passes: Literal[1, 2] | None = None
    batch_statistics: Literal["modality", "joint"] = "modality"
    selection: Literal["last", "test", "preset"] = "preset"  # type: ignore[assignment]
    identity_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.identity_weight >= 0,
            f"StudentConfig.identity_weight must not be negative, not {self.identity_weight}",
        )

    def cutswap_in(self, pipeline: str) -> Literal["paper", "release", "none"]:
        """Return the variant of CutSwap used in a dataset's pipeline."""
        if self.cutswap != "preset":
            return self.cutswap
        return self.preset if pipeline == "sysu" else "none"

    @property
    def forward_passes(self) -> int:
        """Forward passes per step."""
        return self.passes or (2 if self.preset == "release" else 1)

    @property
    def selects_on_test(self) -> bool:
        """Whether the reported epoch is selected on the test set."""
        chosen = {"paper": "last", "release": "test"}[self.preset]
        return (chosen if self.selection == "preset" else self.selection) == "test"


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How a training runs; none of these settings is meant to change its result.

    Attributes:
        workers: threads that prefetch batches; None is 2 with a GPU and 0 on the CPU.
        compile: compile the networks with `torch.compile`; changes rounding and needs a compiler.
        deterministic: on a GPU, use only deterministic kernels (slower).
        snapshot_seconds: seconds between two snapshots of a training that writes a folder; 0
            writes one after every step.
        keep_snapshots: number of snapshots to keep.
        tensorboard: also write TensorBoard event files, if TensorBoard is installed.
    """

    workers: int | None = None
    compile: bool = False
    deterministic: bool = False
    snapshot_seconds: float = 300.0
    keep_snapshots: int = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_positive(self, "keep_snapshots")
        for name in ("workers", "snapshot_seconds"):
            value = getattr(self, name)
            require(
                value is None or value >= 0,
                f"EngineConfig.{name} must not be negative, not {value}",
            )
