import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dakd.data import ImageError, load_dataset
from dakd.data.llcm import load_llcm

SIZE = {"height": 8, "width": 4}
TRAIN = {  # list, folder, (camera, frame)...; frames are in the order of the names
    ("vis", 4): [(1, 7), (1, 8), (9, 2)],
    ("nir", 4): [(1, 7), (3, 5)],
    ("vis", 700): [(2, 1)],
    ("nir", 700): [(2, 4), (2, 3)],
}
TEST = {("vis", 1, 3): 2, ("vis", 9, 3): 1, ("nir", 1, 3): 2, ("vis", 2, 42): 1, ("nir", 8, 42): 1}


def save(path, colour=(0, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 12), colour).save(path, quality=100)


@pytest.fixture
def root(tmp_path):
    """A tiny copy of the layout, under a folder whose name has everything that breaks parsers."""
    root = tmp_path / "cam 5 _c07_ données.jpg" / "test_vis" / "LLCM"
    lines = {"vis": [], "nir": []}
    for (kind, pid), images in TRAIN.items():
        for cam, frame in images:
            name = f"{kind}/{pid:04d}/{pid:04d}_c{cam:02d}_s185535_f{frame:04d}_{kind}.jpg"
            save(root / name, (pid % 256, 20 * cam, 10 * frame))
            lines[kind].append(f"{name} {[4, 700].index(pid)}\n")
    for (kind, cam, pid), number in TEST.items():
        for frame in range(number):
            name = f"{pid:04d}_c{cam:02d}_s185734_f{frame:04d}_{kind}.jpg"
            save(root / f"test_{kind}" / f"cam{cam}" / f"{pid:04d}" / name, (pid, 20 * cam, frame))
    (root / "test_nir" / "cam3").mkdir()  # empty, as it is known to be
    (root / "idx").mkdir()
    for kind, content in lines.items():
        (root / "idx" / f"train_{kind}.txt").write_text("".join(content))
    (root / "idx" / "test_id.txt").write_text("42,3\n")
    return root


def rows_of(images):
    return [(r.pid, r.cam, r.modality[0], r.number, r.path.name[-12:-4]) for r in images.records]


def test_rows(root):
    data = load_dataset("llcm", root, **SIZE)
    assert rows_of(data.train) == [
        (4, 1, "v", 1, "0007_vis"),
        (4, 1, "v", 2, "0008_vis"),
        (4, 1, "i", 1, "0007_nir"),
        (4, 3, "i", 1, "0005_nir"),
        (4, 9, "v", 1, "0002_vis"),
        (700, 2, "v", 1, "0001_vis"),
        (700, 2, "i", 1, "0003_nir"),
        (700, 2, "i", 2, "0004_nir"),
    ]
    assert rows_of(data.test) == [
        (3, 1, "v", 1, "0000_vis"),
        (3, 1, "v", 2, "0001_vis"),
        (3, 1, "i", 1, "0000_nir"),
        (3, 1, "i", 2, "0001_nir"),
        (3, 9, "v", 1, "0000_vis"),
        (42, 2, "v", 1, "0000_vis"),
        (42, 8, "i", 1, "0000_nir"),
    ]
    assert data.root == root
    assert data.name == "llcm"


def test_the_filter_and_the_pipeline(tmp_path, root):
    named = set()
    for name in ("lanczos", "bicubic", "bilinear"):
        data = load_dataset("llcm", root, **SIZE, filter=name)
        cached = load_dataset(
            "llcm", root, **SIZE, filter=name, cache=tmp_path / "cache", show=False
        )
        named |= {data.fingerprint, cached.fingerprint, cached.train.source.path}
        for split, fast in ((data.train, cached.train), (data.test, cached.test)):
            assert split.source.filter == name
            assert split.pipeline == fast.pipeline == "llcm"
            assert torch.equal(split.images(), fast.images())
    assert len(named) == 6
    default = load_dataset("llcm", root, **SIZE)
    assert default.train.source.filter == default.filter == "lanczos"


def test_images(root):
    data = load_llcm(root, **SIZE)
    images = data.train.images([0, 4, 6])
    assert images.shape == (3, 3, 8, 4)
    assert images.dtype == torch.uint8
    expected = torch.tensor([[4, 20, 70], [4, 180, 20], [188, 40, 30]])
    assert (images[:, :, 0, 0].int() - expected).abs().max() <= 2


def test_absent_camera_and_strange_files_change_nothing(root):
    before = load_llcm(root, **SIZE).fingerprint
    (root / "test_nir" / "cam3").rmdir()
    for name in ("Thumbs.db", "._0003_c01.jpg", "notes.txt"):
        (root / "test_vis" / "cam1" / "0003" / name).write_bytes(b"x")
    (root / "test_vis" / "Thumbs.db").write_bytes(b"x")
    save(root / "test_vis" / "cam1" / "0099" / "0099_c01_f1_vis.jpg")  # nobody lists this identity
    save(root / "vis" / "0004" / "0004_c01_f9999_vis.jpg")  # nor this image
    assert load_llcm(str(root), **SIZE).fingerprint == before


def test_lists_of_other_systems(root):
    """Backslashes, carriage returns and a byte order mark."""
    before = load_llcm(root, **SIZE).fingerprint
    path = root / "idx" / "train_vis.txt"
    path.write_bytes(
        b"\xef\xbb\xbf" + path.read_bytes().replace(b"/", b"\\").replace(b"\n", b"\r\n")
    )
    (root / "idx" / "test_id.txt").write_bytes(b"3,42\r\n")
    assert load_llcm(root, **SIZE).fingerprint == before


def edit(root, name, old, new):
    path = root / "idx" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


VIS, NIR = "vis/0004/0004_c01_s185535_f0007_vis.jpg", "nir/0004/0004_c01_s185535_f0007_nir.jpg"


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (shutil.rmtree, FileNotFoundError, "no folder .*LLCM; root must be the folder that holds"),
        (lambda r: shutil.rmtree(r / "nir"), FileNotFoundError, "lacks the folders nir; unpack"),
        (lambda r: (r / "idx/train_nir.txt").unlink(), FileNotFoundError, "no file .*train_nir"),
        (lambda r: (r / "idx/test_id.txt").unlink(), FileNotFoundError, "no file .*test_id.txt"),
        (lambda r: (r / "idx/test_id.txt").write_text("3,b"), ValueError, "'b' is not an identity"),
        (lambda r: edit(r, "test_id.txt", "3", "3,700"), ValueError, "identities 700 are in both"),
        (lambda r: edit(r, "test_id.txt", "3", "3,77"), ValueError, "identities 77 .*cam1.0077"),
        (lambda r: shutil.rmtree(r / "vis/0004"), FileNotFoundError,
            r"3 of 4 images that .*train_vis.txt lists do not exist, such as vis.0004.0004_c01"),
        (lambda r: edit(r, "train_nir.txt", " 0\n", " 1\n"), ValueError,
            "label 1 belongs to the folders 0004, 0700"),
        (lambda r: edit(r, "train_nir.txt", " 1\n", " 2\n"), ValueError,
            "folder 0700 has the labels 1, 2"),
        (lambda r: edit(r, "train_nir.txt", " 0\n", " x\n"), ValueError, "train_nir.txt, line 1"),
    ],
)  # fmt: skip
def test_faults_are_named(root, spoil, error, message):
    spoil(root)
    with pytest.raises(error, match=message):
        load_llcm(root, **SIZE)


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("vis/0004/0004_s185535_vis.jpg", "0004_s185535_vis.jpg: no camera 1 to 9 in the name"),
        ("vis/0004/0004_c10_s1_f1_vis.jpg", "no camera 1 to 9"),
        ("vis/Anna/0004_c01_s1_f1_vis.jpg", "Anna.*the folder's name must be the identity's"),
        ("vis/4/0004_c01_s1_f1_vis.jpg", None),
    ],
)
def test_names(root, new, message):
    edit(root, "train_vis.txt", VIS, new)
    (root / new).parent.mkdir(exist_ok=True)
    (root / VIS).rename(root / new)
    if message:
        with pytest.raises(ValueError, match=message):
            load_llcm(root, **SIZE)
    else:  # the folder's number counts, not its zeros
        assert load_llcm(root, **SIZE).train.classes.tolist() == [4, 700]


def test_a_root_one_folder_too_high(root):
    with pytest.raises(FileNotFoundError, match=r"lacks the folders vis, .*did you mean .*LLCM\?"):
        load_llcm(root.parent, **SIZE)


def test_images_are_decoded_lazily(root):
    (root / NIR).write_bytes((root / NIR).read_bytes()[:100])
    data = load_llcm(root, **SIZE)
    others = np.array([r.path != root / NIR for r in data.train.records])
    assert len(data.train.images(others)) == 7
    with pytest.raises(ImageError, match=r"0004_c01_s185535_f0007_nir\.jpg"):
        data.train.images(~others)
