"""What the objectives of teacher and student share: batches, augmentation, embedding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dakd.augment import (
    Augmentation,
    evaluation_transform,
    infrared_train,
    rows_of,
    visible_train,
)
from dakd.config import (
    ScheduleConfig,
)
from dakd.data import ImageSet
from dakd.evaluate.embed import extract
from dakd.losses import LossTerms
from dakd.model import ReIDModel
from dakd.protocols import Modality
from dakd.runtime import (
    autocast,
    make_generator,
    pick_device,
    pick_precision,
)
from dakd.train.distributed import ALONE, World


@dataclass(frozen=True, eq=False)
class Batch:
    """A step's pictures, paired by identity.

    Attributes:
        visible, infrared: (b, 3, H, W) uint8, on the device; of several processes each holds its
            own part of the batch's B rows.
        labels: (B,) the class of row i in both, of the whole batch.
        pids: (B,) the same as identity numbers.
    """

    visible: Tensor
    infrared: Tensor
    labels: Tensor
    pids: np.ndarray


def training_augmentations(
    config: ScheduleConfig, images: ImageSet, dtype: torch.dtype = torch.float32
) -> dict[Modality, Augmentation]:
    """Return how a training augments the images of either modality.

    Args:
        config: of the training; its pipeline ``"auto"`` is that of the images.
        images: the training images.
        dtype: of the augmented images.
    """
    how: dict[str, Any] = {"pad": config.pad, "pipeline": pipeline_of(config, images)}
    cutswap = config.cutswap_in(how["pipeline"])
    return {
        "visible": visible_train(cutswap=cutswap, dtype=dtype, **how),
        "infrared": infrared_train(dtype=dtype, **how),
    }


def pipeline_of(config: ScheduleConfig, images: ImageSet) -> Any:
    """Return the name of the augmentation pipeline that a training uses."""
    return images.pipeline if config.pipeline == "auto" else config.pipeline


class Objective:
    """What teacher and student have in common: where and how precisely things are computed."""

    def __init__(
        self,
        images: ImageSet,
        config: ScheduleConfig,
        *,
        seed: int,
        device: str,
        precision: str,
        world: World = ALONE,
    ) -> None:
        self.images, self.world = images, world
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.generator = make_generator(seed, self.device)
        self._room = torch.empty(0)
        self.labels = torch.from_numpy(images.labels).to(self.device)
        self.visible_rows = np.flatnonzero(~images.infrared)
        self.infrared_rows = np.flatnonzero(images.infrared)
        augment = training_augmentations(config, images, self.dtype)
        self.augment_visible, self.augment_infrared = augment["visible"], augment["infrared"]

    def augmented(self, *streams: tuple[Augmentation, Tensor]) -> Tensor:
        """Augment this process's pictures by their part of the draws for the whole batch.

        Args:
            streams: each an augmentation and the pictures (b, 3, H, W) that go through it.

        Returns:
            The S streams one after another, (S * b, 3, H, W) channels-last; the next step writes
            into the same memory.
        """
        b, channels, *size = streams[0][1].shape
        shape = (len(streams) * b, channels, *streams[0][0].output_size(*size))
        if self._room.shape != shape:
            how: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
            self._room = torch.empty(shape, memory_format=torch.channels_last, **how)
        count = b * self.world.size
        for (augment, pictures), room in zip(streams, self._room.split(b), strict=True):
            whole = pictures[:1].expand(count, -1, -1, -1)  # a shape; nobody looks at the pictures
            draws = augment.sample(whole, self.generator)
            augment.apply(pictures, rows_of(draws, self.world.part(count)), out=room)
        return self._room

    def forward(
        self, model: nn.Module, x: Tensor, streams: int, *, joint: bool = True, unit: bool = True
    ) -> tuple[Tensor, ...]:
        """Embed several streams, (S * b, 3, H, W), in one pass.

        Args:
            model: the network.
            x: the streams, one after another.
            streams: S.
            joint: whether they share the batch statistics, or each has its own.
            unit: embeddings of unit length, or the neck's output as it is.

        Returns:
            The embeddings of all processes, (B, D) for each stream.
        """
        with autocast(self.device, self.precision):
            embeddings = model(x, streams=1 if joint else streams, unit=unit)
        B = len(x) // streams * self.world.size
        return tuple(self.world.gather(z, B) for z in embeddings.chunk(streams))

    def embed(
        self,
        model: ReIDModel,
        rows: np.ndarray,
        augment: Augmentation | None = None,
        *,
        precision: str | None = None,
    ) -> Tensor:
        """Return eval-mode embeddings (n, D) of training images, on the device.

        Args:
            model: the network.
            rows: of the training images, (n,); every process embeds its part of them.
            augment: by default what test images go through.
            precision: by default that of the training.
        """
        part = self.world.part(len(rows))
        transform: Any = evaluation_transform(dtype=self.dtype)
        if augment is not None:
            whole = self.images.images(rows[:1]).to(self.device).expand(len(rows), -1, -1, -1)
            transform = _Replay(augment, rows_of(augment.sample(whole, self.generator), part))
        embeddings = extract(
            model,
            self.images,
            rows=rows[part],
            transform=transform,
            device=str(self.device),
            precision=precision or self.precision,
        )
        return self.world.gather(embeddings.to(self.device), len(rows))

    def parameters(self) -> list[nn.Parameter]:
        """Return what is learned besides the network; nothing by default."""
        return []

    def memories(self) -> dict[str, Tensor]:
        """Return what changes from step to step besides parameters, in place; by default nothing.

        A snapshot holds them, and a training that is continued writes into them.
        """
        return {}

    def restored(self) -> None:
        """Be told that `memories` have been filled from a snapshot."""

    def compile(self) -> None:
        """Compile the networks that are only listened to; there are none by default."""

    def start_epoch(self, model: ReIDModel) -> None:
        """Prepare what the epoch's losses need; nothing by default."""

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Return the batch's loss, total and parts."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Update what follows the network; nothing by default."""


class _Replay:
    """Applies draws that were made for all rows to the batches of `extract`, one after another."""

    def __init__(self, augment: Augmentation, draws: Any) -> None:
        self.augment, self.draws, self.done = augment, draws, 0

    def __call__(self, x: Tensor) -> Tensor:
        rows = slice(self.done, self.done + len(x))
        self.done += len(x)
        return self.augment.apply(x, rows_of(self.draws, rows))
