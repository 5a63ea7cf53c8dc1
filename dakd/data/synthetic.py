"""The embedded benchmark: pedestrians drawn on demand, and exported in SYSU-MM01's layout.

Nobody may pass on SYSU-MM01, so the package draws its own stand-in: people made of signed-distance
shapes walk past six cameras in the roles of SYSU-MM01's. Results on it say nothing about SYSU-MM01.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from dakd.config import SyntheticConfig, fingerprint, to_dict
from dakd.data.drawing.canvas import Canvas
from dakd.data.drawing.pedestrian import paint_pedestrians
from dakd.data.drawing.people import identities, pictures, select
from dakd.data.drawing.scenery import CAMERAS, background, expose, obstruct
from dakd.data.drawing.wardrobe import Spectrum
from dakd.data.records import Dataset, ImageSet, Record
from dakd.runtime import progress, source_fingerprint

CHUNK = (1 << 18, 1 << 22)  # pixels drawn at a time on a CPU (its cache is small) and on a GPU
MARKER = "dakd_export.json"
NOTICE = """These pictures are drawn by a program. They are synthetic and NOT part of SYSU-MM01.

The folders follow the layout of SYSU-MM01 so that its readers and its protocol run on them.
A result on them must never be reported as a result on SYSU-MM01.
"""


def cameras_of(pid: int) -> tuple[int, ...]:
    """Return the cameras that saw an identity; as in SYSU-MM01, not everyone is seen by all.

    Two in five never come by cameras 1 and 2, one in sixteen not by camera 3; everybody passes
    4, 5 and 6, so that both modalities exist.

    >>> cameras_of(1), cameras_of(2), cameras_of(7)
    ((1, 2, 3, 4, 5, 6), (3, 4, 5, 6), (4, 5, 6))
    """
    missing = {1, 2} if pid % 5 in (2, 4) else set()
    if pid % 16 == 7:
        missing = missing | {3}
    return tuple(cam for cam in CAMERAS if cam not in missing)


@contextlib.contextmanager
def _workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Yield threads that draw chunks side by side, each with single-threaded kernels.

    That is faster than threads inside every small kernel, and much faster on a busy machine.
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
    """Draws records when asked; a picture depends on its record and the configuration alone.

    Args:
        config: the benchmark.
        records: one for each row.
        height, width: pixels; the picture is the same at any size, only sampled differently.
        device: where to draw.

    Raises:
        ValueError: the size is too small.
    """

    def __init__(
        self, config: SyntheticConfig, records: Sequence[Record], *, height: int, width: int,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        if height < 16 or width < 8:
            raise ValueError(f"{height} x {width} pixels show nobody; use 16 x 8 or more")
        self.config, self.records = config, records
        self.height, self.width = height, width
        self.device = torch.device(device)

    def read(self, rows: np.ndarray) -> Tensor:
        """Return rows (n,) as uint8 pictures (n, 3, H, W) on the CPU."""
        out = torch.empty((len(rows), 3, self.height, self.width), dtype=torch.uint8)
        jobs = list(self._jobs(rows))
        with _workers(self.device) as pool:
            drawn = pool.map(lambda job: self._draw([self.records[rows[i]] for i in job]), jobs)
            for job, pictures in zip(jobs, drawn, strict=True):
                out[torch.from_numpy(job)] = pictures
        return out

    def _jobs(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yield places in `rows` that are drawn together: one camera, at most a chunk of pixels."""
        cams = np.array([self.records[row].cam for row in rows])
        size = max(1, CHUNK[self.device.type == "cuda"] // (self.height * self.width))
        for cam in np.unique(cams):
            places = np.flatnonzero(cams == cam)
            yield from (places[start : start + size] for start in range(0, len(places), size))

    @torch.no_grad()
    def _draw(self, records: Sequence[Record]) -> Tensor:
        """Draw pictures of one camera."""
        config, cam = self.config, records[0].cam
        camera = CAMERAS[cam]
        spectrum: Spectrum = "visible"
        if camera.infrared:
            spectrum = "thermal" if config.thermal else "infrared"
        pids, index = np.unique([r.pid for r in records], return_inverse=True)
        who = select(identities(config, pids.tolist()), torch.from_numpy(index))
        how = pictures(config, [(r.pid, r.cam, r.number) for r in records])
        pixels = background(cam, spectrum, how, config.clutter, self.height, self.width)
        light = torch.tensor(camera.light, dtype=torch.float64).repeat(len(records), 1)
        light[:, 1] += 0.15 * how.sun * (spectrum == "visible")
        canvas = Canvas(pixels.contiguous().to(self.device), how.blur, light)
        paint_pedestrians(canvas, who, how, spectrum)
        obstruct(canvas, how, spectrum)
        return expose(canvas.pixels, cam, spectrum, how).cpu()


def _records(config: SyntheticConfig, pids: range) -> list[Record]:
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
    """Return the embedded benchmark, drawn when pictures are first asked for.

    Training identities are 1..`train_ids`, test identities follow.

    Args:
        config: how many people and how hard they are to tell apart.
        height, width: pixels.
        device: where to draw.

    Raises:
        ValueError: the size is too small.

    >>> data = load_synthetic(SyntheticConfig(train_ids=4, test_ids=20), height=32, width=16)
    >>> data.train.num_classes, data.test.classes[0], data.test.images([0]).shape
    (4, np.int64(5), torch.Size([1, 3, 32, 16]))
    """
    last = config.train_ids + config.test_ids
    splits = []
    for pids in (range(1, config.train_ids + 1), range(config.train_ids + 1, last + 1)):
        records = _records(config, pids)
        source = SyntheticSource(config, records, height=height, width=width, device=device)
        splits.append(ImageSet(records, source))
    name = picture_fingerprint(config, height, width)
    return Dataset(name="synthetic", train=splits[0], test=splits[1], pictures=name)


def picture_fingerprint(config: SyntheticConfig, height: int, width: int) -> str:
    """Return ten digits that change when a picture may: with settings, size or drawing code."""
    code = source_fingerprint("data/drawing", "data/synthetic.py")
    return fingerprint(config, height, width, code)


def export_sysu(
    config: SyntheticConfig,
    root: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    show: bool = True,
) -> Path:
    """Write the benchmark in SYSU-MM01's layout, whole or not at all, and return its folder.

    A finished export of the same configuration and size is left as it is.

    Args:
        config: the benchmark.
        root: folder to write.
        height, width: pixels.
        show: a progress bar.

    Raises:
        FileExistsError: `root` holds something else.
        NotADirectoryError: `root` is a file.
    """
    root = Path(root)
    name = picture_fingerprint(config, height, width)
    if _finished(root, name):
        return root
    temporary = root.with_name(f".{root.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        data = load_synthetic(config, height=height, width=width)
        _write_pictures([data.train, data.test], temporary, show)
        _write_lists(config, temporary / "exp")
        (temporary / "README.txt").write_text(NOTICE, encoding="utf-8")
        marker = {"fingerprint": name, "height": height, "width": width, "config": to_dict(config)}
        (temporary / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):
            root.rmdir()  # an empty folder gives way
        try:
            os.replace(temporary, root)
        except OSError:  # another process may have written the same meanwhile
            if not _finished(root, name):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def _finished(root: Path, name: str) -> bool:
    """Return whether `root` is this export already; complain if it is anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; name a folder for the export")
    if not any(root.iterdir()):
        return False
    marker = root / MARKER
    if (
        marker.is_file()
        and json.loads(marker.read_text(encoding="utf-8")).get("fingerprint") == name
    ):
        return True
    raise FileExistsError(
        f"{root} is not empty and is no export of this configuration; "
        "delete it or name another folder"
    )


def _batches(images: ImageSet, size: int = 256) -> Iterator[tuple[np.ndarray, Tensor]]:
    order = np.argsort(images.cams, kind="stable")
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield rows, images.source.read(rows)


def _write_pictures(splits: Sequence[ImageSet], root: Path, show: bool) -> None:
    def save(record: Record, picture: np.ndarray) -> None:
        folder = root / f"cam{record.cam}" / f"{record.pid:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{record.number:04d}.jpg", quality=95)

    bar = progress(None, total=sum(map(len, splits)), title="drawing pedestrians", show=show)
    with bar, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for images in splits:
            for rows, pictures in _batches(images):
                arrays = pictures.permute(0, 2, 3, 1).numpy()  # (n, H, W, 3)
                list(pool.map(save, [images.records[row] for row in rows], arrays))
                bar.update(len(rows))


def _write_lists(config: SyntheticConfig, folder: Path) -> None:
    """Write the identity lists and the permutations of the official sampling."""
    folder.mkdir()
    last = config.train_ids + config.test_ids
    seen = range(1, config.train_ids + 1)
    lists = {
        "train_id": [pid for pid in seen if pid % 4],
        "val_id": [pid for pid in seen if not pid % 4],
        "test_id": range(config.train_ids + 1, last + 1),
        "available_id": range(1, last + 1),
    }
    for name, pids in lists.items():
        (folder / f"{name}.txt").write_text(",".join(map(str, pids)) + "\n", encoding="utf-8")
    cells = np.empty((len(CAMERAS), 1), dtype=object)
    for cam in CAMERAS:
        cells[cam - 1, 0] = np.empty((last, 1), dtype=object)
        for pid in range(1, last + 1):
            cells[cam - 1, 0][pid - 1, 0] = _permutations(config, cam, pid)
    savemat(folder / "rand_perm_cam.mat", {"rand_perm_cam": cells})


def _permutations(config: SyntheticConfig, cam: int, pid: int) -> np.ndarray:
    """Return ten orders of an identity's images in a camera, (10, n), 1-based."""
    n = config.images_per_camera if cam in cameras_of(pid) else 0
    random = np.random.default_rng([config.seed % 2**32, 3, pid, cam])
    kind = np.uint8 if n < 256 else np.uint16
    return np.stack([random.permutation(n) + 1 for _ in range(10)]).astype(kind)
