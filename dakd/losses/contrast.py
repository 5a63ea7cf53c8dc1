"""Losses between embeddings and class prototypes or centres: the terms of MCE.

Source: Cheng et al., "Cross-Modality Person Re-Identification with Memory-based Contrastive
Embedding", AAAI 2023, and the code published with it (docs/parity.md).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dakd.losses.terms import in_float32
from dakd.runtime import require

TEMPERATURE = 0.05


class Streams(NamedTuple):
    """One value for each stream of the teacher.

    Attributes:
        visible: v.
        infrared: r.
        auxiliary: a, the channel-exchanged visible images.
    """

    visible: Tensor
    infrared: Tensor
    auxiliary: Tensor


@in_float32
def info_nce(
    z: Tensor, prototypes: Tensor, labels: Tensor, temperature: float = TEMPERATURE
) -> Tensor:
    """Return the cross-entropy of every embedding's similarities to the prototypes, batch mean.

    -log softmax(z P^T / temperature)[label]. Only `z` receives a gradient.

    Args:
        z: (B, D), L2-normalised.
        prototypes: (K, D).
        labels: (B,) in 0..K - 1.
        temperature: positive; 0.05 in the method.

    Raises:
        ValueError: shapes do not fit.

    >>> z, prototypes = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    >>> info_nce(z, prototypes, torch.tensor([0]), temperature=1.0)  # log(1 + exp(-1))
    tensor(0.3133)
    """
    check_shapes(z, prototypes, labels)
    return F.cross_entropy(z @ prototypes.detach().T / temperature, labels)


def mutual_kl(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Return KL(softmax(target_logits) || softmax(logits)), batch mean.

    Both are (B, K). Only `logits`, the prediction, receive a gradient.
    """
    target = target_logits.detach().log_softmax(1)  # (B, K)
    return F.kl_div(logits.log_softmax(1), target, reduction="batchmean", log_target=True)


@in_float32
def cross_modal_mutual(
    streams: Streams, centres: Streams, temperature: float = TEMPERATURE
) -> Tensor:
    """Return KL(target || prediction), averaged over the 3B rows of v, r and a.

    Predictions and targets are softmax similarities to class centres. On visible centres, v is
    compared with r as target; on infrared centres, r with v; and a, on auxiliary centres, with a on
    infrared centres. Targets receive no gradient.

    Args:
        streams: embeddings (B, D) of v, r and a; row i of all three is the same person.
        centres: (K, D) for v, r and a.
        temperature: positive.
    """
    (v, r, a), (on_v, on_r, on_a) = streams, centres

    def logits(z: Tensor, centres: Tensor) -> Tensor:
        return z @ centres.detach().T / temperature  # (B, K)

    prediction = torch.cat([logits(v, on_v), logits(r, on_r), logits(a, on_a)])  # (3B, K)
    target = torch.cat([logits(r, on_v), logits(v, on_r), logits(a, on_r)])  # (3B, K)
    return mutual_kl(prediction, target)


@in_float32
def global_centre_triplet(
    z: Tensor, centres: Tensor, labels: Tensor, margin: float = 0.3
) -> Tensor:
    """Return max(0, d(own centre) - d(nearest other centre) + margin), batch mean.

    d is the Euclidean distance; the others are the centres of the batch's other classes. With one
    class in the batch there is no other and the loss is zero. Only `z` receives a gradient.

    Args:
        z: (B, D).
        centres: (K, D), the global centres; not of unit length.
        labels: (B,) in 0..K - 1.
        margin: in units of distance.

    Raises:
        ValueError: shapes do not fit.
    """
    check_shapes(z, centres, labels)
    batch = centres.detach()[labels]  # (B, D): the batch's classes, with harmless repeats
    squared = z.square().sum(1)[:, None] + batch.square().sum(1) - 2 * z @ batch.T  # (B, B)
    distance = squared.clamp_min(1e-12).sqrt()  # sqrt has no finite gradient at zero
    others = distance.masked_fill(labels[:, None] == labels, torch.inf)
    return F.relu(distance.diagonal() - others.amin(1) + margin).mean()


def check_shapes(z: Tensor, prototypes: Tensor, labels: Tensor) -> None:
    """Raise `ValueError` unless these are (B, D), (K, D) and (B,), with B > 0."""
    fits = z.ndim == prototypes.ndim == 2 and z.shape[1] == prototypes.shape[1]
    require(
        fits and labels.shape == z.shape[:1] and len(z) > 0,
        f"embeddings (B, D), B > 0, prototypes (K, D) and labels (B,) do not fit: "
        f"{tuple(z.shape)}, {tuple(prototypes.shape)}, {tuple(labels.shape)}",
    )
