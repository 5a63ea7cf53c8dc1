"""Every setting of a run, as frozen dataclasses; the command line is generated from them.

A *profile* fixes the sizes (``smoke`` for tests, ``demo`` for a laptop, ``full`` for a GPU) and
never changes which code runs. A *preset* or an *ablation* of the method is a setting of
`StudentConfig`. `fingerprint` names a run by its configuration.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from dakd.runtime import require

SEEN = ("height", "width", "filter")  # of `DataConfig`: how the images of a network are read
Profile = Literal["smoke", "demo", "full"]
PROFILES: tuple[Profile, ...] = ("smoke", "demo", "full")


def _positive(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        where = f"{type(config).__name__}.{name}"
        require(0 < value < math.inf, f"{where} must be positive, not {value!r}")


def _fraction(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        where = f"{type(config).__name__}.{name}"
        require(0 <= value <= 1, f"{where} must lie in 0..1, not {value!r}")


def _choices(config: Any) -> None:
    """Refuse a value that is not among those of its field's Literal type."""
    for name, kind in get_type_hints(type(config)).items():
        if get_origin(kind) is Literal:
            value, allowed = getattr(config, name), get_args(kind)
            where = f"{type(config).__name__}.{name}"
            require(value in allowed, f"{where} must be one of {allowed}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """The embedded benchmark: how many pedestrians, and how hard they are to tell apart.

    Attributes:
        train_ids: training identities, numbers 1..train_ids (the strongest lever on what a
            network learns).
        test_ids: identities of the test split, the numbers that follow; at least 20.
        images_per_camera: images of an identity in each camera that saw it.
        thermal: cameras 3 and 6 are thermal (as in RegDB) instead of near-infrared: skin is
            warm, cloth as warm as its insulation lets through, and `material` has no effect.
        material: 0..1, how much of a garment's near-infrared brightness follows from its visible
            luminance; the rest comes from its material. Lower is a wider modality gap. Shape,
            and the geometry of patterns, are the same in both modalities at any value.
        clutter: 0..1, strength of background structure; 0 leaves plain stripes.
        occlusion: 0..1, probability that a post or something low stands before the person.
        jitter: 0..1, variation inside an identity: probability that the view is drawn freely
            (front, back or side) instead of frontal, turn of the body, phase of the gait, scale,
            shift, brightness, colour and direction of the light.
        noise: 0..1, sensor noise and blur.
        seed: people and their images follow from it.
    """

    train_ids: int = 256
    test_ids: int = 48
    images_per_camera: int = 4
    thermal: bool = False
    material: float = 0.5
    clutter: float = 0.5
    occlusion: float = 0.1
    jitter: float = 0.3
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        _positive(self, "images_per_camera")
        require(
            self.train_ids >= 4,
            f"SyntheticConfig.train_ids must be at least 4 (some are for validation), "
            f"not {self.train_ids}",
        )
        require(
            self.test_ids >= 20,
            f"SyntheticConfig.test_ids must be at least 20 (rank-20 is reported), "
            f"not {self.test_ids}",
        )
        _fraction(self, "material", "clutter", "occlusion", "jitter", "noise")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which dataset, where it lies, and at what size images are read.

    Attributes:
        name: ``"synthetic"``, ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``
            (see `dakd.data.load_dataset`).
        root: folder of the dataset (of ``"custom"`` the table); without one the embedded benchmark
            is exported to the dataset's layout and read back from there.
        trial: which of RegDB's ten splits, 1 to 10; nothing to the others.
        height, width: pixels.
        filter: how images are resized; Lanczos is what the published codes use.
        keep: remember decoded pictures; SYSU-MM01 at 384 x 128 then takes about 6 GB of memory.
        cache: keep decoded pictures in a file that all processes share instead (see
            `dakd.data.cache`); same pictures, same results.
        synthetic: settings of the embedded benchmark.
    """

    name: Literal["synthetic", "sysu", "regdb", "llcm", "custom"] = "sysu"
    root: str | None = None
    trial: int = 1
    height: int = 384
    width: int = 128
    filter: Literal["lanczos", "bicubic", "bilinear"] = "lanczos"
    keep: bool = True
    cache: bool = False
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        _positive(self, "height", "width")
        require(1 <= self.trial <= 10, f"DataConfig.trial must be 1 to 10, not {self.trial}")
        _choices(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network; teacher and student share it.

    Attributes:
        backbone: ``"resnet50"``, ``"resnet18"`` or ``"small"`` (see `dakd.model`).
        pooling: ``"average"``, ``"gem"``, or ``"auto"``: GeM for the ResNets, as published, and the
            average for the small network.
        non_local: whether non-local blocks stand behind the second and third stage's last residual
            blocks; None is as published for the ResNets (they do). The small network has none.
        weights: ``"imagenet"``, a path to a file of backbone weights, or None for random ones.
    """

    backbone: Literal["resnet50", "resnet18", "small"] = "resnet50"
    pooling: Literal["auto", "average", "gem"] = "auto"
    non_local: bool | None = None
    weights: str | None = "imagenet"

    def __post_init__(self) -> None:
        _choices(self)
        require(
            not (self.backbone == "small" and self.non_local),
            "ModelConfig: the small backbone has no non-local blocks; set non_local=False (on the "
            "command line --model.no-non-local) or take a ResNet",
        )


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
        _positive(self, "epochs", "identities", "images", "lr")
        _fraction(self, "holdout")
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
        _choices(self)
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
class EvaluationConfig:
    """How the benchmark table is made (see `dakd.evaluate.evaluate`).

    Attributes:
        protocol: ``"auto"`` is the dataset's own.
        trials: galleries drawn; ten is the protocol.
        sampling: ``"agw"`` or ``"official"`` galleries, for SYSU-MM01's protocol.
        cmc_unit: ``"image"`` or ``"identity"``, what a rank counts; None is the protocol's own.
        flip: average each embedding with that of the mirrored image.
        rerank: k-reciprocal re-ranking.
        batch: images a forward pass.
    """

    protocol: Literal["auto", "sysu", "regdb", "llcm", "llcm-released", "none"] = "auto"
    trials: int = 10
    sampling: Literal["agw", "official"] = "agw"
    cmc_unit: Literal["image", "identity"] | None = None
    flip: bool = False
    rerank: bool = False
    batch: int = 256

    def __post_init__(self) -> None:
        _positive(self, "trials", "batch")
        _choices(self)


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
        _positive(self, "keep_snapshots")
        for name in ("workers", "snapshot_seconds"):
            value = getattr(self, name)
            require(
                value is None or value >= 0,
                f"EngineConfig.{name} must not be negative, not {value}",
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a run.

    Attributes:
        profile: where the other defaults come from.
        seed: of batches, augmentation and starting weights.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"bfloat16"`` (autocast), ``"float32"``, or ``"auto"``, what the device computes
            fast (see `dakd.runtime.pick_precision`).
        data, model, teacher, student, evaluation, engine: see their classes.
    """

    profile: Profile = "demo"
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, f"Config.seed must lie in 0..2^32 - 1, not {self.seed}")
        _choices(self)


class Batches(TypedDict):
    """What teacher and student share in a profile."""

    epochs: int
    steps: int
    identities: int
    images: int
    lr: float
    pad: int
    schedule: Literal["constant", "onecycle", "multistep"]


def _smoke() -> Config:
    batch = Batches(epochs=2, steps=6, identities=6, images=2, lr=2e-3, pad=2, schedule="onecycle")
    return Config(
        profile="smoke",
        data=DataConfig(
            height=32,
            width=16,
            synthetic=SyntheticConfig(train_ids=24, test_ids=20, images_per_camera=3),
        ),
        model=ModelConfig(backbone="small", weights=None),
        teacher=TeacherConfig(**batch, identity_epochs=1),
        student=StudentConfig(**batch),
        evaluation=EvaluationConfig(trials=2),
    )


def _demo() -> Config:
    batch = Batches(
        epochs=24, steps=32, identities=16, images=4, lr=2e-3, pad=4, schedule="onecycle"
    )
    return Config(
        profile="demo",
        data=DataConfig(height=64, width=32, synthetic=SyntheticConfig(train_ids=256, test_ids=64)),
        model=ModelConfig(backbone="small", weights=None),
        teacher=replace(TeacherConfig(**batch, identity_epochs=20), epochs=32),
        student=StudentConfig(**batch),
    )


def _full() -> Config:
    return Config(
        profile="full",
        data=DataConfig(
            synthetic=SyntheticConfig(train_ids=395, test_ids=96, images_per_camera=12)
        ),
    )


def load_profile(name: str | None = None) -> Config:
    """Return the configuration of a profile: `name`, else ``$DAKD_PROFILE``, else ``"demo"``.

    Raises:
        ValueError: the profile does not exist.
    """
    name = name or os.environ.get("DAKD_PROFILE") or "demo"
    makers = {"smoke": _smoke, "demo": _demo, "full": _full}
    if name not in makers:
        raise ValueError(f"profile {name!r} is unknown; use one of {', '.join(makers)}")
    return makers[name]()


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain nested dictionaries, ready for JSON."""
    return dataclasses.asdict(config)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, names joined by dots.

    >>> flat({"teacher": {"lr": 0.1}, "seed": 3})
    {'teacher.lr': 0.1, 'seed': 3}
    """
    joined: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        joined |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return joined


def inside(values: Any, *names: str) -> dict[str, Any]:
    """Return what lies under `names` in nested dictionaries, of a file that may hold anything."""
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def fingerprint(*parts: Any) -> str:
    """Return ten hexadecimal digits that change when any of `parts` (configs or values) does."""
    plain = [to_dict(p) if dataclasses.is_dataclass(p) else p for p in parts]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


__all__ = [
    "PROFILES",
    "SEEN",
    "Config",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "ModelConfig",
    "Profile",
    "ScheduleConfig",
    "StudentConfig",
    "SyntheticConfig",
    "TeacherConfig",
    "fingerprint",
    "flat",
    "inside",
    "load_profile",
    "replace",
    "to_dict",
]
