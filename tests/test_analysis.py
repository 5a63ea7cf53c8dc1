"""Calibration and modality gap: values by hand, loop references, invariants, bad input."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from dakd import analysis
from dakd.model import build_model

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


def clouds(seed=0, n=40, dim=6, shift=0.0):
    """Unit-length embeddings of two modalities, `shift` apart along the first axis."""
    rng = np.random.default_rng(seed)
    infrared = np.arange(n) % 2 == 1
    z = rng.normal(size=(n, dim))
    z[:, 0] += shift * infrared
    return z / np.linalg.norm(z, axis=1, keepdims=True), infrared, rng.integers(0, n // 8, n)


# -- confidence --------------------------------------------------------------------------------


def test_predict_by_hand():
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    z = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6]])
    predictions = analysis.predict(z, centres, [0, 1, 1])
    assert predictions.predicted.tolist() == [0, 1, 0]
    assert predictions.correct.tolist() == [True, True, False]
    # logits (12, 16): the larger one's probability is 1 / (1 + exp(-4))
    assert predictions.confidence[1] == pytest.approx(1 / (1 + np.exp(-4)))
    # softmax of (1, 0) itself
    assert predictions.instance_confidence[0] == pytest.approx(np.e / (np.e + 1))


def test_predict_temperatures_flatten():
    z, centres = torch.eye(3), torch.eye(3)
    sharp = analysis.predict(z, centres, [0, 1, 2], temperature=0.1, instance_temperature=0.1)
    assert sharp.confidence == pytest.approx(sharp.instance_confidence)
    flat = analysis.predict(z, centres, [0, 1, 2], temperature=10.0)
    assert (flat.confidence < sharp.confidence).all()


@pytest.mark.parametrize(
    ("z", "centres", "labels", "message"),
    [
        (torch.eye(2), torch.eye(3), [0, 1], r"\(N, D\)"),
        (torch.eye(2), torch.eye(2), [0], "labels of shape"),
        (torch.eye(2)[:0], torch.eye(2), [], "0 embeddings"),
        (torch.eye(2), torch.eye(2), [0, 2], "needs a centre"),
        (torch.eye(2) * torch.nan, torch.eye(2), [0, 1], "not finite"),
    ],
)
def test_predict_bad_input(z, centres, labels, message):
    with pytest.raises(ValueError, match=message):
        analysis.predict(z, centres, labels)


def test_reliability_by_hand():
    # bins (0, 0.5] and (0.5, 1]: 0.5 belongs to the lower one
    result = analysis.reliability([0.3, 0.5, 0.8, 1.0], [0, 1, 1, 1], bins=2)
    assert result.table["count"].tolist() == [2, 2]
    assert result.table["confidence"].tolist() == pytest.approx([0.4, 0.9])
    assert result.table["accuracy"].tolist() == [0.5, 1.0]
    assert result.ece == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)


def ece_by_loop(confidence, correct, bins):
    total = 0.0
    for i in range(bins):
        inside = [
            j
            for j, c in enumerate(confidence)
            if (i / bins < c <= (i + 1) / bins) or (c == 0 and i == 0)
        ]
        if inside:
            accuracy = sum(float(correct[j]) for j in inside) / len(inside)
            mean = sum(float(confidence[j]) for j in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@FEW
@given(SEEDS, st.integers(1, 20))
def test_ece_equals_the_loop(seed, bins):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.random(50), rng.random(50) < 0.5
    confidence[0] = 0.0
    expected = ece_by_loop(confidence, correct, bins)
    assert analysis.reliability(confidence, correct, bins=bins).ece == pytest.approx(expected)


def test_risk_coverage_by_hand():
    result = analysis.risk_coverage([0.2, 0.9, 0.8, 0.1], [1, 1, 0, 0])
    assert result.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert result.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert result.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert result.best == pytest.approx((1 / 3 + 1 / 2) / 4)  # right, right, wrong, wrong


@FEW
@given(SEEDS)
def test_risk_coverage_knows_only_the_order(seed):
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(0, 8, 30) / 8, rng.random(30) < 0.6  # many ties
    result = analysis.risk_coverage(confidence, correct)
    mixed = rng.permutation(30)
    for other in (
        analysis.risk_coverage(confidence[mixed], correct[mixed]),
        analysis.risk_coverage(confidence**3, correct),
    ):
        assert other.risk == pytest.approx(result.risk)
    assert result.risk[-1] == pytest.approx(1 - correct.mean())
    assert result.best <= result.area + 1e-12


def test_kept_accuracy_by_hand():
    confidence, correct = [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]
    confident = analysis.kept_accuracy(confidence, correct)
    assert confident.mask.tolist() == [False, False, True, True]
    assert (confident.kept, confident.dropped) == (1.0, 0.0)
    assert confident.threshold == pytest.approx(0.25)
    uncertain = analysis.kept_accuracy(confidence, correct, keep="uncertain")
    assert (uncertain.kept, uncertain.dropped) == (0.0, 1.0)
    everything = analysis.kept_accuracy(confidence, correct, keep="none")
    assert everything.kept == 0.5
    assert np.isnan(everything.dropped)


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([], [], "non-empty"),
        ([0.5, np.nan], [1, 0], "not finite"),
        ([0.5], [1, 0], "1 confidences, but 2"),
        ([1.5, 0.5], [1, 0], "0..1"),
        ([0.5, 0.5], [0.5, 1], "only True and False"),
    ],
)
@pytest.mark.parametrize("function", ["reliability", "risk_coverage", "kept_accuracy"])
def test_confidence_bad_input(function, confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        getattr(analysis, function)(confidence, correct)


# -- gap ---------------------------------------------------------------------------------------


def test_centroid_distance_by_hand():
    z = np.array([[3.0, 0], [5, 0], [0, 2], [0, 4]])  # means (4, 0) and (0, 3)
    assert analysis.centroid_distance(z, [0, 0, 1, 1]) == 5.0


def test_modality_accuracy_finds_a_plane_and_nothing_else():
    z, infrared, _ = clouds(n=200)
    apart = z + 10 * np.outer(infrared, np.ones(6))
    assert analysis.modality_accuracy(apart, infrared) == 1.0
    z, infrared, _ = clouds(n=2000, shift=0.0)
    assert 0.44 < analysis.modality_accuracy(z, infrared) < 0.56


def test_modality_accuracy_is_balanced_and_held_out():
    rng = np.random.default_rng(0)
    infrared = np.arange(300) < 30  # one in ten: a constant prediction is right in 90 %
    z = rng.normal(size=(300, 5))
    assert 0.35 < analysis.modality_accuracy(z, infrared) < 0.65
    wide = rng.normal(size=(60, 500))  # can be memorised, but does not generalise
    assert 0.3 < analysis.modality_accuracy(wide, np.arange(60) % 2 == 0) < 0.7


def test_modality_accuracy_does_not_favour_the_larger_modality():
    infrared = np.arange(600) < 60
    z = np.random.default_rng(0).normal(size=(600, 2))
    z[:, 0] += 3 * infrared  # the best balanced threshold, halfway, is right in 93 %
    assert 0.88 < analysis.modality_accuracy(z, infrared) < 0.97


def mmd_by_loop(x, y, sigma):
    def k(a, b):
        return np.exp(-sum((a - b) ** 2) / (2 * sigma**2))

    def within(v):
        pairs = [(i, j) for i in range(len(v)) for j in range(len(v)) if i != j]
        return sum(k(v[i], v[j]) for i, j in pairs) / len(pairs)

    cross = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * cross


@FEW
@given(SEEDS)
def test_mmd_equals_the_loop(seed):
    z, infrared, _ = clouds(seed, n=13)
    expected = mmd_by_loop(z[infrared], z[~infrared], 0.7)
    assert analysis.mmd(z, infrared, bandwidth=0.7) == pytest.approx(expected)


def test_mmd_median_heuristic_by_hand():
    z = np.array([[0.0], [1.0], [4.0], [5.0]])  # distances 1 4 5 3 4 1: median 3.5
    mine = analysis.mmd(z, [0, 0, 1, 1])
    assert mine == pytest.approx(analysis.mmd(z, [0, 0, 1, 1], bandwidth=3.5))
    assert mine > 0


def test_neighbour_mixing_by_hand():
    # on the circle, at 0 and 1 degrees visible, at 90 and 91 infrared: never a mixed neighbour
    angle = np.deg2rad([0, 1, 90, 91])
    z = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert analysis.neighbour_mixing(z, [0, 0, 1, 1], neighbours=1) == 0
    # interleaved: always one; by chance it would be 2 of 3
    assert analysis.neighbour_mixing(z, [0, 1, 0, 1], neighbours=1) == pytest.approx(1.5)
    # all neighbours: exactly chance
    assert analysis.neighbour_mixing(z, [0, 1, 0, 1], neighbours=3) == pytest.approx(1)


def test_identity_similarity_by_hand():
    z = np.array([[1.0, 0], [0.6, 0.8], [0, 1], [0, 1], [0, 1]])
    result = analysis.identity_similarity(z, [0, 0, 1, 0, 1], [7, 7, 7, 9, 9])
    assert result["within"] == pytest.approx(0.6)  # one pair of person 7
    assert result["across"] == pytest.approx((0 + 0.8 + 1) / 3)  # 7: rows 0-2, 1-2; 9: 3-4
    assert result["others"] == pytest.approx((0 + 0.8 + 1) / 3)  # rows 0-4, 1-4, 2-3


@FEW
@given(SEEDS)
def test_gap_does_not_depend_on_order_or_rotation(seed):
    z, infrared, pids = clouds(seed, n=48, shift=1.0)
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(len(z))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    for function, extra in (
        (analysis.centroid_distance, ()),
        (analysis.mmd, ()),
        (analysis.neighbour_mixing, ()),
        (analysis.identity_similarity, (pids,)),
    ):
        value = function(z, infrared, *extra)
        assert function(z @ rotation, infrared, *extra) == pytest.approx(value)
        moved = function(z[mixed], infrared[mixed], *(e[mixed] for e in extra))
        assert moved == pytest.approx(value)
        assert function(z, ~infrared, *extra) == pytest.approx(value)


def test_modality_gap_orders_a_wide_and_a_narrow_gap():
    wide = analysis.modality_gap(*clouds(n=120, shift=4.0))
    narrow = analysis.modality_gap(*clouds(n=120, shift=0.5))
    for name in ("centroid distance", "modality accuracy", "MMD²"):
        assert wide[name] > narrow[name]
    assert wide["neighbour mixing"] < narrow["neighbour mixing"]
    subset = analysis.modality_gap(*clouds(n=120, shift=4.0), limit=60)
    assert subset["centroid distance"] != wide["centroid distance"]


@pytest.mark.parametrize(
    ("z", "infrared", "message"),
    [
        (np.eye(4), [0, 0, 0, 0], "at least two images of each"),
        (np.eye(4), [0, 1, 1, 1], "1 visible and 3 infrared"),
        (np.full((4, 2), np.nan), [0, 0, 1, 1], "the first in row 0"),
        (np.eye(4), [0, 0, 1], "modalities of shape"),
        (np.ones(4), [0, 0, 1, 1], r"\(N, D\)"),
    ],
)
def test_gap_bad_input(z, infrared, message):
    with pytest.raises(ValueError, match=message):
        analysis.modality_gap(z, infrared, [1, 1, 1, 1])


def test_gap_impossible_requests():
    z, infrared, pids = clouds(n=8)
    with pytest.raises(ValueError, match=r"neighbours must lie in 1..7"):
        analysis.neighbour_mixing(z, infrared, neighbours=8)
    with pytest.raises(ValueError, match="5 folds"):
        analysis.modality_accuracy(z, infrared)
    with pytest.raises(ValueError, match="of the kind across"):
        analysis.identity_similarity(np.eye(4), [0, 0, 1, 1], [1, 1, 2, 2])
    with pytest.raises(ValueError, match="identities of shape"):
        analysis.identity_similarity(z, infrared, pids[:3])


# -- visualisation -------------------------------------------------------------------------------


def test_umap_refuses_too_few_rows():
    with pytest.raises(ValueError, match="more than 10 rows"):
        analysis.umap_map(np.eye(10))


def test_umap_gets_the_given_settings(monkeypatch):
    asked = {}

    class Mapper:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, z):
            return z[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Mapper))
    z = np.eye(10)
    shown = analysis.umap_map(z, neighbours=7, min_dist=0.3, metric="euclidean", seed=4)
    assert shown.tolist() == z[:, :2].tolist()
    assert asked == {"n_neighbors": 7, "min_dist": 0.3, "metric": "euclidean",
                     "random_state": 4, "n_jobs": 1}  # fmt: skip


def test_gradcam_finds_what_the_similarity_depends_on_and_keeps_the_model():
    pytest.importorskip("pytorch_grad_cam")
    model = build_model("small").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.zeros(2, 3, 32, 16)
    images[0, :, :16] = 3 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # A different image: for its own embedding the gradient is zero up to rounding.
        targets = build_model("small").eval()(images.roll(5, dims=3))
    heat = analysis.gradcam(model, images, targets)
    assert heat.shape == (2, 32, 16)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert heat[0, :14].mean() > heat[0, 18:].mean()  # the half that is not empty
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ValueError, match="targets"):
        analysis.gradcam(model, images, targets[:, :5])


# Comparison of runs -------------------------------------------------------------------------------


def runs_table(values):
    """{run: {seed: trials}} as a table."""
    rows = [(r, s, json.dumps({"mAP": t})) for r, of in values.items() for s, t in of.items()]
    return pd.DataFrame(rows, columns=["run", "seed", "trials"])


def test_differences_are_taken_within_seed_and_trial():
    # The seeds differ by 0.5, the trials by 0.1; b is 0.02 and 0.04 above a.
    a = {0: [0.1, 0.2], 1: [0.6, 0.7], 5: [0.0, 0.0]}
    b = {1: [0.64, 0.74], 0: [0.12, 0.22]}
    apart = analysis.paired_differences(runs_table({"a": a, "b": b}), baseline="a", metric="mAP")
    assert apart.loc["a", ["mean", "low", "high"]].tolist() == [0, 0, 0]
    row = apart.loc["b"]
    np.testing.assert_allclose(row["each"], [0.02, 0.04])
    assert row["mean"] == pytest.approx(0.03)
    assert (row["low"], row["high"]) == pytest.approx((0.02, 0.04))  # two seeds, no spread inside
    # s / sqrt(2) = 0.01, and Student's t with one degree of freedom reaches 12.706 of it.
    assert row["t_high"] - row["mean"] == pytest.approx(0.12706, abs=1e-4)


def test_one_seed_has_no_interval_over_seeds_but_one_over_trials():
    apart = analysis.paired_differences(
        runs_table({"a": {0: [0.0, 0.0]}, "b": {0: [0.0, 0.2]}}), baseline="a", metric="mAP"
    )
    assert np.isnan(apart.loc["b", "t_low"])
    assert (apart.loc["b", "low"], apart.loc["b", "high"]) == pytest.approx((0, 0.2))


def test_students_t_agrees_with_the_library_test():
    rng = np.random.default_rng(0)
    made = {f"run{i}": dict(enumerate(rng.normal(size=(3, 4)).tolist())) for i in range(200)}
    apart = analysis.paired_differences(
        runs_table(made), baseline="run0", metric="mAP", draws=20
    ).iloc[1:]
    p = ttest_1samp(np.stack(apart["each"]), 0, axis=1).pvalue
    significant = (apart["t_low"] > 0) | (apart["t_high"] < 0)
    assert significant.tolist() == (p < 0.05).tolist()
    assert 0 < significant.sum() < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "c"}, "no run 'c' in the table; it has a, b"),
        ({"metric": "rank1"}, "no metric 'rank1' in the table; it has mAP"),
        ({"table": runs_table({"a": {0: [1.0]}, "b": {1: [1.0]}})}, "have no seed in common"),
    ],
)
def test_paired_differences_bad_input(change, message):
    good = {"table": runs_table({"a": {0: [1.0]}, "b": {0: [1.0]}}), "baseline": "a"}
    good["metric"] = "mAP"
    assert len(analysis.paired_differences(**good)) == 2
    with pytest.raises(ValueError, match=message):
        analysis.paired_differences(**good | change)
