"""Batch normalisation with separate statistics for each stream of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class PerStream(_BatchNorm):
    """Batch normalisation that normalises each of `streams` equal parts of a batch separately.

    In training, the result and the running statistics are those of one call per part, in their
    order. In eval mode, `streams` has no effect.

    Attributes:
        streams: number of parts; see `split_statistics`.
    """

    streams = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised batch, (B, D) or (B, D, h, w)."""
        normalise = super().forward
        if self.streams == 1 or not self.training:
            return normalise(x)
        return torch.cat([normalise(part) for part in x.chunk(self.streams)])


@contextmanager
def split_statistics(model: nn.Module, streams: int) -> Iterator[None]:
    """Have every `PerStream` layer of `model` normalise `streams` equal parts separately."""
    layers = [module for module in model.modules() if isinstance(module, PerStream)]
    for layer in layers:
        layer.streams = streams
    try:
        yield
    finally:
        for layer in layers:
            layer.streams = 1


class BatchNorm1d(PerStream, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` with separate statistics for each stream of a batch."""


class BatchNorm2d(PerStream, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with separate statistics for each stream of a batch."""
