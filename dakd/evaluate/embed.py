"""Extraction of embeddings."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dakd.augment import evaluation_transform
from dakd.data import ImageSet
from dakd.data.prefetch import prefetch
from dakd.model import ReIDModel
from dakd.runtime import at_least_float32, autocast, evaluating, pick_device


@torch.no_grad()
def extract(
    model: ReIDModel,
    images: ImageSet,
    *,
    rows: np.ndarray | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    batch: int = 256,
    device: str = "auto",
    precision: str = "float32",
    flip: bool = False,
) -> Tensor:
    """Return the embeddings of images, computed in eval mode.

    Args:
        model: the network; moved to `device`.
        images: the images.
        rows: rows of `images`, (N,); by default all.
        transform: uint8 (n, 3, H, W) to normalised float; by default the evaluation transform.
        batch: images per forward pass.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"float32"`` or ``"bfloat16"`` (see `dakd.runtime.autocast`).
        flip: add the embedding of the mirrored image to each before normalisation. Doubles the
            time, and the results can only be compared with others computed so.

    Returns:
        (N, D) on the CPU, float32 (float64 for a float64 network), rows of unit length, in the
        order of `rows`.

    Raises:
        ValueError: size or resize filter of the images differ from those of the network's training
            (`ReIDModel.trained_at`).
        FloatingPointError: an embedding is not finite.
    """
    torch_device = pick_device(device)
    transform = evaluation_transform() if transform is None else transform
    rows = np.arange(len(images)) if rows is None else rows
    on_gpu = torch_device.type == "cuda"
    batches = np.array_split(rows, max(1, -(-len(rows) // batch)))

    def fetch(part: np.ndarray) -> Tensor:
        return images.images(part).pin_memory() if on_gpu else images.images(part)

    model.to(torch_device)
    parts = []
    with evaluating(model), autocast(torch_device, precision):
        for pixels in prefetch(batches, fetch, workers=2 * on_gpu):  # (n, 3, H, W)
            check_image_fields(model, pixels.shape[2:], images.filter)
            x = transform(pixels.to(torch_device, non_blocking=True))
            x = x.contiguous(memory_format=torch.channels_last)
            z = at_least_float32(model(x))  # (n, D)
            parts.append(normalize(z + at_least_float32(model(x.flip(-1)))) if flip else z)
    embeddings = torch.cat(parts).cpu()  # (N, D)
    bad = (~embeddings.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise FloatingPointError(
            f"{len(bad)} of {len(rows)} embeddings are not finite, the first is that of "
            f"{images.records[rows[int(bad[0])]]}; the weights or the images hold NaN"
        )
    return embeddings


def check_image_fields(
    model: ReIDModel, size: Sequence[int], filter: str, name: str = "the network"
) -> None:
    """Check that images have the size and resize filter of a network's training images.

    Args:
        model: the network.
        size: height and width of the images.
        filter: their resize filter; empty if they were not resized.
        name: of the network, for the message.

    Raises:
        ValueError: the message names the fields that differ.
    """
    actual = {"height": size[0], "width": size[1], "filter": filter}
    trained = getattr(model, "trained_at", {})
    differing = (
        f"{field} {trained[field]}, and these have {value}"
        for field, value in actual.items()
        if value and trained.get(field, value) != value
    )
    if text := "; of ".join(differing):
        raise ValueError(
            f"{name} was trained on images of {text}; load the dataset with the settings of the "
            "training"
        )
