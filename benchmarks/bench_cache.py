"""Time and memory of the image cache: building it and reading random batches, against decoding.

The files are JPEGs of the sizes of person detections, a few hundred textures under many names. All
are in the operating system's file cache, so this measures CPU and memory, not a disk. Each line
comes from a new process; memory is its peak above what imports and records take.
"""

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import tyro
from PIL import Image

from dakd.data import Dataset, ImageSet, Record
from dakd.data.cache import with_cache
from dakd.data.records import FileSource

SYSU = 22_258 + 11_909  # training images of SYSU-MM01, visible and infrared
H, W, B, TEXTURES, DECODED = 384, 128, 64, 300, 2_000
STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def write_files(folder: Path, images: int) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for i in range(images):
        path = folder / f"{i:06d}.jpg"
        if i >= TEXTURES:
            os.link(folder / f"{i % TEXTURES:06d}.jpg", path)
            continue
        width = int(random.integers(60, 301))
        size = (width, int(width * random.uniform(2, 3)))
        blobs = Image.fromarray(random.integers(0, 256, (24, 12, 3), dtype=np.uint8))
        smooth = np.asarray(blobs.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
        noisy = smooth + random.normal(0, 6, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def load(folder: Path) -> Dataset:
    paths = sorted(folder.iterdir())
    records = [Record(1, 1, "visible", i, path) for i, path in enumerate(paths)]
    train = ImageSet(records, FileSource(paths, height=H, width=W), keep=False)
    test = ImageSet([], FileSource([], height=H, width=W), keep=False)
    return Dataset(name="bench", train=train, test=test, root=folder)


def read_batches(images: ImageSet, count: int) -> None:
    rows = np.random.default_rng(0).permutation(len(images))[:count]
    for start in range(0, count, B):
        images.images(rows[start : start + B])


def megabytes(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return int(found[1]) / 1e3 if found else float("nan")


def measure(task: str, folder: Path, count: int) -> tuple[float, float]:
    """Return seconds and megabytes of one task."""
    torch.set_num_threads(1)
    data, cache = load(folder / "images"), folder / "cache"
    if task == "read":
        data = with_cache(data, cache, show=False)
    tasks: dict[str, Callable[[], Any]] = {
        "decode": lambda: read_batches(data.train, count),
        "build": lambda: with_cache(data, cache, show=False),
        "open": lambda: with_cache(data, cache, show=False),
        "read": lambda: read_batches(data.train, count),
    }
    if FORGET_PEAK.exists():
        FORGET_PEAK.write_text("5")
    before, start = megabytes("VmRSS"), time.perf_counter()
    tasks[task]()
    return time.perf_counter() - start, megabytes("VmHWM") - before


def in_fresh_process(*arguments: Any) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def main(images: int = 2_000, folder: Path | None = None) -> None:
    """Measure with a number of images (SYSU-MM01 has 34,167) in a temporary folder in `folder`."""
    place = Path(tempfile.mkdtemp(prefix="bench_cache_", dir=folder))
    try:
        write_files(place / "images", images)
        kilobytes = np.mean([p.stat().st_size for p in (place / "images").iterdir()]) / 1e3
        print(f"{platform.machine()}, {os.cpu_count()} cores, Pillow {PIL.__version__}")
        print(f"{images:,} JPEG files of {kilobytes:.0f} kB at {H} x {W}, batches of {B}")
        rates, tasks = {}, {"decode": min(DECODED, images), "build": images, "read": images}
        for task, count in tasks.items():
            seconds, memory = in_fresh_process(task, place, count)
            rates[task] = count / seconds
            times = f"{rates[task] / rates['decode']:6.1f} x"
            print(f"{task:6} {rates[task]:9,.0f} images/s {times}   + {memory:4.0f} MB of memory")
        opening, _ = in_fresh_process("open", place, images)
        size = sum(p.stat().st_size for p in (place / "cache").glob("*.u8")) / 1e9
        print(f"{size:.2f} GB on disk, opened and checked in {opening:.2f} s")
        if images != SYSU:
            built, full = SYSU / rates["build"], size / images * SYSU
            print(
                f"In proportion, not measured: {SYSU:,} images would take {full:.1f} GB and "
                f"{built:.0f} s to build; memory does not depend on their number."
            )
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    tyro.cli(main)
