"""Exercises of notebook 06: what a table can tell apart, how many seeds it takes, and a rule."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t
from torch import Tensor

from dakd.analysis import paired_differences
from dakd.exercises.verdict import UnreadableAnswerError, Verdict, exercise, number, verdict
from dakd.metrics import rank_metrics
from dakd.studies.ablation import LABELS


@exercise
def distinguishable(
    names: Any, *, table: pd.DataFrame, runs: Sequence[str], metric: str = "mAP"
) -> Verdict:
    """Which of some variants can be told from DAKD?

    Asked: those whose 95 % interval (Student's t over seeds, paired with DAKD) leaves zero out.

    Args:
        names: the answer, a list of names or labels of `dakd.studies.grid.GRID`; empty for none.
        table: of `dakd.studies.ablation.run_grid`.
        runs: to choose from; one that the table lacks is left out.
        metric: see `dakd.analysis.paired_differences`.

    Example:
        >>> distinguishable(["t = 7"], table=pd.DataFrame(), runs=["t_low", "t_high"])
        ✗ Not yet. Give a list with some of: t = 2, 3; t = 5, 6. An empty list means none.
    """
    given = [names] if isinstance(names, str) else names
    run_of = {text.lower(): run for run in runs for text in (run, LABELS[run])}
    words = [str(name).strip().lower() for name in given] if isinstance(given, Iterable) else [""]
    if not set(words) <= set(run_of):
        labels = "; ".join(LABELS[run] for run in runs)
        raise UnreadableAnswerError(
            f"Give a list with some of: {labels}. An empty list means none."
        )
    apart = paired_differences(table, baseline="dakd", metric=metric)
    apart = apart[apart.index.isin(list(runs))]
    sure = set(apart.index[(apart["t_low"] > 0) | (apart["t_high"] < 0)])
    wrong = len({run_of[word] for word in words} ^ sure)
    return verdict(
        not wrong,
        because=f"{len(sure)} of {len(apart)}. If none of them differed from DAKD, about "
        f"{0.05 * len(apart):.1f} would still leave zero out by chance.",
        hint=f"{wrong} of {len(apart)} decisions to change. In the column {metric}, does the "
        "interval in brackets hold zero?",
    )


@exercise
def seeds_needed(seeds: Any, *, each: Sequence[float], half_width: float = 0.01) -> Verdict:
    """How many seeds does an interval of a given half width take?

    Asked: the smallest n with t(n - 1) · s / √n <= half_width, s being the standard deviation of
    the differences seen so far (n - 1 in its denominator) and t the 97.5 % quantile of Student's
    distribution. One seed more is right, too.

    Args:
        seeds: the answer, from 2.
        each: a paired difference for every seed of the table, as fractions.
        half_width: as a fraction, 0.01 being one point.

    Example:
        >>> seeds_needed(2, each=[0.01, 0.02, 0.03]).right
        False
    """
    n = number(seeds, "a whole number of seeds, from 2", low=2, high=10_000, whole=True)
    counts = np.arange(2, 10_003)
    reach = t.ppf(0.975, counts - 1) * np.std(each, ddof=1) / np.sqrt(counts)  # falls with n
    least = counts[reach <= half_width][0]
    mine, today = (100 * reach[int(count) - 2] for count in (n, len(each)))
    too_few = f"They would give ± {mine:.2f} points. A guess with 1.96 for t is too small: the "
    return verdict(
        least <= n <= least + 1,
        because=f"They give ± {mine:.2f} points, where the table's {len(each)} give ± {today:.1f}. "
        f"Of the spread we know no more than {len(each)} numbers say, so plan for more.",
        hint=too_few + "spread is itself a guess."
        if n < least
        else f"They would give ± {mine:.2f} points, and fewer are enough.",
    )


@exercise
def without_camera_rule(
    points: Any,
    *,
    similarity: Tensor,
    people: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
) -> Verdict:
    """By how many points does rank-1 change without the camera rule?

    Asked: rank-1 without the rule minus rank-1 with it; a rank counts people in both.

    Args:
        points: the answer, -100..100; 0.06 off is near enough.
        similarity: of queries to gallery images, (Q, G).
        people, places: identities and cameras, of queries (Q,) and of the gallery (G,).

    Example:
        >>> without_camera_rule(200, similarity=None, people=(), places=())
        ✗ Not yet. Give points of rank-1 between -100 and 100.
    """
    value = number(points, "points of rank-1 between -100 and 100", low=-100, high=100)
    rule = rank_metrics(similarity, *people, *places, protocol="sysu")
    none = rank_metrics(similarity, *people, protocol=None, cmc_unit="identity")
    change = 100 * (none.cmc[1] - rule.cmc[1])
    hint = "Subtract rank-1 with the rule from rank-1 without it; one point is a hundredth."
    if abs(value + change) <= 0.06:
        hint = "The size is right. Which of the two was to be subtracted?"
    return verdict(
        abs(value - change) <= 0.06,
        because=f"Rank-1 is {rule.cmc[1]:.1%} with the rule and {none.cmc[1]:.1%} without. No "
        "network has changed: a result without its protocol is not a result.",
        hint=hint,
    )
