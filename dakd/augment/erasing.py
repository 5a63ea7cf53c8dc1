"""Random erasing of a rectangle."""

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dakd.augment.base import Augmentation, check_range, integers, sizes, uniform
from dakd.augment.colour import per_channel
from dakd.augment.geometry import Box
from dakd.runtime import require

ERASING_FILL = (0.4914, 0.4822, 0.4465)


class ErasingDraws(NamedTuple):
    """Draws of `ChannelRandomErasing`.

    Attributes:
        active: which images are changed, (B,) bool.
        box: the rectangles.
    """

    active: Tensor
    box: Box


class ChannelRandomErasing(Augmentation):
    """Fill a random rectangle with a constant colour (Zhong et al., AAAI 2020).

    Area and aspect ratio are uniform; height and width are rounded to whole pixels. A rectangle
    fits if it is smaller than the image in both directions. Of `attempts` candidates the first that
    fits is used; if none fits, the image stays as it is. The fill is not normalised: after
    `Normalise` it is a colour in normalised units.

    Differs from the published code: that draws up to 100 candidates. In a 3 : 1 image about one in
    eight does not fit, so ten candidates fail in about one image of 10^9.

    Args:
        p: probability that an image is changed.
        area: smallest and largest share of the image's area, in 0..1.
        aspect: smallest and largest height / width.
        fill: value of each channel.
        attempts: candidates per image.

    Raises:
        ValueError: `p` or an area outside 0..1, low above high, ``attempts < 1``; images that are
            not floating point.
    """

    def __init__(
        self,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
        fill: tuple[float, float, float] = ERASING_FILL,
        attempts: int = 10,
    ) -> None:
        super().__init__(p)
        check_range("area", *area)
        check_range("aspect", *aspect, most=math.inf)
        require(aspect[0] > 0, f"aspect must be positive, not {aspect}")
        require(attempts >= 1, f"attempts must be at least 1, not {attempts}")
        self.area, self.aspect, self.attempts = area, aspect, attempts
        self.fill = tuple(fill)

    def sample(self, x: Tensor, generator: Generator | None = None) -> ErasingDraws:
        """Return which images are changed, and their rectangles."""
        _, H, W = sizes(x)
        active, top, left = uniform(x, generator, 3).unbind(1)  # three of (B,)
        u = uniform(x, generator, 2, self.attempts)  # (B, 2, attempts)
        area = H * W * (self.area[0] + (self.area[1] - self.area[0]) * u[:, 0])  # (B, attempts)
        aspect = self.aspect[0] + (self.aspect[1] - self.aspect[0]) * u[:, 1]
        height = (area * aspect).sqrt().round().long()
        width = (area / aspect).sqrt().round().long()
        fits = (height < H) & (width < W)
        first = fits.byte().argmax(1, keepdim=True)  # (B, 1), 0 where none fits
        found = fits.gather(1, first)[:, 0]  # (B,)
        height = height.gather(1, first)[:, 0].clamp(max=H)
        width = width.gather(1, first)[:, 0].clamp(max=W)
        box = Box(integers(0, H - height, top), integers(0, W - width, left), height, width)
        return ErasingDraws((active < self.p) & found, box)

    def _apply(self, x: Tensor, draws: ErasingDraws) -> Tensor:
        require(
            x.is_floating_point(),
            f"ChannelRandomErasing fills floating point images, not {x.dtype}; put Normalise first",
        )
        erased = draws.active[:, None, None, None] & draws.box.inside(x)  # (B, 1, H, W)
        return torch.where(erased, per_channel(self.fill, x.device, x.dtype), x)
