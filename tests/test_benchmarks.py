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
    """The recorded modes of torch's synchronisation check, with a flush every second step."""
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    for module in (bench, history):
        monkeypatch.setattr(module, "FLUSH_EVERY", 2)
    return modes


def weights(stage):
    return [p.detach().clone() for p in stage.model.parameters()]


def test_the_projection_by_hand(bench):
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
    out = capsys.readouterr().out
    rates = dict(re.findall(r"^(ceiling|dakd|plain) +([\d.]+) images/s", out, re.MULTILINE))
    assert len(rates) == 3
    assert all(float(rate) > 0 for rate in rates.values())
    hours = [float(value) for value in re.findall(r"([\d.]+) h$", out, re.MULTILINE)]
    assert hours[-1] == pytest.approx(sum(hours[:-1]), abs=0.05)
    assert hours[-1] > 0
    assert "small at 32 x 16 (NOT the published size" in out


def test_our_steps_train_and_those_of_the_ceiling_change_no_weights(bench, stages):
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
def test_plain_batches_are_normalised_float_images_of_both_modalities(bench, stages, workers):
    visible, infrared = next(bench.plain_batches(stages[1].objective.images, workers))
    for images in (visible, infrared):
        assert images.shape == (bench.B, 3, 32, 16)
        assert images.dtype == torch.float32
        assert images.is_contiguous()
        assert images.min() < -1 < 1 < images.max() < 3
    assert not torch.equal(visible, infrared)


def test_random_images_repeat_after_their_number(bench):
    pixels = bench.Pixels(4, 2, count=3)
    once, again = pixels.read(np.array([1])), pixels.read(np.array([7]))
    assert torch.equal(once, again)
    assert not torch.equal(once, pixels.read(np.array([2])))


@pytest.mark.parametrize("who", [0, 1])
def test_waiting_is_forbidden_between_two_flushes(bench, stages, modes, monkeypatch, who):
    objective, during = stages[who].objective, []
    step = objective.after_step
    monkeypatch.setattr(objective, "after_step", lambda: (step(), during.append(modes[-1:])))
    assert bench.waits_at(stages[who]) == ""
    assert during == 2 * [[]] + 4 * [["error"]]
    assert modes == 4 * ["default", "error"] + ["default"]  # three flushes, one more at the end


def test_the_place_that_waits_is_named(bench, stages, modes, monkeypatch):
    def wait():
        if "error" in modes:
            raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(stages[1].objective, "after_step", wait)
    where = bench.waits_at(stages[1])
    assert re.search(r"test_benchmarks\.py:\d+: raise RuntimeError.*synchronizing CUDA", where)
    assert modes[-1] == "default"


def test_widgets_are_timed_and_compared_with_one_axes_per_image(bench, capsys):
    import bench_widgets

    bench_widgets.main("smoke", people=20, moves=1)
    row = r"^(.+?) +(\d+) ms(?:   one axes per image +(\d+) ms +([\d.]+) x)?$"
    rows = re.findall(row, capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == 8
    compared = [name for name, _, plain, _ in rows if plain]
    assert compared == ["image browser", "query browser", "CutSwap", "mask explorer"]
    assert all(int(ours) > 0 for _, ours, _, _ in rows)
