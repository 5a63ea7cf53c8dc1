"""Writes the embedded benchmark to disk in the layouts that the readers of `dakd.data` expect.

A layout is one function, which returns the images to draw, their paths, and the lists. No image of
a licensed dataset is involved.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from dakd.config import SyntheticConfig, to_dict
from dakd.data.atomic_folder import atomic_folder, remove_leftovers
from dakd.data.drawing.scenery import CAMERAS
from dakd.data.records import MARKER, Record
from dakd.data.synthetic import (
    SyntheticSource,
    cameras_of,
    identity_numbers,
    image_fingerprint,
    records_of,
)
from dakd.protocols import Modality
from dakd.runtime import progress

Layout = Literal["sysu", "regdb", "llcm", "custom"]
TABLE = "people.csv"
MULTI_SHOT = 10  # images per person and camera in SYSU-MM01's multi-shot gallery
NOTICE = """These images are drawn by a program. They are synthetic and NOT part of {name}.

Folders and lists follow the layout {layout!r}, so that its reader and protocol run on them.
A result on them must never be reported as a result on {name}.
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The content of an export.

    Attributes:
        images: the records to draw, by path below the export's folder; the suffix is the format.
        files: content of the lists, by path.
        empty: folders without images.
    """

    images: Mapping[str, Record]
    files: Mapping[str, bytes]
    empty: Sequence[str] = ()


def export_dataset(
    layout: Layout,
    config: SyntheticConfig,
    root: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    show: bool = True,
    warn: bool = True,
) -> Path:
    """Write the benchmark in a dataset's layout, atomically, and return its folder.

    A finished export of the same layout, configuration and size is kept. The next export to the
    same folder removes what a killed process has left there.

    Args:
        layout: ``"sysu"``, the six cameras; ``"regdb"``, all people in camera 4 and in a thermal
            camera 6, with ten random splits in halves; ``"llcm"``, every camera in both modalities,
            at different moments; ``"custom"``, PNG files and a table, ``people.csv``.
        config: the benchmark; ``"regdb"`` is always thermal.
        root: folder to write: a new one, an empty one, or a link to an empty one.
        height, width: image size in pixels.
        show: show a progress bar.
        warn: warn if other code cannot read the export: much code for SYSU-MM01's multi-shot
            search fails with fewer than ten images per person and camera (ours takes what there
            is).

    Raises:
        ValueError: the layout is unknown, the size is too small, or `root` is the working folder.
        FileExistsError: `root` holds other files.
        NotADirectoryError: `root` is a file.
        OSError: `root` cannot be written; nothing was drawn.

    Warns:
        UserWarning: once per export, see `warn`.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is unknown; use one of {', '.join(LAYOUTS)}")
    if layout == "regdb":
        config = dataclasses.replace(config, thermal=True)
    root = Path(os.path.expanduser(root))
    real = Path(os.path.realpath(root))  # a link stays one
    fingerprint = image_fingerprint(config, height, width, layout)
    if used := [path.name for path in remove_leftovers(real) if path.parent == real]:
        raise FileExistsError(
            f"another process is writing an export into {root} ({used[0]}); wait for it, "
            "or name another folder"
        )
    if _finished(root, fingerprint):
        return root
    if real == Path.cwd():
        raise ValueError(
            f"{root} is the working folder, and an export needs a folder of its own; name a new "
            f"one, such as {root / 'people'}"
        )
    name, plan_of = LAYOUTS[layout]
    plan = plan_of(config)
    marker = {"layout": layout, "fingerprint": fingerprint, "height": height, "width": width,
              "config": to_dict(config)}  # fmt: skip
    own = {
        "README.txt": NOTICE.format(name=name, layout=layout).encode(),
        MARKER: _lines([json.dumps(marker, indent=2)]),
    }
    records = list(plan.images.values())
    source = SyntheticSource(config, records, height=height, width=width)
    if warn:
        _warn_of_few(layout, config.images_per_camera)
    with atomic_folder(real, MARKER, lambda: _finished(root, fingerprint)) as folder:
        _write_images(source, [folder / path for path in plan.images], show)
        for path in plan.empty:
            (folder / path).mkdir(parents=True)
        for path, content in {**plan.files, **own}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)
    return root


def _warn_of_few(layout: Layout, images: int) -> None:
    if layout == "sysu" and images < MULTI_SHOT:
        warnings.warn(
            f"{images} images per person and camera are too few for much code of SYSU-MM01's "
            f"multi-shot search, which needs {MULTI_SHOT}; to run such code, export with "
            f"images_per_camera={MULTI_SHOT} (--images-per-camera {MULTI_SHOT}) or more",
            stacklevel=3,
        )


def _finished(root: Path, fingerprint: str) -> bool:
    """Return whether `root` is this export already; raise an error if it is anything else."""
    if not os.path.lexists(os.path.realpath(root)):
        return False
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; name a folder for the export")
    if not any(root.iterdir()):
        return False
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not our marker
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        if marker["fingerprint"] == fingerprint:
            return True
    raise FileExistsError(
        f"{root} is not empty and is not an export of this layout and configuration; "
        "delete it or name another folder"
    )


def _write_images(source: SyntheticSource, paths: Sequence[Path], show: bool) -> None:
    """Draw and write 256 images at a time, ordered by camera and modality."""
    records = source.records
    order = sorted(range(len(paths)), key=lambda row: (records[row].cam, records[row].modality))

    def save(row: int, image: np.ndarray) -> None:
        paths[row].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(paths[row], quality=95)  # lossless formats ignore the quality

    bar = progress(None, total=len(order), title="drawing pedestrians", show=show)
    with bar, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            images = source.read(np.array(rows)).permute(0, 2, 3, 1).numpy()  # (n, H, W, 3)
            list(pool.map(save, rows, images))
            bar.update(len(rows))


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _ids(pids: Iterable[int]) -> bytes:
    return _lines([",".join(map(str, pids))])


def _index(images: Mapping[str, Record], pids: Iterable[int]) -> bytes:
    """Return the list of some identities' images, each with its identity's label, from 0."""
    labels = {pid: label for label, pid in enumerate(sorted(pids))}
    return _lines(f"{path} {labels[r.pid]}" for path, r in images.items() if r.pid in labels)


def _sysu(config: SyntheticConfig) -> Plan:
    """SYSU-MM01: ``cam<k>/<identity>/<number>.jpg``, identity lists, draws of the galleries."""
    train, test = identity_numbers(config)
    everyone = [*train, *test]
    images = {f"cam{r.cam}/{r.pid:04d}/{r.number:04d}.jpg": r for r in records_of(config, everyone)}
    files = {
        "exp/train_id.txt": _ids(pid for pid in train if pid % 4),
        "exp/val_id.txt": _ids(pid for pid in train if not pid % 4),
        "exp/test_id.txt": _ids(test),
        "exp/available_id.txt": _ids(everyone),
        "exp/rand_perm_cam.mat": _permutations(config, everyone),
    }
    return Plan(images, files)


def _permutations(config: SyntheticConfig, pids: Sequence[int]) -> bytes:
    """Return ten orders (10, n) of the images per camera and identity, in the official format."""
    kind = np.uint8 if config.images_per_camera < 256 else np.uint16
    cells = np.empty((len(CAMERAS), 1), dtype=object)
    for cam in CAMERAS:
        cells[cam - 1, 0] = np.empty((len(pids), 1), dtype=object)
        for pid in pids:
            n = config.images_per_camera if cam in cameras_of(pid) else 0
            random = np.random.default_rng([config.seed % 2**32, 3, pid, cam])
            orders = np.stack([random.permutation(n) + 1 for _ in range(10)])  # (10, n)
            cells[cam - 1, 0][pid - 1, 0] = orders.astype(kind)
    file = io.BytesIO()
    savemat(file, {"rand_perm_cam": cells})
    return file.getvalue()


def _regdb(config: SyntheticConfig) -> Plan:
    """RegDB: ``Visible`` and ``Thermal``, a folder for each identity, and ten random splits."""
    train, test = identity_numbers(config)
    everyone, images, files = [*train, *test], {}, {}
    for folder, cam in (("Visible", 4), ("Thermal", 6)):
        images[folder] = {
            f"{folder}/{r.pid}/drawn_{folder[0].lower()}_{r.number:05d}_{r.pid}.bmp": r
            for r in records_of(config, everyone)
            if r.cam == cam
        }
    for trial in range(1, 11):
        random = np.random.default_rng([config.seed % 2**32, 4, trial])
        halves = np.array_split(random.permutation(everyone), 2)
        for split, half in zip(("train", "test"), halves, strict=True):
            for folder, part in images.items():
                files[f"idx/{split}_{folder.lower()}_{trial}.txt"] = _index(part, half.tolist())
    return Plan(images["Visible"] | images["Thermal"], files)


def _llcm(config: SyntheticConfig) -> Plan:
    """LLCM: ``vis`` and ``nir`` for training, ``test_vis`` and ``test_nir`` by camera.

    Each of the six cameras records both modalities, at different moments; as in LLCM, camera 3
    records no infrared images, and its folder is empty.
    """
    images: dict[str, Record] = {}
    train, test = identity_numbers(config)
    files = {"idx/test_id.txt": _ids(test)}
    modalities: dict[str, Modality] = {"vis": "visible", "nir": "infrared"}
    for (kind, modality), split in itertools.product(modalities.items(), ("train", "test")):
        pids, part = (train if split == "train" else test), {}
        for r in records_of(config, pids):
            if (r.cam, kind) == (3, "nir"):
                continue
            folder = kind if split == "train" else f"test_{kind}/cam{r.cam}"
            name = f"{r.pid:04d}_c{r.cam:02d}_s000000_f{r.number:04d}_{kind}.jpg"
            moment = r.number + (config.images_per_camera if kind == "nir" else 0)
            drawn = dataclasses.replace(r, modality=modality, number=moment)
            part[f"{folder}/{r.pid:04d}/{name}"] = drawn
        files[f"idx/{split}_{kind}.txt"] = _index(part, pids)
        images |= part
    return Plan(images, files, empty=("test_nir/cam3",))


def _custom(config: SyntheticConfig) -> Plan:
    """Any dataset: file names with a space and an accent, and a table of labels."""
    images: dict[str, Record] = {}
    rows = []
    for split, pids in zip(("train", "test"), identity_numbers(config), strict=True):
        for r in records_of(config, pids):
            path = f"drawn people/piéton {r.pid:04d}/cam{r.cam} {r.number:04d}.png"
            images[path] = r
            rows.append((path, r.pid, r.cam, r.modality, split))
    table = pd.DataFrame(rows, columns=["path", "pid", "cam", "modality", "split"])
    return Plan(images, {TABLE: table.to_csv(index=False, lineterminator="\n").encode()})


LAYOUTS: dict[str, tuple[str, Callable[[SyntheticConfig], Plan]]] = {
    "sysu": ("SYSU-MM01", _sysu),
    "regdb": ("RegDB", _regdb),
    "llcm": ("LLCM", _llcm),
    "custom": ("any dataset of real people", _custom),
}
