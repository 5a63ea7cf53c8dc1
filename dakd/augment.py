"""Augmentations of whole batches, on the batch's own device; every image draws for itself.

Each module takes images (B, 3, H, W) and splits into `sample`, which is random and looks only at
the shape, and `apply`, which is deterministic. Drawing once and applying twice gives the same
pictures; the input is never changed.
"""

# mypy: disable-error-code="override"
# `apply(x, draws)` means something else than `torch.nn.Module.apply(fn)`.

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from dakd.runtime import require

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # luminance of R, G, B
ERASING_FILL = (0.4914, 0.4822, 0.4465)


class Box(NamedTuple):
    """One rectangle an image, in pixels; every field is (B,) int64."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def inside(self, x: Tensor) -> Tensor:
        """Return where images like `x` lie inside their rectangle, (B, 1, H, W) bool."""
        top, left, height, width = (field[:, None, None, None] for field in self)  # (B, 1, 1, 1)
        row = torch.arange(x.shape[2], device=x.device)[:, None]  # (H, 1)
        column = torch.arange(x.shape[3], device=x.device)  # (W,)
        rows = (row >= top) & (row < top + height)  # (B, 1, H, 1)
        return rows & (column >= left) & (column < left + width)


class SwapDraws(NamedTuple):
    """Draws of `CutSwap`: whether (B,) bool, which channel (B,) int64, and where."""

    active: Tensor
    channel: Tensor
    box: Box


class ErasingDraws(NamedTuple):
    """Draws of `ChannelRandomErasing`: whether (B,) bool and where."""

    active: Tensor
    box: Box


class Augmentation(nn.Module):
    """What all augmentations share: calling one samples, then applies.

    Args:
        p: probability that an image is changed.

    Raises:
        ValueError: `p` lies outside 0..1.
    """

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        require(0 <= p <= 1, f"p must be a probability in 0..1, not {p}")
        self.p = p

    def sample(self, x: Tensor, generator: Generator | None = None) -> Any:
        """Return the draws for a batch like `x`, from `generator` (on x's device) if given."""
        raise NotImplementedError

    def apply(self, x: Tensor, draws: Any) -> Tensor:
        """Return the augmented batch; the same draws give the same pictures."""
        raise NotImplementedError

    def forward(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the batch (B, 3, H, W) with every image augmented by its own draws.

        Raises:
            ValueError: the batch is not (B, 3, H, W).
        """
        return self.apply(x, self.sample(x, generator))


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Return B, H, W of a batch (B, 3, H, W)."""
    require(
        x.ndim == 4 and x.shape[1] == 3,
        f"images must be a batch (B, 3, H, W), not {tuple(x.shape)}; "
        "add a batch dimension with x[None], put channels first with x.permute(0, 3, 1, 2)",
    )
    return x.shape[0], x.shape[2], x.shape[3]


def _check_range(name: str, low: float, high: float, most: float = 1.0) -> None:
    require(
        0 <= low <= high <= most,
        f"{name} must be two numbers with 0 <= low <= high <= {most:g}, not ({low}, {high})",
    )


def _uniform(x: Tensor, generator: Generator | None, *columns: int) -> Tensor:
    """Return numbers in [0, 1), (B, *columns) float32 on x's device."""
    return torch.rand(x.shape[0], *columns, device=x.device, generator=generator)


def _integers(low: Tensor | int, high: Tensor | int, uniform: Tensor) -> Tensor:
    """Return integers of low..high, both included, from `uniform` numbers in [0, 1)."""
    return low + (uniform * (high - low + 1)).long()


def _channel(x: Tensor, channel: Tensor) -> Tensor:
    """Return one channel of every image, (B, 1, H, W)."""
    image = torch.arange(x.shape[0], device=x.device)
    return x[image, channel][:, None]


def _replace(x: Tensor, new: Tensor, where: Tensor) -> Tensor:
    """Return `x` with `new` where `where` (bool) is true; both broadcast to x's shape."""
    return torch.where(where, new, x)


class CutSwap(Augmentation):
    """Inside a random rectangle, copy one random channel to all three (DAKD's augmentation).

    Height and width are independent integers, uniform between the image's size times `min_ratio`
    rounded up and times `max_ratio` rounded down, so the ratios are kept unless the image is too
    small for any integer between them; then the rounded-up value is taken. The position is uniform
    over all places where the rectangle fits. The draws do not depend on `variant`.

    Args:
        p: probability that an image is changed.
        min_ratio, max_ratio: rectangle's height and width as fractions of the image's.
        variant: ``"paper"``, or ``"release"``: the whole image is exchanged, because the published
            code exchanges the channels in place before it pastes the rectangle.

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
        _check_range("(min_ratio, max_ratio)", min_ratio, max_ratio)
        known = variant in ("paper", "release")
        require(known, f"CutSwap variant must be 'paper' or 'release', not {variant!r}")
        self.ratios, self.variant = (min_ratio, max_ratio), variant

    def sample(self, x: Tensor, generator: Generator | None = None) -> SwapDraws:
        """Return which images are changed, from which channel, and their rectangles."""
        _, H, W = _sizes(x)
        u = _uniform(x, generator, 6).unbind(1)  # six of (B,)
        height, width = self._length(H, u[2]), self._length(W, u[3])
        box = Box(_integers(0, H - height, u[4]), _integers(0, W - width, u[5]), height, width)
        return SwapDraws(u[0] < self.p, _integers(0, 2, u[1]), box)

    def _length(self, size: int, uniform: Tensor) -> Tensor:
        low = math.ceil(self.ratios[0] * size - 1e-9)  # 0.07 * 100 is a little more than 7
        high = math.floor(self.ratios[1] * size + 1e-9)
        return _integers(low, max(low, high), uniform)

    def apply(self, x: Tensor, draws: SwapDraws) -> Tensor:
        """Return the batch with the drawn channel copied into the drawn rectangles."""
        changed = draws.active[:, None, None, None]  # (B, 1, 1, 1)
        if self.variant == "paper":
            changed = changed & draws.box.inside(x)  # (B, 1, H, W)
        return _replace(x, _channel(x, draws.channel), changed)


class ChannelExchange(Augmentation):
    """Copy one random channel to all three, with probability `p` (Ye et al., ICCV 2021)."""

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return which images are changed, (B,) bool, and from which channel, (B,) int64."""
        _sizes(x)
        active, channel = _uniform(x, generator, 2).unbind(1)  # (B,), (B,)
        return active < self.p, _integers(0, 2, channel)

    def apply(self, x: Tensor, draws: tuple[Tensor, Tensor]) -> Tensor:
        """Return the batch with the drawn channel copied to the others."""
        active, channel = draws
        return _replace(x, _channel(x, channel), active[:, None, None, None])


class ChannelGray(Augmentation):
    """Give infrared images one of four looks, each a quarter of the time (Ye et al., ICCV 2021).

    Three looks are R, G or B copied to all channels. The fourth is grey (the weighted sum of R, G
    and B in every channel) with probability `p`, and else the unchanged image.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return every image's look, (B,): 0, 1, 2 = channel, 3 = grey, 4 = unchanged."""
        _sizes(x)
        look, grey = _uniform(x, generator, 2).unbind(1)  # (B,), (B,)
        look = _integers(0, 3, look)
        return torch.where((look == 3) & (grey >= self.p), 4, look)

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return the batch in the drawn looks."""
        red, green, blue = x.split(1, dim=1)  # three of (B, 1, H, W)
        grey = GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue
        looks = torch.cat([x, grey.to(x.dtype)], 1)  # (B, 4, H, W): three channels and grey
        changed = (draws < 4)[:, None, None, None]
        return _replace(x, _channel(looks, draws.clamp(max=3)), changed)


class ChannelRandomErasing(Augmentation):
    """Fill a random rectangle with a constant colour (Zhong et al., AAAI 2020).

    Area and aspect are uniform; height and width are rounded to whole pixels. A rectangle that is
    not smaller than the image in both directions is drawn again: `attempts` candidates are drawn
    at once and the first that fits is used; if none fits, the image stays as it is. The fill is
    written as it is, so after `Normalise` it is a colour in normalised units.

    Args:
        p: probability that an image is changed.
        area: smallest and largest part of the image's area, in 0..1.
        aspect: smallest and largest height / width.
        fill: value of each channel.
        attempts: candidates an image (the original tries 100 times; in a 3 : 1 image about one
            candidate in eight does not fit).

    Raises:
        ValueError: `p` or an area outside 0..1, low above high, ``attempts < 1``; images that are
            not floating point.
    """

    def __init__(
        self,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 3.3),
        fill: tuple[float, float, float] = ERASING_FILL,
        attempts: int = 10,
    ) -> None:
        super().__init__(p)
        _check_range("area", *area)
        _check_range("aspect", *aspect, most=math.inf)
        require(aspect[0] > 0, f"aspect must be positive, not {aspect}")
        require(attempts >= 1, f"attempts must be at least 1, not {attempts}")
        self.area, self.aspect, self.fill, self.attempts = area, aspect, fill, attempts

    def sample(self, x: Tensor, generator: Generator | None = None) -> ErasingDraws:
        """Return which images are changed, and their rectangles."""
        _, H, W = _sizes(x)
        active, top, left = _uniform(x, generator, 3).unbind(1)  # three of (B,)
        u = _uniform(x, generator, 2, self.attempts)  # (B, 2, attempts)
        area = H * W * (self.area[0] + (self.area[1] - self.area[0]) * u[:, 0])  # (B, attempts)
        aspect = self.aspect[0] + (self.aspect[1] - self.aspect[0]) * u[:, 1]
        height = (area * aspect).sqrt().round().long()
        width = (area / aspect).sqrt().round().long()
        fits = (height < H) & (width < W)
        first = fits.byte().argmax(1, keepdim=True)  # (B, 1), 0 where none fits
        found = fits.gather(1, first)[:, 0]  # (B,)
        height = height.gather(1, first)[:, 0].clamp(max=H)
        width = width.gather(1, first)[:, 0].clamp(max=W)
        box = Box(_integers(0, H - height, top), _integers(0, W - width, left), height, width)
        return ErasingDraws((active < self.p) & found, box)

    def apply(self, x: Tensor, draws: ErasingDraws) -> Tensor:
        """Return the batch with the drawn rectangles filled."""
        require(
            x.is_floating_point(),
            f"ChannelRandomErasing fills floating point images, not {x.dtype}; put Normalise first",
        )
        erased = draws.active[:, None, None, None] & draws.box.inside(x)  # (B, 1, H, W)
        return _replace(x, x.new_tensor(self.fill)[:, None, None], erased)


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
        _sizes(x)
        return _integers(0, 2 * self.pad, _uniform(x, generator, 2))

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return the batch cropped at the drawn corners."""
        B, H, W = _sizes(x)
        windows = F.pad(x, (self.pad,) * 4).unfold(2, H, 1).unfold(3, W, 1)
        image = torch.arange(B, device=x.device)  # windows: (B, 3, 2 pad + 1, 2 pad + 1, H, W)
        return windows[image, :, draws[:, 0], draws[:, 1]]


class Flip(Augmentation):
    """Mirror images left to right, with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def sample(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return which images are mirrored, (B,) bool."""
        _sizes(x)
        return _uniform(x, generator) < self.p

    def apply(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return the batch with the drawn images mirrored."""
        return _replace(x, x.flip(-1), draws[:, None, None, None])


class Normalise(Augmentation):
    """Turn pixels into ImageNet-normalised float32: (x - mean) / std for each channel.

    Takes uint8 (0..255) or floating point (0..1) images.

    Raises:
        ValueError: another dtype, or floating point values outside 0..1 (looked at on the CPU
            only, because on a GPU looking would make the host wait).
    """

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[()]:
        """Return nothing: there is nothing to draw."""
        _sizes(x)
        return ()

    def apply(self, x: Tensor, draws: tuple[()] = ()) -> Tensor:
        """Return the normalised batch, float32."""
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
        mean, std = _statistics(x, scale=255 if is_byte else 1)
        return x.to(torch.float32, copy=True).sub_(mean).div_(std)


class Pipeline(Augmentation):
    """Several augmentations, one after the other; its draws are the tuple of theirs."""

    def __init__(self, *stages: Augmentation) -> None:
        super().__init__()
        self.stages: Any = nn.ModuleList(stages)

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[Any, ...]:
        """Return the draws of every stage (no stage changes the shape of a batch)."""
        return tuple(stage.sample(x, generator) for stage in self.stages)

    def apply(self, x: Tensor, draws: tuple[Any, ...]) -> Tensor:
        """Return the batch after every stage."""
        for stage, drawn in zip(self.stages, draws, strict=True):
            x = stage.apply(x, drawn)
        return x


def rows_of(draws: Any, rows: slice) -> Any:
    """Return the draws of some images of a batch."""
    if isinstance(draws, Tensor):
        return draws[rows]
    items = (rows_of(item, rows) for item in draws)
    return type(draws)(*items) if hasattr(draws, "_fields") else tuple(items)


def visible_train(*, pad: int, cutswap: Literal["paper", "release", "none"] = "paper") -> Pipeline:
    """Return the visible training augmentation: crop, flip, normalise, CutSwap, erasing."""
    swap = [] if cutswap == "none" else [CutSwap(variant=cutswap)]
    return Pipeline(PadCrop(pad), Flip(), Normalise(), *swap, ChannelRandomErasing())


def infrared_train(*, pad: int) -> Pipeline:
    """Return the infrared training augmentation: crop, flip, normalise, erasing, `ChannelGray`."""
    return Pipeline(PadCrop(pad), Flip(), Normalise(), ChannelRandomErasing(), ChannelGray())


def auxiliary_train(*, pad: int) -> Pipeline:
    """Return the auxiliary stream's augmentation of visible images.

    As the visible one, with one channel of the whole image copied to all three at the end in the
    place of CutSwap.
    """
    return Pipeline(PadCrop(pad), Flip(), Normalise(), ChannelRandomErasing(), ChannelExchange())


def evaluation_transform() -> Normalise:
    """Return what test images go through: normalisation only."""
    return Normalise()


def denormalise(x: Tensor) -> Tensor:
    """Return normalised images (..., 3, H, W) as pictures in 0..1, float32, clipped."""
    mean, std = _statistics(x)
    return (x * std + mean).clamp(0, 1).float()


def _statistics(x: Tensor, scale: int = 1) -> tuple[Tensor, Tensor]:
    """Return ImageNet's mean and std, each (3, 1, 1), times `scale`, on x's device."""
    mean, std = (torch.tensor(s, device=x.device) for s in (IMAGENET_MEAN, IMAGENET_STD))
    return scale * mean[:, None, None], scale * std[:, None, None]
