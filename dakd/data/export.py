"""The embedded benchmark on disk, in the layouts that the readers of `dakd.data` expect.

A layout is one function: it says what is drawn, where each picture goes and which lists lie beside
them. No picture of a licensed dataset is involved.
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
from dakd.data.drawing.scenery import CAMERAS
from dakd.data.records import MARKER, Record
from dakd.data.synthetic import (
    SyntheticSource,
    cameras_of,
    identity_numbers,
    picture_fingerprint,
    records_of,
)
from dakd.data.whole_folder import sweep, whole_or_nothing
from dakd.protocols import Modality
from dakd.runtime import progress

Layout = Literal["sysu", "regdb", "llcm", "custom"]
TABLE = "people.csv"
MULTI_SHOT = 10  # images of a person and camera that SYSU-MM01's multi-shot gallery takes
NOTICE = """These pictures are drawn by a program. They are synthetic and NOT part of {name}.

Folders and lists follow the layout {layout!r}, so that its reader and protocol run on them.
A result on them must never be reported as a result on {name}.
"""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an export consists of.

    Attributes:
        pictures: what is drawn, by path below the export's folder; its suffix says the format.
        files: content of the lists, by path.
        empty: folders that are there without a picture.
    """

    pictures: Mapping[str, Record]
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
    for_others: bool = True,
) -> Path:
    """Write the benchmark in a dataset's layout, whole or not at all, and return its folder.

    A finished export of the same layout, configuration and size is left as it is. What an export
    that was killed left behind is removed by the next one to the same folder.

    Args:
        layout: ``"sysu"``, the six cameras as they are; ``"regdb"``, everybody by camera 4 and by a
            thermal camera 6, halved at random ten times; ``"llcm"``, every camera in both
            modalities, infrared at other moments than visible; ``"custom"``, PNG files and a table,
            ``people.csv``.
        config: the benchmark; ``"regdb"`` is thermal whatever it says.
        root: folder to write: a new one, an empty one, or a link to an empty one.
        height, width: pixels.
        show: a progress bar.
        for_others: other people's code shall read it, too. Of SYSU-MM01's multi-shot search much of
            it fails where a camera has fewer than ten images of a person (ours takes what there
            is); an export in that layout then warns of too few.

    Raises:
        ValueError: the layout is unknown, the size too small, or `root` the working folder.
        FileExistsError: `root` holds something else.
        NotADirectoryError: `root` is a file.
        OSError: `root` cannot be written; nothing was drawn.

    Warns:
        UserWarning: once an export, see `for_others`.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is unknown; use one of {', '.join(LAYOUTS)}")
    if layout == "regdb":
        config = dataclasses.replace(config, thermal=True)
    root = Path(os.path.expanduser(root))
    real = Path(os.path.realpath(root))  # a link stays one
    fingerprint = picture_fingerprint(config, height, width, layout)
    if used := [path.name for path in sweep(real) if path.parent == real]:
        raise FileExistsError(
            f"another process is writing an export into {root} just now ({used[0]}); wait for it, "
            "or name another folder"
        )
    if _finished(root, fingerprint):
        return root
    if real == Path.cwd():
        raise ValueError(
            f"{root} is the folder that you are in, and an export needs one of its own; name a new "
            f"folder, as {root / 'people'}"
        )
    name, plan_of = LAYOUTS[layout]
    plan = plan_of(config)
    marker = {"layout": layout, "fingerprint": fingerprint, "height": height, "width": width,
              "config": to_dict(config)}  # fmt: skip
    own = {
        "README.txt": NOTICE.format(name=name, layout=layout).encode(),
        MARKER: _lines([json.dumps(marker, indent=2)]),
    }
    records = list(plan.pictures.values())
    source = SyntheticSource(config, records, height=height, width=width)
    if for_others:
        _warn_of_few(layout, config.images_per_camera)
    with whole_or_nothing(real, MARKER, lambda: _finished(root, fingerprint)) as folder:
        _write_pictures(source, [folder / path for path in plan.pictures], show)
        for path in plan.empty:
            (folder / path).mkdir(parents=True)
        for path, content in {**plan.files, **own}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(content)
    return root


def _warn_of_few(layout: Layout, images: int) -> None:
    if layout == "sysu" and images < MULTI_SHOT:
        warnings.warn(
            f"{images} images of a person in each camera are too few for other people's code of "
            f"SYSU-MM01's multi-shot search, which takes {MULTI_SHOT} and fails on fewer; to run "
            f"such code, export with images_per_camera={MULTI_SHOT} (--images-per-camera "
            f"{MULTI_SHOT}) or more",
            stacklevel=3,
        )


def _finished(root: Path, fingerprint: str) -> bool:
    """Return whether `root` is this export already; complain if it is anything else."""
    if not os.path.lexists(os.path.realpath(root)):
        return False
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; name a folder for the export")
    if not any(root.iterdir()):
        return False
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no marker of ours
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        if marker["fingerprint"] == fingerprint:
            return True
    raise FileExistsError(
        f"{root} is not empty and is no export of this layout and configuration; "
        "delete it or name another folder"
    )


def _write_pictures(source: SyntheticSource, paths: Sequence[Path], show: bool) -> None:
    """Draw and write 256 pictures at a time, those of one camera and modality together."""
    records = source.records
    order = sorted(range(len(paths)), key=lambda row: (records[row].cam, records[row].modality))

    def save(row: int, picture: np.ndarray) -> None:
        paths[row].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(paths[row], quality=95)  # formats without loss ignore it

    bar = progress(None, total=len(order), title="drawing pedestrians", show=show)
    with bar, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            pictures = source.read(np.array(rows)).permute(0, 2, 3, 1).numpy()  # (n, H, W, 3)
            list(pool.map(save, rows, pictures))
            bar.update(len(rows))


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _ids(pids: Iterable[int]) -> bytes:
    return _lines([",".join(map(str, pids))])


def _index(pictures: Mapping[str, Record], pids: Iterable[int]) -> bytes:
    """Return the list of some identities' pictures, each with its identity's label, from 0."""
    labels = {pid: label for label, pid in enumerate(sorted(pids))}
    return _lines(f"{path} {labels[r.pid]}" for path, r in pictures.items() if r.pid in labels)


def _sysu(config: SyntheticConfig) -> Plan:
    """SYSU-MM01: ``cam<k>/<identity>/<number>.jpg``, identity lists, draws of the galleries."""
    train, test = identity_numbers(config)
    everybody = [*train, *test]
    pictures = {
        f"cam{r.cam}/{r.pid:04d}/{r.number:04d}.jpg": r for r in records_of(config, everybody)
    }
    files = {
        "exp/train_id.txt": _ids(pid for pid in train if pid % 4),
        "exp/val_id.txt": _ids(pid for pid in train if not pid % 4),
        "exp/test_id.txt": _ids(test),
        "exp/available_id.txt": _ids(everybody),
        "exp/rand_perm_cam.mat": _permutations(config, everybody),
    }
    return Plan(pictures, files)


def _permutations(config: SyntheticConfig, pids: Sequence[int]) -> bytes:
    """Return ten orders of each camera's images of each identity, (10, n), as the official file."""
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
    """RegDB: ``Visible`` and ``Thermal``, a folder for each identity, and ten random halvings."""
    train, test = identity_numbers(config)
    everybody, pictures, files = [*train, *test], {}, {}
    for folder, cam in (("Visible", 4), ("Thermal", 6)):
        pictures[folder] = {
            f"{folder}/{r.pid}/drawn_{folder[0].lower()}_{r.number:05d}_{r.pid}.bmp": r
            for r in records_of(config, everybody)
            if r.cam == cam
        }
    for trial in range(1, 11):
        random = np.random.default_rng([config.seed % 2**32, 4, trial])
        halves = np.array_split(random.permutation(everybody), 2)
        for split, half in zip(("train", "test"), halves, strict=True):
            for folder, part in pictures.items():
                files[f"idx/{split}_{folder.lower()}_{trial}.txt"] = _index(part, half.tolist())
    return Plan(pictures["Visible"] | pictures["Thermal"], files)


def _llcm(config: SyntheticConfig) -> Plan:
    """LLCM: ``vis`` and ``nir`` to train on, ``test_vis`` and ``test_nir`` by camera.

    Each of the six cameras takes both modalities, at different moments; as in LLCM, camera 3 takes
    no infrared image, and its folder is empty.
    """
    pictures: dict[str, Record] = {}
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
        pictures |= part
    return Plan(pictures, files, empty=("test_nir/cam3",))


def _custom(config: SyntheticConfig) -> Plan:
    """Any images: names with a space and an accent, and a table of what they show."""
    pictures: dict[str, Record] = {}
    rows = []
    for split, pids in zip(("train", "test"), identity_numbers(config), strict=True):
        for r in records_of(config, pids):
            path = f"drawn people/piéton {r.pid:04d}/cam{r.cam} {r.number:04d}.png"
            pictures[path] = r
            rows.append((path, r.pid, r.cam, r.modality, split))
    table = pd.DataFrame(rows, columns=["path", "pid", "cam", "modality", "split"])
    return Plan(pictures, {TABLE: table.to_csv(index=False, lineterminator="\n").encode()})


LAYOUTS: dict[str, tuple[str, Callable[[SyntheticConfig], Plan]]] = {
    "sysu": ("SYSU-MM01", _sysu),
    "regdb": ("RegDB", _regdb),
    "llcm": ("LLCM", _llcm),
    "custom": ("any dataset of real people", _custom),
}
