import numpy as np
import pytest
import torch
from reference_metrics import slow_k_reciprocal

from dakd.evaluate import reranking
from dakd.evaluate.reranking import k_reciprocal, neighbourhood_sizes


def make_features(seed, queries=12, gallery=20, width=5, spread=0.7):
    """Features of a few identities, about four images each."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(2, (queries + gallery) // 4), width))
    who = rng.integers(0, len(centres), queries + gallery)
    images = torch.tensor(centres[who] + spread * rng.standard_normal((len(who), width)))
    return images[:queries], images[queries:]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ({}, {}),
        ({"queries": 40, "gallery": 30}, {}),
        ({"queries": 1, "gallery": 25, "width": 1}, {"k1": 4, "k2": 2}),
        ({"queries": 30, "gallery": 1}, {"k1": 7, "k2": 3, "weight": 0.0}),
        ({"queries": 25, "gallery": 35}, {"k1": 1, "k2": 1}),
        ({"queries": 10, "gallery": 10}, {"k1": 3, "k2": 8, "weight": 0.5}),
        ({"queries": 10, "gallery": 10}, {"k1": 19, "k2": 20}),
    ],
)
def test_it_equals_the_slow_reference(shape, settings, dtype):
    query, gallery = make_features(3, **shape)
    got = k_reciprocal(query.to(dtype), gallery.to(dtype), **settings, chunk=7)
    assert got.dtype == dtype
    settings = {"k1": 20, "k2": 6, "weight": 0.3} | settings
    np.testing.assert_allclose(got, slow_k_reciprocal(query, gallery, **settings), atol=1e-5)


def test_values_derived_by_hand():
    # On a line: a query at 0, the gallery at 1, 3 and 10. The largest squared distances are
    # 100 (query), 81, 49 and 100. With k1 = 1 only the query and image 1 are nearest to each
    # other, image 3 and image 10 are alone with themselves.
    got = k_reciprocal(torch.tensor([[0.0]]), torch.tensor([[1.0], [3.0], [10.0]]), k1=1, k2=1)
    query, first = (np.array([1, np.exp(-d)]) / (1 + np.exp(-d)) for d in (1 / 100, 1 / 81))
    overlap = np.minimum(query, first[::-1]).sum()
    jaccard = np.array([1 - overlap / (2 - overlap), 1, 1])
    plain = np.array([1, 9, 100]) / 100
    np.testing.assert_allclose(got[0], -(0.7 * jaccard + 0.3 * plain), atol=1e-6)


def test_weight_1_keeps_the_order_of_the_original_distances():
    query, gallery = make_features(1)
    plain = torch.cdist(query, gallery)
    got = k_reciprocal(query, gallery, weight=1.0)
    assert torch.equal(got.argsort(dim=1, descending=True), plain.argsort(dim=1))
    other = k_reciprocal(query, gallery, weight=0.0)
    assert not torch.equal(other.argsort(dim=1, descending=True), plain.argsort(dim=1))


def test_order_scale_origin_and_chunks_do_not_matter():
    query, gallery = make_features(2, queries=15)
    base = k_reciprocal(query, gallery)
    assert torch.equal(base, k_reciprocal(query, gallery))
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(query)), rng.permutation(len(gallery))
    assert_close(k_reciprocal(query[rows], gallery[columns]), base[rows][:, columns])
    assert_close(k_reciprocal(3 * query, 3 * gallery), base)  # distances are relative
    assert_close(k_reciprocal(query + 2, gallery + 2), base)
    for chunk in (1, 16, 1000):
        assert_close(k_reciprocal(query, gallery, chunk=chunk), base)


def assert_close(got, expected):
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_a_query_depends_on_the_other_queries():
    query, gallery = make_features(2)
    alone = k_reciprocal(query[:1], gallery)
    assert (alone - k_reciprocal(query, gallery)[:1]).abs().max() > 0.01


def test_the_sparse_product_can_be_computed_in_small_parts(monkeypatch):
    query, gallery = make_features(4)
    base = k_reciprocal(query, gallery)
    monkeypatch.setattr(reranking, "PAIRS", 50)
    assert_close(k_reciprocal(query, gallery), base)


def test_equal_images_give_finite_similarities():
    got = k_reciprocal(torch.ones(2, 3), torch.ones(4, 3), k1=3)
    assert torch.isfinite(got).all()


def test_inputs_are_unchanged_and_devices_and_types_are_kept():
    query, gallery = make_features(5)
    base = k_reciprocal(query, gallery)
    wanted = query.clone().requires_grad_()
    got = k_reciprocal(wanted, gallery)
    assert torch.equal(got, base)
    assert not got.requires_grad
    assert torch.equal(wanted, query)
    half = k_reciprocal(query.bfloat16(), gallery.bfloat16())
    exact = k_reciprocal(query.bfloat16().float(), gallery.bfloat16().float())
    assert half.dtype == torch.float32
    assert torch.equal(half, exact)
    if torch.cuda.is_available():
        moved = k_reciprocal(query.cuda(), gallery.cuda())
        assert moved.is_cuda
        assert_close(moved.cpu(), base)


@pytest.mark.parametrize("images", [2, 3, 7, 20])
def test_neighbourhood_sizes_are_valid_for_few_images(images):
    query, gallery = make_features(6, queries=images // 2, gallery=images - images // 2)
    settings = neighbourhood_sizes(images)
    got = k_reciprocal(query, gallery, **settings)
    np.testing.assert_allclose(
        got, slow_k_reciprocal(query, gallery, **settings, weight=0.3), atol=1e-9
    )
    assert neighbourhood_sizes(21) == {"k1": 20, "k2": 6} == neighbourhood_sizes(10**6)
    with pytest.raises(ValueError, match=f"k1 must lie .*; use neighbourhood_sizes\\({images}\\)"):
        k_reciprocal(query, gallery)
    with pytest.raises(ValueError, match="not 1 images"):
        neighbourhood_sizes(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(3)}, r"\(Q, D\) and \(G, D\), not \(3,\)"),
        ({"query": torch.zeros(3, 4)}, r"not \(3, 4\) and \(5, 2\)"),
        ({"query": torch.zeros(0, 2)}, "query or gallery is empty"),
        (
            {"gallery": torch.zeros(5, 2).log()},
            r"gallery holds .* not finite, in rows \[0, 1, 2, 3, 4\]",
        ),
        ({"k1": 0}, r"k1 must lie in 1\.\.7, not 0, with 8 images"),
        ({"k1": 8}, r"k1 must lie in 1\.\.7, not 8, with 8 images"),
        ({"k2": 0}, r"k2 must lie in 1\.\.8, not 0, with 8 images"),
        ({"k2": 9}, "k2 must lie in"),
        ({"weight": 1.5}, r"weight must lie in 0\.\.1, not 1\.5"),
        ({"weight": float("nan")}, "weight must lie in"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_input(change, message):
    good = {"query": torch.rand(3, 2), "gallery": torch.rand(5, 2), "k1": 7, "k2": 8}
    assert k_reciprocal(**good).shape == (3, 5)
    with pytest.raises(ValueError, match=message):
        k_reciprocal(**good | change)
