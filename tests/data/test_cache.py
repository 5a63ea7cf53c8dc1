import errno
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dakd.config import SyntheticConfig
from dakd.data import Dataset, ImageError, ImageSet, Record
from dakd.data.cache import _DECODED_AT_ONCE, CachedSource, with_cache
from dakd.data.records import FileSource
from dakd.data.synthetic import load_synthetic

H, W = 12, 6
Usage = namedtuple("Usage", "total used free")
START_METHODS = multiprocessing.get_all_start_methods()
forked = pytest.mark.skipif("fork" not in START_METHODS, reason="this system cannot fork")


def write_noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def write_folder(root):
    """Seven images for training, three for testing; a name with a space and an accent."""
    names = [f"cam1/{i}.png" for i in range(9)] + ["cam 2/é.jpg"]
    for seed, name in enumerate(names):
        write_noise(root / name, seed)
    return [root / name for name in names]


def load(root, *, height=H, width=W, order=slice(None), keep=True, **options):
    paths = [p for p in sorted(root.rglob("*.*g")) if p.is_file()][order]

    def split(paths):
        records = [Record(i, 1, "visible", 1, path) for i, path in enumerate(paths)]
        return ImageSet(records, FileSource(paths, height=height, width=width, **options), keep)

    return Dataset(name="x", train=split(paths[3:]), test=split(paths[:3]), root=root)


def cached(root, **options):
    return with_cache(load(root, **options), root.parent / "cache", show=False)


def files(root):
    return sorted((root.parent / "cache").glob("*.u8"))


def everything(root):
    """What is in the cache folder, but for the empty files that are locked."""
    return sorted(p for p in (root.parent / "cache").iterdir() if p.suffix != ".lock")


def assert_same_images(one, other):
    for a, b in ((one.train, other.train), (one.test, other.test)):
        assert torch.equal(a.images(), b.images())


@pytest.fixture
def root(tmp_path):
    write_folder(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files decoded so far."""
    names, decode = [], FileSource.decode
    monkeypatch.setattr(
        FileSource, "decode", lambda self, r: (names.append(self.paths[r].name), decode(self, r))[1]
    )
    return names


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A dataset and the same with a cache."""
    root = tmp_path_factory.mktemp("pair") / "data"
    write_folder(root)
    return load(root), cached(root)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.integers(0, 6), max_size=150))
def test_any_rows_are_the_images_of_the_files(pair, rows):
    plain, fast = (data.train.images(rows) for data in pair)
    assert fast.dtype == torch.uint8
    assert fast.shape == (len(rows), 3, H, W)
    assert torch.equal(plain, fast)


def test_a_split_with_a_cache_is_like_any_other(pair):
    plain, fast = pair
    assert_same_images(plain, fast)
    assert fast.train.keep is False
    assert fast.train.pipeline == fast.test.pipeline == "sysu"
    assert fast.train.table.equals(plain.train.table)
    assert fast.fingerprint == plain.fingerprint
    assert (fast.name, fast.root) == (plain.name, plain.root)
    mask = fast.train.pids % 2 == 1
    part = fast.train.select(mask)
    assert torch.equal(part.images([2, 0]), plain.train.images([5, 1]))
    assert torch.equal(fast.train[4][0], plain.train[4][0])
    with pytest.raises(IndexError, match="out of range for 7 images"):
        fast.train.images([7])


def test_a_cache_keeps_the_pipeline_and_nothing_that_was_kept_in_memory(root):
    plain = load(root)
    train, test = (replace(split, pipeline="regdb") for split in (plain.train, plain.test))
    train.images()
    fast = with_cache(replace(plain, train=train, test=test), root.parent / "cache", show=False)
    assert fast.train.pipeline == fast.test.pipeline == "regdb"
    assert fast.train._kept == {}


def test_the_file_is_the_images_one_after_another(root):
    data = cached(root)
    test, train = files(root)
    assert train.name.startswith(f"x-train-{H}x{W}-")
    assert np.array_equal(
        np.fromfile(train, np.uint8).reshape(7, 3, H, W), data.train.images().numpy()
    )
    assert test.stat().st_size == 3 * 3 * H * W


def test_many_files_in_the_order_of_the_rows(tmp_path, monkeypatch):
    write_noise(tmp_path / "data" / "0.png", 0)
    count = 2 * _DECODED_AT_ONCE + 3
    paths = [tmp_path / "data" / "0.png"] * count
    records = [Record(1, 1, "visible", i) for i in range(count)]
    split = ImageSet(records, FileSource(paths, height=1, width=1))
    grey = lambda self, row: np.full((3, 1, 1), row % 251, np.uint8)  # noqa: E731
    monkeypatch.setattr(FileSource, "decode", grey)
    whole = Dataset(name="x", train=split, test=split)
    data = with_cache(whole, tmp_path / "cache", workers=3, show=False)
    assert data.train.images()[:, 0, 0, 0].tolist() == [i % 251 for i in range(count)]


def test_it_is_built_once_and_then_only_read(root, decoded):
    cached(root)
    assert len(decoded) == 10
    before = [(p, p.stat().st_mtime_ns) for p in files(root)]
    data = cached(root)
    data.train.images([3, 3, 0])
    assert len(decoded) == 10
    assert [(p, p.stat().st_mtime_ns) for p in files(root)] == before


def touch(root):
    status = (root / "cam1/5.png").stat()
    os.utime(root / "cam1/5.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replace_one_of_another_length(root):
    path = root / "cam1/5.png"
    times = path.stat().st_mtime_ns
    write_noise(path, 77)
    with path.open("ab") as file:
        file.write(b"x")
    os.utime(path, ns=(times, times))


@pytest.mark.parametrize("change", [touch, replace_one_of_another_length])
def test_a_changed_file_replaces_the_cache_of_its_split(root, decoded, change):
    cached(root)
    (test, train), decoded[:] = files(root), []
    change(root)
    data = cached(root)
    assert len(decoded) == 7  # of the training split only
    assert_same_images(load(root), data)
    assert test in everything(root)
    assert train not in everything(root)
    assert len(everything(root)) == 2


def test_an_added_and_a_removed_file_and_a_renamed_one(root):
    cached(root)
    write_noise(root / "cam1/55.png", 55)
    assert_same_images(load(root), cached(root))
    (root / "cam1/55.png").unlink()
    (root / "cam1/7.png").unlink()
    assert_same_images(load(root), cached(root))
    (root / "cam1/8.png").rename(root / "cam1/9.png")
    known = files(root)
    cached(root)
    assert set(known) < set(files(root))


@pytest.mark.parametrize(
    "options",
    [
        {"height": W, "width": H},  # as many bytes
        {"width": W + 1},
        {"filter": "bicubic"},
        {"order": slice(None, None, -1)},
    ],
    ids=["turned", "wider", "filter", "row order"],
)
def test_other_sizes_filters_and_orders_have_caches_of_their_own(root, decoded, options):
    cached(root)
    known = files(root)
    assert_same_images(load(root, **options), cached(root, **options))
    assert set(known) < set(files(root))
    assert len(files(root)) == 4
    decoded.clear()
    cached(root)
    cached(root, **options)
    assert decoded == []


def test_a_moved_dataset_finds_its_cache(root, decoded):
    cached(root)
    known, moved = files(root), root.rename(root.with_name("moved"))
    decoded.clear()
    data = cached(moved)
    assert decoded == []
    assert files(root) == known
    assert_same_images(load(moved), data)


def test_another_copy_leaves_the_cache_alone(root):
    first, known, other = cached(root), files(root), root.with_name("other")
    write_folder(other)  # the same names and sizes, but written at another time
    assert_same_images(load(other), cached(other))
    assert set(known) < set(files(root))
    assert_same_images(load(root), first)


def test_a_failing_build_leaves_nothing_and_the_old_cache_as_it_was(root):
    old = cached(root)
    known, content = everything(root), old.train.images()
    path = root / "cam1/5.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"5\.png.*replace the file"):
        cached(root)
    assert everything(root) == known
    assert torch.equal(old.train.images(), content)
    write_noise(path, 5)
    assert_same_images(load(root), cached(root))


def test_a_missing_file_is_named(root):
    data = load(root)
    (root / "cam1/5.png").unlink()
    with pytest.raises(ImageError, match=r"no image .*5\.png"):
        with_cache(data, root.parent / "cache", show=False)


@forked
def test_what_a_killed_build_left_is_removed_by_the_next(root, monkeypatch):
    def killed(*args):  # the end of a process that no cleaning up follows
        os.kill(os.getpid(), 9)

    cached(root)
    known = everything(root)
    touch(root)
    monkeypatch.setattr(os, "fsync", killed)
    process = multiprocessing.get_context("fork").Process(target=cached, args=(root,))
    process.start()
    process.join()
    monkeypatch.undo()
    assert process.exitcode == -9
    (left,) = set(everything(root)) - set(known)
    assert left.name.startswith(".x-train")
    assert_same_images(load(root), cached(root))
    assert [p for p in everything(root) if p.name.startswith(".")] == []


@pytest.mark.parametrize("damage", ["cut off", "too long", "empty"])
def test_a_file_of_the_wrong_length_is_never_used(root, decoded, damage):
    cached(root)
    _, train = files(root)
    content = train.read_bytes()
    train.write_bytes({"cut off": content[:-1], "too long": content + b"0", "empty": b""}[damage])
    decoded.clear()
    assert_same_images(load(root), cached(root))
    assert len(decoded) >= 7
    assert train.read_bytes() == content


def test_a_cache_that_vanishes_or_shrinks_in_use_is_an_error(root):
    data = cached(root)
    test, train = files(root)
    train.unlink()
    os.truncate(test, 100)
    for split in (data.train, data.test):
        with pytest.raises(ImageError, match="load the dataset again"):
            split.images()


def test_a_full_disk_is_noticed_before_anything_is_decoded(root, decoded, monkeypatch):
    free = 10 * 3 * H * W - 1
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(9e9, 9e9, free))
    with pytest.raises(OSError, match=r"needs 0 MiB in .*cache, where 0 MiB are free") as caught:
        cached(root)
    assert caught.value.errno == errno.ENOSPC
    assert decoded == []
    assert everything(root) == []
    free += 1
    cached(root)
    touch(root)  # only the training split has to be built
    free = 7 * 3 * H * W
    cached(root)


def test_drawn_images_have_no_cache(tmp_path):
    drawn = load_synthetic(SyntheticConfig(train_ids=4), height=32, width=16)
    with pytest.raises(ValueError, match=r"'synthetic' come from SyntheticSource.*dakd export"):
        with_cache(drawn, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_relative_folder_holds_after_a_change_of_directory(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    data = with_cache(load(root), "cache", show=False)
    monkeypatch.chdir(root)
    assert_same_images(load(root), data)


def test_workers_must_be_positive(root):
    with pytest.raises(ValueError, match="workers must be 1 or more, not 0"):
        with_cache(load(root), root.parent, workers=0)


def test_an_empty_split(root):
    data = cached(root, order=slice(3))
    assert len(data.train) == 0
    assert data.train.images().shape == (0, 3, H, W)
    assert data.test.images().shape == (3, 3, H, W)


def test_the_source_can_be_pickled(pair):
    source = pickle.loads(pickle.dumps(pair[1].train.source))
    assert isinstance(source, CachedSource)
    assert torch.equal(source.read(np.array([6, 0])), pair[0].train.images([6, 0]))


def test_the_filter_of_a_cache_is_not_changed(root):
    source = cached(root, filter="bicubic").train.source
    with pytest.raises(AttributeError, match="load the dataset with filter='bilinear'"):
        source.filter = "bilinear"
    assert source.filter == pickle.loads(pickle.dumps(source)).filter == "bicubic"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_either_kind_read_it(pair, method):
    if method not in START_METHODS:
        pytest.skip(f"no {method} on this system")
    plain, fast = pair
    with multiprocessing.get_context(method).Pool(1) as pool:
        images = pool.apply(fast.train.images, ([3, 1],))
        assert torch.equal(images, plain.train.images([3, 1]))


@forked
def test_of_two_processes_one_builds_and_both_read(root, tmp_path, monkeypatch):
    log, decode, fork = tmp_path / "log", FileSource.decode, multiprocessing.get_context("fork")
    ready = fork.Barrier(2)

    def slow_and_noted(self, row):
        time.sleep(0.01)
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return decode(self, row)

    def build():
        ready.wait(10)
        data = cached(root)
        monkeypatch.undo()
        assert_same_images(load(root), data)

    monkeypatch.setattr(FileSource, "decode", slow_and_noted)
    processes = [fork.Process(target=build) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(log.read_text().split()) == 10
    assert len(everything(root)) == 2


# VmHWM, and not ru_maxrss, which a process inherits from the one that started it.
MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from dakd.data import Dataset, ImageSet, Record
from dakd.data.cache import with_cache
from dakd.data.records import FileSource

class Drawn(FileSource):
    few = np.random.default_rng(0).integers(0, 256, (8, 3, 384, 128), dtype=np.uint8)

    def decode(self, row):
        return self.few[row % 8] ^ np.uint8(row // 8)

def megabytes(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3

def peak(function):
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of importing
    before = megabytes("VmRSS")
    result = function()
    return result, megabytes("VmHWM") - before

def check_all():
    for batch in np.array_split(np.random.default_rng(1).permutation(1400), 22):
        images = data.train.images(batch).numpy()
        for image, row in zip(images, batch):
            assert (image == split.source.decode(row)).all()

records = [Record(1, 1, "visible", i) for i in range(1400)]
split = ImageSet(records, Drawn([Path(sys.argv[1])] * 1400, height=384, width=128))
data = Dataset(name="x", train=split, test=ImageSet([], Drawn([], height=384, width=128)))
data, building = peak(lambda: with_cache(data, sys.argv[2], show=False))
_, reading = peak(check_all)
_, whole = peak(data.train.images)
print(data.train.source.path.stat().st_size / 1e6, building, reading, whole)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_images(root, tmp_path):
    command = [sys.executable, "-c", MEMORY, str(root / "cam1/0.png"), str(tmp_path / "cache")]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    size, building, reading, whole = map(float, printed.split())
    assert size == pytest.approx(206, abs=1)
    assert building < 80  # 38 MB are in flight at most
    assert reading < 80  # a batch is 9 MB, and its pages as much again
    assert whole < size + 80  # what was asked for, and the pages of 64 images
