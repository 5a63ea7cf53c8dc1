"""Augmentations of image batches (B, 3, H, W) on their device, with draws of its own per image.

An augmentation is split into `sample`, which draws at random and depends on the batch's shape
only, and `apply`, which is deterministic: the same draws give the same images. The input is never
changed, and nothing here makes the host wait for a GPU.
"""

from typing import Literal, get_args

import torch

from dakd.augment.base import Augmentation, Pipeline, rows_of
from dakd.augment.colour import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ChannelExchange,
    ChannelGray,
    Normalise,
    RandomGrayscale,
    denormalise,
)
from dakd.augment.cutswap import CutSwap, SwapDraws
from dakd.augment.erasing import ERASING_FILL, ChannelRandomErasing, ErasingDraws
from dakd.augment.geometry import Box, Flip, PadCrop
from dakd.runtime import require

PipelineName = Literal["sysu", "regdb", "llcm"]
_LLCM_WIDTH = 8 / 9  # share of the width that a crop keeps: 128 of 144 pixels

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
    "PipelineName",
    "RandomGrayscale",
    "SwapDraws",
    "auxiliary_train",
    "denormalise",
    "evaluation_transform",
    "infrared_train",
    "rows_of",
    "visible_train",
]


def visible_train(
    *,
    pad: int,
    cutswap: Literal["paper", "release", "none"] = "paper",
    pipeline: PipelineName = "sysu",
    dtype: torch.dtype = torch.float32,
) -> Pipeline:
    """Return the training augmentation of visible images, as published for a dataset.

    ========= =====================================================================
    ``sysu``  pad black and crop, flip, normalise, CutSwap, erasing
    ``regdb`` flip, pad grey (127) and crop, normalise, erasing
    ``llcm``  greyscale (half the images), pad black and crop, flip, normalise, erasing
    ========= =====================================================================

    The crop of ``llcm`` keeps 8/9 of the width: 384 x 128 of 384 x 144 pixels. The released code
    defines its stages, but holds no script that trains or tests on LLCM.

    Args:
        pad: pixels added to each side before the crop.
        cutswap: variant of `CutSwap` between normalisation and erasing, or ``"none"``. Published
            for ``sysu`` only.
        pipeline: the dataset.
        dtype: of the result; see `Normalise`.

    Raises:
        ValueError: unknown pipeline or variant, negative `pad`, or an unsuitable dtype.
    """
    swap = [] if cutswap == "none" else [CutSwap(variant=cutswap)]
    return Pipeline(*_until_normalised(pipeline, pad, dtype), *swap, ChannelRandomErasing())


def infrared_train(
    *, pad: int, pipeline: PipelineName = "sysu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Return the training augmentation of infrared images, as published for a dataset.

    The stages of `visible_train` without CutSwap, and `ChannelGray` at the end of ``sysu`` only.

    Args:
        pad, pipeline, dtype: see `visible_train`.

    Raises:
        ValueError: see `visible_train`.
    """
    last = [ChannelGray()] if pipeline == "sysu" else []
    return Pipeline(*_until_normalised(pipeline, pad, dtype), ChannelRandomErasing(), *last)


def auxiliary_train(
    *, pad: int, pipeline: PipelineName = "sysu", dtype: torch.dtype = torch.float32
) -> Pipeline:
    """Return the training augmentation of visible images for the auxiliary stream of the teacher.

    Its stages are the visible ones of ``sysu`` without CutSwap, followed by `ChannelExchange`. They
    are the same for ``regdb``, and for ``llcm``, where nothing is published, with its narrower
    crop.

    Args:
        pad, pipeline, dtype: see `visible_train`.

    Raises:
        ValueError: see `visible_train`.
    """
    _check(pipeline)
    crop = PadCrop(pad, keep_width=_LLCM_WIDTH if pipeline == "llcm" else 1.0)
    return Pipeline(crop, Flip(), Normalise(dtype), ChannelRandomErasing(), ChannelExchange())


def evaluation_transform(dtype: torch.dtype = torch.float32) -> Normalise:
    """Return the transform of test images: normalisation only, for every dataset.

    LLCM's test images therefore keep their whole width, 384 x 144 pixels, though training crops
    to 384 x 128; no published script tests on LLCM.

    Args:
        dtype: of the result; see `Normalise`.
    """
    return Normalise(dtype)


def _until_normalised(
    pipeline: PipelineName, pad: int, dtype: torch.dtype
) -> tuple[Augmentation, ...]:
    _check(pipeline)
    if pipeline == "regdb":
        return Flip(), PadCrop(pad, fill=127), Normalise(dtype)
    if pipeline == "llcm":  # published: greyscale between pad and crop, which is the same
        crop = PadCrop(pad, keep_width=_LLCM_WIDTH)
        return RandomGrayscale(), crop, Flip(), Normalise(dtype)
    return PadCrop(pad), Flip(), Normalise(dtype)


def _check(pipeline: PipelineName) -> None:
    known = get_args(PipelineName)
    require(pipeline in known, f"pipeline {pipeline!r} is unknown; use one of {', '.join(known)}")
