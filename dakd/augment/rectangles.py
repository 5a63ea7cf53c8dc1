"""Augmentations that change a random rectangle: CutSwap and random erasing."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from dakd.augment.base import Augmentation, check_range, integers, sizes, uniform
from dakd.augment.colour import one_channel, per_channel
from dakd.runtime import require

ERASING_FILL = (0.4914, 0.4822, 0.4465)


class Box(NamedTuple):
    """One rectangle per image, in pixels; every field is (B,) int64."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def inside(self, x: Tensor) -> Tensor:
        """Return which pixels of images like `x` lie in the rectangles, (B, 1, H, W) bool."""
        top, left, height, width = (field[:, None, None, None] for field in self)  # (B, 1, 1, 1)
        row = torch.arange(x.shape[2], device=x.device)[:, None]  # (H, 1)
        column = torch.arange(x.shape[3], device=x.device)  # (W,)
        rows = (row >= top) & (row < top + height)  # (B, 1, H, 1)
        return rows & (column >= left) & (column < left + width)


class SwapDraws(NamedTuple):
    """Draws of `CutSwap`.

    Attributes:
        active: which images are changed, (B,) bool.
        channel: the channel that is copied, (B,) int64.
        box: the rectangles.
    """

    active: Tensor
    channel: Tensor
    box: Box


class ErasingDraws(NamedTuple):
    """Draws of `ChannelRandomErasing`.

    Attributes:
        active: which images are changed, (B,) bool.
        box: the rectangles.
    """

    active: Tensor
    box: Box


class CutSwap(Augmentation):
    """Inside a random rectangle, copy one random channel to all three (DAKD's augmentation).

    Height and width are independent integers, uniform between the image's size times `min_ratio`,
    rounded up, and its size times `max_ratio`, rounded down; where the image is so small that no
    integer lies between the two, the first is taken. The position is uniform over all places where
    the rectangle fits. The draws do not depend on `variant`.

    Args:
        p: probability that an image is changed.
        min_ratio, max_ratio: limits of the rectangle's height and width, as fractions of the
            image's.
        variant: ``"paper"``, or ``"release"``: the channel is copied in the whole image, because
            the published code exchanges the channels in place before it pastes the rectangle.

    Raises:
        ValueError: a ratio or `p` lies outside 0..1, ``min_ratio > max_ratio``, unknown variant.

    >>> x = torch.arange(3.0)[None, :, None, None].expand(1, 3, 10, 10)
    >>> out = CutSwap(p=1.0)(x, torch.Generator().manual_seed(0))
    >>> [int((out[0, c] != x[0, c]).sum()) for c in range(3)]  # the source channel stays
    [9, 9, 0]
    """

    def __init__(
        self,
        p: float = 0.5,
        min_ratio: float = 0.3,
        max_ratio: float = 0.6,
        variant: Literal["paper", "release"] = "paper",
    ) -> None:
        super().__init__(p)
        check_range("(min_ratio, max_ratio)", min_ratio, max_ratio)
        known = variant in ("paper", "release")
        require(known, f"CutSwap variant must be 'paper' or 'release', not {variant!r}")
        self.ratios, self.variant = (min_ratio, max_ratio), variant

    def sample(self, x: Tensor, generator: Generator | None = None) -> SwapDraws:
        """Return which images are changed, from which channel, and their rectangles."""
        _, H, W = sizes(x)
        u = uniform(x, generator, 6).unbind(1)  # six of (B,)
        height, width = self._length(H, u[2]), self._length(W, u[3])
        box = Box(integers(0, H - height, u[4]), integers(0, W - width, u[5]), height, width)
        return SwapDraws(u[0] < self.p, integers(0, 2, u[1]), box)

    def _length(self, size: int, u: Tensor) -> Tensor:
        low = math.ceil(self.ratios[0] * size - 1e-9)  # 0.07 * 100 is a little more than 7
        high = math.floor(self.ratios[1] * size + 1e-9)
        return integers(low, max(low, high), u)

    def _apply(self, x: Tensor, draws: SwapDraws) -> Tensor:
        changed = draws.active[:, None, None, None]  # (B, 1, 1, 1)
        if self.variant == "paper":
            changed = changed & draws.box.inside(x)  # (B, 1, H, W)
        return torch.where(changed, one_channel(x, draws.channel), x)


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
