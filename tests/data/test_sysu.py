import re

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from dakd.config import SyntheticConfig
from dakd.data import ImageError, load_dataset
from dakd.data.sysu import load_sysu, read_part, read_permutations

SIZE = {"height": 8, "width": 4}
# identity -> cameras; 2 was never seen by camera 1, 12 is validation, 30 and 331 are test
PEOPLE = {2: (2, 3), 9: (1, 4, 6), 12: (3, 4), 30: (1, 2, 3, 6), 331: (5, 6)}


@pytest.fixture
def root(tmp_path):
    """A tiny copy of the layout, under a folder whose name has everything that breaks parsers."""
    root = tmp_path / "cam 5 données.jpg" / "SYSU-MM01"
    for cam in range(1, 7):
        (root / f"cam{cam}").mkdir(parents=True)
    for pid, cams in PEOPLE.items():
        for cam in cams:
            folder = root / f"cam{cam}" / f"{pid:04d}"
            folder.mkdir()
            for number in (1, 2, 10):
                colour = (20 * cam, number, pid % 256)
                Image.new("RGB", (6, 12), colour).save(folder / f"{number:04d}.jpg", quality=100)
    exp = root / "exp"
    exp.mkdir()
    (exp / "train_id.txt").write_text("2,9")
    (exp / "val_id.txt").write_text(" 12 ,\n")
    (exp / "test_id.txt").write_text("331,30\r\n")
    return root


def test_splits_rows_and_images(root):
    data = load_dataset("sysu", root, **SIZE)
    assert data.train.classes.tolist() == [2, 9, 12]
    assert data.test.classes.tolist() == [30, 331]
    assert data.test.table[["pid", "cam", "number"]].to_numpy().tolist() == [
        [pid, cam, number] for pid in (30, 331) for cam in PEOPLE[pid] for number in (1, 2, 10)
    ]
    assert data.test.infrared.tolist() == np.isin(data.test.cams, (3, 6)).tolist()
    images = data.test.images([0, 17])
    assert images.shape == (2, 3, 8, 4)
    assert images.dtype == torch.uint8
    assert (images[:, 0, 0, 0] - torch.tensor([20, 120])).abs().max() <= 2
    assert data.root == root
    assert data.fingerprint == load_sysu(str(root), **SIZE).fingerprint


def test_the_filter_and_the_pipeline(tmp_path, root):
    named = set()
    for name in ("lanczos", "bicubic", "bilinear"):
        data = load_dataset("sysu", root, **SIZE, filter=name)
        cached = load_dataset(
            "sysu", root, **SIZE, filter=name, cache=tmp_path / "cache", show=False
        )
        named |= {data.fingerprint, cached.fingerprint, cached.train.source.path}
        for split, fast in ((data.train, cached.train), (data.test, cached.test)):
            assert split.source.filter == name
            assert split.pipeline == fast.pipeline == "sysu"
            assert torch.equal(split.images(), fast.images())
    assert len(named) == 6
    default = load_dataset("sysu", root, **SIZE)
    assert default.train.source.filter == default.filter == "lanczos"


def test_what_is_no_image_is_passed_over(root):
    before = load_sysu(root, **SIZE).fingerprint
    for name in ("Thumbs.db", ".DS_Store", "._0001.jpg", "notes.txt"):
        (root / "cam1" / "0009" / name).write_bytes(b"x")
        (root / "cam1" / name).write_bytes(b"x")
    (root / "cam1_video_train" / "0009").mkdir(parents=True)
    (root / "cam1_video_train" / "0009" / "n.jpg").write_bytes(b"x")
    (root / "cam1" / "0500").mkdir()  # an identity that no list names
    assert load_sysu(root, **SIZE).fingerprint == before


def test_suffix_in_capitals(root):
    file = root / "cam1" / "0009" / "0002.jpg"
    file.rename(file.with_suffix(".JPG"))
    assert 2 in load_sysu(root, **SIZE).train.numbers[load_sysu(root, **SIZE).train.cams == 1]


@pytest.mark.parametrize("kind", [np.uint16, np.float64])
def test_ids_from_mat_where_there_is_no_txt(root, kind):
    before = load_sysu(root, **SIZE).fingerprint
    (root / "exp" / "train_id.txt").unlink()
    scipy.io.savemat(root / "exp" / "train_id.mat", {"id": np.array([[2, 9]], dtype=kind)})
    assert load_sysu(root, **SIZE).fingerprint == before


def _remove(path):
    for child in path.iterdir() if path.is_dir() else ():
        _remove(child)
    path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_remove, FileNotFoundError, "no folder .*SYSU-MM01; root must be"),
        (lambda r: _remove(r / "cam4"), FileNotFoundError, "SYSU-MM01 lacks the folders cam4; un"),
        (lambda r: _remove(r / "exp"), FileNotFoundError, "lacks the folders exp"),
        (lambda r: (r / "exp/val_id.txt").unlink(), FileNotFoundError, "val_id.txt nor val_id.mat"),
        (lambda r: (r / "exp/val_id.txt").write_text("\n"), ValueError, "lists no identity"),
        (lambda r: (r / "exp/val_id.txt").write_text("12,x1"), ValueError, "val_id.txt: 'x1' is"),
        (lambda r: (r / "exp/val_id.txt").write_text("12,30"), ValueError, "identities 30 are in"),
        (lambda r: (r / "exp/val_id.txt").write_text("12,77"), ValueError, "cam1/0077"),
        (lambda r: _remove(r / "cam1/0009/0001.jpg") or _remove(r / "cam1/0009/0002.jpg")
            or _remove(r / "cam1/0009/0010.jpg"), ValueError, "cam1/0009 holds no image"),
        (lambda r: (r / "cam1/0009/new.jpg").touch(), ValueError, "new.jpg: the name must be"),
        (lambda r: (r / "cam1/0009/1.png").touch(), ValueError, "are both image 1"),
    ],
)  # fmt: skip
def test_faults_are_named(root, spoil, error, message):
    spoil(root)
    with pytest.raises(error, match=message):
        load_sysu(root, **SIZE)


def test_a_root_one_folder_too_high(root):
    with pytest.raises(FileNotFoundError, match="did you mean .*SYSU-MM01"):
        load_sysu(root.parent, **SIZE)


def test_damaged_mat_of_ids(root):
    (root / "exp" / "val_id.txt").unlink()
    (root / "exp" / "val_id.mat").write_bytes(b"no mat file")
    with pytest.raises(ValueError, match=r"cannot read 'id' from .*val_id\.mat"):
        load_sysu(root, **SIZE)


def test_a_truncated_image_is_named_when_read(root):
    file = root / "cam6" / "0331" / "0001.jpg"
    file.write_bytes(file.read_bytes()[:100])
    data = load_sysu(root, **SIZE)
    with pytest.raises(ImageError, match=r"cam6.0331.0001\.jpg"):
        data.test.images()


def test_names():
    with pytest.raises(ValueError, match="dataset 'market' is unknown; use one of synthetic, sysu"):
        load_dataset("market")
    with pytest.raises(ValueError, match=r"cam1 \.\.\. cam6.*licensed.*dakd export --layout sysu"):
        load_dataset("sysu")
    with pytest.raises(ValueError, match="only 'regdb' is split more than once"):
        load_dataset("sysu", "somewhere", trial=2)


def test_an_unknown_filter(root):
    with pytest.raises(ValueError, match="filter 'nearest' is unknown"):
        load_dataset("sysu", root, **SIZE, filter="nearest")


@pytest.mark.parametrize("keep", [True, False])
def test_synthetic_by_name(keep):
    config = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=1)
    data = load_dataset("synthetic", height=16, width=8, synthetic=config, keep=keep)
    assert data.test.num_classes == 20
    assert data.train.images([0]).shape == (1, 3, 16, 8)
    assert data.train.keep is data.test.keep is keep
    assert data.train.pipeline == data.test.pipeline == "sysu"


# The official draws -------------------------------------------------------------------------------


def write_permutations(path, sizes, cameras=6, people=3):
    """A file of the published structure: a cell of cells of (10, n) uint8 matrices."""
    rng = np.random.default_rng(0)
    cell = np.empty((cameras, 1), dtype=object)
    for cam in range(cameras):
        inner = np.empty((people, 1), dtype=object)
        for pid in range(people):
            n = sizes.get((cam + 1, pid + 1), 0)
            rows = [rng.permutation(n) + 1 for _ in range(10)]
            inner[pid, 0] = np.array(rows, dtype=np.uint8).reshape(10, n)
        cell[cam, 0] = inner
    scipy.io.savemat(path, {"rand_perm_cam": cell})


def test_permutations(tmp_path):
    path = tmp_path / "rand_perm_cam.mat"
    write_permutations(path, {(1, 1): 5, (1, 3): 1, (4, 2): 7})
    draws = read_permutations(path)
    assert sorted(draws) == [(1, 1), (1, 3), (4, 2)]
    assert draws[4, 2].shape == (10, 7)
    assert draws[4, 2].dtype == np.int64
    assert (np.sort(draws[1, 1]) == [1, 2, 3, 4, 5]).all()


def test_permutations_missing_or_wrong(tmp_path):
    path = tmp_path / "rand_perm_cam.mat"
    with pytest.raises(FileNotFoundError, match=r"data_split.*wuancong/SYSU-MM01.*exp/rand_perm"):
        read_permutations(path)
    scipy.io.savemat(path, {"something": 1})
    with pytest.raises(ValueError, match="cannot read 'rand_perm_cam'"):
        read_permutations(path)
    inner, cell = np.empty((1, 1), dtype=object), np.empty((6, 1), dtype=object)
    inner[0, 0] = np.zeros((10, 3), dtype=np.uint8)
    cell[:, 0] = [inner] * 6
    scipy.io.savemat(path, {"rand_perm_cam": cell})
    with pytest.raises(ValueError, match="camera 1, identity 1 holds no permutations"):
        read_permutations(path)


@pytest.mark.parametrize("content", [np.array(["a", "b"]), np.array([np.nan]), {"id": 3}])
def test_foreign_matrices_name_their_file(tmp_path, content):
    """A matrix of that name that holds words, no numbers or a structure."""
    (tmp_path / "exp").mkdir()
    scipy.io.savemat(tmp_path / "exp" / "val_id.mat", {"id": content})
    with pytest.raises(ValueError, match=r"val_id\.mat holds no identity numbers; restore the"):
        read_part(tmp_path, "val")
    scipy.io.savemat(tmp_path / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": content})
    with pytest.raises(ValueError, match=r"rand_perm_cam\.mat: .*; copy the file from https"):
        read_permutations(tmp_path / "exp" / "rand_perm_cam.mat")


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"no folder {re.escape(str(tmp_path))}.sysu"):
        load_sysu("~/sysu", height=8, width=4)
    with pytest.raises(FileNotFoundError, match="no folder ~nobody-of-this-name"):
        load_sysu("~nobody-of-this-name/sysu", height=8, width=4)
