"""The training loop of teacher and student; `fit` is all of it, in the order of time."""

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
from dakd.train.state import TrainState
from dakd.train.stopping import Stopped


def learning_rate(config: ScheduleConfig, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step.

    Args:
        config: which schedule.
        steps: per epoch.
    """

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
    state: TrainState,
    *,
    seed: int,
    title: str = "",
    show: bool = False,
    history: History | None = None,
    run: RunFolder | None = None,
    engine: EngineConfig | None = None,
) -> History:
    """Train from the given state to its last epoch.

    Args:
        state: changed in place.
        seed: of the batches.
        title: of the progress bar.
        show: show the progress bar.
        history: of the earlier steps; the new ones are appended.
        run: where snapshots are written.
        engine: see `dakd.config.EngineConfig`.

    Raises:
        TrainingError: a loss is not finite.
        Stopped: the user asked to stop; the state is saved.
        ValueError: fewer identities than a batch needs (see `CrossModalSampler`).
    """
    config, objective, model = state.config, state.objective, state.model
    engine, history = engine or EngineConfig(), history or History(device=objective.device)
    run = run or RunFolder(None, {}, engine)
    context, images = objective.context, objective.images
    require(
        config.identities % context.size == 0,
        f"{config.identities} identities in a batch do not divide among {context.size} processes; "
        "change the number of either",
    )
    sampler = state.sampler or SAMPLERS[config.sampler](
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
    first = state.last_epoch - config.epochs
    total, begun = config.epochs * len(sampler), (state.epoch - first) * len(sampler) + state.step
    history.images_per_step = 2 * config.identities * config.images
    bar = progress(None, total=total, done=begun, title=title, show=show and context.is_main)
    with bar as history.bar, context.wrap(model) as learner:
        forward: Any = learner
        if engine.compile:
            forward = torch.compile(learner, dynamic=False)
            objective.compile()
        while state.epoch < state.last_epoch:
            if state.step == 0:
                objective.start_epoch(model)
            sampler.set_epoch(state.epoch)
            model.train()
            history.start()
            for batch in _batches(sampler, objective, engine, skip=state.step):
                lr = config.lr * rate((state.epoch - first) * len(sampler) + state.step)
                for group in state.optimiser.param_groups:
                    group["lr"] = lr
                terms = objective.loss(forward, batch)
                state.optimiser.zero_grad(set_to_none=True)
                terms.total.backward()
                state.optimiser.step()
                objective.after_step()
                position = {"epoch": state.epoch, "step": state.step, "lr": lr}
                history.add(position, terms, batch.pids)
                state.step += 1
                history.bar.update()
                run.poll_stop()
                if run.snapshot_due:
                    _save(history, run, state)
                    history.start()  # the time of writing belongs to no step
                elif history.flush_due:
                    history.flush()
            history.flush()
            if state.best:
                last = state.epoch + 1 == state.last_epoch
                state.best.update(model, state.epoch, context=context, last=last)
            state.epoch, state.step = state.epoch + 1, 0
    model.eval()
    return history


def _batches(
    sampler: CrossModalSampler, objective: Objective, engine: EngineConfig, skip: int
) -> Iterator[Batch]:
    """Yield an epoch's batches on the device, prefetched, without the first `skip`."""
    images, device, context = objective.images, objective.device, objective.context
    on_gpu = device.type == "cuda"
    workers = engine.workers if engine.workers is not None else 2 * on_gpu

    def fetch(rows: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, list[torch.Tensor]]:
        shard = context.shard(len(rows[0]))
        host = [images.images(r[shard]) for r in rows] + [torch.from_numpy(images.labels[rows[0]])]
        return images.pids[rows[0]], [t.pin_memory() for t in host] if on_gpu else host

    steps = (rows for step, rows in enumerate(sampler) if step >= skip)
    for pids, host in prefetch(steps, fetch, workers):
        visible, infrared, labels = (t.to(device, non_blocking=True) for t in host)
        yield Batch(visible, infrared, labels, pids)


def _save(history: History, run: RunFolder, state: TrainState) -> None:
    """Write a snapshot, then stop if the user has asked to.

    If writing fails, training continues with a warning; a request to stop then raises the error.
    """
    history.flush()  # a loss that is not finite ends the training before it is saved
    snapshot, steps = state.state_dict(), len(history.rows)
    snapshot.metadata["rows"] = steps
    failed: Exception | None = None
    try:
        history.sync()
        run.save(steps, snapshot)
    except (OSError, TrainingError) as error:
        failed = error
    stopping = run.stopping
    if stopping and not run.context.any(failed is not None):  # asked after the state was written
        raise Stopped(
            f"stopped after epoch {state.epoch}, step {state.step}; the state is saved in "
            f"{run.path}, and the same call or command continues from there"
        )
    if failed and (stopping or isinstance(failed, TrainingError)):
        raise failed
    if stopping:
        raise TrainingError(f"stopped, and the main process could not save the state in {run.path}")
    if failed:
        warnings.warn(
            f"no snapshot after {steps} steps: {failed}; training continues, free space in "
            f"{run.path}",
            stacklevel=2,
        )
