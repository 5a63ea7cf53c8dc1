"""The embedded benchmark on disk: four layouts, read back as drawn, written whole or not at all."""

import itertools
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import loadmat

from dakd.config import SyntheticConfig, replace
from dakd.data import load_dataset
from dakd.data.drawing.wardrobe import luminance
from dakd.data.export import LAYOUTS, export_dataset
from dakd.data.records import Record
from dakd.data.synthetic import SyntheticSource, cameras_of, image_fingerprint, load_synthetic

SMALL = SyntheticConfig(train_ids=6, test_ids=21, images_per_camera=2)
SIZE = {"height": 32, "width": 16}
TINY = {"height": 16, "width": 8}
QUIET = {"show": False, "warn": False}
INFRARED = (3, 6)  # cameras of the benchmark


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """One folder for each layout, of the same people."""
    base = tmp_path_factory.mktemp("exports")
    return {name: export_dataset(name, SMALL, base / name, **QUIET, **SIZE) for name in LAYOUTS}


# Read back ----------------------------------------------------------------------------------------


def expected(layout, config, pids):
    """What the reader must find of these people, row by row, and what was drawn for each row.

    Yields (pid, cam, modality, number as the reader counts, the drawn record).
    """
    numbers = range(1, config.images_per_camera + 1)
    for label, pid in enumerate(pids):
        if layout == "regdb":
            views = [(4, "visible"), (6, "infrared")]
        elif layout == "llcm":
            views = itertools.product(cameras_of(pid), ("visible", "infrared"))
        else:
            views = [(c, "infrared" if c in INFRARED else "visible") for c in cameras_of(pid)]
        for (cam, modality), number in itertools.product(views, numbers):
            if layout == "regdb":
                key = (label, 1 if modality == "visible" else 2)
            elif (layout, cam, modality) == ("llcm", 3, "infrared"):
                continue
            else:
                key = (pid, cam)
            later = config.images_per_camera if (layout, modality) == ("llcm", "infrared") else 0
            yield (*key, modality, number, Record(pid, cam, modality, number + later))


def people(layout, config, data):
    """The identities of both splits; in RegDB's layout the lists decide, here only checked."""
    last = config.train_ids + config.test_ids
    if layout != "regdb":
        return range(1, config.train_ids + 1), range(config.train_ids + 1, last + 1)
    halves = [
        sorted({int(r.path.parent.name) for r in split.records})
        for split in (data.train, data.test)
    ]
    assert sorted(halves[0] + halves[1]) == list(range(1, last + 1))
    assert 0 <= len(halves[0]) - len(halves[1]) <= 1
    return halves


def assert_same_images(split, drawn, exact):
    """Bit for bit, or as close as JPEG keeps them: each the nearest of all to what was drawn."""
    if exact:
        assert split.images().equal(drawn)
        return
    grey = [luminance(x.double().permute(0, 2, 3, 1)).flatten(1) for x in (split.images(), drawn)]
    distance = torch.cdist(*grey, p=1) / grey[0].shape[1]  # (N, N)
    assert distance.diagonal().max() < 4
    assert distance.argmin(1).tolist() == list(range(len(split)))


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=2, deadline=None, phases=[Phase.generate])  # shrinking would take minutes
@given(
    config=st.builds(
        SyntheticConfig,
        train_ids=st.integers(4, 6),
        test_ids=st.integers(20, 21),
        images_per_camera=st.just(2),
        thermal=st.booleans(),
        seed=st.integers(-5, 2**40),
    ),
    trial=st.integers(1, 10),
)
def test_an_export_reads_back_as_it_was_drawn(layout, config, trial):
    with tempfile.TemporaryDirectory() as folder:
        root = export_dataset(layout, config, Path(folder, "ex port"), **TINY, **QUIET)
        where = root / "people.csv" if layout == "custom" else root
        data = load_dataset(layout, where, **TINY, trial=trial if layout == "regdb" else None)
        config = replace(config, thermal=config.thermal or layout == "regdb")
        for name, pids in zip(("train", "test"), people(layout, config, data), strict=True):
            split, rows = getattr(data, name), list(expected(layout, config, pids))
            found = [(r.pid, r.cam, r.modality, r.number) for r in split.records]
            assert found == [row[:4] for row in rows]
            source = SyntheticSource(config, [row[4] for row in rows], **TINY)
            drawn = source.read(np.arange(len(rows)))
            assert_same_images(split, drawn, exact=layout in ("regdb", "custom"))


def test_sysu_lists_and_names(exports):
    root = exports["sysu"]
    files = sorted(root.glob("cam*/*/*.jpg"))
    data = load_synthetic(SMALL, **SIZE)
    assert len(files) == len(data.train) + len(data.test)
    with Image.open(root / "cam6" / "0027" / "0002.jpg") as image:
        assert (image.size, image.mode) == ((16, 32), "RGB")
    ids = {f.stem: [int(i) for i in f.read_text().split(",")] for f in root.glob("exp/*.txt")}
    assert ids["train_id"] == [1, 2, 3, 5, 6]
    assert ids["val_id"] == [4]
    assert ids["test_id"] == list(range(7, 28))
    assert ids["available_id"] == list(range(1, 28))


def test_sysu_permutations_are_like_the_official_ones(exports):
    cells = loadmat(exports["sysu"] / "exp" / "rand_perm_cam.mat")["rand_perm_cam"]
    assert cells.shape == (6, 1)
    for cam in range(1, 7):
        column = cells[cam - 1, 0]
        assert column.shape == (27, 1)
        for pid in range(1, 28):
            orders = column[pid - 1, 0]
            assert orders.dtype == np.uint8
            assert orders.shape == (10, 2 if cam in cameras_of(pid) else 0)
            assert all(sorted(row) == list(range(1, orders.shape[1] + 1)) for row in orders)


def test_regdb_lists_halve_everybody_ten_times(exports):
    root, halves = exports["regdb"], set()
    for trial in range(1, 11):
        lists = {}
        for split, modality in itertools.product(("train", "test"), ("visible", "thermal")):
            lines = (root / "idx" / f"{split}_{modality}_{trial}.txt").read_text().splitlines()
            pairs = [line.split() for line in lines]
            folders = [int(path.split("/")[1]) for path, _ in pairs]
            lists[split, modality] = dict(zip(folders, [int(label) for _, label in pairs]))
            assert len(lines) == 2 * len(lists[split, modality])
        for split, size in (("train", 14), ("test", 13)):
            assert lists[split, "visible"] == lists[split, "thermal"]
            assert list(lists[split, "visible"].values()) == list(range(size))
        halves.add(tuple(lists["train", "visible"]))
    assert len(halves) == 10
    assert (root / "Thermal" / "27" / "drawn_t_00002_27.bmp").is_file()


def test_llcm_folders_and_lists(exports):
    root = exports["llcm"]
    assert list((root / "test_nir" / "cam3").iterdir()) == []
    assert not list((root / "nir").rglob("*_c03_*"))
    assert (root / "vis/0001/0001_c03_s000000_f0001_vis.jpg").is_file()
    assert (root / "test_nir/cam6/0027/0027_c06_s000000_f0002_nir.jpg").is_file()
    listed = {}
    for name in ("train_vis", "train_nir", "test_vis", "test_nir"):
        lines = (root / "idx" / f"{name}.txt").read_text().splitlines()
        listed[name] = [line.split()[0] for line in lines]
        labels = [int(line.split()[1]) for line in lines]
        assert sorted(set(labels)) == list(range(6 if "train" in name else 21))
    on_disk = {path.relative_to(root).as_posix() for path in root.rglob("*.jpg")}
    assert sorted(itertools.chain(*listed.values())) == sorted(on_disk)
    assert (root / "idx" / "test_id.txt").read_text() == ",".join(map(str, range(7, 28))) + "\n"


def test_the_custom_table_has_names_that_break_parsers(exports):
    table = pd.read_csv(exports["custom"] / "people.csv")
    assert list(table.columns) == ["path", "pid", "cam", "modality", "split"]
    assert table["path"].str.fullmatch(r"drawn people/piéton \d{4}/cam\d \d{4}\.png").all()


# Whole or not at all ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_export_says_what_it_is(exports, layout):
    name = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM"}.get(layout, "any dataset of re")
    notice = (exports[layout] / "README.txt").read_text()
    assert f"NOT part of {name}" in notice
    assert f"reported as a result on {name}" in notice
    marker = json.loads((exports[layout] / "dakd_export.json").read_text())
    assert list(marker) == ["layout", "fingerprint", "height", "width", "config"]
    assert (marker["layout"], marker["height"], marker["width"]) == (layout, 32, 16)
    assert SyntheticConfig(**marker["config"]) == replace(SMALL, thermal=layout == "regdb")


def test_an_export_is_reused_only_for_the_same_settings(exports):
    root = exports["regdb"]
    before = (root / "README.txt").stat().st_mtime_ns
    for config in (SMALL, replace(SMALL, thermal=True)):  # RegDB is thermal in any case
        assert export_dataset("regdb", config, root, **SIZE, show=False) == root
    assert (root / "README.txt").stat().st_mtime_ns == before
    for layout, config in (("sysu", replace(SMALL, seed=1)), ("custom", SMALL)):
        with pytest.raises(FileExistsError, match="delete it or name another folder"):
            export_dataset(layout, config, exports["sysu"], **SIZE, show=False)
    with pytest.raises(NotADirectoryError, match=r"README\.txt is a file"):
        export_dataset("regdb", SMALL, root / "README.txt", **SIZE, show=False)


@pytest.mark.parametrize("marker", [None, "{", "[]", "{}"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, marker):
    (tmp_path / "notes").mkdir()
    if marker:
        (tmp_path / "dakd_export.json").write_text(marker)
    with pytest.raises(FileExistsError, match="is not an export of this layout and configuration"):
        export_dataset("custom", SMALL, tmp_path, **TINY, show=False)
    assert len(list(tmp_path.iterdir())) == 1 + bool(marker)


def test_an_empty_folder_is_filled_and_nothing_left_beside_it(tmp_path):
    (tmp_path / "a").mkdir()
    export_dataset("regdb", SMALL, tmp_path / "a", **TINY, show=False)
    assert (tmp_path / "a" / "Visible" / "1").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(path, content):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        export_dataset("regdb", SMALL, tmp_path / "a", **TINY, show=False)
    assert list(tmp_path.iterdir()) == []


ENDLESS = """
import sys, time
from dakd.config import SyntheticConfig
from dakd.data import export
export._write_images = lambda source, paths, show: [
    paths[0].parent.mkdir(parents=True), paths[0].touch(), print("drawing", flush=True),
    time.sleep(60)]
export.export_dataset("custom", SyntheticConfig(), sys.argv[1], height=16, width=8, show=False)
"""


@pytest.fixture
def drawing(tmp_path):
    """Start an export in another process; return it once it draws."""
    started = []

    def start(root):
        command = [sys.executable, "-c", ENDLESS, str(root)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout.readline() == b"drawing\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_export_left_is_removed_by_the_next_one(tmp_path, drawing, there):
    root = tmp_path / "a.b"
    if there:
        root.mkdir()
    child = drawing(root)
    (tmp_path / ".a.5.tmp").mkdir()  # of another export, "a"
    child.kill()
    child.wait()
    assert list(tmp_path.rglob(f".a.b.{child.pid}.tmp"))
    export_dataset("regdb", SMALL, root, **TINY, show=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.5.tmp", "a.b"]
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_an_export_in_progress_is_not_removed(tmp_path, drawing):
    child = drawing(tmp_path / "a")
    export_dataset("regdb", SMALL, tmp_path / "a", **TINY, show=False)
    assert (tmp_path / f".a.{child.pid}.tmp").is_dir()
    (tmp_path / "b").mkdir()
    drawing(tmp_path / "b")
    with pytest.raises(FileExistsError, match="another process is writing an export into .*b "):
        export_dataset("regdb", SMALL, tmp_path / "b", **TINY, show=False)


@pytest.mark.parametrize("way", ["new", "there", "deep"])
def test_ctrl_c_leaves_nothing(tmp_path, monkeypatch, way):
    def stopped(source, paths, show):
        (paths[0].parent).mkdir(parents=True)
        raise KeyboardInterrupt

    root = tmp_path / "made for it" / "a" if way == "deep" else tmp_path / "a"
    if way == "there":
        root.mkdir()
    monkeypatch.setattr("dakd.data.export._write_images", stopped)
    with pytest.raises(KeyboardInterrupt):
        export_dataset("custom", SMALL, root, **TINY, show=False)
    assert [path.name for path in tmp_path.rglob("*")] == (["a"] if way == "there" else [])


def link(path, target):
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let us make links")


@pytest.mark.parametrize("there", [False, True])
def test_a_link_stays_one_and_its_folder_is_filled(tmp_path, there):
    (tmp_path / "disk").mkdir()
    if there:
        (tmp_path / "disk" / "people").mkdir()
    link(tmp_path / "a", tmp_path / "disk" / "people")
    root = export_dataset("regdb", SMALL, tmp_path / "a", **TINY, show=False)
    assert root == tmp_path / "a"
    assert root.is_symlink()
    assert (tmp_path / "disk" / "people" / "idx" / "train_visible_1.txt").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "disk"]
    assert export_dataset("regdb", SMALL, tmp_path / "a", **TINY) == root  # finished


def test_a_mount_point_stays_itself(tmp_path):
    """It can be neither renamed nor removed; that it is the same folder shows that nobody tries."""
    root = tmp_path / "a"
    root.mkdir(mode=0o750)
    before = root.stat()
    export_dataset("regdb", SMALL, root, **TINY, show=False)
    assert (root.stat().st_ino, root.stat().st_mode) == (before.st_ino, before.st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_working_folder_is_refused_before_drawing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dakd.data.export._write_images", None)
    with pytest.raises(ValueError, match=r"^\. is the working folder, .* such as people$"):
        export_dataset("regdb", SMALL, ".", **TINY, show=False)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_itself_is_refused_before_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.data.export._write_images", None)
    link(tmp_path / "a", tmp_path / "a")
    with pytest.raises(NotADirectoryError, match="name a folder"):
        export_dataset("regdb", SMALL, tmp_path / "a", **TINY, show=False)


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    root = export_dataset("regdb", SMALL, "~/people", **TINY, show=False)
    assert root == tmp_path / "home" / "people"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_few_images_a_camera_are_warned_of_once(tmp_path, monkeypatch):
    monkeypatch.setattr("dakd.data.export._write_images", lambda *how: None)
    few, ten = replace(SMALL, images_per_camera=9), replace(SMALL, images_per_camera=10)

    def said(layout, config, **how):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            folder = tmp_path / f"{layout}{config.images_per_camera}{how}"
            export_dataset(layout, config, folder, **TINY, show=False, **how)
        found = [(w.category, Path(w.filename).name, str(w.message)) for w in caught]
        return [warning for warning in found if "multi-shot" in warning[2]]

    ((category, where, text),) = said("sysu", few)
    assert (category, where) == (UserWarning, "test_export.py")
    assert "9 images per person" in text
    assert "--images-per-camera 10" in text
    assert said("sysu", few) == []  # it is there already
    assert said("sysu", few, warn=False) == said("sysu", ten) == said("llcm", few) == []


def test_bad_requests_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="layout 'market' is unknown; use one of sysu, regdb, llc"):
        export_dataset("market", SMALL, tmp_path / "a", **SIZE)
    with pytest.raises(ValueError, match="8 x 4 pixels are too small for a person"):
        export_dataset("sysu", SMALL, tmp_path / "a", height=8, width=4)
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_layouts_apart():
    names = [image_fingerprint(SMALL, 32, 16, layout) for layout in (None, *LAYOUTS)]
    assert len(set(names)) == 5
    assert names[0] == image_fingerprint(SMALL, 32, 16) == load_synthetic(SMALL, **SIZE).content
