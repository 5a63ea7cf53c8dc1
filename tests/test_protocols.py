import os
import random
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from dakd.data.records import ImageSet, Record
from dakd.data.sysu import CAMERAS, load_sysu, read_permutations
from dakd.metrics import rank_metrics
from dakd.protocols import llcm_trials, open_trials, regdb_trials, sysu_trials

ROOT = Path(__file__).parents[1]
LISTS = Path(os.environ.get("DAKD_SYSU_LISTS", ROOT.parent / "shared" / "data" / "sysu_mm01"))
with_lists = pytest.mark.skipif(
    not (LISTS / "rand_perm_cam.mat").is_file(), reason="the official lists are not available"
)


def make_test(sizes):
    """A test split without image files from {(pid, cam): images}, rows in the order of the keys."""
    return ImageSet(
        [
            Record(pid, cam, CAMERAS[cam], number)
            for (pid, cam), n in sizes.items()
            for number in range(1, n + 1)
        ],
        source=None,
    )


SIZES = {
    (21, 4): 12, (21, 1): 3, (6, 1): 5, (6, 2): 11, (6, 3): 2, (6, 6): 4, (100, 5): 1,
    (100, 6): 3, (21, 3): 2, (6, 5): 20,
}  # fmt: skip
TEST = make_test(SIZES)
DRAWS = {
    (cam, pid): np.array([np.random.default_rng(t).permutation(n) + 1 for t in range(10)])
    for (pid, cam), n in SIZES.items()
}


def named(rows):
    return [(TEST.records[r].pid, TEST.records[r].cam, TEST.records[r].number) for r in rows]


@pytest.mark.parametrize("sampling", ["agw", "official"])
@pytest.mark.parametrize("shots", [1, 10])
@pytest.mark.parametrize(("mode", "cams"), [("all", (1, 2, 4, 5)), ("indoor", (1, 2))])
def test_query_and_gallery(mode, cams, shots, sampling):
    trials = sysu_trials(TEST, mode=mode, shots=shots, sampling=sampling, permutations=DRAWS)
    assert [t.number for t in trials] == list(range(10))
    infrared = np.flatnonzero(TEST.infrared)
    for trial in trials:
        assert trial.query.tolist() == infrared.tolist()
        assert len(set(trial.gallery.tolist())) == len(trial.gallery)
        assert trial.gallery.dtype == np.int64
        keys = list(zip(TEST.pids[trial.gallery], TEST.cams[trial.gallery], strict=True))
        for key, n in SIZES.items():
            assert keys.count(key) == (min(n, shots) if key[1] in cams else 0)
    assert any((t.gallery != trials[0].gallery).any() for t in trials)


@pytest.mark.parametrize("mode", ["all", "indoor"])
@pytest.mark.parametrize("shots", [1, 10])
def test_agw_draws_equal_those_of_the_published_loop(mode, shots):
    """It loops over folders with sorted four-digit names and uses the global generator."""
    cams = {"all": (1, 2, 4, 5), "indoor": (1, 2)}[mode]
    state = random.getstate()
    for trial in sysu_trials(TEST, mode=mode, shots=shots):
        assert random.getstate() == state
        random.seed(trial.number)
        expected = []
        for name in sorted(f"{pid:04d}" for pid in {pid for pid, _ in SIZES}):
            for cam in cams:
                n = SIZES.get((int(name), cam), 0)
                files = sorted(f"{number:04d}" for number in range(1, n + 1))
                if files and shots == 1:
                    drawn = [random.choice(files)]
                else:
                    drawn = random.sample(files, min(shots, n))
                expected += [(int(name), cam, int(file)) for file in drawn]
        random.setstate(state)
        assert named(trial.gallery) == expected


def test_official_draws_follow_the_permutations():
    for trial in sysu_trials(TEST, shots=10, sampling="official", permutations=DRAWS):
        expected = [
            (pid, cam, number)
            for cam in (1, 2, 4, 5)
            for pid in (6, 21, 100)
            for number in DRAWS.get((cam, pid), np.empty((10, 0), int))[trial.number, :10].tolist()
        ]
        assert named(trial.gallery) == expected


def test_the_row_order_of_the_split_does_not_matter():
    shuffled = ImageSet(TEST.records[::-1], source=None)
    for a, b in zip(sysu_trials(TEST), sysu_trials(shuffled), strict=True):
        assert [TEST.records[r] for r in a.gallery] == [shuffled.records[r] for r in b.gallery]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "outdoor"}, "mode 'outdoor' is unknown"),
        ({"sampling": "random"}, "sampling 'random' is unknown"),
        ({"shots": 0}, "shots and trials must be at least 1"),
        ({"trials": 0}, "shots and trials must be at least 1"),
        ({"sampling": "official"}, r"rand_perm_cam\.mat.*wuancong/SYSU-MM01"),
        ({"sampling": "official", "permutations": DRAWS, "trials": 11}, "are for 10 trials"),
        ({"sampling": "official", "permutations": DRAWS | {(5, 6): DRAWS[2, 6]}},
            "camera 5, identity 6: the permutations order 11 images, the test split has 20"),
        ({"sampling": "official", "permutations": {}}, "order 0 images"),
        ({"test": make_test({(1, 3): 2, (1, 4): 2}), "mode": "indoor"}, "indoor-search needs"),
        ({"test": make_test({(1, 1): 2})}, "all-search needs infrared"),
    ],
)  # fmt: skip
def test_bad_input(change, message):
    assert len(sysu_trials(TEST, trials=12)) == 12
    with pytest.raises(ValueError, match=message):
        sysu_trials(**{"test": TEST} | change)


# RegDB, LLCM, and no protocol ---------------------------------------------------------------------

DIRECTIONS = [("infrared", "visible"), ("visible", "infrared")]


def make_llcm(sizes):
    """A test split from {(pid, cam, modality): images}; cameras give both modalities."""
    return ImageSet(
        [
            Record(pid, cam, modality, number)
            for (pid, cam, modality), n in sizes.items()
            for number in range(1, n + 1)
        ],
        source=None,
    )


LLCM_SIZES = {
    (30, 2, "visible"): 4, (30, 2, "infrared"): 3, (7, 9, "visible"): 1, (7, 1, "infrared"): 2,
    (7, 4, "infrared"): 5, (101, 3, "visible"): 12, (101, 2, "visible"): 2, (101, 9, "infrared"): 1,
}  # fmt: skip
LLCM = make_llcm(LLCM_SIZES)


@pytest.mark.parametrize(("query", "gallery"), DIRECTIONS)
@pytest.mark.parametrize("trials_of", [regdb_trials, open_trials])
def test_all_images_of_a_modality_are_queries_or_gallery(trials_of, query, gallery):
    (trial,) = trials_of(LLCM, query=query, gallery=gallery)
    dark = np.flatnonzero(LLCM.infrared).tolist()
    light = np.flatnonzero(~LLCM.infrared).tolist()
    expected = {"infrared": dark, "visible": light}
    assert trial.query.tolist() == expected[query]
    assert trial.gallery.tolist() == expected[gallery]


def test_a_regdb_trial_has_the_number_of_its_split():
    assert [t.number for t in regdb_trials(LLCM, number=7)] == [7]


@pytest.mark.parametrize(("query", "gallery"), DIRECTIONS)
def test_llcm_draws_are_those_of_the_released_script(query, gallery):
    """Sorted four-digit names in the outer loop, cameras in the inner, one choice per folder."""
    state = random.getstate()
    for trial in llcm_trials(LLCM, query=query, gallery=gallery):
        assert random.getstate() == state
        assert (LLCM.infrared[trial.query] == (query == "infrared")).all()
        assert len(trial.query) == sum(n for key, n in LLCM_SIZES.items() if key[2] == query)
        random.seed(trial.number)
        expected = []
        for name in sorted(f"{pid:04d}" for pid in {pid for pid, *_ in LLCM_SIZES}):
            for cam in range(1, 10):
                n = LLCM_SIZES.get((int(name), cam, gallery), 0)
                if n:
                    expected.append((int(name), cam, random.choice(range(1, n + 1))))
        random.setstate(state)
        drawn = [LLCM.records[row] for row in trial.gallery]
        assert [(r.pid, r.cam, r.number) for r in drawn] == expected
        assert {r.modality for r in drawn} == {gallery}


CELLS = st.tuples(st.integers(1, 30), st.integers(1, 9), st.sampled_from(["visible", "infrared"]))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(CELLS, st.integers(1, 12), min_size=1), st.sampled_from(DIRECTIONS))
def test_every_llcm_gallery_has_one_image_of_each_identity_and_camera(sizes, direction):
    query, gallery = direction
    there = {modality for *_, modality in sizes}
    test = make_llcm(sizes)
    if there != {"visible", "infrared"}:
        with pytest.raises(ValueError, match="the test split has no"):
            llcm_trials(test, query=query, gallery=gallery)
        return
    for trial in llcm_trials(test, query=query, gallery=gallery, trials=3):
        drawn = [test.records[row] for row in trial.gallery]
        assert [(r.pid, r.cam, r.modality) for r in drawn] == sorted(
            key for key in sizes if key[2] == gallery
        )


SYSU_CELLS = st.dictionaries(
    st.tuples(st.integers(1, 40), st.sampled_from(sorted(CAMERAS))), st.integers(1, 14), min_size=1
)


@settings(max_examples=40, deadline=None)
@given(SYSU_CELLS, st.sampled_from(["all", "indoor"]), st.integers(1, 11), st.booleans())
def test_every_sysu_gallery_has_its_size_cameras_and_identities(sizes, mode, shots, official):
    sizes = sizes | {(41, 3): 2, (42, 1): 3}
    test, cams = make_test(sizes), {"all": (1, 2, 4, 5), "indoor": (1, 2)}[mode]
    draws = {
        (cam, pid): np.array([np.random.default_rng(t).permutation(n) + 1 for t in range(10)])
        for (pid, cam), n in sizes.items()
    }
    sampling = "official" if official else "agw"
    for trial in sysu_trials(
        test, mode=mode, shots=shots, sampling=sampling, trials=2, permutations=draws
    ):
        keys = list(zip(test.pids[trial.gallery], test.cams[trial.gallery], strict=True))
        for key, n in sizes.items():
            assert keys.count(key) == (min(n, shots) if key[1] in cams else 0)
        assert len(set(trial.gallery.tolist())) == len(trial.gallery)
        assert set(test.cams[trial.query]) == {c for _, c in sizes if c in (3, 6)}


@pytest.mark.parametrize("trials_of", [regdb_trials, llcm_trials, open_trials])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "visible"}, "query='visible', gallery='visible' is no direction"),
        ({"gallery": "thermal"}, "gallery='thermal' is no direction"),
        ({"test": LLCM.select(np.flatnonzero(LLCM.infrared))}, "gallery='visible', but"),
        ({"test": LLCM.select(~LLCM.infrared)}, "query='infrared', but the test split has no"),
    ],
)
def test_a_direction_needs_two_modalities(trials_of, change, message):
    assert trials_of(LLCM)
    with pytest.raises(ValueError, match=message):
        trials_of(**{"test": LLCM} | change)


def test_llcm_needs_at_least_one_trial():
    with pytest.raises(ValueError, match="trials must be at least 1, not 0"):
        llcm_trials(LLCM, trials=0)


# The published counts, from the published lists ---------------------------------------------------


@pytest.fixture(scope="module")
def draws():
    return read_permutations(LISTS / "rand_perm_cam.mat")


@pytest.fixture(scope="module")
def official_test(draws):
    ids = {int(i) for i in scipy.io.loadmat(LISTS / "test_id.mat")["id"].ravel()}
    return make_test({(pid, cam): d.shape[1] for (cam, pid), d in draws.items() if pid in ids})


@with_lists
@pytest.mark.parametrize("sampling", ["agw", "official"])
@pytest.mark.parametrize(
    ("mode", "shots", "gallery", "valid"),
    [("all", 1, 301, 3803), ("all", 10, 3010, 3803), ("indoor", 1, 112, 2208),
     ("indoor", 10, 1120, 2208)],
)  # fmt: skip
def test_published_counts(draws, official_test, mode, shots, gallery, valid, sampling):
    test = official_test
    trials = sysu_trials(test, mode=mode, shots=shots, sampling=sampling, permutations=draws)
    assert {(len(t.query), len(t.gallery)) for t in trials} == {(3803, gallery)}
    query, rows = trials[9].query, trials[9].gallery
    similarity = np.random.default_rng(0).standard_normal((len(query), gallery), dtype=np.float32)
    result = rank_metrics(
        similarity, test.pids[query], test.pids[rows], test.cams[query], test.cams[rows],
        protocol="sysu",
    )  # fmt: skip
    assert (result.num_valid, result.num_queries) == (valid, 3803)


@with_lists
def test_published_overlaps(draws, official_test):
    """The samplings share 9 to 20 of 301 images; only official indoor galleries are subsets."""

    def galleries(mode, sampling):
        trials = sysu_trials(official_test, mode=mode, sampling=sampling, permutations=draws)
        return [set(t.gallery.tolist()) for t in trials]

    ours, official = galleries("all", "agw"), galleries("all", "official")
    shared = [len(a & b) for a, b in zip(ours, official, strict=True)]
    assert (min(shared), max(shared)) == (9, 20)
    for sampling, among, expected in (("agw", ours, (3, 10)), ("official", official, (112, 112))):
        common = [len(a & b) for a, b in zip(among, galleries("indoor", sampling), strict=True)]
        assert (min(common), max(common)) == expected


@with_lists
def test_published_splits(draws, tmp_path):
    """395 training and 96 test identities, from one empty file per identity and camera."""
    (tmp_path / "exp").mkdir()
    ids = {
        part: scipy.io.loadmat(LISTS / f"{part}_id.mat")["id"].ravel() for part in ("train", "test")
    }
    seen = {kind: {pid for cam, pid in draws if CAMERAS[cam] == kind} for kind in CAMERAS.values()}
    val = (seen["visible"] & seen["infrared"]) - set(ids["train"]) - set(ids["test"])
    for part in ("train", "test"):
        (tmp_path / "exp" / f"{part}_id.mat").write_bytes((LISTS / f"{part}_id.mat").read_bytes())
    (tmp_path / "exp" / "val_id.txt").write_text(",".join(map(str, val)))
    for cam, pid in draws:
        folder = tmp_path / f"cam{cam}" / f"{pid:04d}"
        folder.mkdir(parents=True)
        (folder / "0001.jpg").touch()
    data = load_sysu(tmp_path, height=8, width=4)
    assert (len(val), data.train.num_classes, data.test.num_classes) == (99, 395, 96)
