"""The variants of the ablation by name, as differences from a configuration.

`dakd.studies.ablation` trains and measures them. This file imports nothing that computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True)
class Run:
    """One variant.

    Attributes:
        group: rows that are compared with each other.
        label: what a figure calls it.
        kind: which network; ``"continued"`` is the teacher, trained on by its own objective for as
            long as a student is.
        student: fields of `dakd.config.StudentConfig` that differ from the configuration.
        teacher: fields of `dakd.config.TeacherConfig` that differ; a student then has that teacher.
    """

    group: str
    label: str
    kind: Literal["untrained", "teacher", "continued", "student"] = "student"
    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)


_IDENTITY = {"weight": 0.0, "identity_weight": 1.0}

MAIN = ("untrained", "teacher", "continued", "only_kd", "dakd")  # the rows of the README
GRID: Mapping[str, Run] = MappingProxyType({
    "untrained": Run("controls", "untrained", "untrained"),
    "teacher": Run("controls", "teacher", "teacher"),
    "continued": Run("controls", "teacher, trained on", "continued"),
    "identity": Run("controls", "identity loss alone", student=_IDENTITY),
    "dakd": Run("method", "DAKD"),
    "only_kd": Run("method", "plain distillation", student={"ablation": "only_kd"}),
    "dakd_identity": Run("method", "DAKD + identity loss", student={"identity_weight": 1.0}),
    "from_teacher": Run("method", "DAKD from the teacher's weights", student={"init": "teacher"}),
    "identity_from_teacher": Run(
        "controls", "identity loss alone, from the teacher's weights",
        student={**_IDENTITY, "init": "teacher"},
    ),
    "dakd_identity_from_teacher": Run(
        "method", "DAKD + identity loss, from the teacher's weights",
        student={"identity_weight": 1.0, "init": "teacher"},
    ),
    "release": Run("release", "release (all six)", student={"preset": "release"}),
    "no_instance": Run("levels", "class level alone", student={"ablation": "mlkd_no_instance"}),
    "no_class": Run("levels", "instance level alone", student={"ablation": "mlkd_no_class"}),
    "mask_none": Run("mask", "no mask", student={"mask_keep": "none"}),
    "mask_uncertain": Run("mask", "uncertain half", student={"mask_keep": "uncertain"}),
    "cutswap_none": Run("CutSwap", "DAKD without CutSwap", student={"cutswap": "none"}),
    "cutswap_release": Run("CutSwap", "whole image", student={"cutswap": "release"}),
    "teacher_cutswap": Run(
        "CutSwap", "teacher with CutSwap", "teacher", teacher={"cutswap": "paper"}
    ),
    # What "teacher" is by now; the published tables have the row, and go on without it once remade.
    "teacher_no_cutswap": Run(
        "CutSwap", "teacher without CutSwap", "teacher", teacher={"cutswap": "none"}
    ),
    "joint": Run(
        "batch statistics", "joint batch statistics", student={"batch_statistics": "joint"}
    ),
    "balanced": Run("batches", "balanced batches", student={"sampler": "balanced"}),
    "mask_mean": Run("release", "mask scales the mean", student={"mask_acts_on": "mean"}),
    "swapped": Run("release", "infrared at t = 2, 6", student={"swapped_temperatures": (2, 6)}),
    "two_passes": Run("release", "two forward passes", student={"passes": 2}),
    "select_on_test": Run("release", "epoch chosen on test", student={"selection": "test"}),
    "quantile_25": Run("mask", "confident three quarters", student={"quantile": 0.25}),
    "quantile_75": Run("mask", "confident quarter", student={"quantile": 0.75}),
    "t_4": Run("temperatures", "t = 4", student={"temperatures": (4,)}),
    "t_low": Run("temperatures", "t = 2, 3", student={"temperatures": (2, 3)}),
    "t_high": Run("temperatures", "t = 5, 6", student={"temperatures": (5, 6)}),
    "not_standardised": Run("temperatures", "not standardised", student={"standardised": False}),
})  # fmt: skip
LABELS: Mapping[str, str] = MappingProxyType({name: run.label for name, run in GRID.items()})
