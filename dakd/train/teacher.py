"""Training of the teacher: `train_teacher` and the objectives that it learns, MCE's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dakd.augment import (
    Augmentation,
    ChannelExchange,
    Normalise,
    Pipeline,
    auxiliary_train,
)
from dakd.config import (
    TeacherConfig,
    replace,
    to_dict,
)
from dakd.data import ImageSet
from dakd.losses import IdentityLoss, LossTerms, TeacherLoss
from dakd.model import ReIDModel
from dakd.train.objective import Batch, Objective, pipeline_of
from dakd.train.run import Run, TrainingResult, best_on_test, train
from dakd.train.selection import Best
from dakd.train.state import TrainState


class IdentityObjective(Objective):
    """Identity classification of both modalities, for networks without pretrained weights."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        objective = IdentityLoss(images.num_classes, dim, seed=where["seed"])
        self.objective = objective.to(self.device, self.dtype)

    def parameters(self) -> list[nn.Parameter]:
        """Return the class weights."""
        return list(self.objective.parameters())

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Classify the identities of visible and infrared images."""
        x = self.augmented(
            (self.augment_visible, batch.visible), (self.augment_infrared, batch.infrared)
        )
        embeddings = self.forward(model, x, streams=2)
        loss = self.objective(torch.cat(embeddings), batch.labels.repeat(2))
        return LossTerms(loss, {"identity": loss})


class TeacherObjective(Objective):
    """`dakd.losses.TeacherLoss` over three streams in one forward pass, with MCE's memories."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        how = {"pipeline": pipeline_of(config, images), "dtype": self.dtype}
        self.augment_auxiliary: Augmentation = auxiliary_train(pad=config.pad, **how)
        self.exchange: Augmentation = Pipeline(Normalise(self.dtype), ChannelExchange())
        self.objective = TeacherLoss(images.num_classes, dim).to(self.device, self.dtype)
        self.last: tuple[Tensor, ...] = ()

    def start_epoch(self, model: ReIDModel) -> None:
        """Rebuild the memories from embeddings of the network in eval mode."""
        self.objective.rebuild(
            self.embed(model, self.visible_rows),
            self.labels[self.visible_rows],
            self.embed(model, self.infrared_rows),
            self.labels[self.infrared_rows],
            self.embed(model, self.visible_rows, self.exchange),
        )

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Embed visible, infrared and channel-exchanged visible images; compare with memories."""
        x = self.augmented(
            (self.augment_visible, batch.visible),
            (self.augment_infrared, batch.infrared),
            (self.augment_auxiliary, batch.visible),
        )
        embeddings = self.forward(model, x, streams=3)
        self.last = (*(z.detach() for z in embeddings), batch.labels)
        return self.objective(*embeddings, batch.labels)

    def after_step(self) -> None:
        """Update the memories with the embeddings of the batch."""
        self.objective.update(*self.last)

    def memories(self) -> dict[str, Tensor]:
        """Return the prototypes and centres of all memories."""
        return dict(self.objective.named_buffers())

    def restored(self) -> None:
        """Mark the memories as built."""
        self.objective.built = True


# Published: MCE evaluates every second epoch from this one on, DAKD every epoch.
MCE_SCORES = {"start": 12, "every": 2}


def train_teacher(
    model: ReIDModel,
    images: ImageSet,
    config: TeacherConfig | None = None,
    run: Run | None = None,
    *,
    test_score: Callable[[ReIDModel], float] | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train a teacher in place with MCE's memory-based objective (AAAI 2023).

    Differs from the published code: `TeacherConfig.identity_epochs` of plain identity
    classification may come first, for networks that start from random instead of ImageNet weights.

    If `Run.folder` is given, the same call resumes an interrupted training and loads a finished
    one.

    Args:
        model: the network.
        images: the training split.
        config: schedule, batches and augmentation.
        run: where and how; see `Run`.
        test_score: of a network on the test set, higher is better; needed only if the configuration
            selects the epoch there, as the published codes do.
        settings: fields of `Run` by name, instead of those of `run`.

    Raises:
        TrainingError: a loss is not finite, or the folder holds a training with other settings.
        Stopped: the user asked to stop; the state is saved.
        OSError: the folder cannot be written to, or its disk is too full.
        ValueError: unsuitable data or settings; the configuration selects on the test set and there
            is no `test_score`.
        TypeError: a setting is no field of `Run`.
    """
    config, run = config or TeacherConfig(), replace(run or Run(), **settings)
    first_scored = config.identity_epochs + MCE_SCORES["start"]
    best = best_on_test(config, test_score, start=first_scored, every=MCE_SCORES["every"])

    def stages(images: ImageSet, where: dict[str, Any], best: Best | None) -> dict[str, TrainState]:
        prototypes = TeacherObjective(images, config, dim=model.embedding_dim, **where)
        before = config.identity_epochs
        last = TrainState(model, prototypes, config, first_epoch=before, stage=1, best=best)
        if not before:
            return {"teacher": last}
        first = replace(config, epochs=before)
        identity = IdentityObjective(images, first, dim=model.embedding_dim, **where)
        identity.generator = prototypes.generator  # both stages draw from one generator
        return {"identities": TrainState(model, identity, first), "teacher": last}

    return train(model, images, stages, config, {"teacher": to_dict(config)}, run, best)
