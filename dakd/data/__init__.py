"""Datasets: visible and infrared images of people, with identities and cameras."""

import dataclasses
import os
from typing import Any, Literal, get_args

from dakd.config import SyntheticConfig
from dakd.data.cache import with_cache
from dakd.data.custom import load_custom
from dakd.data.decoding import ImageError
from dakd.data.llcm import load_llcm
from dakd.data.records import MARKER, Dataset, Filter, ImageSet, Record
from dakd.data.regdb import load_regdb
from dakd.data.sysu import load_sysu

Name = Literal["synthetic", "sysu", "regdb", "llcm", "custom"]
DATASETS: tuple[Name, ...] = get_args(Name)
WHAT_ROOT_IS = {
    "sysu": "the folder with cam1 ... cam6 and exp",
    "regdb": "the folder with Visible, Thermal and idx",
    "llcm": "the folder with vis, nir, test_vis, test_nir and idx",
    "custom": "a CSV or parquet table with the columns path, pid, cam, modality, split",
}


def load_dataset(
    name: Name,
    root: str | os.PathLike[str] | None = None,
    *,
    height: int = 384,
    width: int = 128,
    synthetic: SyntheticConfig | None = None,
    trial: int | None = None,
    keep: bool = True,
    filter: Filter = "lanczos",
    cache: str | os.PathLike[str] | None = None,
    show: bool = True,
) -> Dataset:
    """Return a dataset by name; images are decoded or drawn on request.

    Args:
        name: ``"synthetic"``, the embedded benchmark; ``"sysu"``, ``"regdb"`` or ``"llcm"``, the
            layout of SYSU-MM01, RegDB or LLCM on disk; ``"custom"``, any images by a table.
        root: the folder, or the table of ``"custom"``; not used by ``"synthetic"``.
        height, width: image size in pixels.
        synthetic: settings of the embedded benchmark; only used by ``"synthetic"``.
        trial: which of RegDB's ten splits, 1 to 10 (by default 1); for no other dataset.
        keep: keep decoded images in memory (H x W x 3 bytes each).
        filter: Pillow's resampling filter that resizes files; the published results use Lanczos.
            Not used by ``"synthetic"``.
        cache: folder for decoded images that all processes share (see `dakd.data.cache`); then none
            are kept in memory. Not used by ``"synthetic"``.
        show: show a progress bar while the cache is built.

    Raises:
        ValueError: the name, the trial or the filter is unknown, `root` is missing, or the content
            of the dataset is wrong.
        FileNotFoundError: a folder or file of the layout is missing.
        ImageError: an image cannot be decoded while the cache is built.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset {name!r} is unknown; use one of {', '.join(DATASETS)}")
    if trial is not None and name != "regdb":
        raise ValueError(f"trial={trial} was given, but only 'regdb' is split more than once")
    if name == "synthetic":
        from dakd.data.synthetic import load_synthetic

        dataset = load_synthetic(synthetic or SyntheticConfig(), height=height, width=width)
        train, test = (dataclasses.replace(s, keep=keep) for s in (dataset.train, dataset.test))
        return dataclasses.replace(dataset, train=train, test=test, drawn=True)
    if root is None:
        raise ValueError(
            f"load_dataset({name!r}) needs root=, {WHAT_ROOT_IS[name]}. The licensed datasets are "
            "distributed by their authors after an agreement is signed; without one, `dakd export "
            f"--layout {name}` writes drawn people in the same layout"
        )
    size: dict[str, Any] = {"height": height, "width": width, "keep": keep, "filter": filter}
    if name == "sysu":
        dataset = load_sysu(root, **size)
    elif name == "regdb":
        dataset = load_regdb(root, trial=1 if trial is None else trial, **size)
    elif name == "llcm":
        dataset = load_llcm(root, **size)
    else:
        dataset = load_custom(root, **size)
    if dataset.root and (dataset.root / MARKER).is_file():
        dataset = dataclasses.replace(dataset, drawn=True)
    return dataset if cache is None else with_cache(dataset, cache, show=show)


__all__ = ["DATASETS", "Dataset", "Filter", "ImageError", "ImageSet", "Record", "load_dataset"]
