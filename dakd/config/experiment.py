"""The network, the evaluation, and everything that decides a run."""

from dataclasses import dataclass, field
from typing import Literal

from dakd.config.checks import check_choices, check_positive
from dakd.config.data import DataConfig
from dakd.config.training import EngineConfig, StudentConfig, TeacherConfig
from dakd.runtime import require

Profile = Literal["smoke", "demo", "full"]


PROFILES: tuple[Profile, ...] = ("smoke", "demo", "full")


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
        check_choices(self)
        require(
            not (self.backbone == "small" and self.non_local),
            "ModelConfig: the small backbone has no non-local blocks; set non_local=False (on the "
            "command line --model.no-non-local) or take a ResNet",
        )


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
        check_positive(self, "trials", "batch")
        check_choices(self)


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
        check_choices(self)
