"""What several seeds say about the mask, the modality gap and corrupted images, as tables.

`dakd evidence` writes them; the ablation itself is `dakd.studies.ablation`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dakd.analysis import kept_accuracy, modality_gap, predict, reliability, risk_coverage
from dakd.config import Config, replace
from dakd.evaluate.embed import extract
from dakd.experiment import Experiment
from dakd.runtime import make_generator, pick_device
from dakd.studies.ablation import MAIN, network
from dakd.studies.robustness import robustness_table

QUANTILES = (0.25, 0.5, 0.75)
ROBUST = (  # teacher and student, each with and without CutSwap, and what is trained beyond them
    *("teacher", "teacher_no_cutswap", "continued"),
    *("dakd", "cutswap_none", "dakd_identity"),
)


def trust_table(
    config: Config, seeds: Sequence[int] = (0, 1, 2), *, show: bool = True
) -> pd.DataFrame:
    """Return how far the teacher's confidences can be trusted, on augmented training images.

    These are what the teacher sees while it teaches; a prediction can only be judged for a person
    with a class centre.

    Returns:
        A row a seed, modality and level: ``accuracy``; ``ece`` (class level only); the mean risk,
        ``area``, of the order by confidence, that of any random order (``random``) and of the
        ``best``; for each quantile q accuracy among kept and dropped, ``kept_q`` and ``dropped_q``.
    """
    labs = (Experiment(replace(config, seed=seed), show=show) for seed in seeds)
    return pd.DataFrame([row for experiment in labs for row in _trust(experiment)])


def _trust(experiment: Experiment) -> Iterator[dict[str, Any]]:
    config, train, teacher = experiment.config, experiment.dataset.train, experiment.teacher().model
    centres, device = experiment.centres(teacher), pick_device(experiment.config.device)
    for modality, augment in experiment.augmentations().items():
        rows = np.flatnonzero(train.infrared == (modality == "infrared"))
        transform = partial(augment, generator=make_generator(config.seed, device))
        z = extract(teacher, train, rows=rows, transform=transform, device=config.device)
        said = predict(z, getattr(centres, modality), train.labels[rows])
        levels = {"class": said.confidence, "instance": said.instance_confidence}
        for level, confidence in levels.items():
            order = risk_coverage(confidence, said.correct)
            row: dict[str, Any] = {"seed": config.seed, "modality": modality, "level": level}
            row |= {"accuracy": said.correct.mean(), "ece": np.nan}
            if level == "class":
                row["ece"] = reliability(confidence, said.correct).ece
            row |= {"area": order.area, "random": 1 - row["accuracy"], "best": order.best}
            for q in QUANTILES:
                cut = kept_accuracy(confidence, said.correct, quantile=q)
                row |= {f"kept_{q}": cut.kept, f"dropped_{q}": cut.dropped}
            yield row


def gap_table(
    config: Config,
    seeds: Sequence[int] = (0, 1, 2),
    runs: Sequence[str] = MAIN,
    *,
    show: bool = True,
) -> pd.DataFrame:
    """Return the measures of the modality gap on test images, a row a run and seed.

    See `dakd.analysis.modality_gap` for the columns.
    """
    rows = []
    for seed in seeds:
        experiment = Experiment(replace(config, seed=seed), show=show)
        test = experiment.dataset.test
        for run in runs:
            z = experiment.embeddings(network(experiment, run).model)
            gap = modality_gap(z, test.infrared, test.pids)
            rows.append({"run": run, "seed": seed, **gap})
    return pd.DataFrame(rows)


def robustness_tables(
    config: Config,
    seeds: Sequence[int] = (0, 1, 2),
    runs: Sequence[str] = ROBUST,
    *,
    show: bool = True,
    **how: Any,
) -> pd.DataFrame:
    """Return the scores on corrupted test images, with a column for the seed of the training.

    Args:
        config: what all runs share.
        seeds: of the trainings; the corruptions are the same for all.
        runs: of `dakd.studies.ablation.GRID`.
        show: progress bars.
        how: see `dakd.studies.robustness.robustness_table`, whose columns these are.
    """
    tables = []
    for seed in seeds:
        experiment = Experiment(replace(config, seed=seed), show=show)
        models = {run: network(experiment, run).model for run in runs}
        e = config.evaluation
        setting: dict[str, Any] = {"protocol": e.protocol, "trials": e.trials}
        setting |= {"sampling": e.sampling, "device": config.device, "batch": e.batch}
        setting |= {"flip": e.flip, "rerank": e.rerank, "cmc_unit": e.cmc_unit}
        table = robustness_table(models, experiment.dataset, show=show, **setting | how)
        tables.append(table.assign(seed=seed))
    return pd.concat(tables, ignore_index=True)
