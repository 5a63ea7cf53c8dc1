"""The variants of the ablation by name, as differences from a configuration.

`dakd.studies.ablation` trains and evaluates them. This module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from dakd.config import DistillConfig


@dataclass(frozen=True)
class Variant:
    """A variant of the ablation.

    Attributes:
        group: variants that are compared with each other.
        label: its name in tables and figures.
        kind: which network; ``"continued"`` is the teacher trained further with its own objective
            on the student's schedule.
        student: changes of `dakd.config.StudentConfig`.
        teacher: changes of `dakd.config.TeacherConfig`, also for the teacher of a student.
    """

    group: str
    label: str
    kind: Literal["untrained", "teacher", "continued", "student"] = "student"
    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)


_IDENTITY = {"distill": DistillConfig(weight=0.0), "identity_weight": 1.0}


def _switch(**values: Any) -> dict[str, Any]:
    """Return the change of `StudentConfig` for switches of the loss."""
    return {"distill": DistillConfig(**values)}


MAIN = ("untrained", "teacher", "continued", "only_kd", "dakd")  # the rows of the README
GRID: Mapping[str, Variant] = MappingProxyType({
    "untrained": Variant("controls", "untrained", "untrained"),
    "teacher": Variant("controls", "teacher", "teacher"),
    "continued": Variant("controls", "teacher, trained further", "continued"),
    "identity": Variant("controls", "identity loss alone", student=_IDENTITY),
    "dakd": Variant("method", "DAKD"),
    "only_kd": Variant("method", "plain distillation", student={"ablation": "only_kd"}),
    "dakd_identity": Variant("method", "DAKD + identity loss", student={"identity_weight": 1.0}),
    "from_teacher": Variant(
        "method", "DAKD from the teacher's weights", student={"init": "teacher"}
    ),
    "identity_from_teacher": Variant(
        "controls", "identity loss alone, from the teacher's weights",
        student={**_IDENTITY, "init": "teacher"},
    ),
    "dakd_identity_from_teacher": Variant(
        "method", "DAKD + identity loss, from the teacher's weights",
        student={"identity_weight": 1.0, "init": "teacher"},
    ),
    "release": Variant("release", "release (all six)", student={"preset": "release"}),
    "no_instance": Variant("levels", "class level alone", student={"ablation": "mlkd_no_instance"}),
    "no_class": Variant("levels", "instance level alone", student={"ablation": "mlkd_no_class"}),
    "mask_none": Variant("mask", "no mask", student=_switch(mask_keep="none")),
    "mask_uncertain": Variant("mask", "uncertain half", student=_switch(mask_keep="uncertain")),
    "cutswap_none": Variant("CutSwap", "DAKD without CutSwap", student={"cutswap": "none"}),
    "cutswap_release": Variant("CutSwap", "whole image", student={"cutswap": "release"}),
    "teacher_cutswap": Variant(
        "CutSwap", "teacher with CutSwap", "teacher", teacher={"cutswap": "paper"}
    ),
    # Equal to "teacher"; kept because the committed tables have the row.
    "teacher_no_cutswap": Variant(
        "CutSwap", "teacher without CutSwap", "teacher", teacher={"cutswap": "none"}
    ),
    "joint": Variant(
        "batch statistics", "joint batch statistics", student={"batch_statistics": "joint"}
    ),
    "balanced": Variant("batches", "balanced batches", student={"sampler": "balanced"}),
    "mask_mean": Variant("release", "mask scales the mean", student=_switch(mask_acts_on="mean")),
    "swapped": Variant(
        "release", "infrared at t = 2, 6", student=_switch(swapped_temperatures=(2, 6))
    ),
    "two_passes": Variant("release", "two forward passes", student={"passes": 2}),
    "select_on_test": Variant("release", "epoch chosen on test", student={"selection": "test"}),
    "quantile_25": Variant("mask", "confident three quarters", student=_switch(quantile=0.25)),
    "quantile_75": Variant("mask", "confident quarter", student=_switch(quantile=0.75)),
    "t_4": Variant("temperatures", "t = 4", student=_switch(temperatures=(4,))),
    "t_low": Variant("temperatures", "t = 2, 3", student=_switch(temperatures=(2, 3))),
    "t_high": Variant("temperatures", "t = 5, 6", student=_switch(temperatures=(5, 6))),
    "not_standardised": Variant(
        "temperatures", "not standardised", student=_switch(standardised=False)
    ),
})  # fmt: skip
LABELS: Mapping[str, str] = MappingProxyType(
    {name: variant.label for name, variant in GRID.items()}
)
