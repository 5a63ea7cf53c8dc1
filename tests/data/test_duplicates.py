"""Pictures that are in a dataset more than once."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from dakd.config import SyntheticConfig
from dakd.data import Dataset, ImageSet, Record, load_dataset
from dakd.data import duplicates as module
from dakd.data.duplicates import PROBE, describe_duplicates, duplicates, same_files


def made(folder, train, test):
    """A dataset of files whose content is given by name: {name: (modality, content)}."""

    def split(rows, first):
        records = []
        for pid, (name, (modality, content)) in enumerate(rows.items(), start=first):
            path = folder / name
            if content is not None:
                path.write_bytes(content)
            records.append(Record(pid, 1, modality, 1, path))
        return ImageSet(records, source=None)

    return Dataset(name="custom", train=split(train, 1), test=split(test, 101))


def names(groups):
    return [[(row.split, row.modality, row.path.name) for row in group] for group in groups]


def test_files_of_the_same_content_are_found(tmp_path):
    data = made(
        tmp_path,
        {"a": ("visible", b"one"), "b": ("infrared", b"two"), "c": ("visible", b"six")},
        {"d": ("infrared", b"one"), "e": ("visible", b"nine"), "f": ("infrared", b"nine")},
    )
    assert names(duplicates(data)) == [
        [("train", "visible", "a"), ("test", "infrared", "d")],
        [("test", "visible", "e"), ("test", "infrared", "f")],
    ]
    assert [row.pid for row in duplicates(data)[0]] == [1, 101]


def test_links_and_files_listed_twice_are_the_same_image(tmp_path):
    data = made(tmp_path, {"a": ("visible", b"one")}, {"b": ("visible", b"two")})
    os.symlink(tmp_path / "a", tmp_path / "link")
    twice = [*data.test.records, Record(9, 1, "visible", 1, tmp_path / "link")]
    twice += [dataclasses.replace(data.test.records[0], pid=8)]
    data = dataclasses.replace(data, test=ImageSet(twice, source=None))
    assert names(duplicates(data)) == [
        [("train", "visible", "a"), ("test", "visible", "link")],
        [("test", "visible", "b"), ("test", "visible", "b")],
    ]


@pytest.mark.parametrize("place", [0, PROBE, 3 * PROBE, 6 * PROBE - 1])
def test_one_byte_makes_another_image(tmp_path, place):
    content = bytearray(np.random.default_rng(0).bytes(6 * PROBE))
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "c").write_bytes(content)
    content[place] ^= 1
    (tmp_path / "b").write_bytes(content)
    assert same_files([tmp_path / name for name in "abc"]) == [[0, 2]]


def test_what_cannot_be_read_is_left_out(tmp_path):
    data = made(tmp_path, {"a": ("visible", b"x"), "b": ("visible", None)}, {"c": ("visible", b"")})
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert duplicates(data) == []
    assert same_files([tmp_path / "pipe", tmp_path / "pipe", tmp_path, tmp_path]) == []


def test_drawn_images_have_no_file():
    drawn = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=2)
    assert duplicates(load_dataset("synthetic", height=16, width=8, synthetic=drawn)) == []


def test_a_file_whose_size_nothing_else_has_is_not_opened(tmp_path, monkeypatch):
    data = made(
        tmp_path,
        {"a": ("visible", b"1"), "b": ("visible", b"22")},
        {"c": ("visible", b"333"), "d": ("visible", b"444")},
    )
    opened, probe = [], module._probe
    monkeypatch.setattr(module, "_probe", lambda path: opened.append(path.name) or probe(path))
    duplicates(data)
    assert sorted(opened) == ["c", "d"]
    duplicates(data)  # remembered
    assert len(opened) == 2


def test_the_kinds_describe_duplicates():
    def row(split, modality, name):
        return module.Listed(split, modality, 1, 1, Path("folder") / name)

    groups = [
        (row("train", "visible", "a"), row("test", "infrared", "b")),
        (row("test", "visible", "c"), row("test", "infrared", "d")),
        (row("train", "visible", "e"), row("train", "visible", "f")),
        (row("train", "visible", "g"), row("train", "visible", "g")),
    ]
    assert describe_duplicates(groups) == (
        "2 listed more than once (e = f), 1 in both splits (a = b), "
        "1 as visible and as infrared (c = d)"
    )
