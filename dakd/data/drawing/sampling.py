"""Random numbers that follow from a seed and a key, whatever else is drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

COLUMNS = 160  # more than any person or image draws


class KeyedRandom:
    """Random draws for a batch: a row for each key, a column for each draw.

    Args:
        seed: of the whole benchmark.
        keys: integers that a row's numbers follow from, such as the identity.
    """

    def __init__(self, seed: int, keys: Sequence[Sequence[int]]) -> None:
        rows = [np.random.default_rng([seed % 2**32, *key]).random(COLUMNS) for key in keys]
        self._columns = iter(torch.from_numpy(np.stack(rows, 1)).unbind(0))

    def uniform(self, low: float, high: float) -> Tensor:
        """Return uniform numbers in `low`..`high`, (B,) float64."""
        return low + (high - low) * next(self._columns)

    def chance(self, share: float) -> Tensor:
        """Return True for a `share` of the rows, (B,) bool."""
        return next(self._columns) < share

    def choice(self, weights: Sequence[float]) -> Tensor:
        """Return indices drawn with the given weights, (B,) int64."""
        steps = torch.tensor(weights, dtype=torch.float64).cumsum(0)
        index = torch.searchsorted(steps / steps[-1], next(self._columns))
        return index.clamp_max(len(weights) - 1)

    def table(self, weights: Sequence[float], rows: Sequence[Any]) -> Tensor:
        """Return entries of `rows` (numbers, or rows of them), drawn with the given weights."""
        return look_up(rows, self.choice(weights))

    def colour(self, palette: Tensor, spread: float = 0.04) -> Tensor:
        """Return colours of `palette` (n, 3), each shifted by at most `spread`, (B, 3) in 0..1."""
        base = palette.double()[self.choice([1] * len(palette))]
        shift = torch.stack([self.uniform(-spread, spread) for _ in range(3)], 1)
        return (base + shift).clamp(0.03, 0.97)


def look_up(rows: Sequence[Any], index: Tensor) -> Tensor:
    """Return `rows` (numbers, or rows of them) at `index` (B,), float64."""
    return torch.tensor(rows, dtype=torch.float64)[index]
