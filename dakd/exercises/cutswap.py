"""Exercises of notebook 02: size of the rectangle, a bug in four lines, the best channel."""

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
    """Which fixed side length with ``p=1.0`` changes as many pixels as CutSwap on average?

    Args:
        side: the answer, as a fraction of the image's height and width.
        p, min_ratio, max_ratio: of CutSwap.
    """
    given = number(side, "one side between 0 and 1", low=0, high=1)
    share = p * ((min_ratio + max_ratio) / 2) ** 2
    return verdict(
        abs(given**2 - share) <= 0.005,
        because="The same number of pixels, but another augmentation: each image loses a little "
        "colour, and none loses a third of it.",
        hint=f"This changes {100 * given**2:.0f} % of the pixels of every image. CutSwap changes "
        "half of the images, and on average the fraction in the formula above.",
    )


@exercise
def fixed_cutswap(answer: Any, *, image: Tensor, height: int = 10, width: int = 5) -> Verdict:
    """What is the result of the four lines once the exchange is limited to the rectangle?

    Asked: the image with the red channel in all three channels of the first `height` rows and
    `width` columns, and unchanged elsewhere.

    Args:
        answer: the answer, (1, 3, H, W).
        image: the original image, (1, 3, H, W), in colour and read again: an answer may have
            changed its input in place.
        height, width: of the rectangle, in pixels.

    Raises:
        ValueError: `image` is grey, so that no answer can be checked.
    """
    if torch.equal(image, image[:, :1].expand_as(image)):
        raise ValueError("`image` is grey, as after an exchange in place: read it again")
    try:
        given = torch.as_tensor(answer)
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
            "Pixels outside the rectangle have changed. Which line binds a second name instead of "
            "making a copy?",
        )
    return verdict(
        torch.equal(given, expected),
        because="A single copy makes the difference between the paper's CutSwap and the release's.",
        hint="Right outside the rectangle. Inside it, all channels should equal the red one.",
    )


@exercise
def best_channel(channel: Any, *, images: Tensor, inside: Tensor) -> Verdict:
    """Which channel's edges correlate best with those of the grey image (the channel mean)?

    Args:
        channel: the answer, ``"red"``, ``"green"`` or ``"blue"``.
        images: (n, 3, H, W) floats.
        inside: True in the rectangles, (n, 1, H, W) bool; an edge needs both neighbours inside.
    """
    given = choice(channel, CHANNELS)
    where = (inside[..., 1:] & inside[..., :-1])[:, 0]  # (n, H, W - 1)
    grey = images.mean(1).diff(dim=-1)[where]
    kept = [np.corrcoef(images[:, c].diff(dim=-1)[where], grey)[0, 1] for c in range(3)]
    return verdict(
        given == CHANNELS[int(np.argmax(kept))],
        because="In order red, green, blue: " + ", ".join(f"{value:.3f}" for value in kept) + ". "
        "With other weights of the channels in the grey image, another one can win.",
        hint="Set the channel of the draws to 0, 1 and 2, and compare the three correlations.",
    )
