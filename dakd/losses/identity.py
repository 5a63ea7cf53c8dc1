"""Identity classification."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dakd.losses.contrast import check_shapes
from dakd.losses.terms import in_float32


class IdentityLoss(nn.Module):
    """Cross-entropy over the cosine similarities to one learned direction per class.

    Ours: a first stage for networks that start from random weights. The published codes start from
    ImageNet weights and have no such loss.

    Args:
        num_classes: K.
        dim: D.
        temperature: positive.
        seed: of the initial directions.

    Attributes:
        directions: (K, D), learned; normalised where they are used.
    """

    def __init__(
        self, num_classes: int, dim: int, temperature: float = 0.1, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.empty(num_classes, dim))
        self.temperature = temperature
        nn.init.normal_(self.directions, generator=torch.Generator().manual_seed(seed))

    @in_float32
    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the batch mean for L2-normalised embeddings (B, D) and labels (B,).

        Raises:
            ValueError: shapes do not fit.
        """
        check_shapes(z, self.directions, labels)
        return F.cross_entropy(z @ F.normalize(self.directions, dim=1).T / self.temperature, labels)
