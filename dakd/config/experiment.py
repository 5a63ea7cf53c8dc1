"""Configuration of the network, the evaluation, and a whole run."""

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
    """The network, the same for teacher and student.

    Attributes:
        backbone: ``"resnet50"``, ``"resnet18"`` or ``"small"`` (see `dakd.model`).
        pooling: ``"average"``, ``"gem"``, or ``"auto"``: GeM for the ResNets, as published, and
            average pooling for the small network.
        non_local: insert non-local blocks after the last residual blocks of stages 2 and 3; None
            is the published choice: yes for the ResNets. The small network supports none.
        weights: ``"imagenet"``, path to a file of backbone weights, or None for random weights.
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
            "command line --model.no-non-local) or use a ResNet",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How networks are evaluated (see `dakd.evaluate.evaluate`).

    Attributes:
        protocol: ``"auto"`` is the dataset's own.
        trials: number of galleries drawn; the protocols prescribe 10.
        sampling: ``"agw"`` or ``"official"`` galleries, for SYSU-MM01's protocol.
        cmc_unit: ``"image"`` or ``"identity"``, what a rank counts; None is the protocol's own.
        flip: average each embedding with that of the mirrored image.
        rerank: k-reciprocal re-ranking.
        batch: images per forward pass.
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
    """All settings of a run.

    Attributes:
        profile: the profile that sets the other defaults.
        seed: of sampling, augmentation and weight initialisation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"bfloat16"`` (autocast), ``"float32"``, or ``"auto"``, the faster one on the
            device (see `dakd.runtime.pick_precision`).
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
