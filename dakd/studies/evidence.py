"""Tables over several seeds: confidence mask, modality gap and robustness (`dakd evidence`).

All runs share a configuration; `seeds` are those of the trainings, `runs` names of
`dakd.studies.ablation.GRID`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from dakd.analysis import kept_accuracy, modality_gap, predict, reliability, risk_coverage
from dakd.analysis.confidence import Predictions
from dakd.config import Config, replace
from dakd.evaluate.embed import extract
from dakd.experiment import Experiment
from dakd.protocols import Modality
from dakd.runtime import make_generator, pick_device
from dakd.studies.ablation import MAIN, network
from dakd.studies.robustness import robustness_table

QUANTILES = (0.25, 0.5, 0.75)
ROBUST = (  # teacher and student with and without CutSwap, and two controls
    *("teacher", "teacher_no_cutswap", "continued"),
    *("dakd", "cutswap_none", "dakd_identity"),
)


def trust_table(
    config: Config, seeds: Sequence[int] = (0, 1, 2), *, show: bool = True
) -> pd.DataFrame:
    """Return the reliability of the teacher's confidences on augmented training images.

    These are the teacher's inputs during distillation, and only training identities have class
    centres.

    Returns:
        One row per seed, modality and level: ``accuracy``; ``ece`` (class level only); the area
        under the risk-coverage curve for the order by confidence (``area``), a random order
        (``random``) and the ``best`` order; for each quantile q the accuracy of kept and dropped
        images, ``kept_q`` and ``dropped_q``.
    """
    experiments = _experiments(config, seeds, show)
    return pd.DataFrame([row for experiment in experiments for row in _trust(experiment)])


def _experiments(config: Config, seeds: Sequence[int], show: bool) -> Iterator[Experiment]:
    return (Experiment(replace(config, seed=seed), show=show) for seed in seeds)


def augmented_predictions(experiment: Experiment) -> Iterator[tuple[Modality, Predictions]]:
    """Yield the teacher's predictions on the augmented training images of each modality."""
    config, train, teacher = experiment.config, experiment.dataset.train, experiment.teacher().model
    centres, device = experiment.centres(teacher), pick_device(experiment.config.device)
    for modality, augment in experiment.augmentations().items():
        rows = np.flatnonzero(train.infrared == (modality == "infrared"))
        transform = partial(augment, generator=make_generator(config.seed, device))
        z = extract(teacher, train, rows=rows, transform=transform, device=config.device)
        yield modality, predict(z, getattr(centres, modality), train.labels[rows])


def _trust(experiment: Experiment) -> Iterator[dict[str, Any]]:
    for modality, predictions in augmented_predictions(experiment):
        correct = predictions.correct
        levels = {"class": predictions.confidence, "instance": predictions.instance_confidence}
        for level, confidence in levels.items():
            curve = risk_coverage(confidence, correct)
            ece = reliability(confidence, correct).ece if level == "class" else np.nan
            row: dict[str, Any] = {"seed": experiment.config.seed}
            row |= {"modality": modality, "level": level, "accuracy": correct.mean(), "ece": ece}
            row |= {"area": curve.area, "random": 1 - correct.mean(), "best": curve.best}
            for q in QUANTILES:
                accuracy = kept_accuracy(confidence, correct, quantile=q)
                row |= {f"kept_{q}": accuracy.kept, f"dropped_{q}": accuracy.dropped}
            yield row


def gap_table(
    config: Config,
    seeds: Sequence[int] = (0, 1, 2),
    runs: Sequence[str] = MAIN,
    *,
    show: bool = True,
) -> pd.DataFrame:
    """Return the measures of the modality gap on test images, one row per run and seed.

    See `dakd.analysis.modality_gap` for the columns.
    """
    rows = []
    for experiment in _experiments(config, seeds, show):
        test = experiment.dataset.test
        for run in runs:
            z = experiment.embeddings(network(experiment, run).model)
            gap = modality_gap(z, test.infrared, test.pids)
            rows.append({"run": run, "seed": experiment.config.seed, **gap})
    return pd.DataFrame(rows)


def robustness_tables(
    config: Config,
    seeds: Sequence[int] = (0, 1, 2),
    runs: Sequence[str] = ROBUST,
    *,
    show: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Return the metrics on corrupted test images, with a column for the seed of the training.

    The corruptions are the same for all seeds. See `dakd.studies.robustness.robustness_table` for
    `settings` and for the other columns.
    """
    tables = []
    how = vars(config.evaluation) | {"device": config.device, "show": show} | settings
    for experiment in _experiments(config, seeds, show):
        models = {run: network(experiment, run).model for run in runs}
        table = robustness_table(models, experiment.dataset, **how)
        tables.append(table.assign(seed=experiment.config.seed))
    return pd.concat(tables, ignore_index=True)
