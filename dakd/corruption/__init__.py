"""Twenty kinds of image corruption, each at five severities.

The kinds are those of Chen, Wang and Zheng, "Benchmarks for Corruption Invariant Person
Re-identification" (NeurIPS 2021 Datasets and Benchmarks): the nineteen of Hendrycks and Dietterich
(ICLR 2019), and rain. The implementation is independent; docstrings name the deviations ("Differs
from the original").

*Size.* Lengths (radii, displacements, drops) are given for images of 256 rows and scale with the
height, so that a severity looks the same at any size. Noise, pixelate and JPEG's blocks act on the
pixels of the image itself.

*Infrared.* An image with three equal channels is a single measurement. It gets the corruption of
its green channel in all channels and stays grey: noise is equal in all channels, mud has no colour,
and saturate has no effect.

    >>> images = torch.full((1, 3, 64, 32), 128, dtype=torch.uint8)
    >>> out = corrupt(images, "shot_noise", 3, torch.Generator().manual_seed(0))
    >>> out.dtype, out.shape, bool((out[:, 0] == out[:, 2]).all())
    (torch.uint8, torch.Size([1, 3, 64, 32]), True)
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from dakd.corruption import blur, digital, noise, weather
from dakd.runtime import require

__all__ = ["FAMILIES", "KINDS", "SEVERITIES", "Corruption", "corrupt", "mixed"]

SEVERITIES = (1, 2, 3, 4, 5)


# (images (n, 3, H, W) float32 in 0..1, severity, generator) -> images, clipped to 0..1 afterwards
Corruption = Callable[[Tensor, int, Generator], Tensor]
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter", "rain"),
    "digital": ("contrast", "elastic", "pixelate", "jpeg", "saturate"),
})  # fmt: skip
KINDS: Mapping[str, Corruption] = MappingProxyType({
    kind: getattr(module, kind)
    for module, kinds in zip((noise, blur, weather, digital), FAMILIES.values(), strict=True)
    for kind in kinds
})  # fmt: skip


def corrupt(images: Tensor, kind: str, severity: int, generator: Generator) -> Tensor:
    """Return corrupted images; random numbers are drawn for each image, and the input is unchanged.

    Args:
        images: uint8 (n, 3, H, W); n may be 0.
        kind: a key of `KINDS`.
        severity: 1 (slight) to 5.
        generator: on the images' device; the same state gives the same result on that device.

    Returns:
        uint8 (n, 3, H, W) on the images' device.

    Raises:
        ValueError: another shape or type, an unknown kind or severity, or a generator on another
            device.
    """
    require(severity in SEVERITIES, f"severity must be 1 to 5, not {severity!r}")
    _check(images, (kind,), generator)
    if images.numel() == 0:
        return images.clone()
    changed = KINDS[kind](images.float() / 255, severity, generator)
    out = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
    grey = (images == images[:, :1]).all(dim=(1, 2, 3), keepdim=True)  # (n, 1, 1, 1)
    return torch.where(grey, out[:, 1:2], out).contiguous()


def mixed(
    images: Tensor,
    generator: Generator,
    *,
    kinds: Sequence[str] | None = None,
    severity: int | None = None,
) -> Tensor:
    """Corrupt each image by a random kind and severity, drawn uniformly.

    Args:
        images: uint8 (n, 3, H, W).
        generator: on the images' device.
        kinds: keys of `KINDS` to draw from; None is all twenty.
        severity: 1 to 5, the same for all images; None draws it.

    Returns:
        uint8 (n, 3, H, W) on the images' device.

    Raises:
        ValueError: as for `corrupt`, or no kind to draw from.
    """
    kinds = tuple(KINDS if kinds is None else kinds)
    levels = SEVERITIES if severity is None else (severity,)
    require(levels[0] in SEVERITIES, f"severity must be 1 to 5, not {severity!r}")
    _check(images, kinds, generator)
    choices = [(kind, level) for kind in kinds for level in levels]
    size, device = (len(images),), images.device
    drawn = torch.randint(len(choices), size, device=device, generator=generator)  # (n,)
    out = images.clone()
    for choice in drawn.unique().tolist():  # images with the same corruption at once
        rows = (drawn == choice).nonzero().flatten()
        kind, level = choices[choice]
        out[rows] = corrupt(images[rows], kind, level, generator)
    return out


def _check(images: Tensor, kinds: Sequence[str], generator: Generator) -> None:
    require(
        images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3,
        f"images to corrupt must be uint8 (n, 3, H, W), not {images.dtype} "
        f"{tuple(images.shape)}; corrupt before normalising",
    )
    unknown = [kind for kind in kinds if kind not in KINDS]
    require(not unknown, f"corruption {unknown[:1]} is unknown; use {', '.join(KINDS)}")
    require(len(kinds) > 0, "there is no kind of corruption to draw from")
    require(
        generator.device.type == images.device.type,
        f"the generator is on {generator.device}, the images on {images.device}; use one device",
    )
