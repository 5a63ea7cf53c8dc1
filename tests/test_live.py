"""Loss curves of a running training."""

import time

import pytest
import torch

pytest.importorskip("ipywidgets")

from dakd import widgets
from dakd.config import EngineConfig, TeacherConfig
from dakd.losses import LossTerms
from dakd.train.history import History
from dakd.widgets.live import newest_history


def write(folder, steps):
    """Append steps to a history, as a training does."""
    history = History(folder)
    for step in range(steps):
        place = {"epoch": 0, "step": step, "lr": 1e-3}
        loss = torch.tensor(float(steps - step))
        history.add(place, LossTerms(loss, {"identity": loss}), [7])
    history.flush()


def wait_for(happened):
    end = time.monotonic() + 30
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
    assert happened()


def test_the_image_follows_the_file_during_the_block(tmp_path):
    live = widgets.LiveCurves(tmp_path, seconds=0.02)
    assert live.image.layout.display == "none"
    seen = []
    live.image.observe(lambda change: seen.append(len(live.history)), names="value")
    with live:
        write(tmp_path / "teacher", 4)
        wait_for(lambda: 4 in seen)
        write(tmp_path / "student", 9)
        wait_for(lambda: 9 in seen)
    assert live.image.layout.display != "none"
    write(tmp_path / "another", 2)  # trained after the block: not this panel's
    before = bytes(live.image.value)
    live.controls["smooth"].value = 0.2
    assert bytes(live.image.value) != before
    assert len(live.history) == 9
    with live:  # again
        write(tmp_path / "again", 5)
        wait_for(lambda: 5 in seen)


def test_an_earlier_training_is_not_shown(tmp_path):
    write(tmp_path / "old", 3)
    assert len(newest_history(tmp_path)) == 3
    assert newest_history(tmp_path, since=time.time() + 60).empty


def test_a_failed_training_ends_the_redrawing(tmp_path):
    live = widgets.LiveCurves(tmp_path, seconds=0.02)
    with pytest.raises(ValueError, match="broken"), live:
        raise ValueError("broken")
    assert not live._thread.is_alive()


def test_a_real_training_is_followed(tmp_path):
    from examples import image_set
    from killed import ON_CPU, SMALL

    from dakd.model import build_model
    from dakd.train import train_teacher

    engine = EngineConfig()
    with widgets.LiveCurves(tmp_path) as live:
        trained = train_teacher(
            build_model("small"), image_set(range(1, 9)), TeacherConfig(**SMALL),
            **ON_CPU, engine=engine, folder=tmp_path / "teacher",
        )  # fmt: skip
    assert live.history["loss"].tolist() == trained.history["loss"].tolist()
