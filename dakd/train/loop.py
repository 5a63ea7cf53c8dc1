"""The one training loop, for teacher and student alike.

Read `fit` first: it is the whole loop, in the order of time.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dakd.config import EngineConfig, ScheduleConfig
from dakd.data.prefetch import prefetch
from dakd.data.sampler import SAMPLERS, CrossModalSampler
from dakd.runtime import progress, require
from dakd.train.history import History, TrainingError
from dakd.train.objective import Batch, Objective
from dakd.train.run_folder import RunFolder
from dakd.train.state import Stage
from dakd.train.stopping import Stopped


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
    stage: Stage,
    *,
    seed: int,
    title: str = "",
    show: bool = False,
    history: History | None = None,
    run: RunFolder | None = None,
    engine: EngineConfig | None = None,
) -> History:
    """Train a stage to its end; the one loop of the package.

    Args:
        stage: what is trained, from where it stands; trained in place.
        seed: of the batches.
        title: of the progress bar.
        show: show it.
        history: of the steps before, to which this one's are added.
        run: where snapshots go.
        engine: see `dakd.config.EngineConfig`.

    Raises:
        TrainingError: a loss is not finite.
        Stopped: the user asked to stop; the state is saved.
        ValueError: fewer identities than a batch needs (see `CrossModalSampler`).
    """
    config, objective, model = stage.config, stage.objective, stage.model
    engine, history = engine or EngineConfig(), history or History(device=stage.objective.device)
    run = run or RunFolder(None, {}, engine)
    world, images = objective.world, objective.images
    require(
        config.identities % world.size == 0,
        f"{config.identities} identities in a batch do not divide among {world.size} processes; "
        "change the number of either",
    )
    sampler = stage.sampler or SAMPLERS[config.sampler](
        images.pids,
        images.infrared,
        identities=config.identities,
        images=config.images,
        steps=config.steps,
        seed=seed,
    )
    if sampler.uneven:
        warnings.warn(f"uneven training data: {sampler.report}", stacklevel=3)
    rate = learning_rate(config, len(sampler))
    first = stage.last_epoch - config.epochs
    total, begun = config.epochs * len(sampler), (stage.epoch - first) * len(sampler) + stage.step
    history.images_per_step = 2 * config.identities * config.images
    bar = progress(None, total=total, done=begun, title=title, show=show and world.main)
    with bar as history.bar, world.together(model) as learner:
        forward: Any = learner
        if engine.compile:
            forward = torch.compile(learner, dynamic=False)
            objective.compile()
        while stage.epoch < stage.last_epoch:
            if stage.step == 0:
                objective.start_epoch(model)
            sampler.set_epoch(stage.epoch)
            model.train()
            history.start()
            for batch in _batches(sampler, objective, engine, skip=stage.step):
                lr = config.lr * rate((stage.epoch - first) * len(sampler) + stage.step)
                for group in stage.optimiser.param_groups:
                    group["lr"] = lr
                terms = objective.loss(forward, batch)
                stage.optimiser.zero_grad(set_to_none=True)
                terms.total.backward()
                stage.optimiser.step()
                objective.after_step()
                place = {"epoch": stage.epoch, "step": stage.step, "lr": lr}
                history.add(place, terms, batch.pids)
                stage.step += 1
                history.bar.update()
                run.ask()
                if history.due or run.due:
                    _look(history, run, stage)
                if run.due:
                    _save(history, run, stage)
                    history.start()  # what was written is no time of a step
            _look(history, run, stage)
            if stage.best:
                stage.best.look(model, stage.epoch, last=stage.epoch + 1 == stage.last_epoch)
            stage.epoch, stage.step = stage.epoch + 1, 0
    model.eval()
    return history


def _batches(
    sampler: CrossModalSampler, objective: Objective, engine: EngineConfig, skip: int
) -> Iterator[Batch]:
    """Yield an epoch's batches from the step `skip` on, fetched ahead and on the device."""
    images, device, world = objective.images, objective.device, objective.world
    on_gpu = device.type == "cuda"
    workers = engine.workers if engine.workers is not None else 2 * on_gpu

    def fetch(rows: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, list[torch.Tensor]]:
        part = world.part(len(rows[0]))
        host = [images.images(r[part]) for r in rows] + [torch.from_numpy(images.labels[rows[0]])]
        return images.pids[rows[0]], [t.pin_memory() for t in host] if on_gpu else host

    steps = (rows for step, rows in enumerate(sampler) if step >= skip)
    for pids, host in prefetch(steps, fetch, workers):
        visible, infrared, labels = (t.to(device, non_blocking=True) for t in host)
        yield Batch(visible, infrared, labels, pids)


def _look(history: History, run: RunFolder, stage: Stage) -> None:
    """Read the losses; where one is not finite, keep the state and stop."""
    try:
        history.look()
    except TrainingError as error:
        raise run.fail(error, stage.save()) from None


def _save(history: History, run: RunFolder, stage: Stage) -> None:
    """Write a snapshot, without which training goes on; stop there if the user has asked to."""
    snapshot, steps = stage.save(), len(history.rows)
    snapshot.notes["rows"] = steps
    failed: Exception | None = None
    try:
        history.settle()
        run.save(steps, snapshot)
    except (OSError, TrainingError) as error:
        failed = error
    stopping = run.stopping
    if stopping and not run.world.any(failed is not None):  # asked after the state was written
        raise Stopped(
            f"stopped after epoch {stage.epoch}, step {stage.step}; the state is saved in "
            f"{run.path}, and the same call or command goes on from there"
        )
    if failed and (stopping or isinstance(failed, TrainingError)):
        raise failed
    if stopping:
        raise TrainingError(f"stopped, and the main process could not save the state in {run.path}")
    if failed:
        warnings.warn(
            f"no snapshot after {steps} steps: {failed}; training goes on, make room in {run.path}",
            stacklevel=2,
        )
