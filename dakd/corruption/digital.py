"""Digital corruptions: contrast, elastic, pixelate, JPEG, saturate (Hendrycks & Dietterich)."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from dakd.corruption.fields import gaussian, length, normal, warp


def contrast(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Reduce the contrast: scale the difference from the mean colour by 0.4 to 0.05."""
    mean = x.mean((2, 3), keepdim=True)  # (n, 3, 1, 1)
    return mean + (x - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]


def elastic(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Deform the image by smooth displacements of 1.0 to 2.4 rows of 256 (standard deviation).

    Differs from the original, whose displacements in pixels do not scale with the image.
    """
    height, width = x.shape[-2:]
    noise = torch.cat([normal(x, height, width, generator) for _ in range(2)], dim=1)
    smooth = gaussian(noise, length(x, 2.56))  # (n, 2, H, W)
    unit = smooth / smooth.std((2, 3), correction=0, keepdim=True).clamp_min(1e-6)
    return warp(x, unit * length(x, (1.0, 1.3, 1.7, 2.0, 2.4)[severity - 1]))


def pixelate(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Downsample to 60, 50, 40, 30 or 25 % of the rows and columns, and enlarge again."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    rows, columns = (max(1, int(side * share)) for side in x.shape[-2:])
    small = F.interpolate(x, (rows, columns), mode="bilinear", antialias=True)
    return F.interpolate(small, x.shape[-2:], mode="nearest-exact")


def jpeg(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Compress with JPEG at quality 25, 18, 15, 10 or 7 (with Pillow, on the CPU)."""
    quality = (25, 18, 15, 10, 7)[severity - 1]
    arrays = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # (n, H, W, 3)
    out = np.stack([_through_jpeg(array, quality) for array in arrays])
    return torch.from_numpy(out).permute(0, 3, 1, 2).to(x) / 255


def _through_jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    """Compress an image, uint8 (H, W, 3), and decode it again."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image)


def saturate(x: Tensor, severity: int, generator: Generator) -> Tensor:
    """Reduce the saturation (of HSV) to 30 % or 10 % (severities 1, 2), or increase it (3 to 5).

    Differs from the original: a grey pixel stays grey instead of turning red, so that infrared
    images do not change.
    """
    factor, plus = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[severity - 1]
    value = x.amax(1, keepdim=True)  # (n, 1, H, W)
    old = (value - x.amin(1, keepdim=True)) / value.clamp_min(1e-6)
    new = (old * factor + plus).clamp_max(1)
    return value - (value - x) * new / old.clamp_min(1e-6)
