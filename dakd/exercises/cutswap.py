"""Exercises of notebook 02: the size of a rectangle, a bug in four lines, the best channel."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dakd.exercises.verdict import UnreadableAnswerError, Verdict, choice, exercise, number, verdict

CHANNELS = ("red", "green", "blue")


@exercise
def same_area(
    side: Any, *, p: float = 0.5, min_ratio: float = 0.3, max_ratio: float = 0.6
) -> Verdict:
    """Which fixed side changes as many pixels with ``p=1.0`` as CutSwap does on average?

    Args:
        side: the answer, a fraction of the image's height and of its width.
        p, min_ratio, max_ratio: of the CutSwap that is compared with.

    Example:
        >>> same_area(0.45)
        ✗ Not yet. This changes 20 % of the pixels of every image. CutSwap changes half of the \
images, and the share in the formula above on average.
    """
    given = number(side, "one side between 0 and 1", low=0, high=1)
    share = p * ((min_ratio + max_ratio) / 2) ** 2
    return verdict(
        abs(given**2 - share) <= 0.005,
        because="The same share of pixels, and another augmentation: every image loses a little "
        "colour, and none loses a third of it.",
        hint=f"This changes {100 * given**2:.0f} % of the pixels of every image. CutSwap changes "
        "half of the images, and the share in the formula above on average.",
    )


@exercise
def fixed_cutswap(picture: Any, *, image: Tensor, height: int = 10, width: int = 5) -> Verdict:
    """What do the four lines give when the exchange no longer reaches the whole image?

    Red stands in all three channels of the first `height` rows and `width` columns; the rest is
    as it was.

    Args:
        picture: the answer, (1, 3, H, W).
        image: what the lines begin with, (1, 3, H, W), read anew and in colour: an answer may have
            changed in place what it began with.
        height, width: of the rectangle, in pixels.

    Raises:
        ValueError: `image` is grey, so that nothing could be told.

    Example:
        >>> image = torch.rand(1, 3, 12, 6, generator=torch.Generator().manual_seed(0))
        >>> fixed_cutswap(image[:, :1].expand(-1, 3, -1, -1), image=image)
        ✗ Not yet. Outside the rectangle something changed. Which line makes a second name where a \
copy is meant?
    """
    if torch.equal(image, image[:, :1].expand_as(image)):
        raise ValueError("`image` has no colour, as after an exchange in place: read it anew")
    try:
        given = torch.as_tensor(picture)
    except (TypeError, ValueError, RuntimeError):
        given = torch.empty(0)
    if given.shape != image.shape:
        raise UnreadableAnswerError(f"Give an image of shape {tuple(image.shape)}.")
    expected = image.clone()
    expected[..., :height, :width] = image[:, :1, :height, :width]
    outside = torch.ones_like(image, dtype=torch.bool)
    outside[..., :height, :width] = False
    if not torch.equal(given[outside], expected[outside]):
        return Verdict(
            False,
            "Outside the rectangle something changed. Which line makes a second name where a copy "
            "is meant?",
        )
    return verdict(
        torch.equal(given, expected),
        because="One copy separates the paper's augmentation from the release's.",
        hint="Outside all is well. Inside, the red channel should stand in all three.",
    )


@exercise
def best_channel(channel: Any, *, images: Tensor, inside: Tensor) -> Verdict:
    """Which channel has edges most like those of the grey image, the mean of the three?

    Args:
        channel: the answer, ``"red"``, ``"green"`` or ``"blue"``.
        images: (n, 3, H, W) floats.
        inside: the rectangles, (n, 1, H, W) bool; edges count where both neighbours are inside.

    Example:
        >>> x = torch.tensor([[0, 1.0, 0, 1], [0, 1, 0, 0.9], [1, 0, 1, 1]])[None, :, None]
        >>> best_channel("Blue", images=x, inside=torch.ones(1, 1, 1, 4, dtype=torch.bool))
        ✗ Not yet. Fix the channel of the draws to 0, 1 and 2, and compare the three correlations.
    """
    given = choice(channel, CHANNELS)
    where = (inside[..., 1:] & inside[..., :-1])[:, 0]  # (n, H, W - 1)
    grey = images.mean(1).diff(dim=-1)[where]
    kept = [np.corrcoef(images[:, c].diff(dim=-1)[where], grey)[0, 1] for c in range(3)]
    return verdict(
        given == CHANNELS[int(np.argmax(kept))],
        because="In order red, green, blue: " + ", ".join(f"{value:.3f}" for value in kept) + ". "
        "Another grey, with other weights of the three, can have another winner.",
        hint="Fix the channel of the draws to 0, 1 and 2, and compare the three correlations.",
    )
