"""Blur: defocus, frosted glass, motion, zoom, Gaussian (Hendrycks & Dietterich, ICLR 2019)."""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dakd.corruption.fields import convolve, disk, gaussian, length, streak, uniform, warp


def defocus_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur by a disk, as a lens out of focus does."""
    return convolve(x, disk(length(x, (3, 4, 6, 8, 10)[severity - 1]), x.device))


def glass_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Imitate frosted glass: blur, displace each pixel at random, blur.

    Differs from the original: all pixels are sampled from a random displacement at once, instead of
    being swapped one after the other, so that displacements can be fractions of a pixel.
    """
    sigma, far, times = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    x = gaussian(x, length(x, sigma))
    for _ in range(times):
        random = torch.rand(len(x), 2, *x.shape[-2:], device=x.device, generator=generator)
        x = warp(x, (2 * random - 1) * length(x, far))
    return gaussian(x, length(x, sigma))


def motion_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur each image along a random direction, up to 45 degrees from the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    angles = uniform(x, -45, 45, generator)
    return convolve(x, streak(angles, length(x, 2 * radius), length(x, sigma)))


def zoom_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Average over zooms towards the centre, up to a factor of 1.10, 1.15, 1.20, 1.24, 1.30."""
    copies, step = ((11, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03))[severity - 1]
    total = 2 * x  # the image, and the zoom by a factor of 1
    for i in range(1, copies):
        scale = torch.eye(2, 3, device=x.device) / (1 + i * step)
        grid = F.affine_grid(scale[None], [1, *x.shape[1:]], align_corners=False)
        total = total + F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)
    return total / (copies + 1)


def gaussian_blur(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur by a Gaussian."""
    return gaussian(x, length(x, (1, 2, 3, 4, 6)[severity - 1]))
