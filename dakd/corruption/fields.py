"""Shared by the families: scaled lengths, blurs, warps and random fields."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

REFERENCE = 256  # image height for which lengths are given


def length(x: Tensor, pixels: float) -> float:
    """Scale a length that is given for images of 256 rows to the height of `x`, in pixels.

    >>> length(torch.zeros(1, 3, 64, 32), 8)
    2.0
    """
    return pixels * x.shape[-2] / REFERENCE


def uniform(x: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """Return a random number in [low, high) for each image of a batch, (n,)."""
    return torch.rand(len(x), device=x.device, generator=generator) * (high - low) + low


def normal(x: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Return white noise of mean 0 and std 1 for each image, (n, 1, height, width)."""
    return torch.randn(len(x), 1, height, width, device=x.device, generator=generator)


def canvas(x: Tensor) -> tuple[int, int]:
    """Return rows and columns of the canvas for flakes and drops: 256 rows, aspect ratio of `x`."""
    return REFERENCE, max(1, round(REFERENCE * x.shape[-1] / x.shape[-2]))


def fit(layer: Tensor, x: Tensor) -> Tensor:
    """Resize a layer (n, 1, h, w) to the size of images (n, 3, H, W), with antialiasing."""
    return F.interpolate(layer, x.shape[-2:], mode="bilinear", antialias=True)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Blur images (n, C, H, W) by `sigma` pixels; pixels outside the image have no weight."""
    height, width = x.shape[-2:]
    return _smoother(height, sigma, x) @ x @ _smoother(width, sigma, x).T


def _smoother(size: int, sigma: float, x: Tensor) -> Tensor:
    """Return Gaussian weights as a matrix (size, size): faster than a filter on narrow images."""
    place = torch.arange(size, device=x.device, dtype=x.dtype)
    weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weight / weight.sum(1, keepdim=True)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve images (n, C, H, W) with kernels (n or 1, k, k) of odd size and sum 1."""
    reach = kernel.shape[-1] // 2
    padded = F.pad(x, [reach] * 4, mode="replicate")
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel[:, None], s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


def _places(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows and columns of a kernel, relative to its centre."""
    steps = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    return steps[:, None], steps


def disk(radius: float, device: torch.device) -> Tensor:
    """Return the kernel of a defocused lens, (1, k, k): a disk with an antialiased edge."""
    row, column = _places(math.ceil(radius), device)
    weight = (radius + 0.5 - torch.hypot(row, column)).clamp(0, 1)
    return (weight / weight.sum())[None]


def streak(angles: Tensor, trail: float, sigma: float) -> Tensor:
    """Return kernels of motion blur, (n, k, k): lines that fade like half a Gaussian.

    Args:
        angles: directions in degrees, 0 pointing right, (n,).
        trail, sigma: length of the line and standard deviation of the Gaussian, in pixels.
    """
    row, column = _places(math.ceil(trail), angles.device)
    cos, sin = (f(torch.deg2rad(angles))[:, None, None] for f in (torch.cos, torch.sin))
    along, across = cos * column + sin * row, cos * row - sin * column  # (n, k, k)
    weight = torch.exp(-(along**2) / (2 * sigma**2)) * (1 - across.abs()).clamp_min(0)
    weight = weight * (along + 0.5).clamp(0, 1) * (trail + 0.5 - along).clamp(0, 1)
    return weight / weight.sum((1, 2), keepdim=True)


def warp(x: Tensor, shift: Tensor) -> Tensor:
    """Sample each pixel from a place `shift` pixels away, (n, 2, H, W): right, down."""
    height, width = x.shape[-2:]
    row = torch.arange(height, device=x.device)[:, None] + 0.5 + shift[:, 1]  # (n, H, W)
    column = torch.arange(width, device=x.device) + 0.5 + shift[:, 0]
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], dim=-1)  # (n, H, W, 2)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def clouds(x: Tensor, decay: float, generator: Generator, *, first: int = 0) -> Tensor:
    """Return fractal noise in 0..1 for each image, (n, 1, H, W).

    It is a sum of octaves of smooth noise, with 2^first, 2^(first + 1)... cells over the height
    down to cells of one pixel; the amplitude of each octave is 1 / `decay` of the previous one.
    """
    height, width = x.shape[-2:]
    field = x.new_zeros(len(x), 1, height, width)
    for octave in range(first, max(first, math.ceil(math.log2(height))) + 1):
        rows = 2**octave
        size = (len(x), 1, rows + 1, math.ceil(rows * width / height) + 1)
        grid = torch.rand(size, device=x.device, generator=generator) - 0.5
        smooth = F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
        field = field + smooth / decay ** (octave - first)
    low, high = field.amin((1, 2, 3), keepdim=True), field.amax((1, 2, 3), keepdim=True)
    return (field - low) / (high - low).clamp_min(1e-6)
