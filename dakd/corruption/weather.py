"""Weather and light: snow, frost, fog, brightness, spatter, rain (Hendrycks & Dietterich, 2019).

Flakes and drops are drawn on a canvas of 256 rows and resized, so that a severity looks the same at
any image size.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dakd.corruption.fields import (
    canvas,
    clouds,
    convolve,
    fit,
    gaussian,
    length,
    normal,
    streak,
    uniform,
)

GREY = (0.2989, 0.5870, 0.1140)
ICE, WATER, MUD = (0.80, 0.92, 1.0), (0.69, 0.93, 0.93), (0.25, 0.16, 0.08)


def _colour(rgb: tuple[float, float, float], x: Tensor) -> Tensor:
    return torch.tensor(rgb, device=x.device)[:, None, None]  # (3, 1, 1)


def snow(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add snowflakes of 2 to 4.5 rows of 256, and make the image paler."""
    mean, std, size, threshold, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    rows, columns = canvas(x)
    flakes = mean + std * normal(x, round(rows / size), max(1, round(columns / size)), generator)
    flakes = F.interpolate(flakes, (rows, columns), mode="bilinear")
    flakes = torch.where(flakes < threshold, 0, flakes.clamp_max(1))
    flakes = convolve(flakes, streak(uniform(x, 45, 135, generator), 2 * radius, sigma))
    grey = (x * _colour(GREY, x)).sum(1, keepdim=True)  # (n, 1, H, W)
    pale = kept * x + (1 - kept) * torch.maximum(x, 1.5 * grey + 0.5)
    return pale + fit(flakes + flakes.rot90(2, (2, 3)), x)


def frost(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add a layer of ice.

    Differs from the original, which adds photographs of ice: it is generated from noise, and is
    thickest at the edges.
    """
    scene, ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    return scene * x + ice * _ice(x, generator) * _colour(ICE, x)


def _ice(x: Tensor, generator: Generator, *, crystals: int = 16) -> Tensor:
    """Return ice in 0 to about 1.3, (n, 1, H, W): crystals at random places, thick at the edges."""
    height, width = x.shape[-2:]
    row = (torch.arange(height, device=x.device)[:, None] + 0.5) / height  # (H, 1), in heights
    column = (torch.arange(width, device=x.device) + 0.5) / height  # (W,)
    random = torch.rand(len(x), 2, crystals, 1, 1, device=x.device, generator=generator)
    bend = 0.15 * clouds(x, 1.6, generator, first=2)  # (n, 1, H, W)
    down = row + bend - 1.1 * random[:, 0]  # (n, crystals, H, W)
    right = column - bend - 1.1 * random[:, 1] * width / height
    square, nearest = (down**2 + right**2).min(1, keepdim=True)  # (n, 1, H, W)
    angle = torch.atan2(down, right).gather(1, nearest)
    needles = torch.sin(14 * angle + 40 * square.sqrt()) / 2 + 0.5
    edge = (2 * row - 1).abs().maximum((2 * column * height / width - 1).abs()) ** 2  # (H, W)
    rough = clouds(x, 1.4, generator, first=3)
    return (0.25 + 0.75 * edge) * (0.3 * needles + 0.7 * rough) + 0.35 * rough**2


def fog(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blend the image with fog, which is denser and rougher at higher severities.

    Differs from the original: the fog is a sum of octaves of noise instead of a plasma fractal.
    """
    density, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    most = x.amax((1, 2, 3), keepdim=True)
    return (x + density * clouds(x, decay, generator)) * most / (most + density)


def brightness(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add 0.1 to 0.5 to the value V of HSV; hue and saturation stay."""
    value = x.amax(1, keepdim=True)
    new = (value + 0.1 * severity).clamp_max(1)
    return torch.where(value > 0, x * new / value.clamp_min(1e-6), new)


def spatter(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add drops of water (severities 1 to 3) or mud (4, 5) on the lens.

    Differs from the original: the brightness of water follows its depth, without edge detection,
    and spots of mud are larger, so that mud occludes more than water.
    """
    mean, std, sigma, level, last = (
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    )[severity - 1]
    liquid = gaussian(mean + std * normal(x, *canvas(x), generator), sigma)
    if severity <= 3:
        depth = ((liquid - level) / (0.4 * std / sigma)).clamp(0, 1)  # std of liquid: 0.28
        return x + last * fit(depth, x) * _colour(WATER, x)
    splash = gaussian((liquid > level).float(), last)
    splash = fit((4 * splash - 2.3).clamp(0, 1), x)
    return x + (_colour(MUD, x) - x) * splash


def rain(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Draw slanted streaks, blur and darken (drizzle at 1, heavy at 2 and 3, torrential above).

    Source: Chen et al. (NeurIPS 2021). Differs from the original: only the scene is blurred, so
    that the streaks stay visible.
    """
    drops, trail = ((770, 10), (600, 30), (600, 30), (500, 60), (500, 60))[severity - 1]
    rows, columns = canvas(x)
    count, sigma = rows * columns // drops, (0.82, 1.12, 1.41, 1.71, 2.0)[severity - 1]
    random = torch.rand(len(x), 2, count, 1, device=x.device, generator=generator)
    slant = uniform(x, -10, 10, generator)[:, None, None] / trail  # columns per row, (n, 1, 1)
    step = torch.arange(trail, device=x.device)
    row = (
        random[:, 0] * rows
    ).long() + step  # (n, drops, trail); the first ones start above the image
    column = (random[:, 1] * columns + slant * step).long().remainder(columns)
    streaks = x.new_zeros(len(x), (rows + trail) * columns)
    streaks.scatter_(1, (row * columns + column).flatten(1), 1.0)
    streaks = streaks.view(len(x), 1, -1, columns)[:, :, trail:]  # (n, 1, rows, columns)
    veil = fit(gaussian(streaks, 0.8), x)
    wet = gaussian(x, length(x, sigma))
    return wet + (200 / 255 - wet) * veil - 0.05 * (1 + severity)
