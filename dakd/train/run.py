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
from dakd.train.distributed import World
from dakd.train.history import HISTORY, History, TrainingError, read_rows
from dakd.train.loop import fit
from dakd.train.run_folder import RunFolder, open_run
from dakd.train.selection import Best, cross_modal_map, hold_out
from dakd.train.snapshot import Snapshot
from dakd.train.state import Stage


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training leaves.

    Attributes:
        model: the network, in eval mode.
        history: one row a step: epoch, step, lr, loss, every part of it, images_per_second,
            memory_mb.
        folder: where the checkpoint lies, if one was asked for.
        seconds: how long the training took.
        given: of a network that was not trained here: the file, its digest, and what is known of
            its training.
    """

    model: ReIDModel
    history: pd.DataFrame
    folder: Path | None = None
    seconds: float = float("nan")
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tells the network apart from others: its folder, or else its weights."""
        if self.given:
            return f"given-{self.given['digest']}"
        return self.folder.name if self.folder else weights_fingerprint(self.model)


def _asked(
    config: ScheduleConfig, test_score: Callable[[ReIDModel], float] | None
) -> Callable[[ReIDModel], float] | None:
    """Return the score on the test set if the configuration asks for it; refuse to go without."""
    if config.selects_on_test and test_score is None:
        raise ValueError(
            "this configuration reports the epoch that is best on the test set, as the published "
            "codes do: pass test_score=..., or take the last epoch with selection='last'"
        )
    return test_score if config.selects_on_test else None


def _train(
    model: ReIDModel,
    images: ImageSet,
    make: Callable[[ImageSet, dict[str, Any], Best | None], dict[str, Stage]],
    config: ScheduleConfig,
    decided: dict[str, Any],
    *,
    seed: int,
    device: str,
    precision: str,
    engine: EngineConfig,
    folder: str | Path | None,
    notes: dict[str, Any],
    show: bool,
    test_score: Callable[[ReIDModel], float] | None = None,
    tests: dict[str, int] | None = None,
) -> Trained:
    """Train all stages, from the latest snapshot on if there is one."""
    images, world = with_both_modalities(images), World.join(device)
    if folder is not None:
        check_loadable(model)  # before the work, not after it
    precision = pick_precision(precision, pick_device(device))
    columns = (images.pids, images.cams, images.numbers, images.infrared)
    height, width = images.images([0]).shape[2:]
    trained_at: dict[str, Any] = {"height": height, "width": width}
    trained_at |= {"filter": images.filter} if images.filter else {}
    records = [[3, height, width], *(column.tolist() for column in columns)]
    settings = {
        **decided,
        "seed": seed,
        "device": pick_device(device).type,
        "precision": precision,
        "start": weights_fingerprint(model),
        "images": fingerprint(records),
        "trained_at": trained_at,
        "classes": images.num_classes,
    }
    size = 4 * 4 * sum(value.numel() for value in model.state_dict().values())
    opened = open_run(folder, settings, engine, world=world, size=size)
    with opened as run, deterministic(engine.deterministic):
        if run.path and is_complete(run.path):
            return _finished(model, run.path)
        best = Best(test_score, "test set", world, **(tests or {})) if test_score else None
        if config.holdout:
            images, held = hold_out(images, config.holdout, seed=seed)
            best = Best(
                lambda model: cross_modal_map(model, held, device=device),
                "held-out identities",
                world,
            )
        where = {"seed": seed, "device": device, "precision": precision, "world": world}
        model.trained_at = trained_at
        stages = make(images, where, best)
        snapshot = run.latest(lambda found: _refuse_misfit(found, stages, run))
        rows = read_rows(run.path)[: snapshot.notes["rows"]] if run.path and snapshot else []
        history = History(
            run.path if run.writes else None,
            rows,
            tensorboard=engine.tensorboard,
            device=pick_device(device),
        )
        for title, stage in stages.items():
            if snapshot and stage.number <= snapshot.notes["stage"]:
                if stage.number < snapshot.notes["stage"]:
                    continue
                stage.load(snapshot)
            fit(stage, seed=seed, title=title, show=show, history=history, run=run, engine=engine)
        history.close()
        if best:
            best.restore(model)
            settings["selection"] = best.record
        notes = {"hardware": _hardware(world, device), **notes}
        trained = _finish(model, history, run, {**settings, **notes})
        world.wait()  # the checkpoint is there for all
        return trained


def _refuse_misfit(snapshot: Snapshot, stages: dict[str, Stage], run: RunFolder) -> None:
    """Raise ValueError for a snapshot that this training cannot go on from."""
    notes = snapshot.notes
    for name in ("stage", "epoch", "step", "rows"):
        require(isinstance(notes.get(name), int), f"its note {name!r} is no whole number")
    stage = next((s for s in stages.values() if s.number == notes["stage"]), None)
    require(stage is not None, f"it is of stage {notes['stage']}, which this training has not")
    assert stage is not None
    stage.check(snapshot)
    if run.path and len(read_rows(run.path)) < notes["rows"]:
        raise ValueError(f"{HISTORY} lacks steps before it")


def with_both_modalities(images: ImageSet) -> ImageSet:
    """Return the images of identities that both modalities show; warn about the others.

    Raises:
        ValueError: no identity is left.
    """
    both = np.intersect1d(images.pids[images.infrared], images.pids[~images.infrared])
    lonely = np.setdiff1d(images.classes, both)
    if not len(images):
        raise ValueError("there is no training image; add rows or files of the train split")
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


def _hardware(world: World, device: str) -> str:
    on_gpu = pick_device(device).type == "cuda"
    cpu = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    name = torch.cuda.get_device_name() if on_gpu else cpu
    return name if world.size == 1 else f"{world.size} x {name}"


def _finished(model: ReIDModel, folder: Path) -> Trained:
    """Return a training that was finished before."""
    loaded, history, description = load_checkpoint(folder)
    model.load_state_dict(loaded.state_dict())
    model.trained_at = loaded.trained_at
    return Trained(
        model.eval(), history, folder, description["metrics"].get("seconds", float("nan"))
    )


def _finish(model: ReIDModel, history: History, run: RunFolder, config: dict[str, Any]) -> Trained:
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
            return Trained(model, table, None, seconds)
    return Trained(model, table, run.path, seconds)
