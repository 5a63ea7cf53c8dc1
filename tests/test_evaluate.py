import dataclasses

import numpy as np
import pytest
import torch
from examples import dataset, image_set

from dakd.augment import evaluation_transform
from dakd.config import SyntheticConfig
from dakd.data import Dataset, ImageSet, Record, load_dataset
from dakd.data.export import export_dataset
from dakd.data.sysu import read_permutations
from dakd.evaluate import evaluate, extract
from dakd.metrics import rank_metrics
from dakd.model import build_model
from dakd.protocols import llcm_trials, sysu_trials
from dakd.reranking import k_reciprocal


def test_extract_keeps_the_order_and_does_not_depend_on_the_batch():
    images, model = image_set(range(1, 4)), build_model("small")
    one, many = (extract(model, images, batch=n, device="cpu") for n in (5, 100))
    torch.testing.assert_close(one, many)
    some = extract(model, images, rows=np.array([7, 2]), device="cpu")
    torch.testing.assert_close(some, many[[7, 2]])


def test_extract_restores_training_mode_and_leaves_batch_statistics_alone():
    model = build_model("small").train()
    before = model.neck.running_mean.clone()
    extract(model, image_set([1]), device="cpu")
    assert model.training
    assert torch.equal(model.neck.running_mean, before)


def test_extract_refuses_a_network_that_holds_nan():
    model = build_model("small")
    with torch.no_grad():
        model.neck.weight.fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"embeddings are not finite, that of Record\(pid=1"
    ):
        extract(model, image_set([1]), device="cpu")


@pytest.mark.parametrize(("mode", "gallery"), [("all", 20 * 4), ("indoor", 20 * 2)])
def test_perfect_embeddings_give_a_perfect_table(mode, gallery):
    data = dataset()
    z = torch.eye(40)[torch.from_numpy(data.test.pids)]
    result = evaluate(z, data, mode=mode, trials=3)
    assert (result.mean == 1).all()
    assert (result.std == 0).all()
    assert len(result.trials) == 3
    assert result.header["gallery_images"] == gallery
    assert result.header["queries"] == result.header["valid_queries"] == 20 * 2 * 2


def test_the_table_is_made_of_the_trials_metrics():
    data = dataset()
    z = torch.randn(len(data.test), 8, generator=torch.Generator().manual_seed(0))
    result = evaluate(z, data, trials=2)
    trial = sysu_trials(data.test, trials=2)[1]
    expected = rank_metrics(
        z[trial.query] @ z[trial.gallery].T,
        data.test.pids[trial.query],
        data.test.pids[trial.gallery],
        data.test.cams[trial.query],
        data.test.cams[trial.gallery],
        protocol="sysu",
    )
    row = result.trials.iloc[1]
    assert row["rank1"] == expected.cmc[1]
    assert row["mAP"] == expected.mAP
    np.testing.assert_allclose(result.mean["mAP"], result.trials["mAP"].mean())
    np.testing.assert_allclose(result.std["mAP"], np.std(result.trials["mAP"], ddof=1))


def test_a_network_and_its_embeddings_give_the_same_table():
    data, model = dataset(), build_model("small")
    z = extract(model, data.test, device="cpu")
    a, b = (evaluate(m, data, trials=2, device="cpu") for m in (model, z))
    assert a.trials.equals(b.trials)


def test_the_result_says_how_it_was_made():
    data = dataset()
    z = torch.eye(40)[torch.from_numpy(data.test.pids)]
    result = evaluate(z, data, protocol="sysu", shots=10, trials=2)
    said = ["protocol sysu", "all-search", "10-shot", "infrared → visible", "sampling agw"]
    said += ["2 trials", "80 of 80 queries", "flip off", "re-ranking off", "count identities"]
    for words in said:
        assert words in result.title
    assert "only 2 an identity and camera" in result.title
    assert result.header["data_fingerprint"] == data.fingerprint


# Protocols and directions -------------------------------------------------------------------------


def llcm_like(people=20, cams=3, images=2):
    """A dataset whose cameras give both modalities, and embeddings that are hard to tell apart."""
    records = [
        Record(pid, cam, modality, number)
        for pid in range(people)
        for cam in range(1, cams + 1)
        for modality in ("visible", "infrared")
        for number in range(1, images + (modality == "visible") + 1)
    ]
    test = ImageSet(records, source=None)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((people, 8))[test.pids] + rng.standard_normal((len(test), 8))
    empty = ImageSet([], source=None)
    z = torch.nn.functional.normalize(torch.tensor(z, dtype=torch.float32))
    return z, Dataset(name="llcm", train=empty, test=test)


@pytest.mark.parametrize("protocol", ["regdb", "llcm", "none"])
@pytest.mark.parametrize(("query", "gallery"), [("infrared", "visible"), ("visible", "infrared")])
def test_a_direction_takes_its_queries_from_the_side_it_names(protocol, query, gallery):
    z, data = llcm_like()
    result = evaluate(z, data, protocol=protocol, query=query, gallery=gallery, trials=2)
    rows = np.flatnonzero(data.test.infrared == (query == "infrared"))
    others = np.flatnonzero(data.test.infrared == (gallery == "infrared"))
    drawn = len(others) if protocol != "llcm" else 20 * 3
    assert (result.header["queries"], result.header["gallery_images"]) == (len(rows), drawn)
    assert f"{query} → {gallery}" in result.title
    if protocol != "llcm":
        direct = rank_metrics(z[rows] @ z[others].T, data.test.pids[rows], data.test.pids[others])
        assert len(result.trials) == 1
        assert result.mean["mAP"] == direct.mAP


def test_llcm_as_released_exchanges_the_roles_in_one_direction_only():
    z, data = llcm_like()
    to_visible = {"query": "infrared", "gallery": "visible", "trials": 3}
    plain, released = (
        evaluate(z, data, protocol=p, **to_visible) for p in ("llcm", "llcm-released")
    )
    assert plain.trials.equals(released.trials)
    to_infrared = {"query": "visible", "gallery": "infrared", "trials": 3}
    plain, released = (
        evaluate(z, data, protocol=p, **to_infrared) for p in ("llcm", "llcm-released")
    )
    assert (plain.header["queries"], plain.header["gallery_images"]) == (180, 60)
    assert (released.header["queries"], released.header["gallery_images"]) == (60, 180)
    trial = llcm_trials(data.test, query="visible", gallery="infrared", trials=1)[0]
    pids, cams = data.test.pids, data.test.cams
    direct = rank_metrics(
        z[trial.gallery] @ z[trial.query].T, pids[trial.gallery], pids[trial.query],
        cams[trial.gallery], cams[trial.query], protocol="llcm",
    )  # fmt: skip
    assert released.trials.iloc[0]["mAP"] == direct.mAP
    assert not plain.trials.equals(released.trials)
    assert "llcm-released" in released.title


def test_auto_is_the_protocol_of_the_dataset():
    z, data = llcm_like()
    for name, protocol in (("llcm", "llcm"), ("regdb", "regdb"), ("custom", "none")):
        result = evaluate(z, dataclasses.replace(data, name=name), trials=1)
        assert result.header["protocol"] == protocol
    assert evaluate(z, data, protocol=None).header["protocol"] == "none"
    with pytest.raises(ValueError, match="'market' has no protocol of its own; name one"):
        evaluate(z, dataclasses.replace(data, name="market"))


def test_a_regdb_trial_is_called_by_its_number():
    z, data = llcm_like()
    result = evaluate(z, dataclasses.replace(data, name="regdb", trial=4))
    assert result.trials.index.tolist() == ["trial 4"]


def test_reranking_under_the_released_exchange_happens_after_it():
    z, data = llcm_like()
    how = {"query": "visible", "gallery": "infrared", "trials": 1}
    result = evaluate(z, data, protocol="llcm-released", rerank=True, **how)
    assert "re-ranking k-reciprocal" in result.title
    trial = llcm_trials(data.test, **how)[0]
    pids, cams, (q, g) = data.test.pids, data.test.cams, (trial.gallery, trial.query)
    expected = rank_metrics(
        k_reciprocal(z[q], z[g]), pids[q], pids[g], cams[q], cams[g], protocol="llcm"
    )
    assert result.mean["mAP"] == expected.mAP
    assert result.mean["mAP"] != evaluate(z, data, protocol="llcm-released", **how).mean["mAP"]


HEADERS = {
    "sysu": {"mode": "indoor", "shots": 1, "sampling": "agw", "queries": 4, "valid_queries": 3,
        "gallery_images": 3, "images_per_identity_and_camera": [1, 1], "ranks_count": "identities",
        "camera_rule": "for a query from camera 3, every gallery image from camera 2"},
    "regdb": {"mode": None, "shots": None, "sampling": None, "queries": 4, "valid_queries": 4,
        "gallery_images": 6, "images_per_identity_and_camera": [1, 2], "ranks_count": "images",
        "camera_rule": "nothing"},
    "llcm": {"mode": None, "shots": None, "sampling": None, "queries": 4, "valid_queries": 4,
        "gallery_images": 5, "images_per_identity_and_camera": [1, 1], "ranks_count": "identities",
        "camera_rule": "gallery images of the query's own identity and camera"},
    "none": {"mode": None, "shots": None, "sampling": None, "queries": 4, "valid_queries": 4,
        "gallery_images": 6, "images_per_identity_and_camera": [1, 2], "ranks_count": "images",
        "camera_rule": "nothing"},
}  # fmt: skip


@pytest.mark.parametrize("protocol", HEADERS)
def test_the_whole_header(protocol):
    # Person 1 has visible images in cameras 1 (two), 2 and 4, person 2 in 1 and 5; infrared images
    # in 3 (person 1) and 6 (1, 2 and 3); person 3 is seen by camera 5 alone.
    seen = [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1), (2, 5, 1), (3, 5, 1)]
    dark = [(1, 3, 1), (1, 6, 1), (2, 6, 1), (3, 6, 1)]
    records = [Record(p, c, "visible", n) for p, c, n in seen]
    records += [Record(p, c, "infrared", n) for p, c, n in dark]
    empty, test = ImageSet([], source=None), ImageSet(records, source=None)
    data = Dataset(name="sysu", train=empty, test=test)
    mode = {"mode": "indoor"} if protocol == "sysu" else {}
    result = evaluate(torch.eye(4)[test.pids], data, protocol=protocol, trials=2, **mode)
    common = {
        "dataset": "sysu", "drawn": False, "data_fingerprint": data.fingerprint,
        "protocol": protocol, "query": "infrared", "gallery": "visible",
        "feature": "after the neck, unit length", "flip": "off", "reranking": "off",
    }  # fmt: skip
    header = dict(result.header)
    assert {"dakd", "numpy", "pillow", "torch"} < set(header.pop("versions"))
    assert header == common | HEADERS[protocol]


def test_official_galleries_are_those_of_the_file(tmp_path):
    config = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=3)
    root = export_dataset("sysu", config, tmp_path / "s", height=16, width=8, show=False)
    data = load_dataset("sysu", root, height=16, width=8)
    assert data.drawn
    z = torch.nn.functional.normalize(torch.randn(len(data.test), 8), dim=1)
    result = evaluate(z, data, sampling="official", trials=3)
    draws = read_permutations(root / "exp" / "rand_perm_cam.mat")
    trials = sysu_trials(data.test, sampling="official", permutations=draws, trials=3)
    for row, trial in zip(result.trials["mAP"], trials, strict=True):
        columns = [(c[trial.query], c[trial.gallery]) for c in (data.test.pids, data.test.cams)]
        similarity = z[trial.query] @ z[trial.gallery].T
        assert row == rank_metrics(similarity, *columns[0], *columns[1], protocol="sysu").mAP
    assert not result.trials.equals(evaluate(z, data, trials=3).trials)
    assert result.title.startswith("drawn people, layout of sysu")


def test_nothing_is_embedded_for_a_request_that_is_refused():
    _, data = llcm_like()
    with pytest.raises(ValueError, match="'llcm' has none"):
        evaluate(lambda: pytest.fail("embedded"), data, shots=10)


def test_ranks_can_count_the_other_way():
    z, data = llcm_like()
    for unit, word in (("image", "images"), ("identity", "identities")):
        result = evaluate(z, data, protocol="regdb", cmc_unit=unit)
        assert result.header["ranks_count"] == word
    assert result.mean["rank5"] > evaluate(z, data, protocol="regdb").mean["rank5"]


def test_flip_adds_the_mirrored_image():
    images, model = image_set([1, 2]), build_model("small")
    z = extract(model, images, device="cpu", flip=True)
    x = evaluation_transform()(images.images())
    with torch.no_grad():
        expected = model.eval()(x) + model(x.flip(-1))
    torch.testing.assert_close(z, torch.nn.functional.normalize(expected), atol=1e-5, rtol=0)
    assert not torch.allclose(z, extract(model, images, device="cpu"))


def test_bad_requests_are_refused():
    data = dataset()
    z = torch.zeros(len(data.test), 4)
    with pytest.raises(ValueError, match="protocol 'market' cannot be evaluated"):
        evaluate(z, data, protocol="market")
    with pytest.raises(ValueError, match="3 embeddings given for"):
        evaluate(z[:3], data)
    with pytest.raises(ValueError, match="'sysu' has no folder"):
        evaluate(z, data, sampling="official")
    with pytest.raises(ValueError, match="[Nn]ot finite|non-finite"):
        evaluate(z + float("nan"), data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "sysu", "query": "visible", "gallery": "infrared"}, "protocol='none' for"),
        ({"protocol": "regdb", "mode": "indoor"}, "settings of protocol 'sysu'; 'regdb' has none"),
        ({"protocol": "llcm", "shots": 10}, "'llcm' has none"),
        ({"protocol": "none", "sampling": "official"}, "'none' has none"),
        ({"protocol": "llcm", "query": "visible"}, "is no direction"),
    ],
)
def test_settings_of_another_protocol_are_refused(change, message):
    z, data = llcm_like()
    with pytest.raises(ValueError, match=message):
        evaluate(z, data, **change)


def test_a_gallery_of_strangers_is_noticed_before_the_network_runs():
    _, data = llcm_like()
    records = [dataclasses.replace(r, pid=r.pid + 100 * (r.cam % 2)) for r in data.test.records]
    keep = [(r.modality == "visible") == (r.pid < 100) for r in records]
    test = ImageSet([r for r, kept in zip(records, keep, strict=True) if kept], source=None)
    with pytest.raises(ValueError, match=r"nobody among the queries \(identities 100, .*trial 0"):
        evaluate(build_model("small"), dataclasses.replace(data, test=test))
