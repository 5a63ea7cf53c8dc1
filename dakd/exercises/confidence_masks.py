"""Exercises of notebook 04: what a mask should keep, what it does to a gradient, and honesty."""

from typing import Any

import numpy as np
from torch import Tensor

from dakd.analysis import RiskCoverage, predict, reliability
from dakd.exercises.verdict import Verdict, exercise, number, verdict

TEMPERATURES = tuple(0.05 * 2 ** (step / 8) for step in range(-32, 33))  # 0.003 to 0.8


@exercise
def safe_quantile(quantile: Any, *, curve: RiskCoverage, risk: float = 0.01) -> Verdict:
    """At which quantile does a mask become safe, and keep as much as a safe one can?

    Asked: the smallest quantile at which the teacher errs on at most the share `risk` of what the
    mask keeps. Right is what lies up to 0.01 above it, or 0.005 below it, by rounding.

    Args:
        quantile: the answer, 0..1.
        curve: of the confidence that orders the images.
        risk: the error rate that is allowed among what is kept.

    Example:
        >>> from dakd.analysis import risk_coverage
        >>> curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1])
        >>> safe_quantile(0.5, curve=curve).right, safe_quantile(0.0, curve=curve).right
        (True, False)
    """
    value = number(quantile, "a number between 0 and 1", low=0, high=1)
    most = max(curve.coverage[curve.risk <= risk], default=0.0)  # none is safe: keep nothing
    kept = f"It keeps {most:.0%} of the images."
    if not most:
        kept = "No share of these images is safe, and the mask has to drop all."
    too_high = (
        f"It throws away more than it must: a lower quantile errs on no more than {risk:.0%}, too."
    )
    too_low = f"Read the curve at coverage {1 - value:.2f}: the error rate is above {risk:.0%}."
    return verdict(
        -0.005 <= value - (1 - most) <= 0.01 + 1e-9,
        because=f"{kept} DAKD's 0.5 is not chosen in this way: it is the same for every teacher.",
        hint=too_high if value > 1 - most else too_low,
    )


@exercise
def dropped_gradient(paper: Any, release: Any, *, mask: Tensor) -> Verdict:
    """What happens to the gradient of a sample that the mask drops?

    Asked: the factor by which the mask changes it, 1 being the gradient without any mask; once
    where the mask acts on samples (paper), once where it acts on the mean (release).

    Args:
        paper, release: the answers, 0..1; 0.005 off is near enough.
        mask: ones and zeros, (B,).

    Example:
        >>> import torch
        >>> dropped_gradient(0, 1, mask=torch.tensor([1.0, 0, 0, 0])).right
        False
    """
    kind = "two numbers between 0 and 1"
    first, second = number(paper, kind, low=0, high=1), number(release, kind, low=0, high=1)
    if abs(first) > 0.005:
        return Verdict(False, "In the paper's loss, what multiplies ℓ_i where m_i is 0?")
    return verdict(
        abs(second - float(mask.mean())) <= 0.005,
        because="The paper's mask silences the sample. The release's is one factor for everybody, "
        "kept or dropped: the share that is kept.",
        hint="The paper's is right. In the release's loss, which number multiplies every ℓ_i?",
    )


@exercise
def calibrated_temperature(
    temperature: Any, *, embeddings: Tensor, centres: Tensor, labels: np.ndarray
) -> Verdict:
    """Which temperature, instead of 0.05, makes the class-level confidence honest?

    Asked: one whose ECE (ten bins) is at most two points above the smallest that any of
    `TEMPERATURES` reaches. Guo et al. (ICML 2017) calibrate a classifier in this way.

    Args:
        temperature: the answer, 0.001..1.
        embeddings: the teacher's, (N, D).
        centres: of the same modality, (K, D).
        labels: the true classes, (N,).

    Example:
        >>> import torch
        >>> z = torch.eye(3)
        >>> calibrated_temperature(-1, embeddings=z, centres=z, labels=[0, 1, 2])
        ✗ Not yet. Give a temperature between 0.001 and 1.
    """
    mine = number(temperature, "a temperature between 0.001 and 1", low=0.001, high=1)
    tried = [
        predict(embeddings, centres, labels, temperature=t) for t in (0.05, mine, *TEMPERATURES)
    ]
    before, after, *others = (reliability(said.confidence, said.correct).ece for said in tried)
    upper = [said.confidence >= np.median(said.confidence) for said in tried[:2]]
    claims = "less" if tried[1].confidence.mean() < tried[1].correct.mean() else "more"
    return verdict(
        after - min(after, *others) <= 0.02,
        because=f"ECE was {before:.1%} and is {after:.1%}, and {np.mean(upper[0] == upper[1]):.0%} "
        "of the images stay on their side of the median: a quantile needs no honesty.",
        hint=f"ECE is {after:.1%} there, for the teacher claims {claims} than it holds. Does a "
        "higher temperature make a softmax flatter or steeper?",
    )
