"""Measures of the modality gap, on embeddings (N, D) and the modality of each row."""

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform
from torch import Tensor

from dakd.runtime import require

Array = np.ndarray | Tensor


def _two_modalities(embeddings: Array, infrared: Array) -> tuple[np.ndarray, np.ndarray]:
    """Check embeddings (N, D) and modalities (N,); return them as float64 and bool."""
    z, infrared = np.asarray(embeddings, dtype=np.float64), np.asarray(infrared, dtype=bool)
    require(z.ndim == 2, f"embeddings must be (N, D), not of shape {z.shape}")
    matching = infrared.shape == (len(z),)
    require(matching, f"{len(z)} embeddings, but modalities of shape {infrared.shape}")
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if bad.size:
        raise ValueError(f"{len(bad)} embeddings are not finite, the first in row {bad[0]}")
    there = f"there are {(~infrared).sum()} visible and {infrared.sum()} infrared ones"
    enough = min(infrared.sum(), (~infrared).sum()) >= 2
    require(enough, f"the gap needs at least two images of each modality; {there}")
    return z, infrared


def _similarity(z: np.ndarray) -> np.ndarray:
    unit = z / np.linalg.norm(z, axis=1, keepdims=True).clip(1e-12)
    return unit @ unit.T  # (N, N)


def centroid_distance(embeddings: Array, infrared: Array) -> float:
    """Return the Euclidean distance between the mean visible and the mean infrared embedding.

    For unit-length embeddings it lies in 0..2.

    Raises:
        ValueError: NaN, or fewer than two images of a modality.

    Example:
        >>> centroid_distance(np.array([[1., 0], [1, 0], [0, 1], [0, 1]]), [0, 0, 1, 1])
        1.4142135623730951
    """
    z, infrared = _two_modalities(embeddings, infrared)
    return float(np.linalg.norm(z[infrared].mean(0) - z[~infrared].mean(0)))


def modality_accuracy(
    embeddings: Array, infrared: Array, *, folds: int = 5, ridge: float = 1e-2, seed: int = 0
) -> float:
    """Return the accuracy of a linear classifier of the modality on held-out images, 0..1.

    Ridge regression onto -1 / +1 with equal weights of both modalities, cross-validated; the result
    is the balanced accuracy, whose chance level is 0.5.

    Args:
        embeddings: (N, D).
        infrared: modality of each row, (N,).
        folds: number of folds, stratified by modality.
        ridge: penalty, as a fraction of the mean variance of the features.
        seed: of the split into folds.

    Raises:
        ValueError: NaN, one modality only, or fewer images of a modality than folds.
    """
    z, infrared = _two_modalities(embeddings, infrared)
    if min(infrared.sum(), (~infrared).sum()) < folds:
        raise ValueError(f"{folds} folds need at least {folds} images of each modality")
    rng = np.random.default_rng(seed)
    fold = np.empty(len(z), dtype=int)
    for side in (infrared, ~infrared):
        fold[rng.permutation(side.nonzero()[0])] = np.arange(side.sum()) % folds
    right = np.zeros(len(z), dtype=bool)
    for k in range(folds):
        train = fold != k
        score = _ridge_scores(z[train], infrared[train], z[~train], ridge)
        right[~train] = (score > 0) == infrared[~train]
    return float((right[infrared].mean() + right[~infrared].mean()) / 2)


def _ridge_scores(
    x: np.ndarray, infrared: np.ndarray, held: np.ndarray, ridge: float
) -> np.ndarray:
    """Fit a balanced ridge regression on x (n, D) and score the held-out rows (m, D)."""
    weight = np.where(infrared, 0.5 / infrared.sum(), 0.5 / (~infrared).sum())  # sums to 1
    mean = weight @ x  # the midpoint of the two centroids
    centred = x - mean
    gram = (centred * weight[:, None]).T @ centred  # (D, D)
    penalty = ridge * max(np.trace(gram) / len(gram), 1e-12)
    target = np.where(infrared, 1.0, -1.0)
    slope = np.linalg.solve(gram + penalty * np.eye(len(gram)), centred.T @ (weight * target))
    return (held - mean) @ slope


def mmd(embeddings: Array, infrared: Array, *, bandwidth: float | None = None) -> float:
    """Return the squared maximum mean discrepancy between the modalities (unbiased estimate).

    RBF kernel exp(-d² / (2 bandwidth²)); the default bandwidth is the median distance between two
    rows (the median heuristic). 0 means equal distributions; the estimate can be slightly negative.
    Source: Gretton et al., JMLR 2012, equation 3.

    Raises:
        ValueError: NaN, or fewer than two images of a modality.
    """
    z, infrared = _two_modalities(embeddings, infrared)
    distance = pdist(z)
    bandwidth = bandwidth or float(np.median(distance)) or 1.0
    kernel = squareform(np.exp(-(distance**2) / (2 * bandwidth**2)))  # (N, N)
    # Unbiased: the diagonal is 0, so that no image is compared with itself.
    within = [kernel[np.ix_(s, s)].sum() / (s.sum() * (s.sum() - 1)) for s in (infrared, ~infrared)]
    return float(sum(within) - 2 * kernel[np.ix_(infrared, ~infrared)].mean())


def neighbour_mixing(embeddings: Array, infrared: Array, *, neighbours: int = 10) -> float:
    """Return the fraction of nearest neighbours of the other modality, relative to chance.

    0: the nearest neighbours of an image (by cosine, without itself) all have its modality;
    1: neighbours are as mixed as random images.

    Raises:
        ValueError: NaN, one modality only, or fewer than `neighbours` + 1 images.
    """
    z, infrared = _two_modalities(embeddings, infrared)
    if not 1 <= neighbours < len(z):
        raise ValueError(f"neighbours must lie in 1..{len(z) - 1}, not {neighbours}")
    similarity = _similarity(z)
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
    observed = (infrared[nearest] != infrared[:, None]).mean()
    other = np.where(infrared, (~infrared).sum(), infrared.sum())
    return float(observed / (other / (len(z) - 1)).mean())


def identity_similarity(embeddings: Array, infrared: Array, pids: Array) -> dict[str, float]:
    """Return mean cosine similarities of pairs of images.

    Returns:
        ``within``: same identity and modality (without pairs of an image and itself); ``across``:
        same identity, different modalities; ``others``: different identities and modalities.
        Without a gap, ``across`` is close to ``within`` and far above ``others``.

    Raises:
        ValueError: NaN, one modality only, or no pair of one of the kinds.
    """
    z, infrared = _two_modalities(embeddings, infrared)
    pids = np.asarray(pids)
    if pids.shape != (len(z),):
        raise ValueError(f"{len(z)} embeddings, but identities of shape {pids.shape}")
    similarity = _similarity(z)
    same, cross = pids[:, None] == pids, infrared[:, None] != infrared
    kinds = {
        "within": same & ~cross & ~np.eye(len(z), dtype=bool),
        "across": same & cross,
        "others": ~same & cross,
    }
    empty = [name for name, pairs in kinds.items() if not pairs.any()]
    if empty:
        raise ValueError(f"no pair of images of the kind {', '.join(empty)}; give more identities")
    return {name: float(similarity[pairs].mean()) for name, pairs in kinds.items()}


def modality_gap(
    embeddings: Array,
    infrared: Array,
    pids: Array,
    *,
    neighbours: int = 10,
    limit: int = 2000,
    seed: int = 0,
) -> pd.Series:
    """Return all measures of the gap for one network.

    Args:
        embeddings: unit-length rows, (N, D).
        infrared, pids: modality and identity of each row, (N,).
        neighbours: of `neighbour_mixing`.
        limit: largest number of rows to use, drawn at random (memory grows with its square).
        seed: of the random rows and of the folds.

    Returns:
        ``centroid distance``, ``modality accuracy``, ``MMD²``, ``neighbour mixing``, and the
        similarities ``within``, ``across`` and ``others`` (see the functions of these names).

    Raises:
        ValueError: NaN, or one modality only.
    """
    z, infrared = _two_modalities(embeddings, infrared)
    rows = np.sort(np.random.default_rng(seed).permutation(len(z))[:limit])
    z, infrared, pids = z[rows], infrared[rows], np.asarray(pids)[rows]
    return pd.Series(
        {
            "centroid distance": centroid_distance(z, infrared),
            "modality accuracy": modality_accuracy(z, infrared, seed=seed),
            "MMD²": mmd(z, infrared),
            "neighbour mixing": neighbour_mixing(z, infrared, neighbours=neighbours),
            **identity_similarity(z, infrared, pids),
        }
    )
