"""The profiles: ``smoke`` for tests, ``demo`` for a laptop, ``full`` for a GPU.

A profile sets sizes and never changes which code runs.
"""

import os
from dataclasses import replace
from typing import Literal, TypedDict

from dakd.config.data import DataConfig, SyntheticConfig
from dakd.config.experiment import Config, EvaluationConfig, ModelConfig
from dakd.config.training import StudentConfig, TeacherConfig


class Batches(TypedDict):
    """Settings that teacher and student share in a profile."""

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
