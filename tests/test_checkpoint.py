import json

import pandas as pd
import pytest
import torch

from dakd.checkpoint import CheckpointError, is_complete, load_checkpoint, save_checkpoint
from dakd.model import ReIDModel, build_model

HISTORY = pd.DataFrame({"epoch": [0, 0], "loss": [2.0, 1.5]})


def test_what_is_saved_is_loaded(tmp_path):
    model = build_model("small", "gem", seed=3).eval()
    save_checkpoint(tmp_path, model, config={"lr": 0.1}, history=HISTORY, metrics={"loss": 1.5})
    loaded, history, description = load_checkpoint(tmp_path)
    x = torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    pd.testing.assert_frame_equal(history, HISTORY)
    assert description["config"] == {"lr": 0.1}
    assert description["metrics"] == {"loss": 1.5}
    assert not loaded.training


def test_a_failed_write_leaves_no_checkpoint_that_mixes_old_and_new(tmp_path, monkeypatch):
    old = build_model("small", seed=1)
    save_checkpoint(tmp_path, old, config={}, history=HISTORY)

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("dakd.checkpoint.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, build_model("small", seed=2), config={}, history=HISTORY)
    loaded, _, _ = load_checkpoint(tmp_path)  # the good one is still there
    assert torch.equal(loaded.backbone.conv1.weight, old.backbone.conv1.weight)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.json",
        "history.jsonl",
        "model.safetensors",
    ]


def test_a_folder_without_description_is_no_checkpoint(tmp_path):
    save_checkpoint(tmp_path, ReIDModel("small"), config={}, history=HISTORY)
    (tmp_path / "checkpoint.json").unlink()
    assert not is_complete(tmp_path)
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        load_checkpoint(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_checkpoint(tmp_path, ReIDModel("small"), config={}, history=HISTORY)
    path = tmp_path / "checkpoint.json"
    description = json.loads(path.read_text())
    description["architecture"]["backbone"] = "resnet18"
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)
