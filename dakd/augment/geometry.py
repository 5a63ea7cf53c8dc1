"""Rectangles, random crops and horizontal flips."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dakd.augment.base import Augmentation, integers, sizes, uniform
from dakd.runtime import require


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


class PadCrop(Augmentation):
    """Pad every side with `pad` pixels of one grey level, then crop at a random place.

    It comes before `Normalise`.

    Args:
        pad: pixels on each side.
        fill: grey level of the padding, 0..255; divided by 255 in floating point images.
        keep_width: the crop's width as a fraction of the image's, rounded to whole pixels; its
            height is the image's.

    Raises:
        ValueError: `pad` is negative, `fill` outside 0..255, or `keep_width` 0 or outside 0..1.
    """

    def __init__(self, pad: int = 10, *, fill: int = 0, keep_width: float = 1.0) -> None:
        super().__init__()
        require(pad >= 0, f"pad must not be negative, not {pad}")
        require(0 <= fill <= 255, f"fill must be a grey level in 0..255, not {fill}")
        require(0 < keep_width <= 1, f"keep_width must lie above 0, up to 1, not {keep_width}")
        self.pad, self.fill, self.keep_width = pad, fill, keep_width

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the crop."""
        return height, max(1, round(width * self.keep_width))

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the top left corner of each crop in its padded image, (B, 2) int64."""
        _, H, W = sizes(x)
        spare = W - self.output_size(H, W)[1]
        top, left = uniform(x, generator, 2).unbind(1)  # (B,), (B,)
        corners = integers(0, 2 * self.pad, top), integers(0, 2 * self.pad + spare, left)
        return torch.stack(corners, 1)

    def _apply(self, x: Tensor, draws: Tensor) -> Tensor:
        B, H, W = sizes(x)
        H, W = self.output_size(H, W)
        if x.numel() == 0:
            return x.new_empty(B, 3, H, W)
        fill = self.fill / 255 if x.is_floating_point() else self.fill
        padded = F.pad(x, (self.pad,) * 4, value=fill)  # (B, 3, height, width)
        height, width = padded.shape[2:]
        windows = padded.flatten().unfold(0, W, 1)  # (n, W): a view of all runs of W pixels
        channel = torch.arange(3 * B, device=x.device).reshape(B, 3, 1)
        row = torch.arange(H, device=x.device)
        top, left = draws[:, 0, None, None], draws[:, 1, None, None]  # (B, 1, 1) each
        first = (channel * height + top + row) * width + left  # (B, 3, H): start of each row
        return windows.index_select(0, first.flatten()).reshape(B, 3, H, W)


class Flip(Augmentation):
    """Flip images horizontally, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return which images are flipped, (B,) bool."""
        sizes(x)
        return uniform(x, generator) < self.p

    def _apply(self, x: Tensor, draws: Tensor) -> Tensor:
        return torch.where(draws[:, None, None, None], x.flip(-1), x)
