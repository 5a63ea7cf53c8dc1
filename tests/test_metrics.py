import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_metrics import slow_rank_metrics

from dakd.metrics import rank_metrics

ROOT = Path(__file__).parents[1]
CASES = Path(os.environ.get("DAKD_EVAL_CASES", ROOT.parent / "shared" / "eval_cases"))
RANKS = (1, 2, 3, 5, 10, 20)


def make_case(seed, queries=30, gallery=40, people=12, ties=False):
    """A random ranking; some identities are only queries, some only gallery."""
    rng = np.random.default_rng(seed)
    similarity = rng.standard_normal((queries, gallery))
    return (
        np.round(similarity) if ties else similarity,
        rng.integers(0, people, queries),
        rng.integers(2, people + 2, gallery),
        rng.choice([3, 6], queries),
        rng.choice([1, 2, 3, 4], gallery),
    )


# By hand ------------------------------------------------------------------------------------------


def test_values_by_hand():
    # Query 7 sees 8 7 9 7 9: correct at ranks 2 and 4; AP = (1/2 + 2/4) / 2, INP = 2/4.
    # Query 9 sees 9 8 7 7 9: correct at ranks 1 and 5; AP = (1/1 + 2/5) / 2, INP = 2/5.
    gallery = [8, 7, 9, 7, 9]
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.8, 0.7, 0.9, 0.6, 0.5]])
    result = rank_metrics(scores, [7, 9], gallery, ranks=(1, 2, 7))
    assert result.cmc == {1: 0.5, 2: 1.0, 7: 1.0}
    assert result.mAP == pytest.approx((0.5 + 0.7) / 2, abs=1e-12)
    assert result.mINP == pytest.approx((0.5 + 0.4) / 2, abs=1e-12)
    assert (result.num_valid, result.num_queries) == (2, 2)
    np.testing.assert_allclose(result.per_query["AP"], [0.5, 0.7])
    assert result.per_query["rank"].tolist() == [2, 1]


def test_a_rank_counts_images_or_identities():
    scores = np.array([[5.0, 4.0, 3.0, 2.0]])
    gallery = [8, 8, 9, 7]  # images ahead of 7: three; identities: two
    for unit, rank in (("image", 4), ("identity", 3)):
        result = rank_metrics(scores, [7], gallery, ranks=(rank - 1, rank), cmc_unit=unit)
        assert result.cmc == {rank - 1: 0.0, rank: 1.0}
        assert result.mAP == 0.25
    default = {None: 4, "regdb": 4, "sysu": 3, "llcm": 3}
    for protocol, rank in default.items():
        result = rank_metrics(scores, [7], gallery, [6], [1, 1, 1, 1], protocol=protocol)
        assert result.per_query["rank"][0] == rank


def test_camera_3_never_meets_camera_2():
    scores = np.array([[5.0, 4.0, 3.0, 2.0]] * 2)
    gallery, cams = [8, 7, 7, 9], [2, 2, 1, 2]
    result = rank_metrics(scores, [7, 7], gallery, [3, 6], cams, protocol="sysu")
    # camera 3 keeps one image, which is correct; camera 6 keeps all: 8 7 7 9
    np.testing.assert_allclose(result.per_query["AP"], [1.0, (1 / 2 + 2 / 3) / 2])
    assert result.per_query["matches"].tolist() == [1, 2]


def test_llcm_drops_the_same_identity_in_the_same_camera_only():
    scores = np.array([[5.0, 4.0, 3.0]])
    result = rank_metrics(scores, [7], [7, 8, 7], [1], [1, 1, 2], protocol="llcm")
    assert (result.mAP, result.mINP) == (0.5, 0.5)  # 8 7 remain


def test_queries_without_match_count_nowhere_but_are_counted():
    scores = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    result = rank_metrics(scores, [7, 5, 7], [7, 8], [6, 6, 3], [2, 1], protocol="sysu")
    assert (result.cmc[1], result.mAP, result.mINP) == (1.0, 1.0, 1.0)
    assert (result.num_valid, result.num_queries) == (1, 3)
    assert result.per_query["AP"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("unit", ["image", "identity"])
def test_equal_scores_keep_gallery_order(unit):
    gallery = [8, 8, 7, 9, 7]
    result = rank_metrics(np.zeros((1, 5)), [7], gallery, cmc_unit=unit)
    assert result.per_query["rank"][0] == (3 if unit == "image" else 2)
    assert result.mAP == pytest.approx((1 / 3 + 2 / 5) / 2, abs=1e-12)


# Against the slow reference, and invariants -------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("unit", ["image", "identity"])
@pytest.mark.parametrize("protocol", ["sysu", "regdb", "llcm", None])
@pytest.mark.parametrize("shape", [{}, {"people": 3}, {"gallery": 3, "people": 4}])
def test_slow_reference(protocol, unit, ties, shape):
    case = make_case(5, ties=ties, **shape)
    got = rank_metrics(*case, protocol=protocol, cmc_unit=unit, ranks=RANKS, chunk=7)
    cmc, mean_ap, mean_inp, valid = slow_rank_metrics(*case, protocol, unit, RANKS)
    assert got.num_valid == valid
    assert got.cmc == pytest.approx(cmc, abs=1e-12)
    assert (got.mAP, got.mINP) == pytest.approx((mean_ap, mean_inp), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), protocol=st.sampled_from(["sysu", "regdb", "llcm", None]))
def test_invariants(seed, protocol):
    similarity, query_pids, gallery_pids, query_cams, gallery_cams = make_case(seed)
    base = rank_metrics(
        similarity, query_pids, gallery_pids, query_cams, gallery_cams, protocol=protocol
    )
    order = np.random.default_rng(seed).permutation(len(gallery_pids))
    shuffled = (
        similarity[:, order],
        query_pids,
        gallery_pids[order],
        query_cams,
        gallery_cams[order],
    )
    bent = np.exp(2 * similarity) + 3, query_pids, gallery_pids, query_cams, gallery_cams
    twice = (
        np.concatenate([similarity] * 2), np.tile(query_pids, 2), gallery_pids,
        np.tile(query_cams, 2), gallery_cams,
    )  # fmt: skip
    for case in (shuffled, bent, twice):
        other = rank_metrics(*case, protocol=protocol, chunk=11)
        assert other.cmc == pytest.approx(base.cmc, abs=1e-12)
        assert (other.mAP, other.mINP) == pytest.approx((base.mAP, base.mINP), abs=1e-12)
    assert all(0 <= v <= 1 for v in (base.mAP, base.mINP, *base.cmc.values()))
    assert sorted(base.cmc.values()) == list(base.cmc.values())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tensors_arrays_types_and_layouts_agree(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    similarity, *columns = make_case(3, ties=True)
    base = rank_metrics(similarity, *columns, protocol="sysu")
    half = torch.tensor(
        similarity, device=device, dtype=torch.bfloat16
    )  # rounded: exact in bfloat16
    turned = torch.tensor(similarity.T.copy(), device=device, requires_grad=True).T
    frozen = similarity.astype(np.float32)
    frozen.flags.writeable = False
    tensors = [torch.tensor(c, device=device) for c in columns]
    for scores, others in ((half, tensors), (turned, columns), (frozen, tensors)):
        assert rank_metrics(scores, *others, protocol="sysu") == base
    assert rank_metrics(similarity.astype(int), *map(list, columns), protocol="sysu") == base


def test_inputs_stay_as_they_are():
    case = make_case(1)
    tensors = [torch.tensor(part) for part in case]
    before = [part.clone() for part in tensors]
    rank_metrics(*tensors, protocol="sysu")
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


# Reference cases made with the published evaluation codes -----------------------------------------


@pytest.mark.skipif(not CASES.is_dir(), reason="reference cases are not on this machine")
@pytest.mark.parametrize(
    "name", ["sysu_cam2_only_ids", "regdb_thermal_to_visible", "llcm_ir_to_vis"]
)
def test_reference_cases(name):
    expected = json.loads((CASES / "expected.json").read_text())[name]
    case = np.load(CASES / expected["file"])
    similarity = case["query_feat"] @ case["gallery_feat"].T  # the features are normalised
    columns = [case[key] for key in ("query_pid", "gallery_pid", "query_cam", "gallery_cam")]
    result = rank_metrics(similarity, *columns, protocol=expected["protocol"])
    for rank, value in expected["cmc"].items():
        assert result.cmc[int(rank)] == pytest.approx(value, abs=1e-6)
    assert result.mAP == pytest.approx(expected["mAP"], abs=1e-6)
    assert result.mINP == pytest.approx(expected["mINP"], abs=1e-6)
    if name.startswith("regdb"):
        by_identity = rank_metrics(similarity, *columns, protocol="regdb", cmc_unit="identity")
        assert by_identity.cmc[20] == pytest.approx(0.933981, abs=1e-6)
        assert by_identity.cmc[1] == result.cmc[1]


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"similarity": np.zeros(3)}, r"\(queries, gallery\)"),
        ({"similarity": np.zeros((2, 0)), "gallery_pids": []}, "at least one of each"),
        ({"query_pids": [1]}, r"query_pids must have shape \(2,\)"),
        ({"gallery_pids": [[1, 2, 3]]}, r"gallery_pids must have shape \(3,\)"),
        ({"gallery_cams": [1]}, r"gallery_cams must have shape \(3,\)"),
        ({"query_cams": None}, "needs query_cams and gallery_cams"),
        ({"protocol": "market"}, "protocol 'market' is unknown"),
        ({"ranks": ()}, "ranks must be one or more"),
        ({"ranks": (0,)}, "ranks must be one or more"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"cmc_unit": "camera"}, "cmc_unit must be"),
        ({"similarity": np.array([[0, 0, 0], [0, np.nan, 0]])}, r"similarity\[1, 1\] is nan"),
        (
            {"similarity": torch.tensor([[0, 0, torch.inf], [0, 0, 0]])},
            r"similarity\[0, 2\] is inf",
        ),
        ({"gallery_pids": [5, 6, 7]}, r"queries show 1, 2 .* gallery 5, 6, 7 .*'sysu'"),
        ({"query_cams": [3, 3], "gallery_cams": [2, 2, 2]}, "drops for a query from camera 3"),
    ],
)
def test_bad_input(change, message):
    good = {
        "similarity": np.zeros((2, 3)),
        "query_pids": [1, 2],
        "gallery_pids": [1, 2, 3],
        "query_cams": [3, 6],
        "gallery_cams": [1, 2, 4],
        "protocol": "sysu",
        "chunk": 1,
    }
    assert rank_metrics(**good).num_valid == 2
    with pytest.raises(ValueError, match=message):
        rank_metrics(**good | change)
