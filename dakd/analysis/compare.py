"""Paired differences between methods over seeds and trials, with confidence intervals."""

import json

import numpy as np
import pandas as pd
from scipy.stats import t


def paired_differences(
    table: pd.DataFrame,
    *,
    baseline: str = "teacher",
    metric: str = "rank1",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the difference of each run from a baseline, with two confidence intervals.

    Differences are taken within a seed and a trial, so that what both runs share (initial weights,
    teacher, gallery) cancels. The bootstrap resamples seeds, and trials within each seed; its
    interval contains the middle `level` of the means. With three seeds it is too narrow: it
    excludes zero whenever all three differences have the same sign, which happens by chance in one
    of four comparisons of equal methods. Student's t interval over the means of the seeds is wider,
    and has the stated coverage if they are normal: prefer it. Neither accounts for other data.

    Args:
        table: from `dakd.studies.ablation.run_grid`; uses ``run``, ``seed`` and ``trials``.
        baseline: a run of the table.
        metric: ``"rank1"``, ``"rank5"``, ``"rank10"``, ``"rank20"``, ``"mAP"`` or ``"mINP"``.
        level: of both intervals, 0..1.
        draws: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        One row per run, differences as fractions: ``mean``; ``low`` and ``high`` of the bootstrap;
        ``t_low`` and ``t_high`` of Student's t (NaN for one seed); ``each``, the list of the means
        of the shared seeds.

    Raises:
        ValueError: the baseline or the metric is not in the table, or a run shares no seed with it.
    """
    values = _trial_values(table, metric)
    if baseline not in values:
        raise ValueError(f"no run {baseline!r} in the table; it has {', '.join(values)}")
    rng = np.random.default_rng(seed)
    rows = {}
    for run, of_seed in values.items():
        shared = sorted(set(of_seed) & set(values[baseline]))
        if not shared:
            raise ValueError(f"{run!r} and {baseline!r} have no seed in common")
        apart = np.stack([of_seed[s] - values[baseline][s] for s in shared])  # (S, T)
        S, T = apart.shape
        some_seeds = rng.integers(S, size=(draws, S))
        some_trials = rng.integers(T, size=(draws, S, T))
        means = apart[some_seeds[..., None], some_trials].mean((1, 2))  # (draws,)
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        each = apart.mean(1)  # (S,)
        reach = t.ppf((1 + level) / 2, S - 1) * each.std(ddof=1) / S**0.5 if S > 1 else np.nan
        rows[run] = {
            "mean": each.mean(),
            "low": low,
            "high": high,
            "t_low": each.mean() - reach,
            "t_high": each.mean() + reach,
            "each": each.tolist(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def _trial_values(table: pd.DataFrame, metric: str) -> dict[str, dict[int, np.ndarray]]:
    """Return run -> seed -> the metric in every trial, (T,)."""
    values: dict[str, dict[int, np.ndarray]] = {}
    for run, seed, text in zip(table["run"], table["seed"], table["trials"], strict=True):
        trials = json.loads(text)
        if metric not in trials:
            raise ValueError(f"no metric {metric!r} in the table; it has {', '.join(trials)}")
        values.setdefault(run, {})[seed] = np.array(trials[metric], dtype=np.float64)
    return values
