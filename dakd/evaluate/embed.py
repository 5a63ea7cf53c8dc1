"""From images to embeddings, in eval mode."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dakd.augment import evaluation_transform
from dakd.data import ImageSet
from dakd.data.prefetch import prefetch
from dakd.model import ReIDModel
from dakd.runtime import at_least_float32, autocast, evaluating, pick_device, require


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
    """Return the embeddings of images, in eval mode.

    Args:
        model: the network; moved to `device`.
        images: the images.
        rows: which of them, (N,); by default all.
        transform: uint8 (n, 3, H, W) to normalised float; by default that of testing.
        batch: images a forward pass.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        precision: ``"float32"`` or ``"bfloat16"`` (see `dakd.runtime.autocast`).
        flip: add the embedding of the mirrored image to each before the length is made 1. Costs
            twice the time, and makes a number that only compares with others made so.

    Returns:
        (N, D) on the CPU, float32 (float64 of a network of that type), rows of unit length, in the
        order of `images`.

    Raises:
        ValueError: the images are of another size, or were resized with another filter, than those
            that the network was trained on (`ReIDModel.trained_at`).
        FloatingPointError: an embedding is not finite.
    """
    where = pick_device(device)
    transform = evaluation_transform() if transform is None else transform
    rows = np.arange(len(images)) if rows is None else rows
    on_gpu = where.type == "cuda"
    batches = np.array_split(rows, max(1, -(-len(rows) // batch)))

    def fetch(part: np.ndarray) -> Tensor:
        return images.images(part).pin_memory() if on_gpu else images.images(part)

    model.to(where)
    parts = []
    with evaluating(model), autocast(where, precision):
        for pictures in prefetch(batches, fetch, workers=2 * on_gpu):
            refuse_other_images(model, pictures.shape[2:], images.filter)
            x = transform(pictures.to(where, non_blocking=True))
            x = x.contiguous(memory_format=torch.channels_last)
            z = at_least_float32(model(x))  # (n, D)
            parts.append(normalize(z + at_least_float32(model(x.flip(-1)))) if flip else z)
    embeddings = torch.cat(parts).cpu()  # (N, D)
    bad = (~embeddings.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise FloatingPointError(
            f"{len(bad)} of {len(rows)} embeddings are not finite, that of "
            f"{images.records[rows[int(bad[0])]]} first; the weights or the images hold NaN"
        )
    return embeddings


def refuse_other_images(
    model: ReIDModel, size: Sequence[int], filter: str, who: str = "the network"
) -> None:
    """Refuse images that are read in another way than those that a network was trained on.

    Args:
        model: the network.
        size: height and width of the images.
        filter: that they were resized with; empty where they were not.
        who: what the message calls the network.

    Raises:
        ValueError: the message names what differs.
    """
    here = {"height": size[0], "width": size[1], "filter": filter}
    there = getattr(model, "trained_at", {})
    apart = [name for name, value in here.items() if value and there.get(name, value) != value]
    told = (f"{name} {there[name]}, and these have {here[name]}" for name in apart)
    require(
        not apart,
        f"{who} was trained on images of {'; of '.join(told)}; load the dataset as it was "
        "for training",
    )
