"""Our own training loop on given pictures and batches, watched from step to step."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dakd.augment import Augmentation
from dakd.augment.colour import one_channel
from dakd.data import ImageSet, Record
from dakd.losses import LossTerms
from dakd.train.objective import Objective
from dakd.train.student import StudentObjective
from dakd.train.teacher import TeacherObjective

from .kit import Numbers
from .network import pictures


class Pictures:
    """Pictures in memory, as a source of an `ImageSet`."""

    def __init__(self, numbers: Numbers) -> None:
        both = [numbers[f"pictures_{modality}"] for modality in ("visible", "infrared")]
        self.pictures = pictures(np.concatenate(both))

    def read(self, rows: np.ndarray) -> Tensor:
        return self.pictures[torch.from_numpy(rows)]


def image_set(numbers: Numbers) -> ImageSet:
    """Return all visible pictures, then all infrared ones."""
    labels = numbers["labels"]
    records = [
        Record(int(label) + 1, camera, modality, number)
        for camera, modality in ((1, "visible"), (3, "infrared"))
        for number, label in enumerate(labels, start=1)
    ]
    return ImageSet(records, Pictures(numbers))


class Given:
    """A sampler of given batches.

    Args:
        order: rows of the pictures of a modality, (steps, 2, B), visible and infrared.
        visible: number of visible pictures, which come first.
    """

    def __init__(self, order: np.ndarray, visible: int) -> None:
        self.batches = [(rows[0], rows[1] + visible) for rows in order]
        self.uneven, self.report = False, ""

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: every epoch is the same."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter(self.batches)


class GivenChannels(Augmentation):
    """Copies a given channel of each picture to all three.

    Args:
        channels: one (B,) tensor for each call of `sample`, in turn.
    """

    def __init__(self, channels: Tensor) -> None:
        super().__init__()
        self.channels = iter(channels)

    def sample(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return next(self.channels)

    def _apply(self, x: Tensor, draws: Tensor) -> Tensor:
        return one_channel(x, draws).expand(-1, 3, -1, -1).clone()


class Watched(Objective):
    """An objective that keeps each step's terms, and calls `look` with the step's number."""

    def watch(self, look: Callable[[int], None]) -> None:
        self.look, self.seen = look, []

    def loss(self, model: torch.nn.Module, batch: Any) -> LossTerms:
        terms = super().loss(model, batch)
        self.seen.append({k: v.detach() for k, v in {**terms.parts, "total": terms.total}.items()})
        return terms

    def after_step(self) -> None:
        super().after_step()
        self.look(len(self.seen))


class WatchedStudent(Watched, StudentObjective):
    """`StudentObjective`, watched."""


class WatchedTeacher(Watched, TeacherObjective):
    """`TeacherObjective`, watched."""
