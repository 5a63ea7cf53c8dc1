"""One training from its data to a checkpoint, the same for teacher and student."""

import os
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dakd.config import (
    EngineConfig,
    ScheduleConfig,
    fingerprint,
)
from dakd.data import ImageSet
from dakd.model import ReIDModel
from dakd.runtime import (
    deterministic,
    pick_device,
    pick_precision,
    require,
)
from dakd.train.checkpoint import (
    check_loadable,
    is_complete,
    load_checkpoint,
    save_checkpoint,
    weights_fingerprint,
)
from dakd.train.distributed import DistributedContext
from dakd.train.history import HISTORY, History, TrainingError, read_rows
from dakd.train.loop import fit
from dakd.train.run_folder import RunFolder, open_run
from dakd.train.selection import Best, cross_modal_map, hold_out
from dakd.train.snapshot import Snapshot
from dakd.train.state import TrainState


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a training runs.

    Attributes:
        seed: of batches and augmentation.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"bfloat16"`` (autocast), ``"float32"``, or ``"auto"`` (see
            `dakd.runtime.pick_precision`).
        engine: workers, compilation, snapshots.
        folder: where history, snapshots and checkpoint are written; None writes nothing.
        metadata: stored in the description of the checkpoint, as JSON.
        show: show progress bars.
    """

    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    engine: EngineConfig = field(default_factory=EngineConfig)
    folder: str | Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    show: bool = True


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network.

    Attributes:
        model: the network, in eval mode.
        history: one row per step: epoch, step, lr, loss, each of its parts, images_per_second,
            memory_mb.
        folder: of the checkpoint, if there is one.
        seconds: training time.
        source: of a network that was not trained here: its file, the digest, and what is known of
            its training.
    """

    model: ReIDModel
    history: pd.DataFrame
    folder: Path | None = None
    seconds: float = float("nan")
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A name that no other network has: its folder, or else its weights."""
        if self.source:
            return f"given-{self.source['digest']}"
        return self.folder.name if self.folder else weights_fingerprint(self.model)


def best_on_test(
    config: ScheduleConfig, score: Callable[[ReIDModel], float] | None, **epochs: int
) -> Best | None:
    """Return what chooses the epoch on the test set, or None if the last one is reported.

    Args:
        config: of the training.
        score: of a network on the test set, higher is better.
        epochs: see `Best`.

    Raises:
        ValueError: the configuration chooses on the test set and there is no score.
    """
    if not config.selects_on_test:
        return None
    if score is None:
        raise ValueError(
            "this configuration reports the epoch that is best on the test set, as the published "
            "codes do: pass test_score=..., or take the last epoch with selection='last'"
        )
    return Best(score, "test set", **epochs)


def train(
    model: ReIDModel,
    images: ImageSet,
    make: Callable[[ImageSet, dict[str, Any], Best | None], dict[str, TrainState]],
    config: ScheduleConfig,
    settings: Mapping[str, Any],
    run: Run,
    best: Best | None = None,
) -> TrainingResult:
    """Train all stages, resuming from the latest snapshot if there is one.

    Args:
        model: the network that is trained.
        images: the training split.
        make: returns the stages by title, given the images, the keyword arguments of an
            `Objective`, and what chooses the epoch.
        config: of the last stage.
        settings: JSON values, besides those of `run` and `images`, that decide the result.
        run: where and how.
        best: chooses the reported epoch on the test set.

    Raises:
        TrainingError, Stopped, OSError, ValueError: see `train_teacher`.
    """
    images, context = with_both_modalities(images), DistributedContext.join(run.device)
    if run.folder is not None:
        check_loadable(model)  # before the training, not after it
    device, where = pick_device(run.device), {"device": run.device, "context": context}
    precision = pick_precision(run.precision, device)
    trained_at = _trained_at(images)
    decided = {
        **settings,
        "seed": run.seed,
        "device": device.type,
        "precision": precision,
        "start": weights_fingerprint(model),
        "images": _images_fingerprint(images, trained_at),
        "trained_at": trained_at,
        "classes": images.num_classes,
    }
    size = 4 * 4 * sum(value.numel() for value in model.state_dict().values())
    opened = open_run(run.folder, decided, run.engine, context=context, size=size)
    with opened as folder, deterministic(run.engine.deterministic):
        if folder.path and is_complete(folder.path):
            return _finished(model, folder.path)
        if config.holdout:
            images, held = hold_out(images, config.holdout, seed=run.seed)
            best = Best(
                lambda model: cross_modal_map(model, held, device=run.device), "held-out identities"
            )
        model.trained_at = trained_at
        stages = make(images, {"seed": run.seed, "precision": precision, **where}, best)
        snapshot = folder.latest(lambda found: _check_snapshot(found, stages, folder))
        rows = []
        if folder.path and snapshot:
            rows = read_rows(folder.path)[: snapshot.metadata["rows"]]
        history = History(
            folder.path if folder.writes else None,
            rows,
            tensorboard=run.engine.tensorboard,
            device=device,
        )
        how: dict[str, Any] = {"seed": run.seed, "show": run.show, "engine": run.engine}
        for title, state in stages.items():
            if snapshot and state.stage < snapshot.metadata["stage"]:
                continue
            if snapshot and state.stage == snapshot.metadata["stage"]:
                state.load_state_dict(snapshot)
            fit(state, title=title, history=history, run=folder, **how)
        history.close()
        if best:
            best.restore(model)
            decided["selection"] = best.record
        description = {**decided, "hardware": _hardware(context, device), **run.metadata}
        result = _finish(model, history, folder, description)
        context.barrier()  # until the checkpoint is written
        return result


def _trained_at(images: ImageSet) -> dict[str, Any]:
    """Return the size, and for files the filter, at which images are read."""
    height, width = images.images([0]).shape[2:]
    size: dict[str, Any] = {"height": height, "width": width}
    return size | ({"filter": images.filter} if images.filter else {})


def _images_fingerprint(images: ImageSet, trained_at: Mapping[str, Any]) -> str:
    columns = (images.pids, images.cams, images.numbers, images.infrared)
    shape = [3, trained_at["height"], trained_at["width"]]
    return fingerprint([shape, *(column.tolist() for column in columns)])


def _check_snapshot(snapshot: Snapshot, stages: dict[str, TrainState], run: RunFolder) -> None:
    """Raise ValueError for a snapshot that this training cannot continue from."""
    metadata = snapshot.metadata
    for name in ("stage", "epoch", "step", "rows"):
        require(isinstance(metadata.get(name), int), f"its {name} is not a whole number")
    state = next((s for s in stages.values() if s.stage == metadata["stage"]), None)
    if state is None:
        raise ValueError(f"it is of stage {metadata['stage']}, which this training does not have")
    state.check(snapshot)
    if run.path and len(read_rows(run.path)) < metadata["rows"]:
        raise ValueError(f"{HISTORY} lacks steps before it")


def with_both_modalities(images: ImageSet) -> ImageSet:
    """Return the images of identities that have both modalities; warn about the others.

    Raises:
        ValueError: no identity is left.
    """
    both = np.intersect1d(images.pids[images.infrared], images.pids[~images.infrared])
    incomplete = np.setdiff1d(images.classes, both)
    if not len(images):
        raise ValueError("there is no training image; add rows or files of the train split")
    if not len(both):
        raise ValueError("no identity has visible and infrared images; is the dataset complete?")
    if not len(incomplete):
        return images
    warnings.warn(
        f"{len(incomplete)} identities are left out because they have images of one modality only: "
        f"{incomplete[:10].tolist()}{' ...' if len(incomplete) > 10 else ''}",
        stacklevel=3,
    )
    return images.select(np.isin(images.pids, both))


def _hardware(context: DistributedContext, device: torch.device) -> str:
    on_gpu = device.type == "cuda"
    cpu = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    name = torch.cuda.get_device_name() if on_gpu else cpu
    return name if context.size == 1 else f"{context.size} x {name}"


def _finished(model: ReIDModel, folder: Path) -> TrainingResult:
    """Return the result of a training that was finished before."""
    loaded, history, description = load_checkpoint(folder)
    model.load_state_dict(loaded.state_dict())
    model.trained_at = loaded.trained_at
    return TrainingResult(
        model.eval(), history, folder, description["metrics"].get("seconds", float("nan"))
    )


def _finish(
    model: ReIDModel, history: History, run: RunFolder, config: dict[str, Any]
) -> TrainingResult:
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise TrainingError(
            f"training ended with non-finite weights, {broken[0]} first; nothing was saved: lower "
            "the learning rate or use precision='float32'"
        )
    table, seconds = pd.DataFrame(history.rows), run.seconds
    if run.path and run.writes:
        metrics = {"loss": float(table["loss"].tail(20).mean()), "seconds": seconds}
        write = partial(save_checkpoint, run.path, model)
        if not run.finish(lambda: write(config=config, history=table, metrics=metrics)):
            return TrainingResult(model, table, None, seconds)
    return TrainingResult(model, table, run.path, seconds)
