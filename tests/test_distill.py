import math
from dataclasses import fields, replace

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dakd.distill import (
    ABLATIONS,
    PRESETS,
    ByModality,
    DAKDLoss,
    Switches,
    centre_logits,
    confidence,
    confidence_mask,
    kd,
    standardise,
)

B, D, K = 6, 8, 5
TERMS = ["instance_visible", "instance_infrared", "class_visible", "class_infrared"]


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def pair(*shape, seed, grad=False):
    return ByModality(*(unit(*shape, seed=seed + i).requires_grad_(grad) for i in range(2)))


def batch(grad=False):
    """Student, teacher and centres; only the student requires a gradient unless `grad`."""
    return (
        pair(B, D, seed=0, grad=True),
        pair(B, D, seed=2, grad=grad),
        pair(K, D, seed=4, grad=grad),
    )


def in_double(z):
    return {"v": z.visible.double(), "r": z.infrared.double()}


def assert_near(ours, expected, atol=1e-5):
    torch.testing.assert_close(ours.double(), expected.double(), rtol=1e-5, atol=atol)


# --- functions ----------------------------------------------------------------------------------


def test_standardise_uses_the_unbiased_deviation():
    """(0, 3, 6): mean 3, squares 9 + 0 + 9 over 2, std 3."""
    assert_near(standardise(torch.tensor([[0.0, 3.0, 6.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))
    assert_near(standardise(7 * unit(3, 9)), standardise(unit(3, 9)))


def test_standardise_of_a_constant_row_is_finite():
    x = torch.full((2, 4), 3.0, requires_grad=True)
    out = standardise(x)
    out.sum().backward()
    assert torch.equal(out, torch.zeros(2, 4))
    assert x.grad.isfinite().all()
    with pytest.raises(ValueError, match=r"at least 2 entries per row, not \(2, 1\)"):
        standardise(torch.zeros(2, 1))


def test_kd_by_hand():
    """t = 2, teacher (2 log 3, 0) -> (3/4, 1/4), student uniform: 4 (3/4 log 3/2 + 1/4 log 1/2)."""
    student = torch.zeros(1, 2, requires_grad=True)
    teacher = torch.tensor([[2 * math.log(3), 0.0]], requires_grad=True)
    value = kd(student, teacher, 2.0, standardised=False)
    value.sum().backward()
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert value.tolist() == pytest.approx([expected], rel=1e-6)
    torch.testing.assert_close(student.grad, torch.tensor([[-0.5, 0.5]]))  # t (p_S - p_T)
    assert teacher.grad is None


def test_kd_matches_the_loop_and_ignores_scale():
    s, z = unit(B, D), unit(B, D, seed=1)
    expected = [reference.kd(a.double(), b.double(), 3) for a, b in zip(s, z, strict=True)]
    assert_near(kd(s, z, 3), torch.stack(expected))
    assert_near(kd(s, z, 3), kd(5 * s, 0.1 * z, 3))
    assert_near(kd(s, s, 3), torch.zeros(B))


def test_confidence_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert_near(confidence(logits), torch.tensor([0.75, 0.5]))
    z, centres = torch.tensor([[0.6, 0.8]]), torch.eye(2)
    assert_near(centre_logits(z, centres), torch.tensor([[12.0, 16.0]]))


@pytest.mark.parametrize(
    ("conf", "keep", "kept"),
    [
        ([0.1, 0.4, 0.3, 0.2], "confident", [0, 1, 1, 0]),
        ([0.1, 0.4, 0.3, 0.2], "uncertain", [1, 0, 0, 1]),
        ([0.1, 0.4, 0.3], "confident", [0, 1, 1]),  # odd: the median itself too
        ([0.1, 0.4, 0.3], "uncertain", [1, 0, 1]),
        ([0.5, 0.5, 0.5, 0.1], "confident", [1, 1, 1, 0]),  # ties with the threshold stay
        ([0.5], "confident", [1]),
        ([0.5], "uncertain", [1]),
        ([0.1, 0.4, 0.3, 0.2], "none", [1, 1, 1, 1]),
    ],
)
def test_confidence_mask(conf, keep, kept):
    assert confidence_mask(torch.tensor(conf), keep=keep).tolist() == kept


@given(
    conf=st.lists(st.integers(1, 200), min_size=1, max_size=20, unique=True),
    quantile=st.floats(0, 1),
)
def test_the_mask_keeps_the_most_confident_and_at_least_one(conf, quantile):
    conf = torch.tensor(conf) / 256  # exact in float32
    mask = confidence_mask(conf, quantile).bool()
    assert mask.any()
    assert mask.all() or conf[mask].min() > conf[~mask].max()
    if quantile == 0.5:
        assert int(mask.sum()) == (len(conf) + 1) // 2


def test_confidence_mask_refuses():
    with pytest.raises(ValueError, match="quantile must lie in 0..1, not 50"):
        confidence_mask(torch.ones(3), quantile=50)
    with pytest.raises(ValueError, match="'confident', 'uncertain', 'none'.*not 'top'"):
        confidence_mask(torch.ones(3), keep="top")
    with pytest.raises(ValueError, match="B > 0"):
        confidence_mask(torch.ones(0))


# --- the loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_total_matches_the_loop(preset):
    student, teacher, centres = batch()
    total, parts = DAKDLoss(preset)(student, teacher, centres)
    expected = reference.dakd_loss(
        *(in_double(z) for z in (student, teacher, centres)), release=preset == "release"
    )
    assert_near(total, expected)
    assert list(parts) == TERMS
    assert_near(total, 0.9 * 0.5 * sum(parts.values()))


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_a_step_matches_an_independent_implementation(preset):
    """Parameters of a linear network after two SGD steps, against loops in float64."""
    torch.manual_seed(0)
    _, teacher, centres = batch()
    inputs = pair(B, 7, seed=9)
    net = nn.Linear(7, D)
    slow = nn.Linear(7, D).double()
    slow.load_state_dict(net.state_dict())
    start = net.weight.detach().clone()
    ours, theirs = (torch.optim.SGD(n.parameters(), lr=0.02) for n in (net, slow))
    loss = DAKDLoss(preset)
    for _ in range(2):
        ours.zero_grad()
        student = ByModality(*(F.normalize(net(x), dim=1) for x in inputs))
        loss(student, teacher, centres).total.backward()
        ours.step()

        theirs.zero_grad()
        rows = {
            side: torch.stack([reference.normalised(row) for row in slow(x.double())])
            for side, x in zip("vr", inputs, strict=True)
        }
        reference.dakd_loss(
            rows, in_double(teacher), in_double(centres), preset == "release"
        ).backward()
        theirs.step()
    for ours_p, slow_p in zip(net.parameters(), slow.parameters(), strict=True):
        assert_near(ours_p, slow_p)
    assert (net.weight - start).abs().max() > 0.01


def test_only_the_student_receives_gradients():
    for preset in PRESETS:
        student, teacher, centres = batch(grad=True)
        DAKDLoss(preset)(student, teacher, centres).total.backward()
        assert all(z.grad.abs().sum() > 0 for z in student)
        assert all(z.grad is None for z in (*teacher, *centres))


def test_dropped_samples_receive_no_gradient():
    student, teacher, centres = batch()
    loss = DAKDLoss("paper", "mlkd_no_class")
    loss(student, teacher, centres).total.backward()
    mask = loss.masks(teacher, centres)["instance_infrared"].bool()
    rows = student.infrared.grad.abs().sum(1)
    assert int(mask.sum()) == B // 2
    assert (rows[mask] > 0).all()
    assert (rows[~mask] == 0).all()
    assert (student.visible.grad.abs().sum(1) > 0).all()


def test_an_empty_mask_gives_zero_loss_and_gradient(monkeypatch):
    """No batch of finite confidences has an empty mask, so the test replaces it by one."""
    monkeypatch.setattr("dakd.distill.confidence_mask", lambda conf, *_: torch.zeros_like(conf))
    for preset in PRESETS:
        student, teacher, centres = batch()
        total = DAKDLoss(preset)(student, teacher, centres).total
        total.backward()
        assert total.item() == 0
        assert all(torch.equal(z.grad, torch.zeros_like(z)) for z in student)


def test_release_mask_is_a_constant_factor():
    """With an even batch the released mask halves the masked terms, value and gradient."""
    student, teacher, centres = batch()
    released = DAKDLoss("release")(student, teacher, centres)
    unmasked = DAKDLoss("release", mask_keep="none")(student, teacher, centres)
    for name in TERMS:
        factor = 0.5 if name.endswith("infrared") else 1.0
        assert torch.equal(released.parts[name], factor * unmasked.parts[name])
        ours, plain = (
            torch.autograd.grad(terms.parts[name], student, retain_graph=True, allow_unused=True)
            for terms in (released, unmasked)
        )
        for a, b in zip(ours, plain, strict=True):
            assert (a is b is None) or torch.equal(a, factor * b)


def test_release_differs_from_the_paper_by_its_switches_and_nothing_else():
    names = [f.name for f in fields(Switches)]
    paper, release = PRESETS["paper"], PRESETS["release"]
    differs = {name for name in names if getattr(paper, name) != getattr(release, name)}
    assert differs == {"mask_keep", "mask_acts_on", "swapped_temperatures"}
    arguments = batch()
    loss = DAKDLoss("paper")(*arguments).total
    back = {name: getattr(paper, name) for name in differs}
    assert torch.equal(DAKDLoss("release", **back)(*arguments).total, loss)
    for name in differs:  # each switch alone changes the paper's loss
        one = {name: getattr(release, name)}
        assert not torch.equal(DAKDLoss("paper", **one)(*arguments).total, loss)


def test_swapped_temperatures_use_the_infrared_embeddings():
    student, teacher, centres = batch()
    swapped = DAKDLoss("release").forward(student, teacher, centres).parts["instance_visible"]
    visible = sum(kd(student.visible, teacher.visible, t) for t in (3, 4, 5))
    infrared = sum(kd(student.infrared, teacher.infrared, t) for t in (2, 6))
    assert_near(swapped, (visible + infrared).mean())


@pytest.mark.parametrize(
    ("ablation", "names"),
    [
        ("full_mlkd", TERMS),
        ("only_kd", TERMS[:2]),
        ("mlkd_no_instance", TERMS[2:]),
        ("mlkd_no_class", TERMS[:2]),
    ],
)
def test_ablations_omit_parts(ablation, names):
    arguments = batch()
    for preset in PRESETS:
        total, parts = DAKDLoss(preset, ablation)(*arguments)
        assert list(parts) == names
        weight = 0.9 if ablation == "only_kd" else 0.45
        assert_near(total, weight * sum(parts.values()))
        if ablation != "only_kd":
            full = DAKDLoss(preset)(*arguments).parts
            assert all(torch.equal(parts[name], full[name]) for name in names)
    assert ablation in ABLATIONS


def test_only_kd_is_temperature_four_without_a_mask():
    student, teacher, centres = batch()
    for preset in PRESETS:
        parts = DAKDLoss(preset, "only_kd")(student, teacher, centres).parts
        assert_near(parts["instance_visible"], kd(student.visible, teacher.visible, 4).mean())
        assert_near(parts["instance_infrared"], kd(student.infrared, teacher.infrared, 4).mean())


def test_autocast_changes_nothing():
    arguments = batch()
    expected = DAKDLoss("paper")(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = DAKDLoss("paper")(*arguments)
        half = kd(arguments[0].visible.bfloat16(), arguments[1].visible.bfloat16(), 2)
    assert torch.equal(total, expected.total)
    assert all(torch.equal(parts[name], expected.parts[name]) for name in TERMS)
    assert total.dtype == half.dtype == torch.float32


def test_one_sample_is_kept():
    student, teacher, centres = batch()
    student, teacher = (ByModality(*(z[:1] for z in p)) for p in (student, teacher))
    for preset in PRESETS:
        total, parts = DAKDLoss(preset)(student, teacher, centres)
        assert total.isfinite()
        assert all(part > 0 for part in parts.values())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"preset": "papr"}, r"unknown preset \['papr'\]; use one of \['paper', 'release'\]"),
        ({"ablation": "no_kd"}, r"unknown ablation \['no_kd'\].*'only_kd'"),
        ({"mask": "confident"}, r"unknown switch \['mask'\].*'mask_keep'"),
        ({"mask_keep": "half"}, "not 'half'"),
        ({"mask_acts_on": "sample"}, "'samples' or 'mean', not 'sample'"),
        ({"masked_modalities": ("thermal",)}, "thermal"),
        ({"quantile": 1.5}, "quantile must lie in 0..1, not 1.5"),
        ({"temperatures": ()}, "temperatures must be positive"),
        ({"temperatures": (0, 2)}, "temperatures must be positive"),
        ({"instance_weight": 0, "class_weight": 0}, "one level must stay"),
        ({"class_weight": -1}, "must not be negative"),
    ],
)
def test_bad_settings(settings, match):
    with pytest.raises(ValueError, match=match):
        DAKDLoss(**settings)


def test_bad_shapes():
    student, teacher, centres = batch()
    with pytest.raises(ValueError, match=r"must be \(B, D\)"):
        DAKDLoss()(student, teacher._replace(infrared=teacher.infrared[:2]), centres)
    with pytest.raises(ValueError, match=r"centres \(K, D\)"):
        DAKDLoss()(student, teacher, ByModality(unit(K, D + 1), unit(K, D)))
    with pytest.raises(ValueError, match="B > 0"):
        DAKDLoss()(
            *(ByModality(z.visible[:0], z.infrared[:0]) for z in (student, teacher)), centres
        )


def test_presets_are_frozen():
    loss = DAKDLoss(quantile=0.25)
    assert loss.switches == replace(PRESETS["paper"], quantile=0.25)
    assert PRESETS["paper"].quantile == 0.5


def test_several_temperatures_are_a_sum_with_one_gradient():
    rows = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student, teacher = rows[0].float().requires_grad_(), rows[1].float()
    together = kd(student, teacher, (2, 3, 6))
    apart = sum(kd(student, teacher, t) for t in (2, 3, 6))
    torch.testing.assert_close(together, apart)
    weights = torch.arange(1.0, 6.0)
    a, b = (torch.autograd.grad((v * weights).sum(), student)[0] for v in (together, apart))
    torch.testing.assert_close(a, b)

    def plain(s):  # the definition, differentiated by autograd
        zs, zt = ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (s, rows[1]))
        kl = [
            t**2
            * ((zt / t).softmax(1) * ((zt / t).log_softmax(1) - (zs / t).log_softmax(1))).sum(1)
            for t in (2, 3, 6)
        ]
        return (torch.stack(kl).sum(0) * weights).sum()

    expected = torch.autograd.functional.jacobian(plain, rows[0])
    torch.testing.assert_close(a.double(), expected, atol=1e-5, rtol=1e-4)
