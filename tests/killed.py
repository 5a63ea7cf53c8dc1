"""Trainings for tests that end them: run in a process of their own, in the same few steps."""

import os
import signal
import sys
from pathlib import Path

import torch
from examples import image_set
from safetensors.torch import save_file

from dakd.config import EngineConfig, StudentConfig, TeacherConfig
from dakd.model import build_model
from dakd.train import TrainingResult, snapshot, train_student, train_teacher
from dakd.train.run_folder import RunFolder
from dakd.train.stopping import Stopped

SMALL = {"epochs": 2, "steps": 3, "identities": 4, "images": 2, "pad": 1, "lr": 1e-3}
ON_CPU = {"device": "cpu", "precision": "float32", "show": False}
OFTEN = EngineConfig(snapshot_seconds=0)  # a snapshot after every step


def teacher(folder: Path | None = None, engine: EngineConfig = OFTEN, **changes) -> TrainingResult:
    """Two stages of two epochs of three steps."""
    config = TeacherConfig(**{**SMALL, "identity_epochs": 2, **changes})
    where = {**ON_CPU, "engine": engine, "folder": folder}
    return train_teacher(build_model("small"), image_set(range(1, 9)), config, **where)


def student(folder: Path | None = None, engine: EngineConfig = OFTEN, **changes) -> TrainingResult:
    """A student of an untrained teacher, that chooses its epoch on held-out identities."""
    config = StudentConfig(**{**SMALL, "holdout": 0.25, **changes})
    where = {**ON_CPU, "engine": engine, "folder": folder}
    networks = build_model("small", seed=1), build_model("small")
    return train_student(*networks, image_set(range(1, 9)), config, **where)


LEARNERS = {"teacher": teacher, "student": student}


def train(learner: str, folder: str, barrier=None) -> None:
    """Train in a child process; 130 if it was asked to stop."""
    torch.set_num_threads(1)
    if barrier is not None:
        barrier.wait()  # the clock of the killer starts here, not when Python starts
    try:
        LEARNERS[learner](Path(folder))
    except Stopped as stopped:
        print(stopped, flush=True)
        sys.exit(130)


def train_until_write(learner: str, folder: str, number: int) -> None:
    """Train in a child process that is killed when half of a snapshot is in its file."""
    written = []

    def half(tensors, path, metadata):
        save_file(tensors, path, metadata)
        written.append(path)
        if len(written) == number:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    snapshot.save_file = half
    train(learner, folder)


def refuse(*args, **kwargs) -> None:
    """Write nothing, as a full disk does."""
    raise OSError("no space left on device")


def interrupt_after(steps: int, method: str = "save") -> None:
    """Send this process Ctrl-C after so many calls of `RunFolder.save` or `RunFolder.poll_stop`."""
    called, done = getattr(RunFolder, method), []

    def counted(self, *args):
        result = called(self, *args)
        done.append(args)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    setattr(RunFolder, method, counted)
