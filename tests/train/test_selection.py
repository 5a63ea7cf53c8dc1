import numpy as np
import pytest
import torch
from examples import image_set

from dakd.config import StudentConfig, TeacherConfig
from dakd.model import build_model
from dakd.train import train_student, train_teacher
from dakd.train.selection import Best, cross_modal_map, hold_out


@pytest.fixture(scope="module")
def images():
    return image_set(range(1, 13))


def test_nobody_is_on_both_sides_and_nobody_is_lost(images):
    learn, held = hold_out(images, 0.25, seed=0)
    assert not set(learn.classes) & set(held.classes)
    assert set(learn.classes) | set(held.classes) == set(images.classes)
    assert held.num_classes == 3
    assert set(hold_out(images, 0.25, seed=1)[1].classes) != set(held.classes)


def test_too_few_to_learn_from_is_refused(images):
    with pytest.raises(ValueError, match=r"holdout=0.9 of 12 identities leaves 1 to learn from"):
        hold_out(images, 0.9, seed=0)


def test_the_score_is_the_map_of_infrared_queries(images, monkeypatch):
    _, held = hold_out(images, 0.25, seed=0)
    one_hot = np.eye(3)[held.labels]
    perfect = torch.from_numpy(one_hot).float()
    monkeypatch.setattr("dakd.train.selection.extract", lambda *args, **kwargs: perfect)
    assert cross_modal_map(None, held, device="cpu") == 1.0
    swapped = perfect.clone()
    swapped[held.infrared] = perfect[held.infrared].roll(1, dims=1)
    monkeypatch.setattr("dakd.train.selection.extract", lambda *args, **kwargs: swapped)
    assert cross_modal_map(None, held, device="cpu") < 0.6


def test_the_best_epoch_is_put_back():
    model, scores = build_model("small"), iter([0.2, 0.5, 0.3])
    best = Best(lambda model: next(scores), "somebody")
    for epoch in range(3):
        with torch.no_grad():
            model.neck.weight.fill_(epoch)
        best.update(model, epoch)
    best.restore(model)
    assert model.neck.weight.unique().item() == 1
    assert best.record == {"on": "somebody", "epoch": 1, "score": 0.5}


@pytest.mark.parametrize(
    ("epochs", "scored"),
    [(18, [12, 14, 16]), (13, [12]), (12, [11]), (3, [2])],  # a short training: its end
)
def test_epochs_are_scored_from_one_on_in_steps(epochs, scored):
    seen = []
    best = Best(lambda model: float(len(seen)), "test set", start=12, every=2)
    for epoch in range(epochs):
        best.score = lambda model, epoch=epoch: seen.append(epoch) or float(len(seen))
        best.update(build_model("small"), epoch, last=epoch == epochs - 1)
    assert seen == scored
    assert best.record["epoch"] == scored[-1]


def test_a_teachers_epoch_is_chosen_as_published(images):
    """Epochs 12, 14... of its own objective are tested; those before it do not count."""
    seen = []

    def score(model):
        seen.append(model.training)
        return 1 / len(seen)

    short = {"epochs": 15, "steps": 1, "identities": 4, "images": 2, "pad": 1}
    config = TeacherConfig(**short, identity_epochs=2, selection="test")
    how = {"device": "cpu", "precision": "float32", "show": False}
    model = build_model("small")
    with pytest.raises(ValueError, match=r"test_score=\.\.\., or take the last epoch"):
        train_teacher(model, images, config, **how)
    train_teacher(model, images, config, test_score=score, **how)
    assert len(seen) == 2  # epochs 12 and 14 of 0 to 14


def test_held_out_people_are_never_learned_from_and_choose_the_epoch(images, monkeypatch):
    from dakd.train.student import StudentObjective

    seen, scores = set(), iter([0.1, 0.9, 0.2])
    loss = StudentObjective.loss
    monkeypatch.setattr(
        StudentObjective, "loss", lambda s, m, b: (seen.update(b.pids.tolist()), loss(s, m, b))[1]
    )
    monkeypatch.setattr("dakd.train.run.cross_modal_map", lambda model, held, device: next(scores))
    config = StudentConfig(epochs=3, steps=6, identities=4, images=2, pad=1, holdout=0.25)
    how = {"device": "cpu", "precision": "float32", "show": False}
    train_student(build_model("small", seed=1), build_model("small"), images, config, **how)
    held = set(hold_out(images, 0.25, seed=0)[1].classes.tolist())
    assert len(held) == 3
    assert seen == set(images.classes.tolist()) - held


def test_two_ways_of_choosing_are_one_too_many():
    with pytest.raises(ValueError, match="holdout and the test set"):
        StudentConfig(holdout=0.1, selection="test")
