"""Exercises of notebooks 00 to 03: right answers, computed independently, and wrong ones."""

import copy
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dakd import exercises
from dakd.augment import CutSwap
from dakd.distill import ByModality, DAKDLoss
from dakd.exercises.verdict import UnreadableAnswerError, choice, numbers
from dakd.losses import TeacherLoss
from dakd.model import build_model
from dakd.protocols import Trial
from dakd.runtime import make_generator


@pytest.mark.parametrize("answer", [(1, 2), [1, 2], np.array([1, 2]), torch.tensor([1.0, 2.0])])
def test_numbers_come_in_every_usual_form(answer):
    np.testing.assert_array_equal(numbers(answer, 2, "two numbers"), [1.0, 2.0])


@pytest.mark.parametrize(
    "answer", ["12", "one", (1, None), [1], [1, 2, 3], (1, float("nan")), (True, False), (1, 5), {}]
)
def test_an_unreadable_answer_gets_a_message(answer):
    with pytest.raises(UnreadableAnswerError, match="two numbers to 3"):
        numbers(answer, 2, "two numbers to 3", high=3)


def test_a_choice_ignores_case_and_lists_the_options():
    assert choice(" Red ", ["red", "blue"]) == "red"
    with pytest.raises(UnreadableAnswerError, match="'red', 'blue'"):
        choice(3, ["red", "blue"])


def test_a_missing_answer_is_neither_right_nor_wrong_and_computes_nothing():
    assert exercises.same_ap(None, [1, 2, 3]) is exercises.NO_ANSWER
    assert exercises.copied_teacher(
        0.0, None, teacher=None, images=None, centres=None
    ) is exercises.NO_ANSWER  # fmt: skip


def test_a_wrong_keyword_is_an_error_without_an_answer():
    with pytest.raises(TypeError, match="side"):
        exercises.same_area(None, side=0.5)
    with pytest.raises(TypeError, match="table"):
        exercises.better_level(None)


# 00 Data inspection


def test_batch_counts_every_pair_of_a_person():
    visible, infrared = np.repeat([4, 7, 9], 2), np.repeat([4, 7, 9], 2)
    pairs = sum(a == b for a, b in itertools.product(visible, infrared))
    rows = {"visible": visible, "infrared": infrared}
    assert exercises.batch_counts(12, pairs, **rows).right
    assert exercises.batch_counts(12, 6, **rows).right is False  # row by row only
    assert "images" in exercises.batch_counts(6, pairs, **rows).text  # one half only
    assert "whole numbers" in exercises.batch_counts(-1, pairs, **rows).text


def test_seen_by_both_counts_people_and_not_images():
    pids, cams = np.array([1, 1, 1, 2, 3, 3, 4]), np.array([2, 2, 3, 2, 3, 2, 3])
    verdict = exercises.seen_by_both(2, pids=pids, cams=cams)
    assert (verdict.right, "2 of 4 people" in verdict.text) == (True, True)
    for wrong in (1, 3, 4, 5):
        assert exercises.seen_by_both(wrong, pids=pids, cams=cams).right is False


def test_correlations_ignore_the_lamp_and_change_sign_with_the_negative():
    rng = np.random.default_rng(0)
    seen = rng.random(50)
    lit = 0.5 * seen + 0.3 * rng.random(50)
    people = {"visible": pd.Series(seen), "infrared": pd.Series(lit)}
    lamp, negative = (pd.Series(seen).corr(pd.Series(x)) for x in (lit + 0.1, 1 - lit))
    assert exercises.correlations(lamp, negative, **people).right
    assert exercises.correlations(round(lamp, 2), round(negative, 2), **people).right
    assert exercises.correlations(lamp, lamp, **people).right is False
    assert exercises.correlations(lamp + 0.1, negative, **people).right is False
    assert "between -1 and 1" in exercises.correlations(88, negative, **people).text


# 01 How we measure


def average_precision(ranks):
    return np.mean([i / r for i, r in enumerate(sorted(ranks), start=1)])


def test_same_ap_accepts_exactly_the_pairs_that_a_search_finds():
    rankings = list(itertools.combinations(range(1, 11), 3))
    found = {
        (a, b)
        for a, b in itertools.product(rankings, repeat=2)
        if abs(average_precision(a) - average_precision(b)) < 1e-9 and a[-1] != b[-1]
    }
    assert found
    for pair in itertools.product(rankings[::3] + [a for a, _ in found], repeat=2):
        assert exercises.same_ap(*pair).right == (pair in found)


def test_same_ap_takes_any_order_and_refuses_nonsense():
    assert exercises.same_ap(np.array([9, 3, 1]), (4, 6, 1)).right
    for nonsense in ([1, 3, 11], [1, 1, 9], [1, 2.5, 9], [1, 3], "139", [0, 3, 9]):
        verdict = exercises.same_ap(nonsense, [1, 4, 6])
        assert (verdict.right, "3 different whole ranks between 1 and 10" in verdict.text) == (
            False,
            True,
        )


def scene():
    """Forty images of five people in cameras 1, 2, 3 and 6, and random embeddings."""
    pids, cams = np.tile(np.repeat(np.arange(5), 2), 4), np.repeat([1, 2, 3, 6], 10)
    z = torch.randn(40, 8, generator=make_generator(0))
    trial = Trial(1, np.flatnonzero(cams > 2), np.flatnonzero(cams < 3))
    return z, SimpleNamespace(pids=pids, cams=cams), trial


def mean_ap(z, test, trial, cam, *, rule):
    each = []
    for q in trial.query[test.cams[trial.query] == cam]:
        kept = [g for g in trial.gallery if not (rule and cam == 3 and test.cams[g] == 2)]
        order = sorted(kept, key=lambda g: -float(z[q] @ z[g]))
        hits = [i for i, g in enumerate(order, start=1) if test.pids[g] == test.pids[q]]
        each.append(average_precision(hits))
    return np.mean(each)


def test_map_by_camera_needs_the_rule():
    z, test, trial = scene()
    data = {"embeddings": z, "test": test, "trial": trial}
    three, six = (mean_ap(z, test, trial, cam, rule=True) for cam in (3, 6))
    assert exercises.map_by_camera(three, six, **data).right
    assert exercises.map_by_camera(six, three, **data).right is False
    unruled = exercises.map_by_camera(mean_ap(z, test, trial, 3, rule=False), six, **data)
    assert (unruled.right, "without the camera rule" in unruled.text) == (False, True)
    assert "not percentages" in exercises.map_by_camera(100 * three, 100 * six, **data).text


def test_trials_needed_is_the_smallest_sufficient_number():
    enough = next(n for n in itertools.count(1) if 1.29 / np.sqrt(n) <= 0.25)
    assert exercises.trials_needed(enough, spread=1.29, wanted=0.25).right
    for wrong in (enough - 1, enough + 1, 5, 10 * enough):
        assert exercises.trials_needed(wrong, spread=1.29, wanted=0.25).right is False
    assert exercises.trials_needed(1, spread=0.25, wanted=0.25).right


# 02 CutSwap


def test_same_area_changes_as_many_pixels():
    shape = torch.empty(1).expand(4000, 3, 100, 100)  # the pixels are not used
    drawn = CutSwap().sample(shape, make_generator(0))
    share = (drawn.box.height * drawn.box.width * drawn.active).float().mean().item() / 10_000
    assert exercises.same_area(share**0.5).right
    assert exercises.same_area(0.32).right
    for wrong in (share, 0.45, 0.3 * 0.6, 0.5):
        assert exercises.same_area(wrong).right is False
    assert "between 0 and 1" in exercises.same_area((0.3, 0.3)).text


def test_fixed_cutswap_changes_the_rectangle_only():
    image = torch.rand(1, 3, 12, 8, generator=make_generator(0))
    exchanged = image.clone()
    exchanged[:] = exchanged[:, :1].clone()
    right = image.clone()
    right[..., :10, :5] = exchanged[..., :10, :5]
    assert exercises.fixed_cutswap(right, image=image).right
    assert exercises.fixed_cutswap(right.numpy(), image=image).right
    assert "outside the rectangle" in exercises.fixed_cutswap(exchanged, image=image).text
    assert "Inside" in exercises.fixed_cutswap(image, image=image).text
    for wrong in (exchanged, image):
        assert exercises.fixed_cutswap(wrong, image=image).right is False
    for nonsense in (image[0], "image", 3):
        assert "shape (1, 3, 12, 8)" in exercises.fixed_cutswap(nonsense, image=image).text


def test_fixed_cutswap_rejects_an_exchange_in_place():
    images = torch.rand(2, 3, 12, 8, generator=make_generator(0))
    untouched, image = images[:1].clone(), images[:1]  # without clone: a likely mistake
    exchanged = image
    exchanged[:] = exchanged[:, :1].clone()
    image[..., :10, :5] = exchanged[..., :10, :5].clone()
    assert "outside the rectangle" in exercises.fixed_cutswap(image, image=untouched).text
    with pytest.raises(ValueError, match="read it again"):
        exercises.fixed_cutswap(image, image=images[:1])


def test_best_channel_looks_inside_only():
    rng = make_generator(0)
    noise, grey = torch.rand(6, 3, 20, 10, generator=rng), torch.rand(6, 1, 20, 10, generator=rng)
    inside = torch.zeros(6, 1, 20, 10, dtype=torch.bool)
    inside[:, :, 5:15, 2:8] = True
    images = torch.where(inside, grey + noise * torch.tensor([2, 0.5, 1])[:, None, None], noise)
    images[:, 2][~inside[:, 0]] = images.mean(1)[~inside[:, 0]]  # outside, blue would be best
    images = torch.where(inside, images, 9 * images)
    kept = []
    for c in range(3):
        ours, theirs = [], []
        for n, i, j in itertools.product(range(6), range(5, 15), range(2, 7)):
            ours.append(float(images[n, c, i, j + 1] - images[n, c, i, j]))
            theirs.append(float(images[n, :, i, j + 1].mean() - images[n, :, i, j].mean()))
        kept.append(np.corrcoef(ours, theirs)[0, 1])
    best = exercises.cutswap.CHANNELS[int(np.argmax(kept))]
    for channel in ("red", "green", "blue"):
        verdict = exercises.best_channel(channel, images=images, inside=inside)
        assert verdict.right == (channel == best)
    assert "'green'" in exercises.best_channel(1, images=images, inside=inside).text


# 03 Training


def test_uniform_prediction_loss_is_the_loss_of_equal_prototypes():
    objective, same = TeacherLoss(24, 8), nn.functional.normalize(torch.ones(24, 8), dim=1)
    labels = torch.arange(24)
    objective.rebuild(same, labels, same, labels, same)
    z = nn.functional.normalize(torch.randn(12, 8, generator=make_generator(0)), dim=1)
    total = objective(*z.chunk(3), torch.tensor([0, 0, 5, 5])).total
    assert exercises.uniform_prediction_loss(total, num_classes=24).right
    without_triplet = exercises.uniform_prediction_loss(3.4 * np.log(24), num_classes=24)
    assert (without_triplet.right, "triplet" in without_triplet.text) == (False, True)
    for wrong in (np.log(24), 4 * np.log(24) + 0.3, 0):
        assert exercises.uniform_prediction_loss(wrong, num_classes=24).right is False


def test_uniform_prediction_loss_needs_the_margin_for_any_number_of_people():
    assert (
        exercises.uniform_prediction_loss(3.4 * np.log(100_000), num_classes=100_000).right is False
    )
    assert exercises.uniform_prediction_loss(3.4 * np.log(100_000) + 0.3, num_classes=100_000).right


def test_a_copied_teacher_has_something_to_learn_in_train_mode():
    network = build_model("small")
    before = copy.deepcopy(network.state_dict())
    x = torch.rand(12, 3, 32, 16, generator=make_generator(0))
    data = {"images": x, "centres": ByModality(torch.eye(5, 256), torch.eye(5, 256))}
    with torch.no_grad():
        teacher = ByModality(*copy.deepcopy(network).eval()(x).chunk(2))
        learner = copy.deepcopy(network).train()
        student = ByModality(*(learner(half, unit=False) for half in x.chunk(2)))  # separately
        total = DAKDLoss()(student, teacher, data["centres"]).total.item()
    assert total > 0.1
    assert exercises.copied_teacher(0, total, teacher=network, **data).right
    assert "Eval mode is right" in exercises.copied_teacher(0, 0, teacher=network, **data).text
    for wrong in ((total, 0), (0.0, 2 * total), (0.1, total)):
        assert exercises.copied_teacher(*wrong, teacher=network, **data).right is False
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), "the reader's network was changed"


def levels(no_class, no_instance):
    """Return a table with two trials per seed."""
    rows = [
        {"run": run, "seed": seed, "trials": f'{{"mAP": [{value}, {value}]}}'}
        for run, values in {"no_class": no_class, "no_instance": no_instance}.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("class_alone", "right"),
    [
        ([0.40, 0.41, 0.42], "class"),
        ([0.20, 0.21, 0.22], "instance"),
        ([0.30, 0.37, 0.29], "neither"),
        ([0.30, 0.26, 0.33], "neither"),
    ],
)
def test_better_level_reads_the_interval(class_alone, right):
    table = levels([0.30, 0.31, 0.33], class_alone)
    for level in ("instance", "class", "neither"):
        assert exercises.better_level(level, table=table).right == (level == right)
    assert "'neither'" in exercises.better_level("both", table=table).text


def test_better_level_says_which_row_the_table_lacks():
    with pytest.raises(ValueError, match="no_instance"):
        exercises.better_level("class", table=levels([0.3, 0.3], []))
