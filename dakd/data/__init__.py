"""Datasets: visible and infrared images of people, with identities and cameras."""

import dataclasses
import os

from dakd.config import SyntheticConfig
from dakd.data.records import Dataset, ImageError, ImageSet, Record
from dakd.data.sysu import load_sysu

DATASETS = ("synthetic", "sysu")


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    height: int = 384,
    width: int = 128,
    synthetic: SyntheticConfig | None = None,
    keep: bool = True,
) -> Dataset:
    """Return a dataset by name; pictures are read or drawn only when asked for.

    Args:
        name: ``"synthetic"``, the embedded benchmark, or ``"sysu"``, SYSU-MM01's layout on disk.
        root: the folder; not used by ``"synthetic"``.
        height, width: size of the pictures, in pixels.
        synthetic: settings of the embedded benchmark; not used by ``"sysu"``.
        keep: remember every picture once read (H x W x 3 bytes each).

    Raises:
        ValueError: the name is unknown, a root is needed, or the folder's content is wrong.
        FileNotFoundError: a folder or file that the layout asks for is missing.
    """
    if name == "synthetic":
        from dakd.data.synthetic import load_synthetic

        dataset = load_synthetic(synthetic or SyntheticConfig(), height=height, width=width)
        train, test = (dataclasses.replace(s, keep=keep) for s in (dataset.train, dataset.test))
        return dataclasses.replace(dataset, train=train, test=test)
    if name == "sysu":
        if root is None:
            raise ValueError(
                "load_dataset('sysu') needs root=, the folder with cam1 ... cam6 and exp. "
                "SYSU-MM01 is given out by its authors after signing a licence; without it, "
                "`dakd export` (or dakd.data.synthetic.export_sysu) writes a synthetic copy in the "
                "same layout"
            )
        return load_sysu(root, height=height, width=width, keep=keep)
    raise ValueError(f"dataset {name!r} is unknown; use one of {', '.join(DATASETS)}")


__all__ = ["DATASETS", "Dataset", "ImageError", "ImageSet", "Record", "load_dataset"]
