"""The protocols of the benchmarks: queries and galleries of every trial, and camera rules."""

from dakd.protocols.camera_rules import PROTOCOLS, People, Rule, Unit, camera_rule
from dakd.protocols.trials import (
    Modality,
    TestSplit,
    Trial,
    llcm_trials,
    open_trials,
    regdb_trials,
    sysu_trials,
)

__all__ = [
    "PROTOCOLS",
    "Modality",
    "People",
    "Rule",
    "TestSplit",
    "Trial",
    "Unit",
    "camera_rule",
    "llcm_trials",
    "open_trials",
    "regdb_trials",
    "sysu_trials",
]
