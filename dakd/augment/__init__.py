"""Augmentations of whole batches, on the batch's own device; every image draws for itself.

Each module takes images (B, 3, H, W) and splits into `sample`, which is random and looks only at
the shape, and `apply`, which is deterministic. Drawing once and applying twice gives the same
pictures; the input is never changed. Nothing here makes the host wait for a GPU.
"""

from typing import Literal

from dakd.augment.base import Augmentation, Pipeline, rows_of
from dakd.augment.colour import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelExchange,
    ChannelGray,
    Normalise,
    denormalise,
)
from dakd.augment.geometry import Flip, PadCrop
from dakd.augment.rectangles import (
    ERASING_FILL,
    Box,
    ChannelRandomErasing,
    CutSwap,
    ErasingDraws,
    SwapDraws,
)

__all__ = [
    "ERASING_FILL",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "Box",
    "ChannelExchange",
    "ChannelGray",
    "ChannelRandomErasing",
    "CutSwap",
    "ErasingDraws",
    "Flip",
    "Normalise",
    "PadCrop",
    "Pipeline",
    "SwapDraws",
    "auxiliary_train",
    "denormalise",
    "evaluation_transform",
    "infrared_train",
    "rows_of",
    "visible_train",
]


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
