"""Training of teacher and student, and everything that is kept of it."""

from dakd.train.history import TrainingError
from dakd.train.run import Run, TrainingResult, with_both_modalities
from dakd.train.student import train_student
from dakd.train.teacher import train_teacher

__all__ = [
    "Run",
    "TrainingError",
    "TrainingResult",
    "train_student",
    "train_teacher",
    "with_both_modalities",
]
