import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_metrics import slow_rank_metrics

from dakd.metrics import rank_metrics
from dakd.protocols import PROTOCOLS, camera_rule

ROOT = Path(__file__).parents[1]
CASES = Path(os.environ.get("DAKD_EVAL_CASES", ROOT.parent / "shared" / "eval_cases"))
RANKS = (1, 2, 3, 5, 10, 20)


def make_case(seed, queries=30, gallery=40, people=12, ties=False):
    """Return a random ranking; some identities are only in the queries or only in the gallery."""
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
    default = {None: 4, "none": 4, "regdb": 4, "sysu": 3, "llcm": 3}
    for protocol, rank in default.items():
        result = rank_metrics(scores, [7], gallery, [6], [1, 1, 1, 1], protocol=protocol)
        assert result.per_query["rank"][0] == rank


def test_sysu_drops_camera_2_for_queries_of_camera_3():
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


def test_the_camera_rule_of_every_protocol():
    # Queries: person 7 in cameras 3 and 6. Gallery: persons 7 and 8 in cameras 2, 3 and 6.
    who = [7, 7], [7, 8, 7, 8, 7, 8], [3, 6], [2, 2, 3, 3, 6, 6]
    dropped = {
        "sysu": [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
        "llcm": [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]],
    }
    dropped["llcm-released"] = dropped["llcm"]
    for protocol in PROTOCOLS:
        rule = camera_rule(*who, protocol=protocol)
        assert (rule.shape, rule.dtype) == ((2, 6), bool)
        assert rule.astype(int).tolist() == dropped.get(protocol, [[0] * 6] * 2), protocol
        single = camera_rule(7, who[1], 3, who[3], protocol=protocol)
        assert single.tolist() == rule[0].tolist()


def test_a_metric_ranks_what_the_camera_rule_keeps():
    similarity, *who = make_case(3, people=4)
    for protocol in ("sysu", "llcm"):
        kept = ~camera_rule(*who, protocol=protocol)
        result = rank_metrics(similarity, *who, protocol=protocol).per_query
        own = who[0][:, None] == who[1]
        assert result["matches"].tolist() == (own & kept).sum(axis=1).tolist()


def test_camera_rule_bad_input():
    with pytest.raises(ValueError, match="protocol 'SYSU' is unknown"):
        camera_rule([1], [1], [1], [1], protocol="SYSU")
    with pytest.raises(ValueError, match="gallery_pids and gallery_cams must have one shape"):
        camera_rule([1], [1, 2], [1], [1], protocol="sysu")


def test_the_released_llcm_script_ranks_the_queries():
    # Gallery image 0 (identity 7, camera 1) sees queries 8 7 7, the second of which it drops.
    scores = np.array([[1.0, 3.0], [3.0, 2.0], [2.0, 1.0]])
    columns = [7, 8, 7], [7, 9], [2, 3, 1], [1, 1]
    result = rank_metrics(scores, *columns, protocol="llcm-released", ranks=(1, 2))
    assert (result.cmc, result.mAP, result.mINP) == ({1: 0.0, 2: 1.0}, 0.5, 0.5)
    assert (result.num_valid, result.num_queries, len(result.per_query)) == (1, 2, 2)
    intended = rank_metrics(scores, *columns, protocol="llcm", ranks=(1, 2))
    assert (intended.num_valid, intended.num_queries) == (1, 3)


def test_queries_without_match_are_excluded_from_means_and_counted():
    scores = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    result = rank_metrics(scores, [7, 5, 7], [7, 8], [6, 6, 3], [2, 1], protocol="sysu")
    assert (result.cmc[1], result.mAP, result.mINP) == (1.0, 1.0, 1.0)
    assert (result.num_valid, result.num_queries) == (1, 3)
    assert result.per_query["AP"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("unit", ["image", "identity"])
def test_ties_count_against_the_query(unit):
    for gallery in ([7, 7, 8, 8, 9], [8, 8, 7, 9, 7]):  # in any order: 8 8 9 7 7
        result = rank_metrics(np.zeros((1, 5)), [7], gallery, cmc_unit=unit)
        assert result.per_query["rank"][0] == (4 if unit == "image" else 3)
        assert result.mAP == pytest.approx((1 / 4 + 2 / 5) / 2, abs=1e-12)
        assert result.mINP == pytest.approx(2 / 5, abs=1e-12)


def test_ties_among_right_images_do_not_count():
    result = rank_metrics(np.array([[2.0, 2, 1, 1, 1]]), [7], [7, 7, 7, 8, 7])
    # 7 7 8 7 7: ranks 1, 2, 4, 5
    assert result.mAP == pytest.approx((1 + 1 + 3 / 4 + 4 / 5) / 4, abs=1e-12)
    assert result.per_query["rank"][0] == 1


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


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), protocol=st.sampled_from(list(PROTOCOLS)), ties=st.booleans())
def test_invariances(seed, protocol, ties):
    """Invariance to the orders of queries and gallery, monotonic scores, chunks, other queries."""
    similarity, query_pids, gallery_pids, query_cams, gallery_cams = make_case(seed, ties=ties)
    case = similarity, query_pids, gallery_pids, query_cams, gallery_cams
    base = rank_metrics(*case, protocol=protocol)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(query_pids)), rng.permutation(len(gallery_pids))
    for other in (
        (similarity[rows], query_pids[rows], gallery_pids, query_cams[rows], gallery_cams),
        (similarity[:, columns], query_pids, gallery_pids[columns],
         query_cams, gallery_cams[columns]),
        (np.exp(2 * similarity) + 3, *case[1:]),
        (np.arctan(similarity), *case[1:]),
    ):  # fmt: skip
        assert_same(rank_metrics(*other, protocol=protocol), base)
    for chunk in (1, 11, 1000):
        same = rank_metrics(*case, protocol=protocol, chunk=chunk)
        assert same == base
        assert same.per_query.equals(base.per_query)
    assert all(0 <= v <= 1 for v in (base.mAP, base.mINP, *base.cmc.values()))
    assert sorted(base.cmc.values()) == list(base.cmc.values())


@pytest.mark.parametrize("protocol", ["sysu", "regdb", "llcm"])
def test_every_query_is_measured_alone(protocol):
    similarity, query_pids, gallery_pids, query_cams, gallery_cams = make_case(8, ties=True)
    table = rank_metrics(*make_case(8, ties=True), protocol=protocol).per_query
    for q in np.flatnonzero(table["matches"]):
        row = slice(q, q + 1)
        alone = rank_metrics(
            similarity[row], query_pids[row], gallery_pids, query_cams[row], gallery_cams,
            protocol=protocol,
        )  # fmt: skip
        assert alone.per_query.iloc[0].equals(table.iloc[q])


def assert_same(got, expected):
    assert got.cmc == pytest.approx(expected.cmc, abs=1e-12)
    assert (got.mAP, got.mINP) == pytest.approx((expected.mAP, expected.mINP), abs=1e-12)
    assert (got.num_valid, got.num_queries) == (expected.num_valid, expected.num_queries)


# Data of the kind of each protocol, against the slow reference ------------------------------------


def make_scores(rng, query_pids, gallery_pids, width=16, noise=2.0):
    """Dot products of unit-length float32 features around one centre per identity."""
    centres = rng.standard_normal((max(*query_pids, *gallery_pids) + 1, width))
    sides = []
    for pids in (query_pids, gallery_pids):
        side = centres[pids] + noise * rng.standard_normal((len(pids), width))
        sides.append((side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32))
    return sides[0] @ sides[1].T


def make_sysu(rng, people, cams, shots):
    """Some people have no images of cameras 1 and 2, others only of 2; three queries per camera."""
    seen = {
        pid: (2,) if pid % 5 == 0 else (4, 5) if pid % 3 == 0 else cams for pid in range(people)
    }
    gallery = [(pid, cam) for pid in seen for cam in seen[pid] if cam in cams for _ in range(shots)]
    query = [(pid, cam) for pid in seen for cam in (3, 6) for _ in range(3)]
    return query, gallery


def make_regdb(rng, people):
    """Ten images per person and modality; the two lists have independent orders."""
    images = [(pid, 0) for pid in range(people) for _ in range(10)]
    return [images[i] for i in rng.permutation(len(images))], images


def make_llcm(rng, people):
    """One gallery image per person and camera; two queries per person in most cameras."""
    cells = [(pid, cam) for pid in range(people) for cam in range(1, 10) if rng.random() < 0.5]
    query = [(pid, cam) for pid in range(people) for cam in (1, 2, 4, 5) for _ in range(2)]
    return query, cells


KINDS = {
    "sysu all single": ("sysu", lambda rng, n: make_sysu(rng, n, (1, 2, 4, 5), 1)),
    "sysu all multi": ("sysu", lambda rng, n: make_sysu(rng, n, (1, 2, 4, 5), 10)),
    "sysu indoor single": ("sysu", lambda rng, n: make_sysu(rng, n, (1, 2), 1)),
    "sysu indoor multi": ("sysu", lambda rng, n: make_sysu(rng, n, (1, 2), 10)),
    "regdb thermal to visible": ("regdb", make_regdb),
    "regdb visible to thermal": ("regdb", lambda rng, n: make_regdb(rng, n)[::-1]),
    "llcm": ("llcm", make_llcm),
    "llcm released": ("llcm-released", make_llcm),
    "none": ("none", make_llcm),
}


@pytest.mark.parametrize("people", [4, 30])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_data_of_every_kind(kind, ties, people):
    protocol, make = KINDS[kind]
    rng = np.random.default_rng(11)
    query, gallery = (np.array(side) for side in make(rng, people))
    scores = make_scores(rng, query[:, 0], gallery[:, 0])
    scores = np.round(scores, 1) if ties else scores
    case = scores, query[:, 0], gallery[:, 0], query[:, 1], gallery[:, 1]
    got = rank_metrics(*case, protocol=protocol, ranks=RANKS)
    unit = "identity" if protocol.startswith(("sysu", "llcm")) else "image"
    cmc, mean_ap, mean_inp, valid = slow_rank_metrics(*case, protocol, unit, RANKS)
    assert got.num_valid == valid
    assert got.num_queries == len(gallery if protocol == "llcm-released" else query)
    assert got.cmc == pytest.approx(cmc, abs=1e-12)
    assert (got.mAP, got.mINP) == pytest.approx((mean_ap, mean_inp), abs=1e-12)
    if kind == "sysu indoor single":
        assert 0 < valid < len(query)


# Numbers and memory -------------------------------------------------------------------------------


def test_the_smallest_difference_counts_and_signs_of_zero_do_not():
    one = np.float32(1)
    for scores, rank in (
        ([one, np.nextafter(one, one + 1)], 1),
        ([one, np.nextafter(one, one - 1)], 2),
        ([-one, np.nextafter(-one, one)], 1),
        ([-one, np.nextafter(-one, -2 * one)], 2),
        ([np.float32(1e-45), np.float32(-1e-45)], 2),
        ([np.float32(-1e-45), np.float32(1e-45)], 1),
        ([np.float32(-0.0), np.float32(0.0)], 2),  # equal
        ([np.float32(-3e38), np.float32(3e38)], 1),
        ([1.0, 1.0 + 1e-15], 1),
        ([-0.0, 0.0], 2),
        ([0.0, -0.0], 2),
        ([-1.0, -1.0 + 1e-15], 1),
        ([-1.0, -1.0 - 1e-15], 2),
        ([-1e300, -1e-300], 1),
        ([2**52, 2**52 + 1], 1),
        ([False, True], 1),
    ):
        result = rank_metrics(np.array([scores]), [7], [8, 7])
        assert result.per_query["rank"][0] == rank


def test_memory_is_that_of_a_chunk(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    rng = np.random.default_rng(0)
    similarity = rng.standard_normal((1500, 5000), dtype=np.float32)  # 30 MB
    pids = rng.integers(0, 50, 1500), rng.integers(0, 50, 5000)
    cams = rng.choice([3, 6], 1500), rng.choice([1, 2], 5000)
    tracemalloc.start()
    try:
        rank_metrics(similarity, *pids, *cams, protocol="sysu")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


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
    floats = [column.astype(float) for column in columns]  # as a table with gaps elsewhere has
    assert rank_metrics(similarity.astype(np.float16), *floats, protocol="sysu") == base


def test_inputs_are_not_changed():
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
        ({"similarity": np.zeros((2, 3), complex)}, "real numbers, not complex128"),
        ({"similarity": torch.zeros(2, 3, dtype=torch.complex64)}, "not torch.complex64"),
        ({"similarity": [["a", "b", "c"]] * 2}, "real numbers, not <U1"),
        ({"query_pids": ["1", "2"]}, "query_pids must be whole numbers, not <U1"),
        ({"query_pids": [True, False]}, "query_pids must be whole numbers, not bool"),
        ({"query_pids": [1.0, np.nan]}, r"query_pids must be whole numbers; .* \[nan\]"),
        ({"gallery_pids": torch.tensor([1, 2.5, 3])}, r"gallery_pids .* \[2\.5\]"),
        ({"gallery_cams": np.array([1, np.inf, 1])}, r"gallery_cams .* \[inf\]"),
        ({"query_cams": [None, 1]}, "query_cams must be whole numbers, not object"),
        ({"ranks": ()}, "ranks must be one or more"),
        ({"ranks": (0,)}, "ranks must be one or more"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"cmc_unit": "camera"}, "cmc_unit must be"),
        ({"similarity": np.array([[0, 0, 0], [0, np.nan, 0]])}, r"similarity\[1, 1\] is nan"),
        (
            {"similarity": torch.tensor([[0, 0, torch.inf], [0, 0, 0]])},
            r"similarity\[0, 2\] is inf",
        ),
        (
            {
                "protocol": "llcm-released",
                "similarity": torch.tensor([[0, 0, torch.nan], [0, 0, 0]]),
            },
            r"similarity\[0, 2\] is nan",
        ),
        ({"gallery_pids": [5, 6, 7]}, r"queries' .* are \[1 2\].* gallery's \[5 6 7\].*'sysu'"),
        ({"query_cams": [3, 3], "gallery_cams": [2, 2, 2]}, "'sysu': for a query from camera 3"),
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
