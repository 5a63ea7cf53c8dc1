"""Every setting of a run, as frozen dataclasses; the command line is generated from them.

A *profile* sets sizes and never changes which code runs. The *presets* and *ablations* of the
method are settings of `StudentConfig`. `fingerprint` identifies a run by its configuration.
"""

from dataclasses import replace

from dakd.config.data import IMAGE_FIELDS, DataConfig, SyntheticConfig
from dakd.config.experiment import PROFILES, Config, EvaluationConfig, ModelConfig, Profile
from dakd.config.profiles import load_profile
from dakd.config.training import (
    DistillConfig,
    EngineConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
)
from dakd.config.values import fingerprint, flat, nested, to_dict

__all__ = [
    "IMAGE_FIELDS",
    "PROFILES",
    "Config",
    "DataConfig",
    "DistillConfig",
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
    "load_profile",
    "nested",
    "replace",
    "to_dict",
]
