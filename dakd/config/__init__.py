"""Every setting of a run, as frozen dataclasses; the command line is generated from them.

A *profile* fixes the sizes and never changes which code runs. A *preset* or an *ablation* of the
method is a setting of `StudentConfig`. `fingerprint` names a run by its configuration.
"""

from dataclasses import replace

from dakd.config.data import SEEN, DataConfig, SyntheticConfig
from dakd.config.experiment import PROFILES, Config, EvaluationConfig, ModelConfig, Profile
from dakd.config.profiles import load_profile
from dakd.config.training import (
    DistillConfig,
    EngineConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
)
from dakd.config.values import fingerprint, flat, inside, to_dict

__all__ = [
    "PROFILES",
    "SEEN",
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
    "inside",
    "load_profile",
    "replace",
    "to_dict",
]
