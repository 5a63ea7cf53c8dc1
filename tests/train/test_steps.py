"""Whole training steps through the loop, beside a slow one that shares only torch with it."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from examples import image_set
from torch import nn
from torch.nn import functional as F

from dakd.augment import ChannelExchange, Normalise, Pipeline
from dakd.config import StudentConfig, TeacherConfig
from dakd.model import build_model
from dakd.runtime import make_generator
from dakd.train.loop import fit
from dakd.train.state import TrainState
from dakd.train.student import StudentObjective
from dakd.train.teacher import TeacherObjective

STEPS, SEED = 2, 3
SMALL = {"epochs": 1, "steps": STEPS, "identities": 2, "images": 2}
WHERE = {"seed": SEED, "device": "cpu", "precision": "float64"}
NORMALISED = Normalise(torch.float64)
MEMORIES = {"v": "visible", "r": "infrared", "a": "auxiliary", "all": "memory"}


@pytest.fixture(scope="module")
def images():
    return image_set(range(1, 4), images=1)


def normalised(pictures):
    mean, std = (
        torch.tensor(values, dtype=torch.float64)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (pictures.double() / 255 - mean) / std


class Adam:
    """Adam by its formula, with the L2 penalty in the gradient."""

    def __init__(self, network, lr, decay):
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.m, self.v = ([torch.zeros_like(p) for p in self.parameters] for _ in "mv")
        self.lr, self.decay, self.t = lr, decay, 0

    @torch.no_grad()
    def step(self, loss):
        self.t += 1
        gradients = torch.autograd.grad(loss, self.parameters)
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            slope = g + self.decay * p
            m.copy_(0.9 * m + 0.1 * slope)
            v.copy_(0.999 * v + 0.001 * slope**2)
            m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            p.sub_(self.lr * m_hat / (v_hat.sqrt() + 1e-8))


class Seen:
    """The batches of a fixed list, as a sampler gives them."""

    def __init__(self, batches):
        self.batches, self.uneven = batches, False

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)

    def set_epoch(self, epoch):
        assert epoch == 0


def batches(images):
    """Identities 0 and 1, then 0 and 2: the first is met twice."""
    rng, found = np.random.default_rng(0), []
    for people in ((0, 1), (0, 2)):
        rows = [
            [rng.choice(np.flatnonzero((images.labels == k) & (images.infrared == dark)), 2)
             for k in people]
            for dark in (False, True)
        ]  # fmt: skip
        found.append(tuple(np.concatenate(side) for side in rows))
    return found


def unit(rows):
    return torch.stack([reference.normalised(row) for row in rows])


def assert_same_network(ours, slow):
    for (name, a), b in zip(ours.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def slow_memories(network, images, channels):
    """Class means of eval-mode embeddings; of the auxiliary stream after a channel exchange."""
    network.eval()
    visible, infrared = (np.flatnonzero(images.infrared == dark) for dark in (False, True))
    x = normalised(images.images(visible))
    exchanged = torch.stack([p[[c, c, c]] for p, c in zip(x, channels, strict=True)])
    inputs = {
        "v": (x, visible), "r": (normalised(images.images(infrared)), infrared),
        "a": (exchanged, visible),
    }  # fmt: skip
    values = {}
    with torch.no_grad():
        for name, (pictures, rows) in inputs.items():
            labels = torch.from_numpy(images.labels[rows])
            values[name] = reference.class_means(network(pictures), labels, images.num_classes)
    values["all"] = (values["v"] + values["r"] + values["a"]) / 3
    network.train()
    return {name: (value, value.clone()) for name, value in values.items()}


def test_steps_of_the_teacher_are_those_of_a_slow_loop(images):
    """Weights, batch statistics and memories after two steps, weight decay included."""
    config = TeacherConfig(**SMALL, warmup=0, milestones=())
    ours = build_model("small", "gem").double()
    slow = copy.deepcopy(ours).train()
    objective = TeacherObjective(images, config, dim=ours.embedding_dim, **WHERE)
    objective.augment_visible = objective.augment_infrared = NORMALISED
    objective.augment_auxiliary = Pipeline(NORMALISED, ChannelExchange(p=1.0))
    drawn = batches(images)
    history = fit(TrainState(ours, objective, config, sampler=Seen(drawn)), seed=0)

    draws = make_generator(SEED)  # the only draws: channels for the memories, then for each step

    def channels(n):
        return ChannelExchange(p=1.0).sample(torch.empty(n, 3, 1, 1), draws)[1].tolist()

    state = slow_memories(slow, images, channels(int((~images.infrared).sum())))
    adam = Adam(slow, config.lr, config.weight_decay)
    for step, rows in enumerate(drawn):
        v, r = (normalised(images.images(side)) for side in rows)
        a = torch.stack([p[[c, c, c]] for p, c in zip(v, channels(len(v)), strict=True)])
        labels = torch.from_numpy(images.labels[rows[0]])
        z = unit(slow(torch.cat([v, r, a]), unit=False)).chunk(3)  # joint batch statistics
        loss = reference.teacher_loss(*z, labels, state)
        adam.step(loss)
        assert history.rows[step]["loss"] == pytest.approx(loss.item(), rel=1e-9)
        z = [rows.detach() for rows in z]
        every, names = torch.cat(z), labels.repeat(3)
        moved = {"all": reference.updated_hardest(state["all"][0], every, names, 0.1)}
        for name, own in zip("vra", z, strict=True):
            moved[name] = reference.updated_mean(state[name][0], own, labels, 0.25)
        state = {name: (moved[name], centres) for name, (_, centres) in state.items()}
    assert_same_network(ours, slow.eval())
    for name, attribute in MEMORIES.items():
        memory = getattr(objective.objective, attribute)
        torch.testing.assert_close(memory.values, state[name][0], rtol=0, atol=1e-9)
        torch.testing.assert_close(memory.centres, state[name][1], rtol=0, atol=1e-9)
        assert not torch.equal(memory.values, memory.centres)


@pytest.mark.parametrize("preset", ["paper", "release"])
def test_steps_of_the_student_are_those_of_a_slow_loop(images, preset):
    """Each modality by itself, visible first; in the release twice, the first time for nothing."""
    config = StudentConfig(**SMALL, preset=preset, selection="last")
    teacher = build_model("small", "gem", seed=1).double().eval()
    ours = build_model("small", "gem", seed=2).double()
    slow = copy.deepcopy(ours).train()
    objective = StudentObjective(images, config, teacher=teacher, **WHERE)
    objective.augment_visible = objective.augment_infrared = NORMALISED
    drawn = batches(images)
    history = fit(TrainState(ours, objective, config, sampler=Seen(drawn)), seed=0)

    centres, adam = {}, Adam(slow, config.lr, 0.0)
    for name, dark in (("v", False), ("r", True)):
        rows = np.flatnonzero(images.infrared == dark)
        labels = torch.from_numpy(images.labels[rows])
        with torch.no_grad():
            z = teacher(normalised(images.images(rows)))
        centres[name] = reference.class_means(z, labels, images.num_classes)
    for step, rows in enumerate(drawn):
        x = dict(zip("vr", (normalised(images.images(side)) for side in rows), strict=True))
        for _ in range(2 if preset == "release" else 1):
            n = {name: slow(pictures, unit=False) for name, pictures in x.items()}
        with torch.no_grad():
            z = {name: teacher(pictures) for name, pictures in x.items()}
        loss = reference.dakd_loss(n, z, centres, release=preset == "release")
        adam.step(loss)
        assert history.rows[step]["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert_same_network(ours, slow.eval())
    assert isinstance(ours.neck, nn.BatchNorm1d)
    assert int(ours.neck.num_batches_tracked) == STEPS * (4 if preset == "release" else 2)
    assert F.cosine_similarity(ours.neck.running_mean, slow.neck.running_mean, 0) > 1 - 1e-12


# What the steps above replace: augmentation, and rebuilding the memories -------------------------

STAGES = {  # as published for each dataset; the teacher has no CutSwap, RegDB and LLCM none at all
    "sysu": {
        "visible": "PadCrop Flip Normalise ChannelRandomErasing",
        "student": "PadCrop Flip Normalise CutSwap ChannelRandomErasing",
        "infrared": "PadCrop Flip Normalise ChannelRandomErasing ChannelGray",
        "auxiliary": "PadCrop Flip Normalise ChannelRandomErasing ChannelExchange",
    },
    "regdb": {
        "visible": "Flip PadCrop Normalise ChannelRandomErasing",
        "student": "Flip PadCrop Normalise ChannelRandomErasing",
        "infrared": "Flip PadCrop Normalise ChannelRandomErasing",
        "auxiliary": "PadCrop Flip Normalise ChannelRandomErasing ChannelExchange",
    },
    "llcm": {
        "visible": "RandomGrayscale PadCrop Flip Normalise ChannelRandomErasing",
        "student": "RandomGrayscale PadCrop Flip Normalise ChannelRandomErasing",
        "infrared": "RandomGrayscale PadCrop Flip Normalise ChannelRandomErasing",
        "auxiliary": "PadCrop Flip Normalise ChannelRandomErasing ChannelExchange",
    },
}


def names(augmentation):
    found = [type(stage).__name__ for stage in augmentation.stages]
    return set(found), " ".join(found)


@pytest.mark.parametrize("asked", ["auto", "sysu", "regdb", "llcm"])
@pytest.mark.parametrize("own", STAGES)
def test_a_training_augments_as_published_for_its_dataset(images, own, asked):
    """The dataset's pipeline, or the one that is asked for."""
    images = replace(images, pipeline=own)
    expected = STAGES[own if asked == "auto" else asked]
    teacher = TeacherObjective(images, TeacherConfig(pipeline=asked), dim=4, **WHERE)
    student = StudentObjective(
        images, StudentConfig(pipeline=asked), teacher=build_model("small").double(), **WHERE
    )
    found = {
        "visible": teacher.augment_visible, "student": student.augment_visible,
        "infrared": teacher.augment_infrared, "auxiliary": teacher.augment_auxiliary,
    }  # fmt: skip
    for stream, augmentation in found.items():
        kinds, order = names(augmentation)
        if (own if asked == "auto" else asked) == "llcm" and stream != "auxiliary":
            assert kinds == set(expected[stream].split())  # grey before or after the black border
        else:
            assert order == expected[stream], stream
    assert names(student.augment_infrared)[1] == names(teacher.augment_infrared)[1]


def test_memories_are_rebuilt_from_clean_images_before_every_epoch(images, monkeypatch):
    config = TeacherConfig(**{**SMALL, "epochs": 3, "steps": 1})
    objective = TeacherObjective(images, config, dim=256, **{**WHERE, "precision": "float32"})
    built, embedded = [], []
    rebuild, embed = objective.objective.rebuild, objective.embed
    monkeypatch.setattr(objective.objective, "rebuild", lambda *a: built.append(1) or rebuild(*a))

    def spied(model, rows, augment=None, **how):
        embedded.append((len(rows), None if augment is None else names(augment)[1]))
        return embed(model, rows, augment, **how)

    monkeypatch.setattr(objective, "embed", spied)
    fit(TrainState(build_model("small"), objective, config), seed=0)
    assert len(built) == 3
    visible, infrared = int((~images.infrared).sum()), int(images.infrared.sum())
    once = [(visible, None), (infrared, None), (visible, "Normalise ChannelExchange")]
    assert embedded == 3 * once
