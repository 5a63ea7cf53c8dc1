import pytest
import reference
import torch
from torch.nn import functional as F

from dakd.memory import PrototypeMemory, class_means


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_class_means_match_the_loop():
    z, labels = unit(30, 5), torch.arange(30) % 7
    expected = reference.class_means(z.double(), labels, 7)
    torch.testing.assert_close(class_means(z, labels, 7).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("z", "labels", "match"),
    [
        (torch.ones(3, 2), torch.tensor([0, 0, 3]), r"2 of 4 classes have no image: \[1, 2\]"),
        (torch.ones(3, 2), torch.tensor([0, 1, 301]), r"0\.\.3, not \[301\].*class indices"),
        (torch.ones(3, 2), torch.tensor([0, 1]), r"\(3, 2\) with \(2,\)"),
        (torch.tensor([[1.0, float("nan")]] * 4), torch.arange(4), "4 of 4 embeddings hold NaN"),
    ],
)
def test_class_means_refuses(z, labels, match):
    with pytest.raises(ValueError, match=match):
        class_means(z, labels, 4)


@pytest.mark.parametrize("update", ["hardest", "mean"])
@pytest.mark.parametrize("momentum", [0.1, 0.25, 0.9])
def test_updates_match_the_loop(update, momentum):
    memory = PrototypeMemory(6, 4, momentum=momentum, update=update)
    memory.reset(unit(6, 4, seed=1))
    slow = memory.values.double()
    loop = getattr(reference, f"updated_{update}")
    for seed in range(3):  # uneven classes, mixed order, class 4 absent
        z, labels = unit(9, 4, seed=seed + 2), torch.tensor([0, 5, 0, 1, 0, 5, 2, 3, 1])
        memory.update(z, labels)
        slow = loop(slow, z.double(), labels, momentum)
    torch.testing.assert_close(memory.values.double(), slow, rtol=0, atol=1e-5)
    assert torch.equal(memory.values[4], memory.centres[4])
    assert not torch.equal(memory.values[0], memory.centres[0])


def test_update_by_hand():
    """Old (1, 0), embeddings (0, 1) then (-1, 0), momentum 0.5."""
    z, labels = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0, 0])
    memory = PrototypeMemory(1, 2, momentum=0.5, update="mean")
    memory.reset(torch.tensor([[1.0, 0.0]]))
    memory.update(z, labels)
    # the mean (-0.5, 0.5) is not normalised before: (0.5 - 0.25, 0.25), then normalised
    expected = torch.tensor([[0.5**0.5, 0.5**0.5]])
    torch.testing.assert_close(memory.values, expected)

    memory = PrototypeMemory(1, 2, momentum=0.25, update="hardest")
    memory.reset(torch.tensor([[1.0, 0.0]]))
    memory.update(z, labels)  # hardest is (-1, 0): 0.25 (1, 0) + 0.75 (-1, 0)
    torch.testing.assert_close(memory.values, torch.tensor([[-1.0, 0.0]]))


def test_reset_copies_and_checks():
    memory = PrototypeMemory(3, 2, momentum=0.5, update="mean")
    prototypes = unit(3, 2)
    memory.reset(prototypes)
    memory.update(-prototypes[:1], torch.tensor([0]))
    assert torch.equal(prototypes, unit(3, 2))
    assert torch.equal(memory.centres, prototypes)
    assert not memory.state_dict()
    with pytest.raises(ValueError, match=r"must be \(3, 2\), not \(2, 2\)"):
        memory.reset(unit(2, 2))


def test_memory_takes_no_gradient():
    memory = PrototypeMemory(2, 3, momentum=0.5, update="mean")
    memory.reset(unit(2, 3))
    z = unit(4, 3).requires_grad_()
    memory.update(z, torch.tensor([0, 1, 0, 1]))
    assert not memory.values.requires_grad


def test_bad_settings():
    with pytest.raises(ValueError, match="momentum must lie in 0..1, not 1.5"):
        PrototypeMemory(2, 2, momentum=1.5, update="mean")
    with pytest.raises(ValueError, match="'hardest' or 'mean', not 'all'"):
        PrototypeMemory(2, 2, momentum=0.5, update="all")
