"""What the families share: lengths that follow the image, blurs, warps and random fields."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

REFERENCE = 256  # rows of the images for which all lengths are given


def length(x: Tensor, pixels: float) -> float:
    """Return a length given for images of 256 rows, in pixels of images like `x`.

    >>> length(torch.zeros(1, 3, 64, 32), 8)
    2.0
    """
    return pixels * x.shape[-2] / REFERENCE


def uniform(x: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """Return a number in [low, high) for every image of a batch, (n,)."""
    return torch.rand(len(x), device=x.device, generator=generator) * (high - low) + low


def normal(x: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Return white noise for every image, mean 0, std 1, (n, 1, height, width)."""
    return torch.randn(len(x), 1, height, width, device=x.device, generator=generator)


def canvas(x: Tensor) -> tuple[int, int]:
    """Return rows and columns on which flakes and drops are drawn: as `x`, but 256 rows high."""
    return REFERENCE, max(1, round(REFERENCE * x.shape[-1] / x.shape[-2]))


def fit(layer: Tensor, x: Tensor) -> Tensor:
    """Return a layer (n, 1, h, w) at the size of images (n, 3, H, W), averaging where smaller."""
    return F.interpolate(layer, x.shape[-2:], mode="bilinear", antialias=True)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Blur images (n, C, H, W); `sigma` in their own pixels. What lies outside has no weight."""
    height, width = x.shape[-2:]
    return _smoother(height, sigma, x) @ x @ _smoother(width, sigma, x).T


def _smoother(size: int, sigma: float, x: Tensor) -> Tensor:
    """Return Gaussian weights as a matrix (size, size); for narrow images faster than a filter."""
    place = torch.arange(size, device=x.device, dtype=x.dtype)
    weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weight / weight.sum(1, keepdim=True)


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve images (n, C, H, W) with odd kernels (n or 1, k, k) that add up to 1."""
    reach = kernel.shape[-1] // 2
    padded = F.pad(x, [reach] * 4, mode="replicate")
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel[:, None], s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


def _places(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return row and column of a kernel's pixels, counted from its centre."""
    steps = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    return steps[:, None], steps


def disk(radius: float, device: torch.device) -> Tensor:
    """Return the kernel of a lens out of focus, (1, k, k), with a soft rim."""
    row, column = _places(math.ceil(radius), device)
    weight = (radius + 0.5 - torch.hypot(row, column)).clamp(0, 1)
    return (weight / weight.sum())[None]


def streak(angles: Tensor, trail: float, sigma: float) -> Tensor:
    """Return kernels of a movement, (n, k, k): a line that fades like half a Gaussian.

    Args:
        angles: direction of each, in degrees from the right, (n,).
        trail, sigma: where the line ends and how fast it fades, in pixels.
    """
    row, column = _places(math.ceil(trail), angles.device)
    cos, sin = (f(torch.deg2rad(angles))[:, None, None] for f in (torch.cos, torch.sin))
    along, across = cos * column + sin * row, cos * row - sin * column  # (n, k, k)
    weight = torch.exp(-(along**2) / (2 * sigma**2)) * (1 - across.abs()).clamp_min(0)
    weight = weight * (along + 0.5).clamp(0, 1) * (trail + 0.5 - along).clamp(0, 1)
    return weight / weight.sum((1, 2), keepdim=True)


def warp(x: Tensor, shift: Tensor) -> Tensor:
    """Return images whose pixels come from `shift` pixels (n, 2, H, W: right, down) away."""
    height, width = x.shape[-2:]
    row = torch.arange(height, device=x.device)[:, None] + 0.5 + shift[:, 1]  # (n, H, W)
    column = torch.arange(width, device=x.device) + 0.5 + shift[:, 0]
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], dim=-1)  # (n, H, W, 2)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def clouds(x: Tensor, decay: float, generator: Generator, *, first: int = 0) -> Tensor:
    """Return a random landscape in 0..1 for every image, (n, 1, H, W).

    Octaves of smooth noise: 2^first, 2^(first + 1)... cells over the height, until a cell is a
    pixel; each octave is `decay` times weaker than the one before.
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
