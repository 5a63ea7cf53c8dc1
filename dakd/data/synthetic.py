"""The embedded benchmark: pedestrians that are drawn on request.

SYSU-MM01 must not be redistributed, so the package draws a substitute: people made of signed
distance shapes walk past six cameras in the roles of SYSU-MM01's. Results on it do not carry over
to SYSU-MM01. `dakd.data.export` writes it to disk in the layouts of the licensed datasets.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dakd.config import SyntheticConfig, fingerprint
from dakd.data.drawing.canvas import Canvas
from dakd.data.drawing.pedestrian import paint_pedestrians
from dakd.data.drawing.people import conditions_of, identities, select
from dakd.data.drawing.scenery import CAMERAS, background, expose, obstruct
from dakd.data.drawing.wardrobe import Spectrum
from dakd.data.records import Dataset, ImageSet, Record
from dakd.runtime import source_fingerprint

CHUNK = (1 << 18, 1 << 22)  # pixels drawn at a time on a CPU (its cache is small) and on a GPU


def cameras_of(pid: int) -> tuple[int, ...]:
    """Return the cameras that recorded an identity; as in SYSU-MM01, not all did.

    Two in five identities are not recorded by cameras 1 and 2, one in sixteen not by camera 3; all
    are by cameras 4, 5 and 6, so both modalities exist.

    >>> cameras_of(1), cameras_of(2), cameras_of(7)
    ((1, 2, 3, 4, 5, 6), (3, 4, 5, 6), (4, 5, 6))
    """
    missing = {1, 2} if pid % 5 in (2, 4) else set()
    if pid % 16 == 7:
        missing = missing | {3}
    return tuple(cam for cam in CAMERAS if cam not in missing)


@contextlib.contextmanager
def _workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that draw chunks in parallel, each with single-threaded kernels.

    This is faster than threads inside every small kernel, especially on a busy machine.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        with ThreadPoolExecutor(1) as pool:
            yield pool
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


class SyntheticSource:
    """Draws records on request; an image depends on its record and the configuration alone.

    Each of the six cameras can draw both modalities. Identity, camera and number determine pose and
    conditions, so records that differ only in modality show the same moment.

    Args:
        config: the benchmark.
        records: one for each row.
        height, width: image size in pixels, which changes the sampling alone.
        device: the device that draws.

    Raises:
        ValueError: the size is too small.
    """

    def __init__(
        self, config: SyntheticConfig, records: Sequence[Record], *, height: int, width: int,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        if height < 16 or width < 8:
            raise ValueError(
                f"{height} x {width} pixels are too small for a person; use 16 x 8 or more"
            )
        self.config, self.records = config, records
        self.height, self.width = height, width
        self.device = torch.device(device)

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 images (n, 3, H, W) on the CPU."""
        out = torch.empty((len(rows), 3, self.height, self.width), dtype=torch.uint8)
        jobs = list(self._jobs(rows))
        with _workers(self.device) as pool:
            drawn = pool.map(lambda job: self._draw([self.records[rows[i]] for i in job]), jobs)
            for job, images in zip(jobs, drawn, strict=True):
                out[torch.from_numpy(job)] = images
        return out

    def _jobs(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield positions in `rows` that are drawn together: one camera and modality per chunk."""
        views = [(self.records[row].cam, self.records[row].modality) for row in rows]
        size = max(1, CHUNK[self.device.type == "cuda"] // (self.height * self.width))
        for view in sorted(set(views)):
            places = np.flatnonzero([other == view for other in views])
            yield from (places[start : start + size] for start in range(0, len(places), size))

    @torch.no_grad()
    def _draw(self, records: Sequence[Record]) -> Tensor:
        """Draw images of one camera and modality."""
        config, cam = self.config, records[0].cam
        spectrum: Spectrum = "visible"
        if records[0].modality == "infrared":
            spectrum = "thermal" if config.thermal else "infrared"
        pids, index = np.unique([r.pid for r in records], return_inverse=True)
        identity = select(identities(config, pids.tolist()), torch.from_numpy(index))
        conditions = conditions_of(config, [(r.pid, r.cam, r.number) for r in records])
        pixels = background(cam, spectrum, conditions, config.clutter, self.height, self.width)
        light = torch.tensor(CAMERAS[cam].light, dtype=torch.float64).repeat(len(records), 1)
        light[:, 1] += 0.15 * conditions.sun * (spectrum == "visible")
        canvas = Canvas(pixels.contiguous().to(self.device), conditions.blur, light)
        paint_pedestrians(canvas, identity, conditions, spectrum)
        obstruct(canvas, conditions, spectrum)
        return expose(canvas.pixels, cam, spectrum, conditions).cpu()


def identity_numbers(config: SyntheticConfig) -> tuple[range, range]:
    """Return the numbers of the training identities, from 1, and those of the test identities.

    >>> identity_numbers(SyntheticConfig(train_ids=4, test_ids=20))
    (range(1, 5), range(5, 25))
    """
    first_test = config.train_ids + 1
    return range(1, first_test), range(first_test, first_test + config.test_ids)


def records_of(config: SyntheticConfig, pids: Iterable[int]) -> list[Record]:
    """Return the benchmark's records of some identities, by identity, camera and number."""
    numbers = range(1, config.images_per_camera + 1)
    return [
        Record(pid, cam, "infrared" if CAMERAS[cam].infrared else "visible", number)
        for pid in pids
        for cam in cameras_of(pid)
        for number in numbers
    ]


def load_synthetic(
    config: SyntheticConfig, *, height: int, width: int, device: torch.device | str = "cpu"
) -> Dataset:
    """Return the embedded benchmark, whose images are drawn on request.

    Training identities are 1..`train_ids`, test identities follow.

    Args:
        config: the numbers of people and images, and their difficulty.
        height, width: image size in pixels.
        device: the device that draws.

    Raises:
        ValueError: the size is too small.

    >>> data = load_synthetic(SyntheticConfig(train_ids=4, test_ids=20), height=32, width=16)
    >>> data.train.num_classes, int(data.test.classes[0]), data.test.images([0]).shape
    (4, 5, torch.Size([1, 3, 32, 16]))
    """

    def split(pids: range) -> ImageSet:
        records = records_of(config, pids)
        source = SyntheticSource(config, records, height=height, width=width, device=device)
        return ImageSet(records, source)

    train, test = map(split, identity_numbers(config))
    name = image_fingerprint(config, height, width)
    return Dataset(name="synthetic", train=train, test=test, content=name)


def image_fingerprint(
    config: SyntheticConfig, height: int, width: int, layout: str | None = None
) -> str:
    """Return ten hexadecimal digits that change with settings, size and drawing code.

    Args:
        config: the benchmark.
        height, width: image size in pixels.
        layout: that of an export, whose digits change with the exporting code, too.
    """
    code = source_fingerprint("data/drawing", "data/synthetic.py")
    if layout is None:
        return fingerprint(config, height, width, code)
    writer = source_fingerprint("data/export.py")
    return fingerprint(config, height, width, code, layout, writer)
