import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dakd.data import Dataset, ImageError, ImageSet, Record
from dakd.data.records import SAMPLED, FileSource


class Counting:
    """A source of grey images whose value is their row; it notes what was read."""

    def __init__(self):
        self.reads = []

    def read(self, rows):
        self.reads += list(rows)
        grey = torch.as_tensor(np.asarray(rows), dtype=torch.uint8)
        return grey[:, None, None, None].expand(-1, 3, 4, 2).clone()


def make_set(n=6, keep=True):
    records = [
        Record(7 + i // 2, 1 + i % 2 * 2, ("visible", "infrared")[i % 2], 1) for i in range(n)
    ]
    return ImageSet(records, Counting(), keep=keep)


def test_columns():
    images = make_set()
    assert images.pids.tolist() == [7, 7, 8, 8, 9, 9]
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.cams.tolist() == [1, 3] * 3
    assert images.infrared.tolist() == [False, True] * 3
    assert (images.num_classes, len(images), len(images.table)) == (3, 6, 6)


@pytest.mark.parametrize("keep", [True, False])
def test_rows_come_in_the_order_asked_for_and_are_read_once(keep):
    images = make_set(keep=keep)
    for rows in ([4, 1, 4], np.array([1, 5]), [2], torch.tensor([0])):
        assert images.images(rows)[:, 0, 0, 0].tolist() == list(rows)
    assert images.images()[:, 0, 0, 0].tolist() == list(range(6))
    if keep:
        assert sorted(images.source.reads) == list(range(6))
    image, record = images[3]
    assert image.shape == (3, 4, 2)
    assert record.pid == 8


@pytest.mark.parametrize("keep", [True, False])
def test_masks_and_no_rows(keep):
    images = make_set(keep=keep)
    assert images.images([]).shape == (0, 3, 4, 2)
    assert images.images(images.infrared)[:, 0, 0, 0].tolist() == [1, 3, 5]
    assert FileSource([], height=4, width=2).read(np.array([], dtype=int)).shape == (0, 3, 4, 2)


@pytest.mark.parametrize("rows", [[6], [-1], [0.5], [[0, 1]], [True, False], 3])
def test_rows_that_do_not_exist(rows):
    with pytest.raises(IndexError, match="rows"):
        make_set().images(rows)


def test_files_are_resized_and_become_rgb(tmp_path):
    Image.new("L", (20, 40), 77).save(tmp_path / "grey.png")
    Image.new("RGB", (2, 4), (1, 2, 3)).save(tmp_path / "small.png")
    source = FileSource([tmp_path / "grey.png", tmp_path / "small.png"], height=8, width=4)
    images = source.read(np.array([1, 0]))
    assert images.dtype == torch.uint8
    assert images.shape == (2, 3, 8, 4)
    assert images[0, :, 0, 0].tolist() == [1, 2, 3]
    assert images[1].unique().tolist() == [77]


FILTERS = {name: Image.Resampling[name.upper()] for name in ("lanczos", "bicubic", "bilinear")}


@pytest.mark.parametrize("name", FILTERS)
def test_files_are_resized_as_pillow_does(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    size = {"height": 13, "width": 9}
    image = FileSource([tmp_path / "a.png"], **size, filter=name).read(np.array([0]))[0]
    expected = np.asarray(Image.fromarray(noise).resize((9, 13), FILTERS[name]))
    assert np.array_equal(image.permute(1, 2, 0), expected)
    default = FileSource([tmp_path / "a.png"], **size)
    assert default.filter == "lanczos"
    assert torch.equal(default.read(np.array([0]))[0], image) is (name == "lanczos")


def test_a_filter_must_be_known():
    with pytest.raises(ValueError, match="'nearest' is unknown; use one of lanczos, bicubic, bil"):
        FileSource([], height=4, width=2, filter="nearest")


def test_a_filter_is_not_changed_late(tmp_path):
    Image.new("L", (20, 40), 77).save(tmp_path / "a.png")
    source = FileSource([tmp_path / "a.png"], height=8, width=4, filter="bicubic")
    images = ImageSet([Record(1, 1, "visible", 1, tmp_path / "a.png")], source)
    with pytest.raises(
        AttributeError, match=r"'bicubic'\): load the dataset with filter='lanczos'"
    ):
        source.filter = "lanczos"
    again = pickle.loads(pickle.dumps(dataclasses.replace(images, keep=False)))
    assert source.filter == images.filter == again.filter == again.source.filter == "bicubic"
    assert torch.equal(again.images(), images.images())
    assert images.select([0]).filter == "bicubic"


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing"])
def test_a_damaged_file_is_named(tmp_path, damage):
    good, bad = tmp_path / "0001.jpg", tmp_path / "0002 é.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good)
    content = {"truncated": good.read_bytes()[:800], "text": b"no image", "empty": b""}
    if damage in content:
        bad.write_bytes(content[damage])
    records = [Record(1, 1, "visible", 1, good), Record(1, 1, "visible", 2, bad)]
    images = ImageSet(records, FileSource([good, bad], height=8, width=4))
    with pytest.raises(ImageError, match="0002 é.jpg"):
        images.images()
    assert images.images([0]).shape == (1, 3, 8, 4)  # the others remain readable


def test_summary_and_fingerprint():
    data = Dataset(name="x", train=make_set(6), test=make_set(4))
    assert data.summary["images"].tolist() == [3, 3, 2, 2]
    assert data.summary["identities"].tolist() == [3, 3, 2, 2]
    assert data.fingerprint == Dataset(name="y", train=make_set(6), test=make_set(4)).fingerprint
    assert data.fingerprint != Dataset(name="x", train=make_set(4), test=make_set(6)).fingerprint
    filters = [dataclasses.replace(data, filter=name).fingerprint for name in ("", *FILTERS)]
    assert filters[0] == data.fingerprint
    assert len(set(filters)) == 4


def test_selected_rows_are_the_same_images_and_are_not_read_twice():
    source = Counting()
    whole = ImageSet([Record(p, 1, "visible", p) for p in range(1, 6)], source)
    part = whole.select(np.array([False, True, False, True, True]))
    assert part.pids.tolist() == [2, 4, 5]
    assert part.images([2, 0])[:, 0, 0, 0].tolist() == [4, 1]
    whole.images([4, 1])
    assert sorted(source.reads) == [1, 4]


def test_images_keep_their_pipeline():
    images = make_set()
    assert images.pipeline == "sysu"
    thermal = dataclasses.replace(images, pipeline="regdb")
    assert thermal.select(thermal.infrared).select([0, 1]).pipeline == "regdb"
    assert dataclasses.replace(thermal, keep=False).pipeline == "regdb"


def test_every_part_of_a_record_and_its_file_count_in_the_fingerprint(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    empty = ImageSet([], source=None)

    def named(**change):
        record = dataclasses.replace(Record(1, 2, "visible", 3, path), **change)
        return Dataset(name="x", train=ImageSet([record], source=None), test=empty).fingerprint

    changes = [{"pid": 9}, {"cam": 9}, {"modality": "infrared"}, {"number": 9}, {"path": None}]
    names = [named(), *(named(**change) for change in changes)]
    path.write_bytes(b"two")  # of the same size
    names.append(named())
    path.write_bytes(b"longer")
    names.append(named())
    assert len(set(names)) == len(names) == 8


def test_of_many_files_some_count_by_content(tmp_path):
    paths = [tmp_path / f"{i}.bin" for i in range(SAMPLED)]
    for path in paths:
        path.write_bytes(b"a")
    records = [Record(1, 1, "visible", i, path) for i, path in enumerate(paths)]
    data = {"train": ImageSet(records, source=None), "test": ImageSet([], source=None)}
    before = Dataset(name="x", **data).fingerprint
    for path in paths[::2]:  # every second one at this number
        path.write_bytes(b"b")
        assert Dataset(name="x", **data).fingerprint != before
        path.write_bytes(b"a")
