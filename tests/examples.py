"""Small datasets made in memory, for tests that need images but not pedestrians."""

import numpy as np
import torch

from dakd.data import Dataset, ImageSet, Record

CAMERAS = {1: "visible", 2: "visible", 3: "infrared", 4: "visible", 5: "visible", 6: "infrared"}


class TensorSource:
    """Pictures held in memory."""

    def __init__(self, pictures: torch.Tensor) -> None:
        self.pictures = pictures

    def read(self, rows: np.ndarray) -> torch.Tensor:
        return self.pictures[torch.from_numpy(rows)]


def image_set(pids, *, images=2, height=32, width=16, seed=0) -> ImageSet:
    """Every identity in every camera, `images` each; an identity is a colour with noise."""
    generator = torch.Generator().manual_seed(seed)
    records, pictures = [], []
    for pid in pids:
        colour = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(pid))
        for cam, modality in CAMERAS.items():
            for number in range(1, images + 1):
                records.append(Record(pid, cam, modality, number))
                tint = colour if modality == "visible" else colour.mean(0, keepdim=True)
                base = torch.nn.functional.interpolate(tint[None], size=(height, width))[0]
                noise = 0.1 * torch.rand(3, height, width, generator=generator)
                pictures.append((base.expand(3, -1, -1) * 0.9 + noise) * 255)
    return ImageSet(records, TensorSource(torch.stack(pictures).to(torch.uint8)))


def dataset(train=12, test=20, **how) -> Dataset:
    """A dataset with disjoint identities in both splits."""
    return Dataset(
        name="sysu",
        train=image_set(range(1, train + 1), **how),
        test=image_set(range(train + 1, train + test + 1), **how),
    )
