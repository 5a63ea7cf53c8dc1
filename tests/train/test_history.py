import json
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from dakd.losses import LossTerms
from dakd.train.history import History, TrainingError, read_history


def terms(value, **parts):
    return LossTerms(torch.tensor(value), {k: torch.tensor(v) for k, v in parts.items()})


def add(history, steps, **parts):
    for step in range(steps):
        history.add(
            {"epoch": 0, "step": step, "lr": 1e-3}, terms(float(step), **parts), np.array([7])
        )


def test_the_file_grows_with_every_look_and_can_be_read_meanwhile(tmp_path):
    history = History(tmp_path)
    assert read_history(tmp_path).empty
    add(history, 3, global_=0.5)
    assert read_history(tmp_path).empty  # nobody has looked yet
    history.flush()
    assert read_history(tmp_path)["loss"].tolist() == [0, 1, 2]
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 0, "st')  # a line that is being written
    assert len(read_history(tmp_path)) == 3


def test_numbers_are_the_same_on_disk(tmp_path):
    history = History(tmp_path)
    history.add({"epoch": 0, "step": 0, "lr": 0.1 + 0.2}, terms(1 / 3), np.array([1]))
    history.flush()
    pd.testing.assert_frame_equal(
        read_history(tmp_path), pd.DataFrame(history.rows), check_exact=True
    )


def test_throughput_and_memory_are_in_every_row(tmp_path):
    history = History(tmp_path)
    history.images_per_step = 64
    add(history, 2)
    history.flush()
    row = read_history(tmp_path).iloc[1]
    assert row["images_per_second"] > 0
    assert 10 < row["memory_mb"] < 1e6


def test_time_before_the_clock_is_started_again_is_no_time_of_a_step(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    history = History()
    history.images_per_step = 64
    now += 50  # a snapshot is written
    history.start()
    add(history, 2)
    now += 4
    history.flush()
    assert history.rows[-1]["images_per_second"] == pytest.approx(2 * 64 / 4)


def test_peak_memory_is_that_of_this_training_on_its_device(monkeypatch):
    peaks = {0: 7e9, 1: 9e9}  # of what ran before
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda d: peaks.update({d.index: 0}))
    monkeypatch.setattr(
        "torch.cuda.max_memory_allocated", lambda d=None: peaks[d.index if d else 0]
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    on_gpu = History(device=torch.device("cuda:1"))
    peaks[1] += 5e6
    on_cpu = History(device=torch.device("cpu"))
    for history in (on_gpu, on_cpu):
        add(history, 1)
        history.flush()
    assert on_gpu.rows[0]["memory_mb"] == 5
    assert 10 < on_cpu.rows[0]["memory_mb"] != 7e3
    assert peaks[0] == 7e9


@pytest.mark.parametrize(
    "line", ["[1, 2]", "3", "null", '{"loss": "x"}', '{"loss": null}', '{"lo', "[" * 9999, "\xff"]
)
def test_a_damaged_line_ends_a_history_that_grows_and_is_refused_in_one_that_is_whole(
    tmp_path, line
):
    good = b'{"loss": 1.0}\n'
    (tmp_path / "history.jsonl").write_bytes(good + line.encode("latin1") + b"\n" + good)
    assert read_history(tmp_path)["loss"].tolist() == [1.0]
    with pytest.raises(
        ValueError, match=r"line 2 of .*history\.jsonl is no JSON object of numbers"
    ):
        read_history(tmp_path, complete=True)


def test_tensorboard_that_fails_costs_its_files_and_not_the_training(tmp_path, monkeypatch):
    class Full:
        def add_scalar(self, *args):
            raise RuntimeError("its thread has died")

    monkeypatch.setattr("dakd.train.history._board", lambda *args: Full())
    history = History(tmp_path, tensorboard=True)
    add(history, 2)
    with pytest.warns(UserWarning, match="its thread has died; training continues"):
        history.flush()
    add(history, 2)
    history.flush()
    history.close()
    assert len(read_history(tmp_path)) == 4


def test_what_is_not_a_loss_is_not_drawn_as_one(tmp_path):
    figures = pytest.importorskip("dakd.figures")
    history = History(tmp_path)
    add(history, 2, triplet=0.1)
    history.flush()
    assert figures.loss_parts(read_history(tmp_path)) == ["triplet"]


def test_going_on_cuts_the_file_to_the_rows_that_count(tmp_path):
    history = History(tmp_path)
    add(history, 5)
    history.flush()
    again = History(tmp_path, history.rows[:2])
    assert len(read_history(tmp_path)) == 2
    add(again, 1)
    again.flush()
    assert read_history(tmp_path)["step"].tolist() == [0, 1, 0]


def test_the_rows_before_a_bad_one_are_kept(tmp_path):
    history = History(tmp_path)
    add(history, 2, triplet=0.1)
    history.add(
        {"epoch": 0, "step": 2, "lr": 1}, terms(1.0, triplet=float("inf")), np.array([4, 4])
    )
    with pytest.raises(
        TrainingError, match=r"triplet not finite at epoch 0, step 2, identities \[4\]"
    ):
        history.flush()
    assert len(read_history(tmp_path)) == 2


def test_tensorboard_gets_every_scalar_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    history = History(tmp_path, [{"loss": 3.0}], tensorboard=True)
    add(history, 1, triplet=0.25)
    history.flush()
    history.close()
    assert written[0] == (str(tmp_path / "tensorboard"), 1)
    assert ("triplet", 0.25, 1) in written
    assert written[-1] == "closed"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    written.clear()
    add(History(tmp_path, tensorboard=True), 1)
    assert written == []


def test_every_line_is_one_json_object(tmp_path):
    history = History(tmp_path)
    add(history, 1, a=1.0)
    history.flush()
    add(history, 1, b=2.0)
    history.flush()
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert "b" not in lines[0]
    assert "a" not in lines[1]


def test_rows_that_found_no_room_are_written_later(tmp_path, monkeypatch):
    history = History(tmp_path)
    opened = type(tmp_path).open

    def full(self, *args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(tmp_path), "open", full)
    add(history, 3)
    history.flush()
    with monkeypatch.context() as still_full:
        still_full.setattr(type(tmp_path), "write_text", full)
        with pytest.raises(OSError, match="no space left"):
            history.sync()
    monkeypatch.setattr(type(tmp_path), "open", opened)
    add(history, 1)
    history.sync()
    assert read_history(tmp_path)["step"].tolist() == [0, 1, 2, 0]
