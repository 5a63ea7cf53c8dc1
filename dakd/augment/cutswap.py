"""CutSwap, the augmentation of DAKD: one random channel copied to all three in a rectangle."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from dakd.augment.base import Augmentation, check_range, integers, sizes, uniform
from dakd.augment.colour import one_channel
from dakd.augment.geometry import Box
from dakd.runtime import require


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
