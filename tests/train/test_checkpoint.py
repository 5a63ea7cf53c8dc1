import importlib.metadata
import json
import math
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import dakd
from dakd.model import ReIDModel, build_model
from dakd.runtime import versions
from dakd.train.checkpoint import (
    CheckpointError,
    check_loadable,
    is_complete,
    load_checkpoint,
    save_checkpoint,
)

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


@pytest.mark.parametrize(
    "how",
    [
        {"backbone": "small", "pooling": "gem", "gem_eps": 1e-4},
        {"backbone": "resnet18"},
        {"backbone": "resnet18", "non_local": (1, 0, 0, 2), "non_local_width": (4, 1, 1, 2)},
        {"backbone": "resnet18", "pooling": "average", "non_local": False},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_network_comes_back_as_it_was(how, dtype, tmp_path, generator):
    model = ReIDModel(**how).to(dtype).eval()
    for x in model.state_dict().values():
        if x.is_floating_point() and x.ndim == 1:
            x.copy_(0.5 + torch.rand(x.shape, generator=generator))  # blocks do something
    save_checkpoint(tmp_path, model, config={}, history=HISTORY)
    before = torch.get_rng_state()
    loaded, _, _ = load_checkpoint(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.architecture == model.architecture
    x = torch.rand(2, 3, 64, 32, generator=generator, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    trained = [[p.requires_grad for p in m.parameters()] for m in (model, loaded)]
    assert trained[0] == trained[1]


def test_a_checkpoint_of_before_has_no_blocks(tmp_path):
    model = ReIDModel("resnet18", "gem", non_local=False)
    save_checkpoint(tmp_path, model, config={}, history=HISTORY)
    change(tmp_path, lambda d: d.update(architecture={"backbone": "resnet18", "pooling": "gem"}))
    change(tmp_path, lambda d: d.pop("digest"))  # nor a digest
    loaded, _, _ = load_checkpoint(tmp_path)
    assert loaded.architecture == model.architecture


def test_weights_of_another_checkpoint_are_noticed(tmp_path):
    for seed in (0, 1):
        model = ReIDModel("small") if seed else build_model("small")
        save_checkpoint(tmp_path / str(seed), model, config={}, history=HISTORY)
    (tmp_path / "1" / "model.safetensors").replace(tmp_path / "0" / "model.safetensors")
    with pytest.raises(CheckpointError, match="do not fit their digest"):
        load_checkpoint(tmp_path / "0")


def test_weights_can_be_replaced_while_a_loaded_network_lives(tmp_path):
    save_checkpoint(tmp_path, build_model("small", seed=1), config={}, history=HISTORY)
    loaded, _, _ = load_checkpoint(tmp_path)
    before = loaded.backbone.conv1.weight.clone()
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(weights.stat().st_size))
    assert torch.equal(loaded.backbone.conv1.weight, before)


def widened(model):
    model.neck = nn.BatchNorm1d(8)


def refitted(model):
    model.backbone.layer1[0].extra = nn.Conv2d(3, 3, 1)


def misnamed(model):
    model.architecture["backbone"] = "resnet18"


def unspeakable(model):
    model.architecture["gem_eps"] = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (widened, "neck.bias, neck.running_mean, neck.running_var and 1 more"),
        (refitted, "in backbone.layer1.0.extra.bias, backbone.layer1.0.extra.weight"),
        (misnamed, "differs from its architecture"),
        (unspeakable, "JSON"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(spoil, message, tmp_path):
    model = ReIDModel("small")
    check_loadable(model)
    spoil(model)
    with pytest.raises(CheckpointError, match=f"{message}.*Build it by ReIDModel alone"):
        save_checkpoint(tmp_path / "new", model, config={}, history=HISTORY)
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match="could not be loaded from a checkpoint"):
        check_loadable(model)


def test_a_network_of_another_class_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="architecture"):
        save_checkpoint(tmp_path, nn.Linear(2, 2), config={}, history=HISTORY)


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        "dakd.train.checkpoint._sync",
        lambda path: synced.append((path.name, path.is_dir(), is_complete(tmp_path / "new"))),
    )
    save_checkpoint(tmp_path / "new", ReIDModel("small"), config={}, history=HISTORY)
    files, folders = synced[:3], synced[3:]
    assert sorted(name.split(".")[1] for name, _, _ in files) == ["checkpoint", "history", "model"]
    assert not any(folder or complete for _, folder, complete in files)
    assert folders == [("new", True, True), (tmp_path.name, True, True)]


def test_a_failed_write_leaves_no_checkpoint_that_mixes_old_and_new(tmp_path, monkeypatch):
    old = build_model("small", seed=1)
    save_checkpoint(tmp_path, old, config={}, history=HISTORY)

    def full_disk(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("dakd.train.checkpoint.save_file", full_disk)
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


def change(folder, how):
    path = folder / "checkpoint.json"
    description = json.loads(path.read_text())
    how(description)
    path.write_text(json.dumps(description))


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_checkpoint(tmp_path, ReIDModel("small"), config={}, history=HISTORY)
    other = ReIDModel("resnet18").architecture
    change(tmp_path, lambda d: d.update(architecture=other))
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path)


KEYS = ("backbone", "pooling", "non_local", "non_local_width", "gem_eps")
MUTATIONS = {
    **{
        f"no {key}": lambda d, key=key: d.pop(key)
        for key in ("architecture", "config", "metrics", "versions")
    },
    **{
        f"{key} {value!r}": lambda d, key=key, value=value: d.update({key: value})
        for key in ("architecture", "config", "metrics", "versions")
        for value in (None, [], "text", 3)
    },
    **{f"no {key}": lambda d, key=key: d["architecture"].pop(key) for key in KEYS},
    **{
        f"{key} {value!r}": lambda d, key=key, value=value: d["architecture"].update({key: value})
        for key in KEYS
        for value in (None, [], {}, "text", 3, -1, math.nan, 10**30)
    },
    "a strange key": lambda d: d["architecture"].update(depth=3),
    "weights": lambda d: d["architecture"].update(weights=None),
    "a file of weights": lambda d: d["architecture"].update(weights="/etc/hostname"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return save_checkpoint(folder, ReIDModel("small", "gem"), config={}, history=HISTORY)


@pytest.fixture
def copied(sound, tmp_path):
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_damaged_description_is_refused(mutation, copied):
    load_checkpoint(copied)
    change(copied, MUTATIONS[mutation])
    with pytest.raises(CheckpointError, match=f"{copied}.*delete the folder and train again"):
        load_checkpoint(copied)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"3", b"[]", b"[1, 2]", b'"text"', b"{}", b"\xff\xfe", b"[" * 99999],
)
def test_a_foreign_description_is_refused(text, copied):
    (copied / "checkpoint.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=f"{copied}.*delete the folder and train again"):
        load_checkpoint(copied)


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_truncated_weights_are_refused(kept, copied):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=f"{copied}.*delete the folder and train again"):
        load_checkpoint(copied)


@pytest.mark.parametrize(
    "how",
    [
        lambda state: state.pop("neck.weight"),
        lambda state: state.update({"neck.weight": torch.ones(3)}),
        lambda state: state.update({"neck.weight": state["neck.weight"].to(torch.int32)}),
        lambda state: state.update({"more": torch.ones(3)}),
        lambda state: state.clear(),
    ],
)
def test_foreign_weights_are_refused(how, copied):
    state = load_file(copied / "model.safetensors")
    state = {key: x.clone() for key, x in state.items()}
    how(state)
    save_file(state, copied / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{copied}.*differs from its architecture"):
        load_checkpoint(copied)


def test_the_version_is_known_without_an_installation():
    project = tomllib.loads((Path(dakd.__file__).parents[1] / "pyproject.toml").read_text())
    assert versions()["dakd"] == dakd.__version__ == project["project"]["version"]


def test_a_saved_network_knows_how_its_images_were_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    model = build_model("small")
    model.trained_at = {"height": 32, "width": 16, "filter": "lanczos"}
    save_checkpoint("~/net", model, config={}, history=HISTORY)
    assert load_checkpoint(tmp_path / "net")[0].trained_at == model.trained_at
    assert load_checkpoint("~/net")[0].trained_at == model.trained_at
    assert is_complete("~/net")
    change(tmp_path / "net", lambda d: d["trained_at"].update(height=64))
    with pytest.raises(CheckpointError, match="do not fit their digest"):
        load_checkpoint(tmp_path / "net")


def test_no_record_of_an_installation_is_needed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    found = versions()
    assert {"python", "dakd", "torch", "torchvision", "numpy", "pillow"} == set(found)
    assert all(value[0].isdigit() for value in found.values())
