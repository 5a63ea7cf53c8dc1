"""RegDB's reader, on a small folder made here: labels, numbers, splits, and every fault named."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dakd.data import load_dataset
from dakd.data.regdb import load_regdb

SIZE = {"height": 8, "width": 4}
FOLDERS = ("Visible", "Thermal")
# trial 1 trains on 117 (label 0) and 9 (label 1) and tests 40 (0) and 1 (1); trial 2 reverses it
SPLITS = {1: {"train": (117, 9), "test": (40, 1)}, 2: {"train": (40, 1), "test": (117, 9)}}
NUMBERS = (7, 10, 2)  # as the lists name them, which is not the order by name


def name_of(folder, pid, number):
    return f"{folder}/{pid}/weiß front_{folder[0].lower()}_{number:05d}_{pid}.bmp"


@pytest.fixture
def root(tmp_path):
    """Four people of three images in either modality, whose colour is (identity, number, 0)."""
    root = tmp_path / "cam 5 données.bmp" / "RegDB"
    (root / "idx").mkdir(parents=True)
    for folder in FOLDERS:
        for pid in (1, 9, 40, 117):
            (root / folder / str(pid)).mkdir(parents=True)
            for number in NUMBERS:
                image = Image.new("RGB", (4, 8), (pid, number, 0))
                image.save(root / name_of(folder, pid, number))
        for trial, splits in SPLITS.items():
            for split, pids in splits.items():
                lines = [f"{name_of(folder, p, n)} {pids.index(p)}" for n in NUMBERS for p in pids]
                write_list(root, f"{split}_{folder.lower()}_{trial}", lines)
    return root


def write_list(root, name, lines):
    (root / "idx" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def edit_list(root, name, change):
    lines = (root / "idx" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    write_list(root, name, change(lines))


def test_rows_follow_labels_cameras_and_names(root):
    data = load_dataset("regdb", root, **SIZE)
    for split, pids in ((data.train, (117, 9)), (data.test, (40, 1))):
        rows = split.table[["pid", "cam", "modality", "number"]].to_numpy().tolist()
        assert rows == [
            [label, cam, modality, number]
            for label in (0, 1)
            for cam, modality in ((1, "visible"), (2, "infrared"))
            for number in (1, 2, 3)
        ]
        shown = split.images()[:, :2, 0, 0].tolist()
        assert shown == [[pid, n] for pid in pids for _ in FOLDERS for n in (2, 7, 10)]
    assert data.root == root
    assert data.name == "regdb"


def test_the_filter_and_the_pipeline(tmp_path, root):
    named = set()
    for name in ("lanczos", "bicubic", "bilinear"):
        data = load_dataset("regdb", root, **SIZE, filter=name)
        cached = load_dataset(
            "regdb", root, **SIZE, filter=name, cache=tmp_path / "cache", show=False
        )
        named |= {data.fingerprint, cached.fingerprint, cached.train.source.path}
        for split, fast in ((data.train, cached.train), (data.test, cached.test)):
            assert split.source.filter == name
            assert split.pipeline == fast.pipeline == "regdb"
            assert torch.equal(split.images(), fast.images())
    assert len(named) == 6
    default = load_dataset("regdb", root, **SIZE)
    assert default.train.source.filter == default.filter == "lanczos"


def test_trials_are_told_apart_though_all_files_have_one_size(root):
    first, second = (load_dataset("regdb", root, trial=trial, **SIZE) for trial in (1, 2))
    assert first.train.table.drop(columns="path").equals(second.train.table.drop(columns="path"))
    assert {r.path for r in first.train.records} == {r.path for r in second.test.records}
    assert first.fingerprint != second.fingerprint
    assert first.fingerprint == load_regdb(str(root), trial=np.int64(1), **SIZE).fingerprint


def test_lists_of_another_system_read_the_same(root):
    before = load_regdb(root, **SIZE).fingerprint
    for file in (root / "idx").iterdir():
        text = file.read_text(encoding="utf-8").replace("/", "\\").replace("\n", "\r\n")
        file.write_bytes(("\ufeff" + text).encode())
    assert load_regdb(root, **SIZE).fingerprint == before


def test_files_need_not_be_bitmaps_and_strangers_are_passed_over(root):
    for folder in FOLDERS:
        (root / folder / "Thumbs.db").touch()
        (root / folder / "9" / "unlisted.bmp").touch()
        (root / folder / "500").mkdir()
        old = root / name_of(folder, 9, 7)
        Image.open(old).save(old.with_suffix(".PNG"))
        old.unlink()
        edit_list(
            root, f"train_{folder.lower()}_1",
            lambda lines: [x.replace("07_9.bmp", "07_9.PNG") for x in lines],
        )  # fmt: skip
    data = load_regdb(root, **SIZE)
    assert data.train.images([7])[0, :2, 0, 0].tolist() == [9, 7]
    assert len(data.train) == 12


def test_an_identity_is_a_number_however_its_folder_writes_it(root):
    before = load_regdb(root, **SIZE).train.images()
    (root / "Thermal" / "9").rename(root / "Thermal" / "0009")
    edit_list(root, "train_thermal_1", lambda x: [y.replace("l/9/", "l/0009/") for y in x])
    after = load_regdb(root, **SIZE).train.images()
    assert after.equal(before)
    edit_list(root, "test_visible_1", lambda lines: [*lines, f"{name_of('Visible', 9, 2)} 5"])
    with pytest.raises(ValueError, match="identities 9 are in both"):
        load_regdb(root, **SIZE)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "no folder .*RegDB; root must be the folder that"),
        (lambda r: shutil.rmtree(r / "idx"), FileNotFoundError, "RegDB lacks the folders idx; un"),
        (lambda r: shutil.rmtree(r / "Visible"), FileNotFoundError, "lacks the folders Visible;"),
        (lambda r: (r / "idx/test_thermal_1.txt").unlink(), FileNotFoundError,
            r"test_thermal_1\.txt; it is part"),
        (lambda r: edit_list(r, "test_visible_1", lambda x: [*x, "Visible/9/a.bmp"]), ValueError,
            r"test_visible_1\.txt, line 7: 'Visible/9/a.bmp' is not"),
        (lambda r: edit_list(r, "test_visible_1", lambda x: [y.replace("Vis", "X") for y in x]),
            ValueError, r"test_visible_1\.txt lists Xible/40/.*not Visible/<identity's number>/"),
        (lambda r: edit_list(r, "test_visible_1", lambda x: [*x, f"{name_of('Thermal', 1, 7)} 1"]),
            ValueError, "lists Thermal/1/.*, which is not Visible/"),
        (lambda r: edit_list(r, "test_visible_1", lambda x: [*x, "Visible/a.bmp 1"]),
            ValueError, "lists Visible/a.bmp, which is not"),
        (lambda r: edit_list(r, "test_visible_1", lambda x: [*x, "Visible/new/a.bmp 1"]),
            ValueError, "lists Visible/new/a.bmp, which is not"),
        (lambda r: edit_list(r, "train_thermal_1", lambda x: [x[0][:-1] + "1", *x[1:]]), ValueError,
            "train_thermal_1.txt of .*: label 1 belongs to the folders 117, 9, folder 117 has the"),
        (lambda r: [edit_list(r, f"train_{m}_1", lambda x, m=m:
            [*x, f"{name_of(m.capitalize(), 40, 2)} 2"]) for m in ("visible", "thermal")],
            ValueError, "identities 40 are in both the training and the test lists of trial 1"),
        (lambda r: [(r / name_of("Thermal", 9, n)).unlink() for n in NUMBERS] and
            (r / name_of("Visible", 1, 2)).unlink(), FileNotFoundError,
            "4 of 24 images .*, such as Thermal/9/weiß front_t_00007_9.bmp, .* and 1 more; the"),
    ],
)  # fmt: skip
def test_faults_are_named(root, spoil, error, message):
    spoil(root)
    with pytest.raises(error, match=message):
        load_regdb(root, **SIZE)


def test_labels_exchanged_between_the_modalities(root):
    def exchange(lines):
        return [line[:-1] + str(1 - int(line[-1])) for line in lines]

    edit_list(root, "test_thermal_1", exchange)
    with pytest.raises(ValueError, match="label 0 belongs to the folders 1, 40, label 1 belongs"):
        load_regdb(root, **SIZE)
    edit_list(root, "test_visible_1", exchange)  # another numbering, but the same in both
    assert load_regdb(root, **SIZE).test.images([0])[0, 0, 0, 0] == 1


@pytest.mark.parametrize("trial", [0, 11, -1, 1.5, "1"])
def test_unknown_trials(root, trial):
    with pytest.raises(ValueError, match=f"trial {trial!r} is unknown; .* 1 to 10"):
        load_dataset("regdb", root, trial=trial, **SIZE)


def test_a_root_one_folder_too_high(root):
    with pytest.raises(FileNotFoundError, match="did you mean .*RegDB"):
        load_regdb(root.parent, **SIZE)
