"""Exercises of notebook 01: AP and INP, the camera rule, the number of trials."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from dakd.data.records import ImageSet
from dakd.exercises.verdict import (
    UnreadableAnswerError,
    Verdict,
    exercise,
    number,
    numbers,
    verdict,
)
from dakd.metrics import rank_metrics
from dakd.protocols import Trial


def _ranks(answer: Any, count: int, length: int) -> list[int]:
    kind = f"two lists, each of {count} different whole ranks between 1 and {length}"
    ranks = numbers(answer, count, kind, low=1, high=length)
    if len({*ranks}) < count or (ranks != np.round(ranks)).any():
        raise UnreadableAnswerError(f"Give {kind}.")
    return sorted(int(rank) for rank in ranks)


@exercise
def same_ap(first: Any, second: Any, *, count: int = 3, length: int = 10) -> Verdict:
    """Which two rankings have the same AP and different INP?

    Args:
        first, second: the answers, the ranks of the right images in each ranking.
        count: number of right images.
        length: of the gallery.
    """
    rankings = [_ranks(answer, count, length) for answer in (first, second)]
    hits = range(1, count + 1)
    ap = [sum(Fraction(i, r) for i, r in zip(hits, ranks, strict=True)) / count
          for ranks in rankings]  # fmt: skip
    inp = [count / ranks[-1] for ranks in rankings]
    if ap[0] != ap[1]:
        return Verdict(
            False,
            f"AP is {float(ap[0]):.3f} and {float(ap[1]):.3f}. Move the last hit of one ranking "
            "up, and an earlier one down.",
        )
    return verdict(
        inp[0] != inp[1],
        because=f"Both have AP {float(ap[0]):.3f}; INP is {inp[0]:.2f} and {inp[1]:.2f}. AP "
        "can hide that one image is found late.",
        hint="AP is the same, but so is INP, because the last hits have the same rank.",
    )


@exercise
def map_by_camera(
    three: Any, six: Any, *, embeddings: Tensor, test: ImageSet, trial: Trial
) -> Verdict:
    """What is the mAP of the queries from camera 3, and of those from camera 6?

    Args:
        three, six: the answers, as fractions within 0.005.
        embeddings: of the test split, (N, D).
        test: the test split.
        trial: its queries and gallery, with the camera rule.
    """
    given = numbers(
        [three, six], 2, "two fractions between 0 and 1, not percentages", low=0, high=1
    )
    similarity = embeddings[trial.query] @ embeddings[trial.gallery].T  # (Q, G)
    sides = [column[rows] for column in (test.pids, test.cams)
             for rows in (trial.query, trial.gallery)]  # fmt: skip

    def measured(protocol: str) -> np.ndarray:
        ap = rank_metrics(similarity, *sides, protocol=protocol).per_query["AP"]
        return ap.groupby(test.cams[trial.query]).mean().loc[[3, 6]].to_numpy()

    right, without_rule = measured("sysu"), measured("none")
    off = np.abs(given - right) > 0.005
    forgotten = off.any() and (np.abs(given - without_rule) <= 0.005).all()
    return verdict(
        not off.any(),
        because="The rule affects only queries of camera 3: it drops camera 2's images of the same "
        "room, right and wrong ones; which effect is larger depends on the features.",
        hint="This is without the camera rule: use protocol='sysu'."
        if forgotten
        else "At least one of the two is wrong. Average the AP of the queries of each camera.",
    )


@exercise
def trials_needed(count: Any, *, spread: float, wanted: float) -> Verdict:
    """Over how many trials must a mean be taken for a given standard deviation?

    Args:
        count: the answer, the smallest such number, within 2 %.
        spread: standard deviation of single trials, in points.
        wanted: standard deviation of the mean, in points.
    """
    given = number(count, "a whole number of trials from 1", low=1, whole=True)
    right = math.ceil((spread / wanted) ** 2 - 1e-9)
    return verdict(
        abs(given - right) <= 0.02 * right,
        because="Half the standard deviation takes four times as many trials, and it only measures "
        "the randomness of the gallery.",
        hint=f"Means of {given:.0f} trials have a standard deviation of "
        f"{spread / math.sqrt(given):.2f} points. How does it change with four times as many "
        "trials?",
    )
