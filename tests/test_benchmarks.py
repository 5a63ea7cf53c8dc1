import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dakd.train import history


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
        import bench_train

        yield bench_train


@pytest.fixture(scope="module")
def stages(bench):
    return bench.stages("small", 32, 16, people=8)


@pytest.fixture
def modes(bench, monkeypatch):
    """What torch is told about waiting, where there is no GPU; with a look every second step."""
    told = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", told.append)
    for module in (bench, history):
        monkeypatch.setattr(module, "FLUSH_EVERY", 2)
    return told


def weights(stage):
    return [p.detach().clone() for p in stage.model.parameters()]


def test_projection_multiplies_the_recipe_out(bench):
    parts = bench.project(
        teacher_step=0.09, student_step=0.045, rebuilding=1e-4, embedding=2e-4, ranking=0.5
    )
    assert parts == pytest.approx({
        "teacher, steps": 10_022.4,  # 160 x 696 = 111,360 steps
        "teacher, memories": 902.8,  # 160 x (2 x 22,258 + 11,909) = 9,028,000 images
        "student, centres": 6.8334,  # 34,167 images
        "student, steps": 5_011.2,
        "evaluation of both": 14.2312,  # 2 x (10,578 images + 10 trials)
    })  # fmt: skip


def test_a_whole_run_in_the_smallest_size(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "WORKERS", 0)
    bench.main(["--backbone", "small", "--height", "32", "--width", "16", "--seconds", "0"])
    said = capsys.readouterr().out
    rates = dict(re.findall(r"^(ceiling|dakd|plain) +([\d.]+) images/s", said, re.MULTILINE))
    assert len(rates) == 3
    assert all(float(rate) > 0 for rate in rates.values())
    hours = [float(value) for value in re.findall(r"([\d.]+) h$", said, re.MULTILINE)]
    assert hours[-1] == pytest.approx(sum(hours[:-1]), abs=0.05)
    assert hours[-1] > 0
    assert "small at 32 x 16 (NOT the published size" in said


def test_our_steps_train_and_the_ceiling_has_no_optimiser(bench, stages):
    _, student = stages
    before, epoch = weights(student), student.epoch
    took, memory = bench.train(student, 2)
    assert took > 0
    assert memory > 0
    assert student.epoch == epoch + 1
    after = weights(student)
    assert not all(map(torch.equal, before, after))
    bench.ceiling_step(student)()
    assert all(map(torch.equal, after, weights(student)))
    assert all(p.grad is not None for p in student.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("workers", [0, 1])
def test_plain_batches_are_pairs_of_normalised_float_pictures(bench, stages, workers):
    visible, infrared = next(bench.plain_batches(stages[1].objective.images, workers))
    for side in (visible, infrared):
        assert side.shape == (bench.B, 3, 32, 16)
        assert side.dtype == torch.float32
        assert side.is_contiguous()
        assert side.min() < -1 < 1 < side.max() < 3
    assert not torch.equal(visible, infrared)


def test_pictures_that_are_repeated_are_the_same(bench):
    pixels = bench.Pixels(4, 2, count=3)
    once, again = pixels.read(np.array([1])), pixels.read(np.array([7]))
    assert torch.equal(once, again)
    assert not torch.equal(once, pixels.read(np.array([2])))


@pytest.mark.parametrize("who", [0, 1])
def test_waiting_is_forbidden_between_two_looks(bench, stages, modes, monkeypatch, who):
    objective, during = stages[who].objective, []
    step = objective.after_step
    monkeypatch.setattr(objective, "after_step", lambda: (step(), during.append(modes[-1:])))
    assert bench.waits_at(stages[who]) == ""
    assert during == 2 * [[]] + 4 * [["error"]]
    assert modes == 4 * ["default", "error"] + ["default"]  # three looks, one more at the end


def test_the_place_that_waits_is_named(bench, stages, modes, monkeypatch):
    def wait():
        if "error" in modes:
            raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(stages[1].objective, "after_step", wait)
    where = bench.waits_at(stages[1])
    assert re.search(r"test_benchmarks\.py:\d+: raise RuntimeError.*synchronizing CUDA", where)
    assert modes[-1] == "default"


def test_widgets_are_timed_beside_the_plain_way(bench, capsys):
    import bench_widgets

    bench_widgets.main("smoke", people=20, moves=1)
    row = r"^(.+?) +(\d+) ms(?:   plain +(\d+) ms +([\d.]+) x)?$"
    rows = re.findall(row, capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == 8
    compared = [name for name, _, plain, _ in rows if plain]
    assert compared == ["image browser", "query browser", "CutSwap", "mask explorer"]
    assert all(int(ours) > 0 for _, ours, _, _ in rows)
