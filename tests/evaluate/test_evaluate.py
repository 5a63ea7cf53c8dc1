import dataclasses
import shutil
import warnings

import numpy as np
import pytest
import torch
from examples import dataset, image_set

from dakd.augment import evaluation_transform
from dakd.config import SyntheticConfig
from dakd.data import Dataset, ImageSet, Record, load_dataset
from dakd.data.export import export_dataset
from dakd.data.sysu import read_permutations
from dakd.evaluate import check_request, evaluate, extract
from dakd.evaluate.evaluation import FEATURE
from dakd.evaluate.reranking import k_reciprocal, neighbourhood_sizes
from dakd.metrics import rank_metrics
from dakd.model import build_model
from dakd.protocols import llcm_trials, sysu_trials


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


def test_extract_raises_on_a_network_with_nan_weights():
    model = build_model("small")
    with torch.no_grad():
        model.neck.weight.fill_(float("nan"))
    with pytest.raises(
        FloatingPointError, match=r"embeddings are not finite, the first is that of Record\(pid=1"
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


def test_the_table_has_the_metrics_of_every_trial():
    data = dataset()
    z = torch.randn(len(data.test), 8, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(z)
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


def test_the_title_states_the_settings():
    data = dataset()
    z = torch.eye(40)[torch.from_numpy(data.test.pids)]
    result = evaluate(z, data, protocol="sysu", shots=10, trials=2)
    expected = ["protocol sysu", "all-search", "10-shot", "infrared → visible", "sampling agw"]
    expected += ["2 trials", "80 of 80 queries", "flip off", "re-ranking off", "count identities"]
    for words in expected:
        assert words in result.title
    assert "only 2 per identity and camera" in result.title
    assert result.header["data_fingerprint"] == data.fingerprint


# Protocols and directions -------------------------------------------------------------------------


def llcm_like(people=20, cams=3, images=2):
    """A dataset whose cameras have both modalities, and embeddings of overlapping identities."""
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
def test_queries_and_gallery_have_the_modalities_of_the_direction(protocol, query, gallery):
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


def test_the_header_records_an_exchange_of_queries_and_gallery():
    z, data = llcm_like()
    how = {"protocol": "llcm-released", "trials": 1}
    swapped = evaluate(z, data, query="visible", gallery="infrared", **how)
    assert swapped.header["exchanged"] is True
    assert "exchanged: drawn infrared images rank all visible images" in swapped.title
    assert "changed places" in swapped.header["camera_rule"]
    kept = evaluate(z, data, query="infrared", gallery="visible", **how)
    plain = evaluate(z, data, protocol="llcm", trials=1)
    assert kept.header == plain.header | {"protocol": "llcm-released"}
    assert kept.header["exchanged"] is False


def test_auto_selects_the_protocol_of_the_dataset():
    z, data = llcm_like()
    for name, protocol in (("llcm", "llcm"), ("regdb", "regdb"), ("custom", "none")):
        result = evaluate(z, dataclasses.replace(data, name=name), trials=1)
        assert result.header["protocol"] == protocol
    assert evaluate(z, data, protocol=None).header["protocol"] == "none"
    with pytest.raises(ValueError, match="'market' has no protocol of its own; name one"):
        evaluate(z, dataclasses.replace(data, name="market"))


def test_a_regdb_trial_has_the_number_of_its_split():
    z, data = llcm_like()
    result = evaluate(z, dataclasses.replace(data, name="regdb", trial=4))
    assert result.trials.index.tolist() == ["trial 4"]


def test_reranking_follows_the_exchange_of_the_released_script():
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
        "exchanged": False, "queries_without_order": 0, "repeated_pictures": None,
    }  # fmt: skip
    header = dict(result.header)
    assert {"dakd", "numpy", "pillow", "torch"} < set(header.pop("versions"))
    assert header == common | HEADERS[protocol]


def test_official_galleries_follow_the_permutations(tmp_path):
    config = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=3)
    root = export_dataset(
        "sysu", config, tmp_path / "s", height=16, width=8, show=False, warn=False
    )
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


def test_an_invalid_request_is_rejected_before_embeddings_are_computed():
    _, data = llcm_like()
    with pytest.raises(ValueError, match="'llcm' has none"):
        evaluate(lambda: pytest.fail("embedded"), data, shots=10)


def test_the_cmc_unit_can_be_changed():
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


def test_invalid_arguments_raise():
    data = dataset()
    z = torch.eye(40)[torch.from_numpy(data.test.pids)]
    with pytest.raises(ValueError, match="protocol 'market' cannot be evaluated"):
        evaluate(z, data, protocol="market")
    with pytest.raises(ValueError, match="3 embeddings given for"):
        evaluate(z[:3], data)
    with pytest.raises(ValueError, match="'sysu' has no folder"):
        evaluate(z, data, sampling="official")
    with pytest.raises(ValueError, match="[Nn]ot finite|non-finite"):
        evaluate(z + float("nan"), data)


# Embeddings ---------------------------------------------------------------------------------------


def few(*people):
    """A test split of (identity, modality), without image files."""
    records = [Record(pid, 1, modality, n) for n, (pid, modality) in enumerate(people)]
    empty, test = ImageSet([], source=None), ImageSet(records, source=None)
    return Dataset(name="custom", train=empty, test=test)


def test_similarities_are_computed_in_float64():
    """The wrong image differs from the right one in the last bit of one value."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        draw = torch.randn(2, 64, generator=generator)
        query, right = torch.nn.functional.normalize(draw)
        wrong = right.clone()
        place = int(query.abs().argmax())
        wrong[place] = torch.nextafter(right[place], right[place] - query[place])
        z = torch.stack([query, wrong, right, -query])
        who = (1, "infrared"), (2, "visible"), (1, "visible"), (2, "visible")
        result = evaluate(z, few(*who), device="cpu")
        assert result.mean["rank1"] == 1
        assert result.header["feature"] == FEATURE


@pytest.mark.parametrize(
    "turn",
    [
        lambda z: z.numpy(),
        lambda z: z.tolist(),
        lambda z: tuple(map(tuple, z.tolist())),
        lambda z: z.double(),
        lambda z: z.clone().requires_grad_(),
        lambda z: z.numpy()[::-1].copy()[::-1],
        lambda z: z.numpy().astype(">f8"),
        lambda z: z.numpy,  # a function that returns them
        lambda z: z.to_sparse(),
    ],
)
def test_every_kind_of_embeddings_gives_the_same_table(turn):
    z, data = llcm_like()
    assert evaluate(turn(z), data, trials=2).trials.equals(evaluate(z, data, trials=2).trials)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_converted(half):
    z, data = llcm_like()
    got, exact = evaluate(z.to(half), data), evaluate(z.to(half).float(), data)
    assert got.trials.equals(exact.trials)
    assert got.mean["mAP"] == pytest.approx(evaluate(z, data).mean["mAP"], abs=0.01)


@pytest.mark.parametrize("scale", [0.5, 1.0001, 1e-150, 1e200, 5e-310])
def test_other_lengths_are_normalised_and_recorded(scale):
    z, data = llcm_like()
    plain = evaluate(z, data)
    assert plain.header["feature"] == FEATURE
    lengths = scale * torch.linspace(1, 3, len(z), dtype=torch.float64)[:, None]
    result = evaluate(z.double() * lengths, data)
    assert result.header["feature"] == f"{FEATURE} (given in other lengths)"
    assert result.header["feature"] in result.title
    np.testing.assert_allclose(result.trials, plain.trials, atol=1e-3 if scale < 1e-300 else 1e-12)


def test_embeddings_may_be_integers():
    data = dataset()
    z = np.eye(40, dtype=int)[data.test.pids]
    assert (evaluate(z, data, trials=1).mean == 1).all()


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (lambda z: z[:, 0], r"\(images, dimensions\), not of shape \(300,\)"),
        (lambda z: z[None], "not of shape"),
        (lambda z: z[:, :0], "not of shape"),
        (lambda z: z[1:], "299 embeddings given for 300 test images"),
        (lambda z: z.T, "8 embeddings given"),
        (lambda z: z.to(torch.complex64), "real numbers, not torch.complex64"),
        (lambda z: z.numpy().astype(str), "real numbers, not <U"),
        (lambda z: z.numpy().astype(object), "real numbers, not object"),
        (lambda z: None, "real numbers, not object"),
        (lambda z: [*z.tolist()[1:], [1.0]], "rows of equal length"),
        (lambda z: z.index_fill(0, torch.tensor([7, 9]), torch.nan),
         r"2 of 300 embeddings are not finite.*row 7, Record\(pid=0, cam=2"),
        (lambda z: z.index_fill(1, torch.tensor([3]), torch.inf), "300 of 300 .* not finite"),
        (torch.zeros_like, "300 of 300 embeddings are all zero.*check_request.*row 0"),
        (lambda z: np.zeros((len(z), 1)), "300 of 300 embeddings are all zero"),
        (lambda z: z.index_fill(0, torch.tensor([4]), 0.0),
         r"1 of 300 embeddings are all zero.*row 4, Record\(pid=0, cam=1, modality='infrared'"),
    ],
)  # fmt: skip
def test_invalid_embeddings_raise(turn, message):
    z, data = llcm_like()
    with pytest.raises(ValueError, match=message):
        evaluate(turn(z), data)


def collapsed(kind, test):
    draw = torch.Generator().manual_seed(0)
    one = torch.nn.functional.normalize(torch.randn(1, 16, generator=draw)).expand(len(test), -1)
    dark = torch.from_numpy(test.infrared)[:, None]
    return {
        "equal": one,
        "equal but for rounding": one + 1e-8 * torch.randn(one.shape, generator=draw),
        "equal in each modality": torch.where(dark, one.flip(1), one),
        "an equal gallery": torch.where(dark, torch.randn(one.shape, generator=draw), one),
        "one dimension": torch.rand(len(test), 1, generator=draw) + 0.1,
    }[kind]


@pytest.mark.parametrize("rerank", [False, True])
@pytest.mark.parametrize(
    "kind",
    ["equal", "equal but for rounding", "equal in each modality", "an equal gallery",
     "one dimension"],
)  # fmt: skip
def test_a_collapsed_network_is_reported(kind, rerank):
    _, data = llcm_like()
    with pytest.warns(UserWarning, match="120 of 120 queries are equally .* has collapsed"):
        result = evaluate(collapsed(kind, data.test), data, trials=1, rerank=rerank)
    assert result.header["queries_without_order"] == 120
    assert "120 queries are equally similar to all gallery images" in result.title


@pytest.mark.parametrize("protocol", ["sysu", "regdb", "none"])
def test_a_collapsed_network_is_no_better_than_chance(protocol):
    data = dataset()
    with pytest.warns(UserWarning, match="collapsed"):
        blind = evaluate(torch.ones(len(data.test), 8), data, protocol=protocol, trials=1)
    dice = torch.randn(len(data.test), 64, generator=torch.Generator().manual_seed(0))
    chance = evaluate(dice, data, protocol=protocol, trials=1)
    assert (blind.mean <= chance.mean).all()


def test_a_working_network_is_not_reported_as_collapsed():
    data = dataset()
    perfect = torch.eye(40)[torch.from_numpy(data.test.pids)]  # some queries have no match indoors
    z, other = llcm_like()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(perfect, data, mode="indoor").header["queries_without_order"] == 0
        assert evaluate(z, other).header["queries_without_order"] == 0
        alone = few((1, "infrared"), (1, "visible"))  # a gallery of one is always in order
        assert evaluate([[1, 0], [0, 1]], alone).mean["rank1"] == 1


# Repeated images, few images ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    config = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=2)
    root = tmp_path_factory.mktemp("copies") / "custom"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_dataset("custom", config, root, height=16, width=8, show=False, warn=False)
    return root


def test_repeated_images_are_reported(exported):
    def evaluate_export():
        data = load_dataset("custom", exported / "people.csv", height=16, width=8)
        dice = torch.randn(len(data.test), 8, generator=torch.Generator().manual_seed(0))
        return data, evaluate(dice, data).header["repeated_pictures"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, found = evaluate_export()
    assert found == 0
    light, dark = (np.flatnonzero(data.test.infrared == side) for side in (False, True))
    files = [r.path for r in data.test.records]
    shutil.copy(data.train.records[0].path, files[light[0]])
    shutil.copy(data.train.records[1].path, files[light[1]])
    shutil.copy(files[light[2]], files[dark[2]])
    shutil.copy(files[dark[3]], files[dark[4]])
    words = "4 images .* 1 listed more than once .*, 2 in both splits .*, 1 as visible and as inf"
    with pytest.warns(UserWarning, match=words):
        assert evaluate_export()[1] == 4


@pytest.mark.parametrize("people", [1, 2, 5, 10])
def test_few_images_are_reranked_with_smaller_neighbourhoods(people):
    data = few(*((pid, side) for pid in range(people) for side in ("visible", "infrared")))
    z = torch.randn(2 * people, 6, generator=torch.Generator().manual_seed(people))
    z = torch.nn.functional.normalize(z.double())
    result = evaluate(z, data, rerank=True)
    sizes = neighbourhood_sizes(2 * people)
    assert result.header["reranking"] == (
        f"k-reciprocal with k1 = {sizes['k1']} and k2 = {sizes['k2']}, as there are so few images"
    )
    expected = rank_metrics(k_reciprocal(z[1::2], z[::2], **sizes), range(people), range(people))
    assert result.mean["mAP"] == expected.mAP
    many = few(*((pid, side) for pid in range(11) for side in ("visible", "infrared")))
    dice = np.random.default_rng(0).standard_normal((22, 8))
    assert evaluate(dice, many, rerank=True).header["reranking"] == "k-reciprocal"


# Requests -----------------------------------------------------------------------------------------


def test_a_request_is_checked_without_embeddings():
    _, data = llcm_like()
    assert check_request(data) is None
    for protocol in ("regdb", "llcm-released", "none", None):
        check_request(data, protocol=protocol, query="visible", gallery="infrared")
    with pytest.raises(ValueError, match="'sysu' has no folder"):
        check_request(dataset(), sampling="official")
    with pytest.raises(ValueError, match="must be 'identity' or 'image', not 'camera'"):
        check_request(data, cmc_unit="camera")
    with pytest.raises(ValueError, match="trials must be at least 1"):
        check_request(data, trials=0)
    with pytest.raises((ValueError, RuntimeError), match="nonsense"):
        check_request(data, device="nonsense")


def test_a_rule_that_drops_every_match_is_rejected_before_the_network_runs():
    records = [Record(pid, 1, side, 1) for pid in (1, 2) for side in ("visible", "infrared")]
    empty, test = ImageSet([], source=None), ImageSet(records, source=None)
    data = Dataset(name="llcm", train=empty, test=test)
    with pytest.raises(ValueError, match="rule drops every match in the gallery of trial 0"):
        evaluate(lambda: pytest.fail("embedded"), data)


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
def test_settings_of_another_protocol_raise(change, message):
    z, data = llcm_like()
    with pytest.raises(ValueError, match=message):
        evaluate(z, data, **change)
    with pytest.raises(ValueError, match=message):
        check_request(data, **change)


def test_a_gallery_without_a_match_is_rejected_before_the_network_runs():
    _, data = llcm_like()
    records = [dataclasses.replace(r, pid=r.pid + 100 * (r.cam % 2)) for r in data.test.records]
    keep = [(r.modality == "visible") == (r.pid < 100) for r in records]
    test = ImageSet([r for r, kept in zip(records, keep, strict=True) if kept], source=None)
    with pytest.raises(ValueError, match=r"no query identity \(100, .*trial 0"):
        evaluate(build_model("small"), dataclasses.replace(data, test=test))


def test_a_module_that_is_no_reid_model_raises():
    with pytest.raises(ValueError, match="a Linear is no ReIDModel; pass its embeddings"):
        evaluate(torch.nn.Linear(2, 2), dataset())
