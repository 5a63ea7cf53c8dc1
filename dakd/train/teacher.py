"""Training of the teacher: `train_teacher` and the objectives that it learns, MCE's."""

from collections.abc import Callable
from pathlib import Path
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
    EngineConfig,
    TeacherConfig,
    replace,
    to_dict,
)
from dakd.data import ImageSet
from dakd.losses import IdentityLoss, LossTerms, TeacherLoss
from dakd.model import ReIDModel
from dakd.train.objective import Batch, Objective, pipeline_of
from dakd.train.run import Trained, _asked, _train
from dakd.train.selection import Best
from dakd.train.state import Stage


class IdentityObjective(Objective):
    """Plain identity classification of both modalities, where no pretrained weights are."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        objective = IdentityLoss(images.num_classes, dim, seed=where["seed"])
        self.objective = objective.to(self.device, self.dtype)

    def parameters(self) -> list[nn.Parameter]:
        """Return the class directions."""
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
    """`dakd.losses.TeacherLoss` over three streams in one pass, and its memories, as in MCE."""

    def __init__(self, images: ImageSet, config: TeacherConfig, *, dim: int, **where: Any) -> None:
        super().__init__(images, config, **where)
        how = {"pipeline": pipeline_of(config, images), "dtype": self.dtype}
        self.augment_auxiliary: Augmentation = auxiliary_train(pad=config.pad, **how)
        self.exchange: Augmentation = Pipeline(Normalise(self.dtype), ChannelExchange())
        self.objective = TeacherLoss(images.num_classes, dim).to(self.device, self.dtype)
        self.last: tuple[Tensor, ...] = ()

    def start_epoch(self, model: ReIDModel) -> None:
        """Rebuild the memories from the network's own eval-mode embeddings."""
        self.objective.rebuild(
            self.embed(model, self.visible_rows),
            self.labels[self.visible_rows],
            self.embed(model, self.infrared_rows),
            self.labels[self.infrared_rows],
            self.embed(model, self.visible_rows, self.exchange),
        )

    def loss(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Embed visible, infrared and channel-exchanged visible; compare with the memories."""
        x = self.augmented(
            (self.augment_visible, batch.visible),
            (self.augment_infrared, batch.infrared),
            (self.augment_auxiliary, batch.visible),
        )
        embeddings = self.forward(model, x, streams=3)
        self.last = (*(z.detach() for z in embeddings), batch.labels)
        return self.objective(*embeddings, batch.labels)

    def after_step(self) -> None:
        """Move the memories towards the batch's embeddings."""
        self.objective.update(*self.last)

    def memories(self) -> dict[str, Tensor]:
        """Return the prototypes and centres of all memories."""
        return dict(self.objective.named_buffers())

    def restored(self) -> None:
        """Go on with the memories as they are."""
        self.objective.built = True


# MCE's code tests every second epoch from this one on, DAKD's every epoch from the first on.
MCE_TESTS = {"start": 12, "every": 2}


def train_teacher(
    model: ReIDModel,
    images: ImageSet,
    config: TeacherConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    engine: EngineConfig | None = None,
    folder: str | Path | None = None,
    notes: dict[str, Any] | None = None,
    show: bool = True,
    test_score: Callable[[ReIDModel], float] | None = None,
) -> Trained:
    """Train a teacher in place with MCE's memory-based objective (AAAI 2023).

    Differs from the published code: `TeacherConfig.identity_epochs` of plain identity
    classification may come first, for networks that start from random instead of ImageNet weights.

    With a `folder`, a training that was interrupted is continued by the same call, and one that is
    finished is loaded.

    Args:
        model: the network.
        images: the training split.
        config: schedule, batches and augmentation.
        seed: decides batches and augmentation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"bfloat16"`` (autocast), ``"float32"``, or ``"auto"`` (see
            `dakd.runtime.pick_precision`).
        engine: how it is computed and how often the state is saved.
        folder: where history, snapshots and checkpoint are written, if anywhere.
        notes: what else the checkpoint's description should say.
        show: show a progress bar.
        test_score: how good a network is on the test set; only used, and needed, where the
            configuration selects the epoch there, as the published codes do.

    Raises:
        TrainingError: a loss is not finite, or the folder holds a training with other settings.
        Stopped: the user asked to stop; the state is saved.
        OSError: the folder cannot be written to, or its disk is too full.
        ValueError: unsuitable data or settings; the configuration selects on the test set and there
            is no `test_score`.
    """
    config = config or TeacherConfig()
    score = _asked(config, test_score)
    tests = {**MCE_TESTS, "start": config.identity_epochs + MCE_TESTS["start"]}

    def stages(images: ImageSet, where: dict[str, Any], best: Best | None) -> dict[str, Stage]:
        prototypes = TeacherObjective(images, config, dim=model.embedding_dim, **where)
        before = config.identity_epochs
        last = Stage(model, prototypes, config, first_epoch=before, number=1, best=best)
        if not before:
            return {"teacher": last}
        first = replace(config, epochs=before)
        identity = IdentityObjective(images, first, dim=model.embedding_dim, **where)
        identity.generator = prototypes.generator  # one stream of draws, none of them twice
        return {"identities": Stage(model, identity, first), "teacher": last}

    how: dict[str, Any] = {"seed": seed, "device": device, "precision": precision, "show": show}
    how |= {"engine": engine or EngineConfig(), "folder": folder, "notes": notes or {}}
    how |= {"test_score": score, "tests": tests}
    return _train(model, images, stages, config, {"teacher": to_dict(config)}, **how)
