"""Class prototypes: the mean embedding of every identity, and memories of moving prototypes."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dakd.runtime import at_least_float32, require


def class_means(embeddings: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return the L2-normalised mean embedding of every class.

    Args:
        embeddings: (N, D), usually L2-normalised.
        labels: (N,) integers in 0..num_classes - 1.
        num_classes: K.

    Returns:
        Prototypes (K, D) on the embeddings' device, float32, or float64 like the embeddings.

    Raises:
        ValueError: shapes do not fit, a label is out of range, an embedding is not finite, or a
            class has no image (the message names the classes).

    >>> class_means(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0, 1]), 2)
    tensor([[0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    embeddings = at_least_float32(embeddings.detach())
    labels = torch.as_tensor(labels, device=embeddings.device)
    require(
        embeddings.ndim == 2 and labels.shape == embeddings.shape[:1],
        f"class_means takes embeddings (N, D) with labels (N,), "
        f"not {tuple(embeddings.shape)} with {tuple(labels.shape)}",
    )
    broken = int((~embeddings.isfinite().all(1)).sum())
    require(
        broken == 0,
        f"{broken} of {len(embeddings)} embeddings hold NaN or infinity; the network has "
        "diverged: lower the learning rate or check the last batches",
    )
    outside = labels[(labels < 0) | (labels >= num_classes)]
    require(
        not len(outside),
        f"labels must lie in 0..{num_classes - 1}, not {outside[:5].tolist()}; "
        "use class indices (ImageSet.labels), not identity numbers",
    )
    missing = torch.where(labels.bincount(minlength=num_classes) == 0)[0]
    require(
        not len(missing),
        f"{len(missing)} of {num_classes} classes have no image: {missing[:10].tolist()}"
        f"{' ...' if len(missing) > 10 else ''}; every class needs one in each modality",
    )
    sums = embeddings.new_zeros(num_classes, embeddings.shape[1])
    return F.normalize(sums.index_add(0, labels, embeddings), dim=1)  # the mean's direction


class PrototypeMemory(nn.Module):
    """One prototype per class, a moving average of the embeddings during training.

    An update is ``new = momentum * old + (1 - momentum) * embedding``, then L2-normalised; each
    class in the batch is updated once (Cheng et al., AAAI 2023).

    Args:
        num_classes: K.
        dim: D.
        momentum: weight of the old prototype, in 0..1.
        update: the embedding that a prototype is moved towards: ``"hardest"``, the class's least
            similar one, or ``"mean"``, the mean of the class (not of unit length).

    Attributes:
        values: the prototypes, (K, D) float32.
        centres: `values` at the last `reset`, (K, D). Both are buffers outside the state dict,
            because they are rebuilt before every epoch.

    Raises:
        ValueError: momentum outside 0..1 or unknown update.
    """

    values: Tensor
    centres: Tensor

    def __init__(
        self, num_classes: int, dim: int, *, momentum: float, update: Literal["hardest", "mean"]
    ) -> None:
        super().__init__()
        require(0 <= momentum <= 1, f"momentum must lie in 0..1, not {momentum}")
        known = update in ("hardest", "mean")
        require(known, f"update must be 'hardest' or 'mean', not {update!r}")
        self.momentum = momentum
        self.rule = update
        for name in ("values", "centres"):
            self.register_buffer(name, torch.zeros(num_classes, dim), persistent=False)

    def reset(self, prototypes: Tensor) -> None:
        """Set values and centres to `prototypes`, (K, D).

        Raises:
            ValueError: their shape is not the memory's.
        """
        require(
            prototypes.shape == self.values.shape,
            f"prototypes must be {tuple(self.values.shape)}, not {tuple(prototypes.shape)}",
        )
        self.values.copy_(prototypes.detach())
        self.centres.copy_(self.values)

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Move the values towards a batch: embeddings (B, D) with labels (B,)."""
        z = embeddings.detach().to(self.values.dtype)
        same = labels[:, None] == labels  # (B, B)
        if self.rule == "hardest":
            similarity = (z * self.values[labels]).sum(1)  # (B,)
            target = z[similarity.expand_as(same).masked_fill(~same, torch.inf).argmin(1)]
        else:
            weight = same.to(z.dtype)
            mean = weight @ z / weight.sum(1, keepdim=True)  # (B, D)
            target = mean[same.byte().argmax(1)]  # rows of a class are equal to the last bit
        moved = torch.lerp(target, self.values[labels], self.momentum)  # (B, D)
        self.values.index_copy_(0, labels, F.normalize(moved, dim=1))
