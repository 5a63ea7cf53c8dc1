"""The embedded benchmark: determinism, physics, and roles of the cameras."""

import numpy as np
import pytest
import torch

from dakd.config import SyntheticConfig, replace
from dakd.data import synthetic
from dakd.data.drawing import scenery
from dakd.data.drawing.people import conditions_of, identities
from dakd.data.drawing.wardrobe import luminance
from dakd.data.records import Record
from dakd.data.synthetic import SyntheticSource, cameras_of, image_fingerprint, load_synthetic

SIZE = {"height": 48, "width": 24}
SMALL = SyntheticConfig(train_ids=6, test_ids=20, images_per_camera=2)
CALM = replace(SMALL, jitter=0.0, occlusion=0.0, noise=0.0, clutter=0.0)


def first(config, rows=24, **size):
    """The training images of the first identities, float (rows, 3, H, W)."""
    return load_synthetic(config, **(size or SIZE)).train.images(np.arange(rows)).double()


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    assert torch.equal(first(SMALL), first(SMALL))
    assert (first(SMALL) - first(replace(SMALL, seed=1))).abs().mean() > 5


def test_an_image_does_not_depend_on_what_is_drawn_beside_it():
    train = load_synthetic(SMALL, **SIZE).train
    rows = np.arange(len(train))
    together = train.source.read(rows)
    shuffled = np.random.default_rng(0).permutation(rows)
    assert torch.equal(train.source.read(shuffled), together[shuffled])
    assert torch.equal(train.source.read(rows[7:8])[0], together[7])


def test_an_identity_does_not_depend_on_how_many_there_are():
    few, many = first(SMALL, 12), first(replace(SMALL, train_ids=9, test_ids=30), 12)
    assert torch.equal(few, many)
    extra = replace(SMALL, images_per_camera=3)
    number = load_synthetic(extra, **SIZE).train
    rows = [i for i, r in enumerate(number.records) if r.number < 3][:12]
    assert torch.equal(number.images(rows).double(), few)


def test_threads_draw_what_one_thread_draws_and_are_given_back(monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", (4 * 48 * 24, 0))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = first(SMALL)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert torch.equal(two, first(SMALL))
    finally:
        torch.set_num_threads(before)


def test_size_only_samples_the_same_image():
    quiet = replace(SMALL, noise=0.0)
    fine, coarse = first(quiet, height=96, width=48), first(quiet, height=48, width=24)
    difference = (torch.nn.functional.avg_pool2d(fine, 2) - coarse).abs().mean()
    other_person = (coarse[:12] - coarse[12:]).abs().mean()
    assert difference < 3 < 0.3 * other_person


@pytest.mark.parametrize("thermal", [False, True])
def test_infrared_has_three_equal_channels_and_visible_has_not(thermal):
    train = load_synthetic(replace(SMALL, thermal=thermal), **SIZE).train
    images = train.images().double()
    spread = (images - images.mean(1, keepdim=True)).abs().amax((1, 2, 3))  # (N,)
    assert (spread[train.infrared] == 0).all()
    assert (spread[~train.infrared] > 10).all()


def test_cameras_have_the_roles_of_sysu():
    assert [cam for cam, c in scenery.CAMERAS.items() if c.infrared] == [3, 6]
    assert scenery.CAMERAS[2].place == scenery.CAMERAS[3].place
    assert len({c.place for c in scenery.CAMERAS.values()}) == 5
    data = load_synthetic(SMALL, **SIZE)
    assert data.train.classes.tolist() == [1, 2, 3, 4, 5, 6]
    assert data.test.classes.tolist() == list(range(7, 27))
    for split in (data.train, data.test):
        for pid in split.classes:
            mine = split.table[split.table.pid == pid]
            assert set(mine.modality) == {"visible", "infrared"}
            assert mine.groupby("cam").number.apply(list).map(lambda n: n == [1, 2]).all()
    seen = {pid: set(cameras_of(pid)) for pid in data.test.classes}
    indoors = [pid for pid, cams in seen.items() if {1, 2} <= cams]
    assert 0 < len(indoors) < 20, "indoor-search needs queries with and without a match"
    assert any(3 not in cams for cams in seen.values())


def brightness(config):
    """Mean brightness on the chest of 120 people facing the camera: visible and infrared."""
    config = replace(config, train_ids=120, images_per_camera=1)
    train = load_synthetic(config, height=64, width=32).train
    chest = {}
    for cam in (5, 6):
        patch = train.images(np.flatnonzero(train.cams == cam))
        patch = patch[:, :, 21:29, 13:19].double().mean((2, 3)) / 255  # (120, 3)
        chest[cam] = luminance(patch).numpy()
    return chest[5], chest[6]


def test_material_ties_infrared_brightness_to_luminance():
    follows = np.corrcoef(*brightness(replace(CALM, material=1.0)))[0, 1]
    free = np.corrcoef(*brightness(replace(CALM, material=0.0)))[0, 1]
    assert follows > 0.9
    assert abs(free) < 0.35


def test_patterns_keep_contrast_and_geometry_in_the_infrared():
    top = identities(SMALL, range(1, 200)).top.cloth
    for tones in (luminance(top.visible), top.infrared[..., 0]):
        assert (tones[:, 0] - tones[:, 1]).abs().min() > 0.05
    turned = (luminance(top.visible).diff(dim=1) * top.infrared[..., 0].diff(dim=1)) < 0
    assert 0.1 < turned.double().mean() < 0.6


def test_thermal_skin_is_warmer_than_cloth_and_place():
    train = load_synthetic(replace(CALM, thermal=True, train_ids=20), height=64, width=32).train
    images = train.images(np.flatnonzero(train.cams == 6)).double()[:, 0]  # (20, H, W)
    face, chest, wall = images[:, 2:20, 13:19], images[:, 21:29, 13:19], images[:, 5:50, :4]
    assert (face.amax((1, 2)) > chest.mean((1, 2)) + 20).all()
    assert (chest.mean((1, 2)) > wall.mean((1, 2))).all()


@pytest.mark.parametrize("knob", ["occlusion", "jitter", "noise"])
def test_knobs_move_images_of_one_person_apart(knob):
    def spread(value):
        config = replace(CALM, images_per_camera=6, **{knob: value})
        images = first(config, 6)  # identity 1, camera 1
        return float((images - images.mean(0)).abs().mean())

    assert spread(0.0) < 0.5 * spread(0.5) < spread(1.0)


def test_clutter_adds_structure_beside_the_person():
    edges = [
        float(first(replace(CALM, clutter=c), 12)[..., :4].diff(dim=3).abs().mean())
        for c in (0.0, 0.5, 1.0)
    ]
    assert 2 * edges[0] < edges[1] < edges[2]


def test_without_knobs_a_person_looks_like_themselves():
    train = load_synthetic(CALM, **SIZE).train
    rows = np.flatnonzero(train.cams == 5)
    flat = train.images(rows).double().flatten(1)
    distance = torch.cdist(flat, flat)
    same = torch.from_numpy(train.pids[rows][:, None] == train.pids[rows])
    assert distance[same].max() < 0.5 * distance[~same].min()


def test_uniform_draws_cover_views():
    conditions = conditions_of(replace(SMALL, jitter=1.0), [(pid, 1, 1) for pid in range(400)])
    facing = conditions.yaw.cos()
    assert (facing > 0.7).any()
    assert (facing < -0.7).any()
    assert ((facing.abs() < 0.3) & (conditions.yaw.sin() > 0)).any()
    assert ((facing.abs() < 0.3) & (conditions.yaw.sin() < 0)).any()


def test_any_camera_takes_either_modality():
    views = [(cam, m) for cam in range(1, 7) for m in ("visible", "infrared")]
    records = [Record(pid, cam, m, 1) for pid in (1, 5) for cam, m in views]
    images = SyntheticSource(SMALL, records, **SIZE).read(np.arange(24)).double()
    colour = (images - images.mean(1, keepdim=True)).abs().amax((1, 2, 3)) > 10  # (24,)
    assert colour.tolist() == [True, False] * 12
    own = load_synthetic(SMALL, **SIZE).train
    for row, record in enumerate(own.records):
        if record in records:  # the camera's own modality: the benchmark's image
            assert torch.equal(own.images([row])[0].double(), images[records.index(record)])


def test_the_fingerprint_follows_settings_size_and_code(monkeypatch):
    name = image_fingerprint(SMALL, 48, 24)
    export = image_fingerprint(SMALL, 48, 24, "sysu")
    others = [
        image_fingerprint(replace(SMALL, seed=1), 48, 24),
        image_fingerprint(SMALL, 24, 48),
    ]
    assert len({name, export, *others}) == 4
    real = synthetic.source_fingerprint
    for changed, moved in (("data/drawing", True), ("data/export.py", False)):
        monkeypatch.setattr(
            synthetic, "source_fingerprint",
            lambda *names, changed=changed: real(*names) + "!" * (changed in names),
        )  # fmt: skip
        assert (image_fingerprint(SMALL, 48, 24) != name) is moved
        assert image_fingerprint(SMALL, 48, 24, "sysu") != export


def test_images_too_small_to_show_anybody_are_refused():
    with pytest.raises(ValueError, match="8 x 4 pixels are too small for a person; use 16 x 8"):
        load_synthetic(SMALL, height=8, width=4)
