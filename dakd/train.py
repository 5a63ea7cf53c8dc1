"""Training of teacher and student: one loop for both.

Read `fit` first: it is the whole loop, in the order of time. What differs between teacher and
student is in `dakd.objectives`.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dakd.checkpoint import save_checkpoint
from dakd.config import ScheduleConfig, StudentConfig, TeacherConfig, replace, to_dict
from dakd.data import ImageSet
from dakd.data.sampler import CrossModalSampler
from dakd.losses import LossTerms
from dakd.model import ReIDModel
from dakd.objectives import (
    Batch,
    IdentityObjective,
    Objective,
    StudentObjective,
    TeacherObjective,
)
from dakd.runtime import progress

LOG_EVERY = 8  # steps between two looks at the losses; each look waits for the device


class TrainingError(RuntimeError):
    """Training that cannot go on; the message says where it stopped and why."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training leaves.

    Attributes:
        model: the network, in eval mode.
        history: one row a step: epoch, step, loss, every part of it, lr, images_per_second.
        folder: where the checkpoint lies, if one was asked for.
        seconds: how long the training took.
    """

    model: ReIDModel
    history: pd.DataFrame
    folder: Path | None = None
    seconds: float = float("nan")


class Log:
    """Collects losses on the device and looks at them every few steps."""

    def __init__(self, bar: Any, images_per_step: int) -> None:
        self.bar, self.images_per_step = bar, images_per_step
        self.rows: list[dict[str, float]] = []
        self.waiting: list[tuple[dict[str, float], LossTerms, np.ndarray]] = []
        self.since = time.perf_counter()

    def add(self, place: dict[str, float], terms: LossTerms, pids: np.ndarray) -> None:
        """Keep a step's losses without waiting for the device."""
        parts = {name: value.detach() for name, value in terms.parts.items()}
        self.waiting.append((place, LossTerms(terms.total.detach(), parts), pids))

    def look(self) -> None:
        """Read the kept losses, refuse non-finite ones, and show where training is.

        Raises:
            TrainingError: a loss is not finite.
        """
        if not self.waiting:
            return
        names = ["loss", *self.waiting[0][1].parts]
        values = torch.stack(
            [torch.stack([t.total, *t.parts.values()]).float() for _, t, _ in self.waiting]
        ).tolist()
        seconds = time.perf_counter() - self.since
        speed = self.images_per_step * len(self.waiting) / max(seconds, 1e-9)
        for (place, _, pids), row in zip(self.waiting, values, strict=True):
            losses = dict(zip(names, row, strict=True))
            bad = [name for name, value in losses.items() if not np.isfinite(value)]
            if bad:
                raise TrainingError(
                    f"{', '.join(bad)} not finite at epoch {place['epoch']:.0f}, step "
                    f"{place['step']:.0f}, identities {sorted(set(pids.tolist()))}; lower the "
                    "learning rate, use precision='float32', or look at these images"
                )
            self.rows.append({**place, **losses, "images_per_second": speed})
        self.bar.set_postfix(loss=f"{values[-1][0]:.3f}", images_s=f"{speed:.0f}")
        self.waiting.clear()
        self.start()

    def start(self) -> None:
        """Start the clock of the next few steps."""
        self.since = time.perf_counter()


def learning_rate(config: ScheduleConfig, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at every step (of `steps` an epoch)."""

    def factor(step: int) -> float:
        epoch = step // steps
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "multistep":
            warm = min(1.0, (epoch + 1) / config.warmup) if config.warmup else 1.0
            return warm * 0.1 ** sum(epoch >= milestone for milestone in config.milestones)
        done = step / max(1, config.epochs * steps - 1)  # one cycle: up for a quarter, then down
        rise = 0.25
        if done < rise:
            return 0.04 + 0.96 * (1 - np.cos(np.pi * done / rise)) / 2
        return 1e-3 + (1 - 1e-3) * (1 + np.cos(np.pi * (done - rise) / (1 - rise))) / 2

    return factor


def fit(
    model: ReIDModel,
    objective: Objective,
    config: ScheduleConfig,
    *,
    seed: int,
    title: str,
    show: bool,
    first_epoch: int = 0,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> pd.DataFrame:
    """Train `model` in place and return the history; the one loop of the package.

    Epochs count from `first_epoch`, so that a second stage draws other batches than the first.
    `after_epoch` is called with the number of each epoch once it is done.

    Raises:
        TrainingError: a loss is not finite.
        ValueError: fewer identities than a batch needs (see `CrossModalSampler`).
    """
    images, device = objective.images, objective.device
    sampler = CrossModalSampler(
        images.pids,
        images.infrared,
        identities=config.identities,
        images=config.images,
        steps=config.steps,
        seed=seed,
    )
    if sampler.uneven:
        warnings.warn(f"uneven training data: {sampler.report}", stacklevel=3)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    learned = [p for p in model.parameters() if p.requires_grad] + objective.parameters()
    optimiser = torch.optim.Adam(learned, lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, learning_rate(config, len(sampler)))

    total = config.epochs * len(sampler)
    with progress(None, total=total, title=title, show=show) as bar:
        log = Log(bar, images_per_step=2 * config.identities * config.images)
        for epoch in range(first_epoch, first_epoch + config.epochs):
            objective.start_epoch(model)
            sampler.set_epoch(epoch)
            model.train()
            log.start()
            for step, (visible, infrared) in enumerate(sampler):
                batch = Batch(
                    images.images(visible).to(device, non_blocking=True),
                    images.images(infrared).to(device, non_blocking=True),
                    objective.labels[torch.from_numpy(visible).to(device)],
                    images.pids[visible],
                )
                terms = objective.loss(model, batch)
                optimiser.zero_grad(set_to_none=True)
                terms.total.backward()
                optimiser.step()
                objective.after_step()
                rate = float(schedule.get_last_lr()[0])
                place: dict[str, float] = {"epoch": epoch, "step": step, "lr": rate}
                log.add(place, terms, batch.pids)
                schedule.step()
                bar.update()
                if len(log.waiting) == LOG_EVERY:
                    log.look()
            log.look()
            after_epoch(epoch)
    model.eval()
    return pd.DataFrame(log.rows)


class Best:
    """Remembers the weights of the epoch with the highest score.

    Args:
        model: the network that is being trained.
        score: tells how good it is, higher is better.
    """

    def __init__(self, model: ReIDModel, score: Callable[[ReIDModel], float]) -> None:
        self.model, self.score = model, score
        self.epoch, self.value, self.state = -1, -np.inf, {}  # type: ignore[var-annotated]

    def look(self, epoch: int) -> None:
        """Keep the weights if they are better than all before."""
        value = self.score(self.model)
        if value > self.value:
            state = {key: value.clone() for key, value in self.model.state_dict().items()}
            self.epoch, self.value, self.state = epoch, value, state

    def restore(self) -> dict[str, Any]:
        """Put the best weights back and tell which they were."""
        self.model.load_state_dict(self.state)
        return {"selection": {"on": "test set", "epoch": self.epoch, "score": self.value}}


def train_teacher(
    model: ReIDModel,
    images: ImageSet,
    config: TeacherConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "bfloat16",
    folder: str | Path | None = None,
    notes: dict[str, Any] | None = None,
    show: bool = True,
) -> Trained:
    """Train a teacher in place with the prototype-memory objective.

    Differs from the paper: `TeacherConfig.identity_epochs` of plain identity classification may
    come first, for networks that start from random instead of ImageNet weights.

    Args:
        model: the network.
        images: the training split.
        config: schedule, batches and augmentation.
        seed: decides batches and augmentation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"bfloat16"`` (autocast) or ``"float32"``.
        folder: where the checkpoint is written, if anywhere.
        notes: what else the checkpoint's description should say.
        show: show a progress bar.

    Raises:
        TrainingError: a loss is not finite.
        ValueError: unsuitable data or settings.
    """
    config, since = config or TeacherConfig(), time.perf_counter()
    where = {"seed": seed, "device": device, "precision": precision}
    dim = model.embedding_dim
    histories = []
    images = with_both_modalities(images)
    prototypes = TeacherObjective(images, config, dim=dim, **where)
    if before := config.identity_epochs:
        first = replace(config, epochs=before)
        identity = IdentityObjective(images, first, dim=dim, **where)
        identity.generator = prototypes.generator  # one stream of draws, none of them twice
        histories.append(fit(model, identity, first, seed=seed, title="identities", show=show))
    run = fit(model, prototypes, config, seed=seed, title="teacher", show=show, first_epoch=before)
    history = pd.concat([*histories, run], ignore_index=True)
    settings = {"teacher": to_dict(config), **where, **(notes or {})}
    return _finish(model, history, folder, settings, since)


def train_student(
    student: ReIDModel,
    teacher: ReIDModel,
    images: ImageSet,
    config: StudentConfig | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "bfloat16",
    folder: str | Path | None = None,
    notes: dict[str, Any] | None = None,
    show: bool = True,
    test_score: Callable[[ReIDModel], float] | None = None,
) -> Trained:
    """Distil `teacher`, which stays as it is, into `student`, which is trained in place.

    Args:
        student: the network that learns; of the teacher's architecture.
        teacher: a trained network.
        images, config, seed, device, precision, folder, notes, show: see `train_teacher`.
        test_score: how good a network is on the test set; only used, and needed, where the
            configuration selects the epoch there, as the release does.

    Raises:
        TrainingError: a loss is not finite.
        ValueError: teacher and student differ in architecture, or are one object; the
            configuration selects on the test set and there is no `test_score`.
    """
    if student is teacher:
        raise ValueError("student and teacher are the same object; pass copy.deepcopy(teacher)")
    if student.architecture != teacher.architecture:
        raise ValueError(
            f"self-distillation needs one architecture: the teacher is {teacher.architecture}, "
            f"the student {student.architecture}"
        )
    config, since = config or StudentConfig(), time.perf_counter()
    if config.selects_on_test and test_score is None:
        raise ValueError(
            "this configuration reports the epoch that is best on the test set, as the release "
            "does: pass test_score=..., or take the last epoch with StudentConfig(selection='last')"
        )
    where = {"seed": seed, "device": device, "precision": precision}
    objective = StudentObjective(with_both_modalities(images), config, teacher=teacher, **where)
    how: dict[str, Any] = {"title": f"student ({config.preset}, {config.ablation})", "show": show}
    best = Best(student, test_score) if config.selects_on_test and test_score else None
    if best:
        how["after_epoch"] = best.look
    history = fit(student, objective, config, seed=seed, **how)
    chosen = best.restore() if best else {}
    settings = {"student": to_dict(config), **where, **chosen, **(notes or {})}
    return _finish(student, history, folder, settings, since)


def with_both_modalities(images: ImageSet) -> ImageSet:
    """Return the images of identities that both modalities show; warn about the others.

    Raises:
        ValueError: no identity is left.
    """
    both = np.intersect1d(images.pids[images.infrared], images.pids[~images.infrared])
    lonely = np.setdiff1d(images.classes, both)
    if not len(both):
        raise ValueError("no identity has visible and infrared images; is the dataset complete?")
    if not len(lonely):
        return images
    warnings.warn(
        f"{len(lonely)} identities are left out, one modality has no image of them: "
        f"{lonely[:10].tolist()}{' ...' if len(lonely) > 10 else ''}",
        stacklevel=3,
    )
    return images.select(np.isin(images.pids, both))


def _finish(
    model: ReIDModel,
    history: pd.DataFrame,
    folder: str | Path | None,
    config: dict[str, Any],
    since: float,
) -> Trained:
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise TrainingError(
            f"training ended with non-finite weights, {broken[0]} first; nothing was saved: lower "
            "the learning rate or use precision='float32'"
        )
    seconds = time.perf_counter() - since
    if folder is None:
        return Trained(model, history, seconds=seconds)
    metrics = {"loss": float(history["loss"].tail(20).mean()), "seconds": seconds}
    saved = save_checkpoint(folder, model, config=config, history=history, metrics=metrics)
    return Trained(model, history, saved, seconds)
