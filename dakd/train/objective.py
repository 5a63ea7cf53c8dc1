"""What the objectives of teacher and student share: batches, augmentation, forward passes.

An objective prepares an epoch, computes the loss of a batch, and updates its memories after a step;
`dakd.train.loop.fit` calls it.
"""

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
from dakd.train.distributed import SINGLE_PROCESS, DistributedContext


@dataclass(frozen=True, eq=False)
class Batch:
    """The images of one step, paired by identity.

    Attributes:
        visible, infrared: (b, 3, H, W) uint8, on the device; each process holds its own shard of
            the B rows of the batch.
        labels: (B,) class indices of the whole batch; row i is of one person in both modalities.
        pids: (B,) the same as identity numbers.
    """

    visible: Tensor
    infrared: Tensor
    labels: Tensor
    pids: np.ndarray


def training_augmentations(
    config: ScheduleConfig, images: ImageSet, dtype: torch.dtype = torch.float32
) -> dict[Modality, Augmentation]:
    """Return the training augmentation of each modality.

    Args:
        config: of the training; pipeline ``"auto"`` is that of the images.
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
    """Return the name of the augmentation pipeline of a training."""
    return images.pipeline if config.pipeline == "auto" else config.pipeline


class Objective:
    """Base of all objectives: device, precision, augmentation, forward passes.

    Args:
        images: the training images.
        config: of the training.
        seed: of the augmentation.
        device, precision: see `dakd.train.Run`; ``"float64"`` is for comparisons.
        context: the processes that train together.
    """

    def __init__(
        self,
        images: ImageSet,
        config: ScheduleConfig,
        *,
        seed: int,
        device: str,
        precision: str,
        context: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.images, self.context = images, context
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        self.generator = make_generator(seed, self.device)
        self.labels = torch.from_numpy(images.labels).to(self.device)
        self.visible_rows = np.flatnonzero(~images.infrared)
        self.infrared_rows = np.flatnonzero(images.infrared)
        augment = training_augmentations(config, images, self.dtype)
        self.augment_visible, self.augment_infrared = augment["visible"], augment["infrared"]

    def augmented(self, *streams: tuple[Augmentation, Tensor]) -> Tensor:
        """Augment this process's images by their part of the draws for the whole batch.

        Args:
            streams: for each stream an augmentation and its images, (b, 3, H, W).

        Returns:
            The S streams one after another, (S * b, 3, H, W) channels-last.
        """
        done = []
        for augment, images in streams:
            B = len(images) * self.context.size
            whole = images[:1].expand(B, -1, -1, -1)  # only its shape counts
            draws = augment.sample(whole, self.generator)
            done.append(augment.apply(images, rows_of(draws, self.context.shard(B))))
        return torch.cat(done).to(memory_format=torch.channels_last)

    def forward(
        self, model: nn.Module, x: Tensor, streams: int, *, joint: bool = True, unit: bool = True
    ) -> tuple[Tensor, ...]:
        """Embed several streams in one forward pass.

        Args:
            model: the network.
            x: the streams one after another, (S * b, 3, H, W).
            streams: S.
            joint: whether the streams share batch statistics or each has its own.
            unit: return embeddings of unit length instead of the output of the neck.

        Returns:
            The embeddings of all processes, (B, D) for each stream.
        """
        with autocast(self.device, self.precision):
            embeddings = model(x, streams=1 if joint else streams, unit=unit)
        B = len(x) // streams * self.context.size
        return tuple(self.context.gather(z, B) for z in embeddings.chunk(streams))

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
            rows: of the training images, (n,); each process embeds its shard of them.
            augment: the transform; by default that of test images.
            precision: by default that of the training.
        """
        shard = self.context.shard(len(rows))
        transform: Any = evaluation_transform(dtype=self.dtype)
        if augment is not None:
            whole = self.images.images(rows[:1]).to(self.device).expand(len(rows), -1, -1, -1)
            transform = _Replay(augment, rows_of(augment.sample(whole, self.generator), shard))
        embeddings = extract(
            model,
            self.images,
            rows=rows[shard],
            transform=transform,
            device=str(self.device),
            precision=precision or self.precision,
        )
        return self.context.gather(embeddings.to(self.device), len(rows))

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that are trained besides the network; none by default."""
        return []

    def memories(self) -> dict[str, Tensor]:
        """Return the tensors, besides parameters, that a snapshot must hold; none by default.

        A resumed training copies their values back into them.
        """
        return {}

    def restored(self) -> None:
        """Called after `memories` were restored from a snapshot."""

    def compile(self) -> None:
        """Compile the networks that are not trained; there are none by default."""

    def start_epoch(self, model: ReIDModel) -> None:
        """Called before the first step of an epoch; does nothing by default."""

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Return the loss of a batch, total and parts."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each optimiser step; does nothing by default."""


class _Replay:
    """A transform for `extract` that applies draws made beforehand, batch after batch."""

    def __init__(self, augment: Augmentation, draws: Any) -> None:
        self.augment, self.draws, self.done = augment, draws, 0

    def __call__(self, x: Tensor) -> Tensor:
        rows = slice(self.done, self.done + len(x))
        self.done += len(x)
        return self.augment.apply(x, rows_of(self.draws, rows))
