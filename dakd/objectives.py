"""What teacher and student learn from a batch: the objectives of the training loop.

An objective says what is prepared before an epoch, what a batch's loss is, and what happens after
a step; the loop itself is in `dakd.train`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dakd.augment import (
    ChannelExchange,
    Normalise,
    Pipeline,
    auxiliary_train,
    infrared_train,
    visible_train,
)
from dakd.config import ScheduleConfig, StudentConfig, TeacherConfig
from dakd.data import ImageSet
from dakd.distill import DAKDLoss, Pair, centre_logits
from dakd.embed import extract
from dakd.losses import IdentityLoss, LossTerms, TeacherLoss
from dakd.memory import class_means
from dakd.model import ReIDModel
from dakd.runtime import autocast, make_generator, pick_device


@dataclass(frozen=True, eq=False)
class Batch:
    """A step's pictures, paired by identity.

    Attributes:
        visible, infrared: (B, 3, H, W) uint8, on the device.
        labels: (B,) the class of row i in both.
        pids: (B,) the same as identity numbers.
    """

    visible: Tensor
    infrared: Tensor
    labels: Tensor
    pids: np.ndarray


def class_centres(embeddings: Tensor, images: ImageSet) -> Pair:
    """Return the normalised class means (K, D) of either modality.

    Args:
        embeddings: (N, D), of all `images`.
        images: the training images.

    Raises:
        ValueError: an identity has no image in one modality.
    """
    labels = torch.from_numpy(images.labels).to(embeddings.device)
    infrared = torch.from_numpy(images.infrared).to(embeddings.device)
    return Pair(
        *(class_means(embeddings[m], labels[m], images.num_classes) for m in (~infrared, infrared))
    )


class Objective:
    """What teacher and student have in common: where and how precisely things are computed."""

    def __init__(
        self, images: ImageSet, config: ScheduleConfig, *, seed: int, device: str, precision: str
    ) -> None:
        self.images = images
        self.device = pick_device(device)
        self.precision = precision
        self.generator = make_generator(seed, self.device)
        self.labels = torch.from_numpy(images.labels).to(self.device)
        self.visible_rows = np.flatnonzero(~images.infrared)
        self.infrared_rows = np.flatnonzero(images.infrared)
        self.augment_visible = visible_train(pad=config.pad, cutswap=config.cutswap_variant)
        self.augment_infrared = infrared_train(pad=config.pad)

    def forward(self, model: ReIDModel, *streams: Tensor) -> tuple[Tensor, ...]:
        """Embed several streams (B, 3, H, W) in one pass; they share the batch statistics."""
        x = torch.cat(streams).contiguous(memory_format=torch.channels_last)
        with autocast(self.device, self.precision):
            return model(x).chunk(len(streams))  # each (B, D)

    def embed(
        self,
        model: ReIDModel,
        rows: np.ndarray,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return eval-mode embeddings (n, D) of training images, on the device."""
        embeddings = extract(
            model,
            self.images,
            rows=rows,
            transform=transform,
            device=str(self.device),
            precision=self.precision,
        )
        return embeddings.to(self.device)

    def parameters(self) -> list[nn.Parameter]:
        """Return what is learned besides the network; nothing by default."""
        return []

    def start_epoch(self, model: ReIDModel) -> None:
        """Prepare what the epoch's losses need; nothing by default."""

    def loss(self, model: ReIDModel, batch: Batch) -> LossTerms:
        """Return the batch's loss, total and parts."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Update what follows the network; nothing by default."""


class IdentityObjective(Objective):
    """Plain identity classification of both modalities, where no pretrained weights are."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        self.objective = IdentityLoss(images.num_classes, dim).to(self.device)

    def parameters(self) -> list[nn.Parameter]:
        """Return the class directions."""
        return list(self.objective.parameters())

    def loss(self, model: ReIDModel, batch: Batch) -> LossTerms:
        """Classify the identities of visible and infrared images."""
        embeddings = self.forward(
            model,
            self.augment_visible(batch.visible, self.generator),
            self.augment_infrared(batch.infrared, self.generator),
        )
        loss = self.objective(torch.cat(embeddings), batch.labels.repeat(2))
        return LossTerms(loss, {"identity": loss})


class TeacherObjective(Objective):
    """The four terms of `dakd.losses` over three streams, and their prototype memories."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        self.augment_auxiliary = auxiliary_train(pad=config.pad)
        self.objective = TeacherLoss(images.num_classes, dim).to(self.device)
        self.last: tuple[Tensor, ...] = ()

    def start_epoch(self, model: ReIDModel) -> None:
        """Rebuild the memories from the network's own eval-mode embeddings."""
        exchange = Pipeline(Normalise(), ChannelExchange(p=1.0))
        self.objective.rebuild(
            self.embed(model, self.visible_rows),
            self.labels[self.visible_rows],
            self.embed(model, self.infrared_rows),
            self.labels[self.infrared_rows],
            self.embed(model, self.visible_rows, lambda x: exchange(x, self.generator)),
        )

    def loss(self, model: ReIDModel, batch: Batch) -> LossTerms:
        """Embed visible, infrared and channel-exchanged visible; compare with the memories."""
        embeddings = self.forward(
            model,
            self.augment_visible(batch.visible, self.generator),
            self.augment_infrared(batch.infrared, self.generator),
            self.augment_auxiliary(batch.visible, self.generator),
        )
        self.last = (*(z.detach() for z in embeddings), batch.labels)
        return self.objective(*embeddings, batch.labels)

    def after_step(self) -> None:
        """Move the memories towards the batch's embeddings."""
        self.objective.update(*self.last)


class StudentObjective(Objective):
    """`dakd.distill.DAKDLoss` against a frozen teacher and its class centres.

    With `StudentConfig.identity_weight` a cross-entropy is added that calls every similarity to the
    teacher's class centres of the image's modality by the image's identity.
    """

    def __init__(
        self, images: ImageSet, config: StudentConfig, *, teacher: ReIDModel, **where: Any
    ) -> None:
        super().__init__(images, config, **where)
        self.config = config
        self.teacher = teacher.to(self.device).eval()
        self.objective = DAKDLoss(config.preset, config.ablation, **config.switches)
        embeddings = extract(teacher, images, device=str(self.device))
        self.centres = class_centres(embeddings.to(self.device), images)

    def loss(self, model: ReIDModel, batch: Batch) -> LossTerms:
        """Show teacher and student the same augmented pictures; compare what they say."""
        streams = (
            self.augment_visible(batch.visible, self.generator),
            self.augment_infrared(batch.infrared, self.generator),
        )
        with torch.no_grad():
            for _ in range(self.config.forward_passes - 1):
                self.forward(model, *streams)
            teacher = Pair(*self.forward(self.teacher, *streams))
        student = Pair(*self.forward(model, *streams))
        terms = self.objective(student, teacher, self.centres)
        if not self.config.identity_weight:
            return terms
        logits = [
            centre_logits(z, c, self.objective.switches.centre_temperature)
            for z, c in zip(student, self.centres, strict=True)
        ]
        identity = F.cross_entropy(torch.cat(logits), batch.labels.repeat(2))
        total = terms.total + self.config.identity_weight * identity
        return LossTerms(total, {**terms.parts, "identity": identity})
