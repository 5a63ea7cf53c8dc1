import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dakd.data.sampler import BalancedSampler, IdentitySampler


def columns(counts):
    """Labels and modalities of identities with (visible, infrared) image counts, in mixed order."""
    rows = [(pid, m) for pid, pair in counts.items() for m in (0, 1) for _ in range(pair[m])]
    rows = np.random.default_rng(1).permutation(np.array(rows))
    return rows[:, 0], rows[:, 1].astype(bool)


sizes = st.dictionaries(
    st.integers(0, 50), st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=9
)


@settings(max_examples=60, deadline=None)
@given(counts=sizes, p=st.integers(1, 3), q=st.integers(1, 5), seed=st.integers(0, 99))
def test_batches(counts, p, q, seed):
    labels, infrared = columns(counts)
    sampler = BalancedSampler(labels, infrared, identities=p, images=q, steps=12, seed=seed)
    people, images = Counter(), {(pid, m): Counter() for pid in counts for m in (0, 1)}
    for pair in sampler:
        assert (labels[pair[0]] == labels[pair[1]]).all()
        for m, rows in enumerate(pair):
            assert rows.dtype == np.int64
            assert (infrared[rows] == bool(m)).all()
            groups = labels[rows].reshape(p, q)
            assert (groups == groups[:, :1]).all()
            assert len(set(groups[:, 0])) == p
            for group, pid in zip(rows.reshape(p, q), groups[:, 0], strict=True):
                assert len(set(group)) == min(q, counts[pid][m])
                images[pid, m].update(group.tolist())
        people.update(labels[pair[0]].reshape(p, q)[:, 0].tolist())
    used = [people[pid] for pid in counts]
    assert max(used) - min(used) <= 1
    for (pid, m), drawn in images.items():
        often = [drawn[row] for row in np.flatnonzero((labels == pid) & (infrared == bool(m)))]
        assert max(often) - min(often) <= 1


def batches(sampler):
    return [np.stack(pair).tolist() for pair in sampler]


def test_an_epoch_follows_from_seed_and_epoch_alone():
    labels, infrared = columns({pid: (5, 7) for pid in range(6)})
    make = lambda seed: BalancedSampler(labels, infrared, identities=3, images=2, seed=seed)  # noqa: E731
    sampler = make(0)
    first = batches(sampler)
    assert batches(sampler) == first
    sampler.set_epoch(4)
    fourth = batches(sampler)
    assert fourth != first
    fresh = make(0)
    fresh.set_epoch(4)
    assert batches(fresh) == fourth
    assert batches(make(1)) != first


def test_pairs_of_images_change_when_all_are_used_each_time():
    labels, infrared = columns({0: (4, 4), 1: (4, 4)})
    sampler = BalancedSampler(labels, infrared, identities=2, images=4, steps=8)
    pairs = {tuple(pair) for visible, thermal in sampler for pair in zip(visible, thermal)}
    assert len(pairs) > 16


@pytest.mark.parametrize("steps", [None, 1, 17])
def test_length_is_known_and_kept(steps):
    labels, infrared = columns({pid: (5, 8) for pid in range(5)})
    sampler = BalancedSampler(labels, infrared, identities=3, images=2, steps=steps)
    assert len(sampler) == (steps or math.ceil(40 / 6))
    assert len(batches(sampler)) == len(sampler)


def test_identities_with_too_few_images():
    labels, infrared = columns({3: (4, 4), 5: (4, 0), 8: (2, 9), 9: (0, 1), 11: (5, 5)})
    sampler = BalancedSampler(labels, infrared, identities=3, images=4, steps=5)
    assert "3 identities in use" in sampler.report
    assert "one modality: 2 (identities 5, 9)" in sampler.report
    assert "repeated in a batch: 1 (identities 8)" in sampler.report
    for visible, _ in sampler:
        assert set(labels[visible]) == {3, 8, 11}
        assert sorted(Counter(visible[labels[visible] == 8].tolist()).values()) == [2, 2]


def test_inputs_stay_as_they_are():
    labels, infrared = columns({0: (3, 3), 1: (3, 3)})
    before = labels.copy(), infrared.copy()
    batches(BalancedSampler(labels, infrared, identities=2, images=2))
    assert (labels == before[0]).all()
    assert (infrared == before[1]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": 4}, "4 identities, but only 3 have images in both"),
        ({"identities": 0}, "identities must be at least 1, not 0"),
        ({"images": 0}, "images must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"labels": np.zeros(3)}, r"labels must be \(N,\)"),
        ({"infrared": np.zeros(24, dtype=int)}, "bool"),
        ({"infrared": np.zeros(24, dtype=bool)}, "only 0 have images in both"),
    ],
)
def test_bad_input(change, message):
    labels, infrared = columns({0: (4, 4), 1: (4, 4), 2: (4, 4)})
    good = {"labels": labels, "infrared": infrared, "identities": 3, "images": 2}
    assert len(BalancedSampler(**good)) == 2
    with pytest.raises(ValueError, match=message):
        BalancedSampler(**good | change)


def identity_sampler(counts, **how):
    labels, infrared = columns(counts)
    return IdentitySampler(labels, infrared, **{"identities": 3, "images": 4, **how})


def test_the_published_sampler_draws_in_the_published_order():
    """Identities without, then each one's visible and infrared images with replacement."""
    labels, infrared = columns({pid: (2 + pid, 9 - pid) for pid in range(6)})
    sampler = IdentitySampler(labels, infrared, identities=3, images=4, seed=5)
    rng = np.random.RandomState(5)  # noqa: NPY002
    assert len(sampler) == 39 // 12 + 1
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for visible, thermal in sampler:
            v, r = [], []
            for pid in rng.choice(np.arange(6), 3, replace=False):
                v += rng.choice(np.flatnonzero((labels == pid) & ~infrared), 4).tolist()
                r += rng.choice(np.flatnonzero((labels == pid) & infrared), 4).tolist()
            assert (visible.tolist(), thermal.tolist()) == (v, r)


def test_an_epoch_that_divides_evenly_has_one_batch_more():
    assert len(identity_sampler({pid: (4, 4) for pid in range(6)})) == 24 // 12 + 1
    assert len(identity_sampler({pid: (4, 4) for pid in range(6)}, steps=7)) == 7


@pytest.mark.parametrize("order", [(3,), (0, 3), (2, 3), (3, 3), (5, 3)])
def test_a_published_epoch_is_the_same_however_one_comes_to_it(order):
    counts = {pid: (5, 7) for pid in range(6)}
    whole = identity_sampler(counts)
    for epoch in range(4):
        whole.set_epoch(epoch)
        expected = batches(whole)
    sampler = identity_sampler(counts)
    for epoch in order:
        sampler.set_epoch(epoch)
        drawn = batches(sampler)
    assert drawn == expected
    sampler.set_epoch(3)
    next(iter(sampler))  # an epoch that is not finished leaves nothing behind
    sampler.set_epoch(3)
    assert batches(sampler) == expected


def test_images_are_repeated_and_identities_are_not():
    labels, _ = columns(counts := {pid: (2, 3) for pid in range(6)})
    repeated = 0
    for visible, _thermal in identity_sampler(counts, steps=50):
        people = labels[visible].reshape(3, 4)
        assert len(set(people[:, 0])) == 3
        repeated += sum(len(set(group)) < 2 for group in visible.reshape(3, 4).tolist())
    assert repeated  # two images, four draws: now and then the same four times
