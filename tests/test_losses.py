import math

import pytest
import reference
import torch
from torch import nn
from torch.nn import functional as F

from dakd.losses import (
    WEIGHTS,
    IdentityLoss,
    Streams,
    TeacherLoss,
    cross_modal_mutual,
    global_centre_triplet,
    info_nce,
    mutual_kl,
)

B, D, K = 8, 6, 5
LABELS = torch.tensor([0, 0, 3, 3, 1, 1, 4, 4])


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def streams():
    return Streams(*(unit(B, D, seed=s).requires_grad_() for s in (1, 2, 3)))


def centres():
    return Streams(*(unit(K, D, seed=s).requires_grad_() for s in (4, 5, 6)))


def teacher(**settings):
    loss = TeacherLoss(K, D, **settings)
    labels = torch.arange(3 * K) % K
    loss.rebuild(
        unit(3 * K, D, seed=7), labels, unit(3 * K, D, seed=8), labels, unit(3 * K, D, seed=9)
    )
    return loss


def memories(loss):
    named = {"v": loss.visible, "r": loss.infrared, "a": loss.auxiliary, "all": loss.memory}
    return {name: (m.values.double(), m.centres.double()) for name, m in named.items()}


def assert_near(ours, expected, atol=1e-5):
    torch.testing.assert_close(ours.double(), expected.double(), rtol=1e-5, atol=atol)


def test_info_nce_by_hand():
    """Similarities 1 and 0 at temperature 0.5: logits 2 and 0."""
    z, prototypes = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)
    loss = info_nce(z, prototypes, torch.tensor([0, 1]), temperature=0.5)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_mutual_kl_by_hand_and_its_direction():
    """Target (3/4, 1/4), prediction (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2."""
    target = torch.tensor([[math.log(3.0), 0.0]]).requires_grad_()
    logits = torch.zeros(1, 2, requires_grad=True)
    loss = mutual_kl(logits, target_logits=target)
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    assert target.grad is None
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.25, 0.25]]))  # prediction - target


def test_triplet_by_hand():
    """One row at its own centre, 1 away from the other; one halfway between both."""
    z = torch.tensor([[0.0, 0.0], [0.5, 0.0]], requires_grad=True)
    where = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.1, 0.0]])  # class 2 is not in the batch
    loss = global_centre_triplet(z, where, torch.tensor([0, 1]), margin=0.3)
    assert loss.item() == pytest.approx((0 + 0.3) / 2, abs=1e-5)
    loss.backward()
    torch.testing.assert_close(z.grad, torch.tensor([[0.0, 0.0], [-1.0, 0.0]]))  # -2 / B


def test_triplet_with_one_class_is_zero_and_differentiable():
    z = unit(4, D).requires_grad_()
    loss = global_centre_triplet(z, unit(K, D), torch.full((4,), 2))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_terms_match_the_loops():
    (v, r, a), on = streams(), centres()
    double = [z.double() for z in (v, r, a, *on)]
    assert_near(info_nce(v, on[0], LABELS), reference.info_nce(double[0], double[3], LABELS))
    assert_near(cross_modal_mutual(Streams(v, r, a), on), reference.mutual(*double))
    assert_near(
        global_centre_triplet(v, on[0], LABELS), reference.triplet(double[0], double[3], LABELS)
    )


def test_only_embeddings_receive_gradients():
    three, on = streams(), centres()
    loss = cross_modal_mutual(three, on)
    for z, c in zip(three, on, strict=True):
        loss = loss + info_nce(z, c, LABELS) + global_centre_triplet(z, c, LABELS)
    loss.backward()
    assert all(z.grad.abs().sum() > 0 for z in three)
    assert all(c.grad is None for c in on)


def test_cross_modal_mutual_has_gradients_for_predictions_only():
    """Those of v come from visible centres only, those of r from infrared centres."""
    three, on = streams(), centres()
    cross_modal_mutual(three, on).backward()
    for z, own, other in ((three[0], on[0], three[1]), (three[1], on[1], three[0])):
        alone = z.detach().requires_grad_()
        target = other.detach() @ own.detach().T / 0.05
        mutual_kl(alone @ own.detach().T / 0.05, target).backward()
        torch.testing.assert_close(3 * z.grad, alone.grad)  # a mean over three streams


def test_teacher_total_parts_and_names():
    loss, three = teacher(), streams()
    total, parts = loss(*three, LABELS)
    assert list(parts) == ["global", "modality", "auxiliary", "mutual", "triplet"]
    assert_near(total, sum(WEIGHTS[name] * part for name, part in parts.items()))
    assert_near(total, reference.teacher_loss(*(z.double() for z in three), LABELS, memories(loss)))


def test_terms_can_be_switched_off():
    full = teacher()(*streams(), LABELS)
    loss = teacher(weights={"mutual": 0.0, "triplet": 0.0, "auxiliary": 1.0})
    total, parts = loss(*streams(), LABELS)
    assert list(parts) == ["global", "modality", "auxiliary"]
    assert_near(total, full.parts["global"] + full.parts["modality"] + full.parts["auxiliary"])


def test_global_memory_is_the_mean_and_takes_the_hardest_of_all_streams():
    loss, three = teacher(), [z.detach() for z in streams()]
    before = memories(loss)
    own = [before[name][0] for name in "vra"]
    assert_near(loss.memory.values, sum(own) / 3)  # not normalised
    assert (loss.memory.values.norm(dim=1) < 0.99).all()
    loss.update(*three, LABELS)
    rows, names = torch.cat(three).double(), LABELS.repeat(3)
    assert_near(loss.memory.values, reference.updated_hardest(before["all"][0], rows, names, 0.1))
    for name, z in zip("vra", three, strict=True):
        expected = reference.updated_mean(before[name][0], z.double(), LABELS, 0.25)
        assert_near(memories(loss)[name][0], expected)
        assert torch.equal(memories(loss)[name][1], before[name][1])


def test_two_steps_match_an_independent_implementation():
    """Parameters of a linear network after two SGD steps, with updates of the memories."""
    inputs = [torch.randn(B, 7, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    torch.manual_seed(0)
    net = nn.Linear(7, D)
    slow = nn.Linear(7, D).double()
    slow.load_state_dict(net.state_dict())
    start = net.weight.detach().clone()
    loss = teacher()
    state = memories(loss)
    ours, theirs = (torch.optim.SGD(n.parameters(), lr=0.01) for n in (net, slow))
    for _ in range(2):
        z = [F.normalize(net(x), dim=1) for x in inputs]
        ours.zero_grad()
        loss(*z, LABELS).total.backward()
        ours.step()
        loss.update(*z, LABELS)

        z = [torch.stack([reference.normalised(row) for row in slow(x.double())]) for x in inputs]
        theirs.zero_grad()
        reference.teacher_loss(*z, LABELS, state).backward()
        theirs.step()
        z = [rows.detach() for rows in z]
        joint = reference.updated_hardest(state["all"][0], torch.cat(z), LABELS.repeat(3), 0.1)
        state["all"] = (joint, state["all"][1])
        for name, rows in zip("vra", z, strict=True):
            moved = reference.updated_mean(state[name][0], rows, LABELS, 0.25)
            state[name] = (moved, state[name][1])
    for ours_p, slow_p in zip(net.parameters(), slow.parameters(), strict=True):
        assert_near(ours_p, slow_p)
    assert (net.weight - start).abs().max() > 0.01


def test_autocast_changes_nothing():
    loss, three = teacher(), streams()
    expected = loss(*three, LABELS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, parts = loss(*three, LABELS)
        single = info_nce(three[0], centres()[0], labels=LABELS)
        half = info_nce(three[0].bfloat16(), centres()[0].bfloat16(), labels=LABELS)
    assert torch.equal(total, expected.total)
    assert total.dtype == single.dtype == half.dtype == torch.float32
    assert torch.equal(single, info_nce(three[0], centres()[0], LABELS))
    assert all(torch.equal(parts[name], expected.parts[name]) for name in parts)


def test_batch_of_one_identity_trains():
    three = streams()
    total, parts = teacher()(*three, torch.zeros(B, dtype=torch.long))
    total.backward()
    assert parts["triplet"].item() == 0
    assert all(z.grad.isfinite().all() for z in three)


def test_invalid_arguments_are_refused():
    v, r, a = streams()
    with pytest.raises(RuntimeError, match="call rebuild"):
        TeacherLoss(K, D)(v, r, a, LABELS)
    with pytest.raises(ValueError, match=r"must all be \(B, D\)"):
        teacher()(v, r[:4], a, LABELS)
    with pytest.raises(ValueError, match=r"B > 0"):
        teacher()(v[:0], r[:0], a[:0], LABELS[:0])
    with pytest.raises(ValueError, match="do not fit"):
        info_nce(v, unit(K, D + 1), LABELS)
    with pytest.raises(ValueError, match=r"unknown loss terms \['gloabl'\].*'global', 'modality'"):
        TeacherLoss(K, D, weights={"gloabl": 1.0})
    with pytest.raises(ValueError, match="must not be negative"):
        TeacherLoss(K, D, weights={"global": -1.0})
    with pytest.raises(ValueError, match="one must be positive"):
        TeacherLoss(K, D, weights=dict.fromkeys(WEIGHTS, 0.0))
    bad = unit(K, D)
    bad[2, 3] = torch.inf
    with pytest.raises(ValueError, match="1 of 5 embeddings hold NaN or infinity"):
        TeacherLoss(K, D).rebuild(unit(K, D), torch.arange(K), bad, torch.arange(K), unit(K, D))


def test_identity_loss_by_hand_has_gradients_for_its_directions():
    loss = IdentityLoss(2, 2, temperature=0.5)
    with torch.no_grad():
        loss.directions.copy_(torch.tensor([[2.0, 0.0], [0.0, 5.0]]))  # normalised in use
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    value = loss(z, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert z.grad is not None
    assert loss.directions.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", [info_nce, global_centre_triplet, IdentityLoss(4, 3)])
def test_an_empty_batch_is_refused(loss):
    z, labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    rest = (labels,) if isinstance(loss, IdentityLoss) else (torch.eye(4, 3), labels)
    with pytest.raises(ValueError, match="B > 0"):
        loss(z, *rest)


def test_the_initial_directions_depend_on_the_seed():
    zero, again, one = (IdentityLoss(K, D, seed=seed).directions for seed in (0, 0, 1))
    assert torch.equal(zero, again)
    assert not torch.equal(zero, one)


def test_identity_loss_matches_the_loop():
    loss, z = IdentityLoss(K, D), unit(B, D)
    directions = loss.directions.detach().double()
    total = 0.0
    for row, label in zip(z.double(), LABELS.tolist(), strict=True):
        logits = [float(row @ (w / w.norm())) / 0.1 for w in directions]
        total += math.log(sum(math.exp(v) for v in logits)) - logits[label]
    assert loss(z, LABELS).item() == pytest.approx(total / B, rel=1e-5)
