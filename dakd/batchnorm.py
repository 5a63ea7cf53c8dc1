"""Batch normalisation that takes the streams of a batch by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class PerStream(_BatchNorm):
    """Batch normalisation that takes each of `streams` equal parts of a batch by itself.

    While training, each part is normalised by its own statistics, and the running ones move part
    after part, exactly as in so many calls. In eval mode parts play no role.
    """

    streams = 1

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, D) or (B, D, h, w)."""
        normalise = super().forward
        if self.streams == 1 or not self.training:
            return normalise(x)
        return torch.cat([normalise(part) for part in x.chunk(self.streams)])


@contextmanager
def split_statistics(model: nn.Module, streams: int) -> Iterator[None]:
    """Let every `PerStream` layer of `model` take `streams` equal parts by themselves."""
    layers = [module for module in model.modules() if isinstance(module, PerStream)]
    for layer in layers:
        layer.streams = streams
    try:
        yield
    finally:
        for layer in layers:
            layer.streams = 1


class BatchNorm1d(PerStream, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that can take the streams of a batch by themselves."""


class BatchNorm2d(PerStream, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` that can take the streams of a batch by themselves."""
