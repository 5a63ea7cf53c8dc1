"""The teacher's confidence: calibration, risk and coverage, accuracy of what a mask keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dakd.distill import centre_logits, confidence_mask
from dakd.distill import confidence as max_probability
from dakd.runtime import require

Array = np.ndarray | Tensor | Sequence[float]
Keep = Literal["confident", "uncertain", "none"]


def _scores(confidence: Array, correct: Array) -> tuple[np.ndarray, np.ndarray]:
    """Check the confidence and the correctness of each sample, and return them as float64."""
    values, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    known = f"confidence must be a non-empty vector, not of shape {values.shape}"
    require(values.ndim == 1 and values.size > 0, known)
    require(values.shape == right.shape, f"{len(values)} confidences, but {right.size} of correct")
    require(bool(np.isfinite(values).all()), "confidence holds values that are not finite")
    low, high = values.min(), values.max()
    require(0 <= low <= high <= 1, f"confidence must lie in 0..1, not {low}..{high}")
    require(set(right) <= {0, 1}, "correct must hold only True and False (1 and 0)")
    return values, right


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a network for N images.

    Attributes:
        logits: similarities to the class centres / temperature, (N, K).
        predicted: class of the most similar centre, (N,) int64.
        correct: whether it is the class of the image, (N,) bool.
        confidence: largest softmax probability of the centre logits (class level), (N,).
        instance_confidence: largest softmax probability of the embedding itself, (N,).
    """

    logits: Tensor
    predicted: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray
    instance_confidence: np.ndarray


def predict(
    embeddings: Tensor,
    centres: Tensor,
    labels: Array,
    *,
    temperature: float = 0.05,
    instance_temperature: float = 1.0,
) -> Predictions:
    """Classify embeddings by their centre logits, and compute both confidences of DAKD's masks.

    Args:
        embeddings: unit-length rows, (N, D).
        centres: class centres of the same modality, unit length, (K, D).
        labels: true classes, indices of `centres`, (N,).
        temperature: divides the centre logits; 0.05 in DAKD.
        instance_temperature: divides the embeddings before their softmax; 1 in DAKD.

    Raises:
        ValueError: no images, shapes that do not match, labels without a centre, or NaN.
    """
    labels, shapes = np.asarray(labels), f"{tuple(embeddings.shape)} and {tuple(centres.shape)}"
    require(
        embeddings.ndim == centres.ndim == 2 and embeddings.shape[1] == centres.shape[1],
        f"embeddings must be (N, D) and centres (K, D), not {shapes}",
    )
    count = len(embeddings)
    matching = labels.shape == (count,) and count > 0
    require(matching, f"{count} embeddings, but labels of shape {labels.shape}")
    known = f"labels {labels.min()}..{labels.max()} for {len(centres)} centres"
    require(labels.min() >= 0 and labels.max() < len(centres), f"{known}; every one needs a centre")
    finite = bool(embeddings.isfinite().all() and centres.isfinite().all())
    require(finite, "embeddings or centres hold values that are not finite")
    logits = centre_logits(embeddings, centres, temperature)  # (N, K)
    predicted = logits.argmax(dim=1).numpy()
    return Predictions(
        logits=logits,
        predicted=predicted,
        correct=predicted == labels,
        confidence=max_probability(logits).numpy(),
        instance_confidence=max_probability(embeddings / instance_temperature).numpy(),
    )


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence and accuracy in bins of equal width, without empty bins.

    Attributes:
        table: columns ``low``, ``high`` (edges), ``confidence``, ``accuracy`` (means), ``count``.
        ece: expected calibration error, the mean of ``|accuracy - confidence|``, weighted by
            count.
    """

    table: pd.DataFrame
    ece: float


def reliability(confidence: Array, correct: Array, *, bins: int = 10) -> Reliability:
    """Compare confidence with accuracy in bins (Guo et al., ICML 2017).

    Args:
        confidence: probabilities in 0..1, (N,).
        correct: whether the prediction was right, (N,).
        bins: number of bins of 0..1; bin i is (i/bins, (i+1)/bins], and the first contains 0.

    Raises:
        ValueError: different lengths, no samples, or values out of range.

    Example:
        >>> reliability([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0], bins=5).ece  # two bins, off by 0.1 each
        0.1
    """
    confidence, correct = _scores(confidence, correct)
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    samples = pd.DataFrame({"bin": bin_of, "confidence": confidence, "accuracy": correct})
    groups = samples.groupby("bin")
    table = groups.mean().assign(count=groups.size()).reset_index()
    table.insert(0, "low", table["bin"] / bins)
    table.insert(1, "high", (table.pop("bin") + 1) / bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return Reliability(table, round(float((gaps * table["count"]).sum() / len(confidence)), 12))


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Error rate of the most confident samples as a function of how many are kept.

    Attributes:
        coverage: fraction of samples kept, 1/N..1, (N,).
        risk: error rate among the samples kept, 0..1, (N,).
        area: mean risk over all coverages (lower is better).
        best: area of a perfect order, in which all errors come last.
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float
    best: float


def risk_coverage(confidence: Array, correct: Array) -> RiskCoverage:
    """Order samples by confidence, and return the error rate of each prefix.

    Samples of equal confidence share their mean error rate, so that their order does not matter.
    Source: Geifman and El-Yaniv, NeurIPS 2017.

    Args:
        confidence: 0..1, (N,).
        correct: whether the prediction was right, (N,).

    Raises:
        ValueError: different lengths, no samples, or values out of range.

    Example:
        >>> risk_coverage([0.9, 0.8, 0.1], [1, 0, 1]).risk.round(2).tolist()
        [0.0, 0.5, 0.33]
    """
    confidence, correct = _scores(confidence, correct)
    values, tie = np.unique(-confidence, return_inverse=True)  # ascending: most confident first
    error = np.bincount(tie, weights=1 - correct) / np.bincount(tie)
    counts = np.arange(1, len(correct) + 1)
    risk = np.cumsum(error[np.sort(tie)]) / counts
    best = np.cumsum(np.sort(1 - correct)) / counts
    return RiskCoverage(counts / len(counts), risk, float(risk.mean()), float(best.mean()))


@dataclass(frozen=True, eq=False)
class KeptAccuracy:
    """Accuracy of the samples that a confidence mask keeps, and of those that it drops.

    Attributes:
        threshold: the quantile of the confidences, 0..1.
        mask: True for samples that are kept, (N,) bool.
        kept, dropped: accuracy of kept and of dropped samples, 0..1 (NaN if there are none).
    """

    threshold: float
    mask: np.ndarray
    kept: float
    dropped: float


def kept_accuracy(
    confidence: Array, correct: Array, *, quantile: float = 0.5, keep: Keep = "confident"
) -> KeptAccuracy:
    """Compare the accuracy of samples above and below a confidence threshold.

    The threshold is a quantile of all samples given; in training, of the batch.

    Args:
        confidence, correct: (N,) each.
        quantile, keep: of `dakd.distill.confidence_mask`.

    Raises:
        ValueError: different lengths, no samples, or values out of range.

    Example:
        >>> half = kept_accuracy([0.9, 0.8, 0.3, 0.2], [1, 1, 1, 0])
        >>> half.kept, half.dropped
        (1.0, 0.5)
    """
    confidence, correct = _scores(confidence, correct)
    values = torch.from_numpy(confidence).float()
    mask = confidence_mask(values, quantile, keep).bool().numpy()
    threshold = float(values.quantile(quantile))
    kept = float(correct[mask].mean()) if mask.any() else float("nan")
    dropped = float(correct[~mask].mean()) if not mask.all() else float("nan")
    return KeptAccuracy(threshold, mask, kept, dropped)
