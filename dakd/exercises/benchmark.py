"""Exercises of notebook 06: significant differences, number of seeds, the camera rule."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t
from torch import Tensor

from dakd.analysis import paired_differences
from dakd.exercises.verdict import UnreadableAnswerError, Verdict, exercise, number, verdict
from dakd.metrics import rank_metrics


@exercise
def distinguishable(
    names: Any, *, table: pd.DataFrame, labels: Mapping[str, str], metric: str = "mAP"
) -> Verdict:
    """Which variants differ significantly from DAKD?

    Asked: those whose 95 % interval (Student's t over seeds, paired with DAKD) excludes zero.

    Args:
        names: the answer, a list of names or labels of variants; empty for none.
        table: from `dakd.studies.ablation.run_grid`.
        labels: run -> label of the variants to choose from; those not in the table are skipped.
        metric: see `dakd.analysis.paired_differences`.
    """
    given = [names] if isinstance(names, str) else names
    run_of = {text.lower(): run for run, label in labels.items() for text in (run, label)}
    words = [str(name).strip().lower() for name in given] if isinstance(given, Iterable) else [""]
    if not set(words) <= set(run_of):
        known = "; ".join(labels.values())
        raise UnreadableAnswerError(f"Give a list with some of: {known}. An empty list means none.")
    apart = paired_differences(table, baseline="dakd", metric=metric)
    apart = apart[apart.index.isin(list(labels))]
    significant = set(apart.index[(apart["t_low"] > 0) | (apart["t_high"] < 0)])
    wrong = len({run_of[word] for word in words} ^ significant)
    return verdict(
        not wrong,
        because=f"{len(significant)} of {len(apart)}. If none of them differed from DAKD, about "
        f"{0.05 * len(apart):.1f} would still exclude zero by chance.",
        hint=f"{wrong} of {len(apart)} decisions are wrong. In the column {metric}, does the "
        "interval in brackets contain zero?",
    )


@exercise
def seeds_needed(seeds: Any, *, each: Sequence[float], half_width: float = 0.01) -> Verdict:
    """How many seeds are needed for an interval of a given half-width?

    Asked: the smallest n with t(n - 1) · s / √n <= half_width, where s is the sample standard
    deviation of the differences so far and t the 97.5 % quantile of Student's distribution. One
    seed more is also accepted.

    Args:
        seeds: the answer, from 2.
        each: paired differences, one per seed of the table, as fractions.
        half_width: as a fraction; 0.01 is one point.
    """
    n = number(seeds, "a whole number of seeds, from 2", low=2, high=10_000, whole=True)
    counts = np.arange(2, 10_003)
    reach = t.ppf(0.975, counts - 1) * np.std(each, ddof=1) / np.sqrt(counts)  # decreases with n
    least = counts[reach <= half_width][0]
    mine, today = (100 * reach[int(count) - 2] for count in (n, len(each)))
    too_few = f"They would give ± {mine:.2f} points. Using 1.96 for t gives too few: the "
    return verdict(
        least <= n <= least + 1,
        because=f"They give ± {mine:.2f} points, where the table's {len(each)} give ± {today:.1f}. "
        f"The spread itself is estimated from {len(each)} numbers, so plan for more.",
        hint=too_few + "spread itself is an estimate."
        if n < least
        else f"They would give ± {mine:.2f} points, and fewer are enough.",
    )


@exercise
def without_camera_rule(
    points: Any,
    *,
    similarity: Tensor,
    people: Sequence[np.ndarray],
    cameras: Sequence[np.ndarray],
) -> Verdict:
    """By how many points does rank-1 change without the camera rule?

    Asked: rank-1 without the rule minus rank-1 with it, counting identities in both.

    Args:
        points: the answer, -100..100, within 0.06.
        similarity: of queries to gallery images, (Q, G).
        people, cameras: identities and cameras, of queries (Q,) and of the gallery (G,).
    """
    value = number(points, "points of rank-1 between -100 and 100", low=-100, high=100)
    rule = rank_metrics(similarity, *people, *cameras, protocol="sysu")
    none = rank_metrics(similarity, *people, protocol=None, cmc_unit="identity")
    change = 100 * (none.cmc[1] - rule.cmc[1])
    hint = "Subtract rank-1 with the rule from rank-1 without it; one point is 0.01."
    if abs(value + change) <= 0.06:
        hint = "The size is right, but not the sign. Which of the two is subtracted?"
    return verdict(
        abs(value - change) <= 0.06,
        because=f"Rank-1 is {rule.cmc[1]:.1%} with the rule and {none.cmc[1]:.1%} without, for the "
        "same network: a result without its protocol is not a result.",
        hint=hint,
    )
