"""Augmentations of pixel values: channel exchange, greyscale and normalisation."""

import functools

import torch
from torch import Generator, Tensor

from dakd.augment.base import Augmentation, integers, sizes, uniform
from dakd.runtime import require

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # luminance of R, G, B
PILLOW_WEIGHTS = (19595, 38470, 7471)  # the same in units of 2**-16, as in Pillow


class ChannelExchange(Augmentation):
    """Copy one random channel to all three, with probability `p` (Ye et al., ICCV 2021)."""

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return which images are changed, (B,) bool, and from which channel, (B,) int64."""
        sizes(x)
        active, channel = uniform(x, generator, 2).unbind(1)  # (B,), (B,)
        return active < self.p, integers(0, 2, channel)

    def _apply(self, x: Tensor, draws: tuple[Tensor, Tensor]) -> Tensor:
        active, channel = draws
        return torch.where(active[:, None, None, None], one_channel(x, channel), x)


class ChannelGray(Augmentation):
    """Copy R, G, B or grey to all channels of infrared images (Ye et al., ICCV 2021).

    R, G and B have a probability of 1/4 each. In the remaining quarter an image becomes grey, the
    weighted sum of R, G and B, with probability `p`, and else stays as it is.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return each image's choice, (B,) int64: 0, 1, 2 = R, G, B, 3 = grey, 4 = unchanged."""
        sizes(x)
        u, v = uniform(x, generator, 2).unbind(1)  # (B,), (B,)
        choice = integers(0, 3, u)
        return choice.masked_fill((choice == 3) & (v >= self.p), 4)

    def _apply(self, x: Tensor, draws: Tensor) -> Tensor:
        sources = torch.cat([x, grey(x).to(x.dtype)], 1)  # (B, 4, H, W): R, G, B and grey
        changed = (draws < 4)[:, None, None, None]
        return torch.where(changed, one_channel(sources, draws.clamp(max=3)), x)


class RandomGrayscale(Augmentation):
    """Convert images to greyscale with three equal channels, with probability `p`.

    For uint8 images the result is that of Pillow's ``convert("L")``, to the bit; for floating point
    images it is the same weighted sum without rounding to whole grey levels.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return which images become greyscale, (B,) bool."""
        sizes(x)
        return uniform(x, generator) < self.p

    def _apply(self, x: Tensor, draws: Tensor) -> Tensor:
        return torch.where(draws[:, None, None, None], pillow_grey(x), x)


class Normalise(Augmentation):
    """Normalise images by ImageNet's statistics: (x - mean) / std for each channel.

    Takes uint8 (0..255) or floating point (0..1) images.

    Args:
        dtype: of the result. ``torch.float64`` is for comparisons with published numbers, which are
            computed as (x / 255 - mean) / std in that precision.

    Raises:
        ValueError: `dtype` is neither float32 nor float64; the images have another dtype than
            above, or values outside 0..1 (checked on the CPU only, because on a GPU the check
            would make the host wait).
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        known = dtype in (torch.float32, torch.float64)
        require(known, f"Normalise computes in torch.float32 or torch.float64, not {dtype}")
        self.dtype = dtype

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[()]:
        """Return an empty tuple: nothing is random here."""
        sizes(x)
        return ()

    def _apply(self, x: Tensor, draws: tuple[()]) -> Tensor:
        is_byte = x.dtype == torch.uint8
        require(
            is_byte or x.is_floating_point(),
            f"Normalise takes uint8 (0..255) or floating point (0..1) images, not {x.dtype}",
        )
        if not is_byte and x.device.type == "cpu" and x.numel():
            low, high = (float(value) for value in x.detach().aminmax())
            require(
                0 <= low <= high <= 1,
                f"floating point images must lie in 0..1, not {low:g}..{high:g}; divide by 255, "
                "normalise only once, and if it is NaN look for it where the images come from",
            )
        floats = x.to(self.dtype, copy=True)
        scale = 255 if is_byte else 1
        if self.dtype == torch.float64:  # the order of the published computation
            floats, scale = floats.div_(scale), 1
        mean, std = _statistics(x.device, self.dtype, scale)
        return floats.sub_(mean).div_(std)


def denormalise(x: Tensor) -> Tensor:
    """Invert `Normalise`: return images (..., 3, H, W) in 0..1, float32, clipped."""
    mean, std = _statistics(x.device, x.dtype if x.dtype == torch.float64 else torch.float32)
    return (x * std + mean).clamp(0, 1).float()


@functools.cache
def per_channel(
    values: tuple[float, ...], device: torch.device, dtype: torch.dtype, scale: int = 1
) -> Tensor:
    """Return one value per channel, (3, 1, 1), times `scale`; cached for each device and dtype."""
    with torch.inference_mode(False):  # a cached inference tensor would fail in autograd
        return scale * torch.tensor(values, dtype=dtype, device=device)[:, None, None]


def _statistics(device: torch.device, dtype: torch.dtype, scale: int = 1) -> tuple[Tensor, Tensor]:
    """Return ImageNet's mean and std, each (3, 1, 1), times `scale`."""
    mean, std = (
        per_channel(values, device, dtype, scale) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


def grey(x: Tensor, weights: tuple[float, float, float] = GREY_WEIGHTS) -> Tensor:
    """Return the luminance of images (..., 3, H, W), as (..., 1, H, W)."""
    red, green, blue = x.split(1, dim=-3)
    r, g, b = weights
    return (r * red).add_(g * green).add_(b * blue)


def pillow_grey(x: Tensor) -> Tensor:
    """Return the luminance of images (..., 3, H, W) in their own dtype, as (..., 1, H, W)."""
    if x.is_floating_point():
        r, g, b = PILLOW_WEIGHTS
        return grey(x, (r / 2**16, g / 2**16, b / 2**16))
    return ((grey(x.int(), PILLOW_WEIGHTS) + 2**15) >> 16).to(x.dtype)


def one_channel(x: Tensor, channel: Tensor) -> Tensor:
    """Return one channel (B,) of every image (B, C, H, W), as (B, 1, H, W)."""
    B, C = x.shape[:2]
    first = torch.arange(0, B * C, C, device=x.device)
    return x.flatten(0, 1).index_select(0, first + channel)[:, None]
