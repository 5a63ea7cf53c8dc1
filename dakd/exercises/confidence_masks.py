"""Exercises of notebook 04: a safe quantile, gradients of a mask, calibration."""

from typing import Any

import numpy as np
from torch import Tensor

from dakd.analysis import RiskCoverage, predict, reliability
from dakd.exercises.verdict import Verdict, exercise, number, verdict

TEMPERATURES = tuple(0.05 * 2 ** (step / 8) for step in range(-32, 33))  # 0.003 to 0.8


@exercise
def safe_quantile(quantile: Any, *, curve: RiskCoverage, risk: float = 0.01) -> Verdict:
    """At which quantile is a mask safe, and keeps as many images as possible?

    Asked: the smallest quantile at which the error rate of the images kept is at most `risk`. An
    answer may be up to 0.01 above it, or 0.005 below it.

    Args:
        quantile: the answer, 0..1.
        curve: of the confidence that orders the images.
        risk: largest error rate of the images kept, 0..1.
    """
    value = number(quantile, "a number between 0 and 1", low=0, high=1)
    most = max(curve.coverage[curve.risk <= risk], default=0.0)  # 0: keep none
    kept = f"It keeps {most:.0%} of the images."
    if not most:
        kept = "No mask on these images is safe, so it has to drop all."
    too_high = (
        f"It drops more than necessary: a lower quantile also has a risk of at most {risk:.0%}."
    )
    too_low = f"Read the curve at coverage {1 - value:.2f}: the error rate is above {risk:.0%}."
    return verdict(
        -0.005 <= value - (1 - most) <= 0.01 + 1e-9,
        because=f"{kept} DAKD's 0.5 is not chosen in this way: it is the same for all teachers.",
        hint=too_high if value > 1 - most else too_low,
    )


@exercise
def dropped_gradient(paper: Any, release: Any, *, mask: Tensor) -> Verdict:
    """By which factor does a mask scale the gradient of a sample that it drops?

    Asked: the factor relative to no mask, once if the mask acts on samples (paper), and once if it
    acts on the mean (release).

    Args:
        paper, release: the answers, 0..1, within 0.005.
        mask: ones and zeros, (B,).
    """
    kind = "two numbers between 0 and 1"
    first, second = number(paper, kind, low=0, high=1), number(release, kind, low=0, high=1)
    if abs(first) > 0.005:
        return Verdict(False, "In the paper's loss, what multiplies ℓ_i where m_i is 0?")
    return verdict(
        abs(second - float(mask.mean())) <= 0.005,
        because="The paper's mask removes the sample. The release's scales all samples, kept or "
        "dropped, by the same factor: the fraction that is kept.",
        hint="The paper's is right. In the release's loss, which number multiplies all ℓ_i?",
    )


@exercise
def calibrated_temperature(
    temperature: Any, *, embeddings: Tensor, centres: Tensor, labels: np.ndarray
) -> Verdict:
    """Which temperature, instead of 0.05, calibrates the class-level confidence?

    Asked: one whose ECE (ten bins) is at most two points above the smallest one over
    `TEMPERATURES`. This is temperature scaling (Guo et al., ICML 2017).

    Args:
        temperature: the answer, 0.001..1.
        embeddings: of the teacher, (N, D).
        centres: class centres of the same modality, (K, D).
        labels: true classes, (N,).
    """
    mine = number(temperature, "a temperature between 0.001 and 1", low=0.001, high=1)
    tried = [
        predict(embeddings, centres, labels, temperature=t) for t in (0.05, mine, *TEMPERATURES)
    ]
    before, after, *others = (reliability(p.confidence, p.correct).ece for p in tried)
    upper = [p.confidence >= np.median(p.confidence) for p in tried[:2]]
    low = tried[1].confidence.mean() < tried[1].correct.mean()
    return verdict(
        after - min(after, *others) <= 0.02,
        because=f"ECE was {before:.1%} and is {after:.1%}, and {np.mean(upper[0] == upper[1]):.0%} "
        "of the images stay on their side of the median: a quantile needs no calibration.",
        hint=f"ECE is {after:.1%}: the teacher is {'under' if low else 'over'}confident. Does a "
        "higher temperature make a softmax flatter or steeper?",
    )
