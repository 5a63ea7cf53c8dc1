"""Exercises of notebooks 04 to 06: right answers, computed independently, and wrong ones."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from examples import image_set
from scipy import stats
from torch.nn.functional import normalize

from dakd import analysis, exercises
from dakd.distill import ByModality, DAKDLoss, confidence, confidence_mask
from dakd.studies.ablation import LABELS


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def refuses(check, *wrong, **data):
    """Assert that all wrong answers are rejected, and that a missing answer is no answer."""
    assert [check(*answer, **data).right for answer in wrong] == [False] * len(wrong)
    assert check(*[None] * len(wrong[0]), **data) is exercises.NO_ANSWER


def test_a_safe_quantile_keeps_one_error_in_a_hundred():
    rng = np.random.default_rng(1)
    score = rng.random(500)
    correct = rng.random(500) < 0.5 + 0.5 * score**0.2
    order = correct[np.argsort(-score)]
    most = max(k for k in range(1, 501) if (~order[:k]).sum() <= 0.01 * k)
    least = 1 - most / 500
    assert 0.1 < least < 0.95
    curve = analysis.risk_coverage(score, correct)
    for quantile in (least, round(least, 2), least + 0.005, np.float32(least), torch.tensor(least)):
        assert exercises.safe_quantile(quantile, curve=curve).right
    wrong = [(least - 0.03,), (least + 0.05,), (0.0,), (50,), (-0.1,), (np.nan,), ("half",)]
    refuses(exercises.safe_quantile, *wrong, curve=curve)
    assert "between 0 and 1" in exercises.safe_quantile(50, curve=curve).text
    assert "above" in exercises.safe_quantile(least - 0.03, curve=curve).text
    assert "lower" in exercises.safe_quantile(least + 0.05, curve=curve).text


def test_without_a_safe_quantile_all_images_are_dropped():
    curve = analysis.risk_coverage([0.9, 0.5, 0.1], [0, 1, 1])
    assert exercises.safe_quantile(1, curve=curve).right
    refuses(exercises.safe_quantile, (0.66,), curve=curve)


@pytest.mark.parametrize("quantile", [0.5, 0.75])
def test_the_factors_of_a_dropped_gradient_are_those_of_the_loss(quantile):
    z, teacher, centres = (
        normalize(torch.randn(16, 8, generator=draw(i)), dim=1) for i in (1, 2, 3)
    )
    z.requires_grad_()
    gradients = {}
    for acts, keep in (("samples", "confident"), ("mean", "confident"), ("mean", "none")):
        loss = DAKDLoss(mask_acts_on=acts, mask_keep=keep, quantile=quantile)
        terms = loss(
            ByModality(z, z), ByModality(teacher, teacher), ByModality(centres, centres)
        ).parts
        (gradients[acts, keep],) = torch.autograd.grad(terms["class_infrared"], z)
    mask = confidence_mask(confidence(teacher @ centres.T / 0.05), quantile)
    gone = int((mask == 0).nonzero()[0])
    size = {key: gradient[gone].norm() for key, gradient in gradients.items()}
    paper, release = (size[a, "confident"] / size["mean", "none"] for a in ("samples", "mean"))
    assert exercises.dropped_gradient(paper, release, mask=mask).right
    wrong = [(release, release), (release, paper), (0, 0), (0, 1), (0, "half"), (0, 2)]
    refuses(exercises.dropped_gradient, *wrong, mask=mask)
    assert exercises.dropped_gradient(0, None, mask=mask) is exercises.NO_ANSWER


def test_the_temperature_of_the_labels_is_calibrated():
    z = normalize(torch.randn(4000, 6, generator=draw()), dim=1)
    labels = (z / 0.2).softmax(1).multinomial(1, generator=draw(1)).squeeze(1).numpy()
    data = {"embeddings": z, "centres": torch.eye(6), "labels": labels}
    assert exercises.calibrated_temperature(0.2, **data).right
    refuses(exercises.calibrated_temperature, (0.05,), (0.1,), (0.6,), (0,), ("warm",), **data)
    assert "overconfident" in exercises.calibrated_temperature(0.05, **data).text
    assert "underconfident" in exercises.calibrated_temperature(0.6, **data).text


def test_the_nearest_cameras_have_the_nearest_means():
    images = image_set(range(5))
    angle = torch.tensor([0, 0.0, 1.0, 2.0, 3.0, 2.9, 1.6])[torch.from_numpy(images.cams)]
    z = torch.stack([angle.cos(), angle.sin()], 1)  # infrared 3 and 6 at 2.0 and 1.6, 2 at 1.0
    data = {"embeddings": z, "images": images}
    for pair in ((2, 6), [6, 2], np.array([6, 2])):
        assert exercises.nearest_cameras(pair, **data).right
    refuses(exercises.nearest_cameras, ((2, 3),), ((4, 5),), (3,), ("2 6",), ((2, 6, 3),), **data)
    assert "one visible (1 2 4 5)" in exercises.nearest_cameras((4, 5), **data).text


def test_a_collapsed_network_is_aligned_and_a_random_one_uniform():
    images = image_set(range(6))
    noise = torch.randn(len(images), 8, generator=draw())
    network = {"Flat": 1 + 0.01 * noise, "Random": noise, "DAKD": 0.5 + noise}
    network = {name: normalize(z, dim=1) for name, z in network.items()}
    losses = {}
    for name, z in network.items():  # by definition, pair by pair
        n, own, every = len(z), [], []
        for i in range(n):
            for j in range(n):
                square = float(((z[i] - z[j]) ** 2).sum())
                if (
                    images.infrared[i]
                    and not images.infrared[j]
                    and images.pids[i] == images.pids[j]
                ):
                    own.append(square)
                if i < j:
                    every.append(np.exp(-2 * square))
        losses[name] = np.mean(own), np.log(np.mean(every))
    aligned, uniform = (min(losses, key=lambda name, i=i: losses[name][i]) for i in (0, 1))
    assert (aligned, uniform) == ("Flat", "Random")
    data = {"networks": network, "images": images}
    verdict = exercises.alignment_uniformity(aligned, uniform, **data)
    assert verdict.right
    assert all(f"{a:.2f} and {u:.2f}" in verdict.text for a, u in losses.values())
    assert exercises.alignment_uniformity(" flat", "RANDOM", **data).right
    wrong = [("Random", "Flat"), ("Flat", "DAKD"), ("Flat", "Flat"), ("teacher", "Random"), (1, 2)]
    refuses(exercises.alignment_uniformity, *wrong, **data)
    assert "Check uniformity again" in exercises.alignment_uniformity("flat", "dakd", **data).text


def test_a_common_shift_of_the_gallery_gains_nothing():
    images = image_set(range(6))
    z = torch.randn(len(images), 8, generator=draw())
    z[torch.from_numpy(images.infrared)] += 2
    data = {"embeddings": normalize(z, dim=1), "images": images}
    verdict = exercises.shift_gain(0, **data)
    assert verdict.right
    before, after = (
        part.split("%")[0] for part in verdict.text.split("mAP was ")[1].split("% and is ")
    )
    assert before == after
    assert float(before) > 0
    refuses(exercises.shift_gain, (0.3,), (-1,), (1000,), ("none",), **data)


def made_table(each):
    """Return a table of runs with the differences `each` from DAKD in mAP, one per seed."""
    rows = []
    for run, values in {"dakd": [0.0] * 3, **each}.items():
        for seed, value in enumerate(values):
            trials = json.dumps({"mAP": [0.3 + 0.1 * seed + value] * 2, "rank1": [0.2] * 2})
            rows.append((run, seed, trials))
    return pd.DataFrame(rows, columns=["run", "seed", "trials"])


def test_runs_differ_as_in_a_t_test():
    rng = np.random.default_rng(3)
    runs = ["mask_none", "mask_uncertain", "t_4", "t_low", "t_high", "swapped"]
    each = {run: rng.normal(0.01 * i, 0.015, 3) for i, run in enumerate(runs)}
    significant = [run for run in runs if stats.ttest_1samp(each[run], 0).pvalue < 0.05]
    assert 0 < len(significant) < len(runs) - 1
    labels = {run: LABELS[run] for run in runs}
    data = {"table": made_table(each | {"no_class": [0.2, 0.2, 0.21]}), "labels": labels}
    for answer in (
        significant,
        significant[::-1],
        [LABELS[run].upper() for run in significant],
        set(significant),
    ):
        assert exercises.distinguishable(answer, **data).right
    wrong = [([],), (significant[1:],), (runs,), ([*significant, "no_class"],), (7,), ("all",)]
    refuses(exercises.distinguishable, *wrong, **data)
    assert "1 of 6" in exercises.distinguishable(significant[1:], **data).text
    data = {"table": made_table({"t_4": each["t_4"]}), "labels": {"t_low": LABELS["t_low"]}}
    missing = exercises.distinguishable([], **data)
    assert missing.right


def test_seeds_are_counted_with_students_t():
    each = [0.043, 0.016, 0.021]
    spread = stats.tstd(each)
    least = 2
    while stats.t.interval(0.95, least - 1, 0, spread / least**0.5)[1] > 0.01:
        least += 1
    assert least > 5
    assert exercises.seeds_needed(least, each=each).right
    assert exercises.seeds_needed(float(least + 1), each=each).right
    normal = int(np.ceil((1.96 * spread / 0.01) ** 2))
    wrong = [(normal,), (least - 1,), (least + 2,), (3,), (1,), (least - 0.5,), ("many",)]
    refuses(exercises.seeds_needed, *wrong, each=each)
    assert "fewer are enough" in exercises.seeds_needed(least + 2, each=each).text


def test_the_camera_rule_is_measured_query_by_query():
    images = image_set(range(8), images=1)
    query, gallery = np.flatnonzero(images.infrared), np.flatnonzero(~images.infrared)
    similarity = torch.rand(len(query), len(gallery), generator=draw(2))
    people, cameras = [(a[query], a[gallery]) for a in (images.pids, images.cams)]
    dropped = torch.from_numpy((cameras[0][:, None] == 3) & (cameras[1] == 2))
    similarity += 0.5 * dropped * torch.from_numpy(people[0][:, None] == people[1])
    hits = {"rule": [], "none": []}
    for i, row in enumerate(similarity):
        for name, allowed in {"rule": ~dropped[i], "none": torch.ones_like(dropped[i])}.items():
            top = max(allowed.nonzero().flatten().tolist(), key=row.tolist().__getitem__)
            hits[name].append(people[1][top] == people[0][i])
    change = 100 * (np.mean(hits["none"]) - np.mean(hits["rule"]))
    assert change > 5
    data = {"similarity": similarity, "people": people, "cameras": cameras}
    assert exercises.without_camera_rule(round(change, 1), **data).right
    wrong = [(-change,), (change / 100,), (0,), (change + 1,), (101,), ("higher",)]
    refuses(exercises.without_camera_rule, *wrong, **data)
    assert "The size is right" in exercises.without_camera_rule(-change, **data).text
