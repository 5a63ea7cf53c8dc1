"""Sensor noise: Gaussian, shot, impulse, speckle (Hendrycks & Dietterich, ICLR 2019)."""

import torch
from torch import Generator, Tensor


def _like(x: Tensor, generator: Generator) -> Tensor:
    return torch.randn(x.shape, device=x.device, generator=generator)


def gaussian_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add Gaussian noise of standard deviation 0.08 to 0.38."""
    return x + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * _like(x, generator)


def shot_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Replace each value by a Poisson count; full brightness is 60, 25, 12, 5 or 3 photons."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return torch.poisson(x * photons, generator) / photons


def impulse_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Set a fraction of 0.03 to 0.27 of all values to 0 or 1."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    random = torch.rand(x.shape, device=x.device, generator=generator)
    white = (random < share / 2).to(x.dtype)
    return torch.where(random < share, white, x)


def speckle_noise(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Multiply by Gaussian noise: its standard deviation is 0.15 to 0.6 times the brightness."""
    return x + x * (0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1] * _like(x, generator)
