"""Where pixels stand: shifted crops and mirrored images."""

# mypy: disable-error-code="override"

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dakd.augment.base import Augmentation, integers, sizes, uniform
from dakd.runtime import require


class PadCrop(Augmentation):
    """Pad every side with `pad` zeros (black, before `Normalise`) and crop back at random.

    Raises:
        ValueError: `pad` is negative.
    """

    def __init__(self, pad: int = 10) -> None:
        super().__init__()
        require(pad >= 0, f"pad must not be negative, not {pad}")
        self.pad = pad

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the crops' top left corners in the padded images, (B, 2) in 0..2 pad."""
        sizes(x)
        return integers(0, 2 * self.pad, uniform(x, generator, 2))

    def on_image(self, image: Tensor, drawn: list[int]) -> Tensor:
        """Return the image cropped at the drawn corner."""
        _, H, W = image.shape
        top, left = drawn
        return F.pad(image, (self.pad,) * 4)[:, top : top + H, left : left + W]

    def on_batch(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return the batch cropped at the drawn corners."""
        B, H, W = sizes(x)
        if x.numel() == 0:
            return x.clone()
        padded = F.pad(x, (self.pad,) * 4)  # (B, 3, H + 2 pad, W + 2 pad)
        height, width = padded.shape[2:]
        windows = padded.flatten().unfold(0, W, 1)  # every run of W neighbours; nothing is copied
        channel = torch.arange(3 * B, device=x.device).reshape(B, 3, 1)
        row = torch.arange(H, device=x.device)
        top, left = draws[:, 0, None, None], draws[:, 1, None, None]  # (B, 1, 1) each
        first = (channel * height + top + row) * width + left  # (B, 3, H), where a row starts
        return windows.index_select(0, first.flatten()).reshape(B, 3, H, W)


class Flip(Augmentation):
    """Mirror images left to right, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return which images are mirrored, (B,) bool."""
        sizes(x)
        return uniform(x, generator) < self.p

    def on_image(self, image: Tensor, drawn: bool) -> Tensor:
        """Return the image, mirrored if that was drawn."""
        return image.flip(-1) if drawn else image

    def on_batch(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return the batch with the drawn images mirrored."""
        return torch.where(draws[:, None, None, None], x.flip(-1), x)
