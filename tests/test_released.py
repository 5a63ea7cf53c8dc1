import argparse
import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from examples import TensorSource, dataset
from safetensors.torch import save_file
from torch import nn

from dakd.cli import main, parse
from dakd.config import ModelConfig, load_profile, replace
from dakd.data import ImageSet
from dakd.evaluate import extract
from dakd.experiment import Experiment
from dakd.model import NonLocal
from dakd.released import extract_two_stems, load_both_stems, load_released, measured_at
from dakd.released.families import STEMS
from dakd.train.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

DOCS = Path(__file__).parents[1] / "docs" / "released.md"
BLOCKS = {"layer2": 2, "layer3": 3}  # non-local blocks behind the last residual blocks of a stage
X = torch.randn(2, 3, 48, 16, generator=torch.Generator().manual_seed(1))


def shuffled(module, seed):
    """Fill a module with random values that differ from those of any initialisation."""
    generator = torch.Generator().manual_seed(seed)
    for name, x in module.state_dict().items():
        if x.dtype.is_floating_point and x.ndim == 1:
            x.copy_(0.2 + 0.3 * torch.rand(x.shape, generator=generator))
        elif x.ndim == 4:
            x.copy_(torch.randn(x.shape, generator=generator) * (2 / x[0].numel()) ** 0.5)
        if name.endswith(("running_mean", "bias")):
            x.sub_(0.35)
    return module.eval()


class Original:
    """A published network, built from torchvision's modules as its authors describe it."""

    def __init__(self):
        resnet = torchvision.models.resnet50(weights=None)
        resnet.layer4[0].conv2.stride = resnet.layer4[0].downsample[0].stride = (1, 1)
        self.trunk = nn.ModuleDict({f"layer{n}": getattr(resnet, f"layer{n}") for n in range(1, 5)})
        stem = {"conv1": resnet.conv1, "bn1": resnet.bn1}
        other = {"conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(64)}
        self.stems = {"visible": nn.ModuleDict(stem), "infrared": nn.ModuleDict(other)}
        self.neck = nn.BatchNorm1d(2048)
        self.blocks = nn.ModuleDict()
        for stage, count in BLOCKS.items():
            width = {"layer2": 512, "layer3": 1024}[stage]
            self.blocks[f"NL_{stage[-1]}"] = nn.ModuleList(block(width) for _ in range(count))
        modules = [self.trunk, *self.stems.values(), self.neck, self.blocks]
        for seed, module in enumerate(modules):
            shuffled(module, seed)
        self.neck.bias.data.zero_()

    @torch.no_grad()
    def __call__(self, x, stem="visible", *, pool, blocks):
        x = torch.relu(self.stems[stem].bn1(self.stems[stem].conv1(x)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        for name, stage in self.trunk.items():
            for number, residual in enumerate(stage):
                x = residual(x)
                index = number - (len(stage) - BLOCKS.get(name, 0))
                if blocks and name in BLOCKS and index >= 0:
                    x = non_local(self.blocks[f"NL_{name[-1]}"][index], x)
        z = self.neck(pool(x))
        return z / z.pow(2).sum(1, keepdim=True).sqrt()


def block(width):
    one = lambda a, b: nn.Conv2d(a, b, 1)  # noqa: E731
    parts = {"theta": one(width, 1), "phi": one(width, 1), "g": nn.Sequential(one(width, 1))}
    return nn.ModuleDict({**parts, "W": nn.Sequential(one(1, width), nn.BatchNorm2d(width))})


def non_local(parts, x):
    """The definition, as a loop over pairs of positions."""
    theta, phi, g = (parts[name](x).flatten(2) for name in ("theta", "phi", "g"))  # (B, 1, N)
    y = torch.zeros_like(g)
    n = g.shape[2]
    for i in range(n):
        for j in range(n):
            y[:, :, i] += (theta[:, :, i] * phi[:, :, j]).sum(1, keepdim=True) * g[:, :, j] / n
    return x + parts["W"](y.view(len(x), -1, *x.shape[2:]))


def release_gem(x):
    """A learned exponent; values are clamped from below."""
    return x.clamp(min=1e-6).pow(2.5).mean(dim=(2, 3)).pow(1 / 2.5)


def agw_gem(x):
    """A fixed exponent; a constant is added under the root."""
    return ((x**3).mean(dim=(2, 3)) + 1e-12) ** (1 / 3)


def average(x):
    return x.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def original():
    return Original()


@pytest.fixture(scope="module")
def folder(original, tmp_path_factory):
    """A checkpoint of each family, saved as by the code of its authors."""
    folder = tmp_path_factory.mktemp("released")
    beside = {"cmc": np.linspace(0.7, 1, 20), "mAP": np.float64(0.7), "epoch": 3}
    saved(folder / "student.pth", {"net": release_state(original), **beside})
    saved(folder / "agw.t", {"net": agw_state(original), **beside})
    return folder


def prefixed(prefix, module):
    return {prefix + key: x.clone() for key, x in module.state_dict().items()}


def release_state(original, blocks=True):
    """The keys of the DAKD release."""
    state = {"memory_rgb.features": torch.zeros(4, 2048)}
    state |= prefixed("backbone.", original.stems["visible"])
    state |= prefixed("backbone.", original.trunk) | prefixed("bn_neck.", original.neck)
    if blocks:
        state |= prefixed("backbone.", original.blocks) | {"backbone.pool.p": torch.tensor([2.5])}
    return state


def agw_state(original, blocks=True, unused=True):
    """The keys of AGW; `unused` adds some that its forward pass does not use."""
    state = prefixed("base_resnet.base.", original.trunk) | prefixed("bottleneck.", original.neck)
    for modality, prefix in STEMS.items():
        state |= prefixed(prefix, original.stems[modality])
        if unused:
            state |= {f"{prefix}layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    if unused:
        state |= {"base_resnet.base.conv1.weight": torch.zeros(64, 3, 7, 7)}
        state |= {"classifier.weight": torch.zeros(395, 2048)}
    return state | (prefixed("", original.blocks) if blocks else {})


def hollow(state):
    """The same keys and shapes, with zeros that take no space in a file."""
    return {key: x.new_zeros(()).expand(x.shape) for key, x in state.items()}


def saved(path, content, **how):
    torch.save(content, path, **how)
    return path


def subset(images, mask):
    records = [record for record, chosen in zip(images.records, mask, strict=True) if chosen]
    return ImageSet(records, TensorSource(images.images(mask)))


def assert_same(model, x, expected):
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=0)


# The networks


def test_the_release_has_the_embeddings_of_the_original(original, folder):
    state = release_state(original)
    model, report = load_released(folder / "student.pth")
    expected = original(X, pool=release_gem, blocks=True)
    assert_same(model, X, expected)
    assert not model.training
    assert (expected - original(X, pool=release_gem, blocks=False)).abs().max() > 1e-3
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    assert (report.family, report.stem, report.notes) == ("DAKD release", None, ())
    assert set(report.used) == set(state) - {"memory_rgb.features"}
    assert report.ignored == {"memory_rgb.features": "prototypes of the training identities"}
    assert report.missing == ()


def test_agw_has_the_embeddings_of_the_original_for_each_modality(original, folder):
    state, path = agw_state(original), folder / "agw.t"
    models, report = load_both_stems(path)
    for stem, model in models.items():
        assert_same(model, X, original(X, stem, pool=agw_gem, blocks=True))
    visible, infrared = models["visible"].backbone, models["infrared"].backbone
    shared = [m.layer4[0].conv1.weight.data_ptr() for m in (visible, infrared)]
    assert shared[0] == shared[1]
    assert visible.conv1.weight.data_ptr() != infrared.conv1.weight.data_ptr()
    unused = {key for key, x in state.items() if x.ndim > 1 and not x.any()}
    assert len(unused) == 4
    assert set(report.ignored) == unused
    assert set(report.used) == set(state) - unused
    assert "exponent 3" in report.notes[0]
    assert report.stem == "both"

    alone, report = load_released(path, stem="infrared")
    assert_same(alone, X, original(X, "infrared", pool=agw_gem, blocks=True))
    assert report.ignored["visible_module.visible.conv1.weight"] == "stem for visible images"
    with pytest.raises(CheckpointError, match="different first layers .*load_both_stems"):
        load_released(path)


def test_equal_stems_need_no_choice_but_pooling_does(original, tmp_path):
    state = agw_state(original, blocks=False)
    theirs, ours = STEMS["visible"], STEMS["infrared"]
    state |= {ours + k.removeprefix(theirs): x for k, x in state.items() if k.startswith(theirs)}
    state[f"{ours}bn1.num_batches_tracked"] = torch.tensor(9)  # not used in eval mode
    path = tmp_path / "base.safetensors"
    save_file({key: x.clone() for key, x in state.items()}, path)
    with pytest.raises(CheckpointError, match="does not determine the pooling"):
        load_released(path)
    model, report = load_released(path, pooling="average")
    assert_same(model, X, original(X, pool=average, blocks=False))
    assert report.notes == ("pooling is average, as requested",)
    model, _ = load_released(path, pooling="gem")
    assert_same(model, X, original(X, pool=agw_gem, blocks=False))
    faint = torch.cat([torch.zeros(1), torch.logspace(-6, 1, 200)]).view(1, -1, 1, 1)  # channels
    expected = agw_gem(faint.double()).float()
    torch.testing.assert_close(model.pool(faint), expected, atol=3e-5, rtol=1e-6)
    assert model.pool(faint)[0, 0].item() == pytest.approx(1e-4) == expected[0, 0].item()


def test_stages_that_the_trunk_lacks_come_from_the_stems(original, tmp_path):
    state = agw_state(original, blocks=False, unused=False)
    first = [key for key in state if key.startswith("base_resnet.base.layer1.")]
    for key in first:
        x = state.pop(key)
        for prefix, factor in zip(STEMS.values(), (1, 2), strict=True):
            name = prefix + key.removeprefix("base_resnet.base.")
            state[name] = x * factor if name.endswith("conv1.weight") else x
    models, report = load_both_stems(saved(tmp_path / "hct.t", state), pooling="gem")
    assert_same(models["visible"], X, original(X, pool=agw_gem, blocks=False))
    weights = [m.backbone.layer1[0].conv1.weight for m in models.values()]
    assert torch.equal(weights[0] * 2, weights[1])
    assert not report.ignored


def test_a_non_local_block_is_its_definition():
    ours = shuffled(NonLocal(8, 3), 5)
    parts = {"theta": ours.theta, "phi": ours.phi, "g": ours.g, "W": ours.W}
    x = torch.randn(2, 8, 4, 2, generator=torch.Generator().manual_seed(0))
    theta, phi, g = (parts[name](x).flatten(2) for name in ("theta", "phi", "g"))
    y = torch.einsum("bdi,bdj,bcj->bci", theta, phi, g) / 8
    torch.testing.assert_close(ours(x), x + parts["W"](y.view(2, 3, 4, 2)))
    one = shuffled(NonLocal(8, 1), 6)
    parts = {"theta": one.theta, "phi": one.phi, "g": one.g, "W": one.W}
    torch.testing.assert_close(one(x), non_local(parts, x))


@pytest.mark.parametrize("name", ["student.pth", "agw.t"])
def test_a_released_network_survives_saving_and_loading(name, folder, tmp_path):
    model, _ = load_released(folder / name, stem="infrared")
    save_checkpoint(tmp_path, model, config={}, history=pd.DataFrame({"loss": [1.0]}))
    loaded, _, _ = load_checkpoint(tmp_path)
    faint = torch.full((1, 2048, 1, 1), 1e-5)  # where eps of the pooling matters
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))
        assert torch.equal(loaded.pool(faint), model.pool(faint))
    assert loaded.architecture["non_local"] is True


def test_blocks_of_another_count_and_width_are_kept(original, tmp_path):
    wide = {1: NonLocal(256, 128), 2: NonLocal(512, 256), 4: NonLocal(2048, 2)}
    state = release_state(original, blocks=False) | {"backbone.pool.p": torch.tensor([2.5])}
    for stage, part in wide.items():
        state |= prefixed(f"backbone.NL_{stage}.0.", shuffled(part, stage))
    model, _ = load_released(saved(tmp_path / "x.pth", state))
    assert model.architecture["non_local"] == [1, 1, 0, 1]
    assert model.architecture["non_local_width"] == [128, 256, 1, 2]
    residual = dict(model.backbone.layer2.named_children())
    ours = residual["non_local0"]
    x = torch.randn(1, 512, 4, 2)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), wide[2](x))


def test_both_stems_embed_a_dataset_by_modality(folder):
    data = dataset(train=1, test=2, images=1)
    models, _ = load_both_stems(folder / "agw.t")
    z = extract_two_stems(models, data.test, batch=5)
    for modality, rows in (("visible", ~data.test.infrared), ("infrared", data.test.infrared)):
        torch.testing.assert_close(z[rows], extract(models[modality], data.test)[rows])
    alone = data.test.infrared
    infrared = extract_two_stems({"infrared": models["infrared"]}, subset(data.test, alone))
    torch.testing.assert_close(infrared, z[alone])
    assert (z[alone] - extract(models["visible"], data.test)[alone]).abs().max() > 1e-3


# The files


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": {f"module.{key}": x for key, x in state.items()}, "epoch": 4},
        lambda state: {"model": {"net": state}, "best": torch.tensor(0.5)},
        lambda state: {f"module.model.{key}": x for key, x in state.items()},
    ],
)
def test_wrappers_are_removed(original, tmp_path, wrap):
    state = hollow(release_state(original))
    _, report = load_released(saved(tmp_path / "x.pth", wrap(state)))
    assert set(report.used) == set(state) - {"memory_rgb.features"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_become_float32(original, tmp_path, dtype):
    state = {
        k: x.to(dtype) if x.is_floating_point() else x for k, x in release_state(original).items()
    }
    model, _ = load_released(saved(tmp_path / "x.pth", hollow(state)))
    assert {x.dtype for x in model.parameters()} == {torch.float32}


def test_tensors_saved_on_a_gpu_are_loaded_on_the_cpu(original, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:3")
    path = saved(tmp_path / "x.pth", hollow(release_state(original)))
    monkeypatch.undo()
    assert b"cuda:3" in path.read_bytes()
    model, _ = load_released(path)
    assert {x.device.type for x in model.parameters()} == {"cpu"}


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray", None])
def test_accuracies_saved_as_numpy_are_skipped(original, tmp_path, module):
    """Under the names of NumPy 1 and 2 in a bare pickle, of the installed one in an archive."""
    beside = {"cmc": np.linspace(0, 1, 5), "mAP": np.float64(0.7), "config": {"kd": True}}
    content = {"net": hollow(release_state(original)), **beside}
    path = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=module is None)
    if module:
        renamed, count = re.subn(rb"numpy\.\w+\.multiarray", module.encode(), path.read_bytes())
        assert count >= 2
        path.write_bytes(renamed)
    with torch.serialization.safe_globals([]):
        before = set(map(str, torch.serialization.get_safe_globals()))
        _, report = load_released(path)
        assert set(map(str, torch.serialization.get_safe_globals())) == before
    assert report.family == "DAKD release"


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(original, tmp_path, zipped):
    trace = tmp_path / "executed"
    content = {"net": hollow(release_state(original)), "mAP": Malicious(trace)}
    path = saved(tmp_path / "x.pth", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"\bopen\b.*execute code.*safetensors"):
        load_released(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)["mAP"].close()  # without the protection it is executed
    assert trace.exists()


class Greedy:
    """Makes NumPy allocate 2 PiB of memory when unpickled."""

    def __reduce__(self):
        return (np.ndarray, ((2**48,),))


def test_numpy_is_never_called(original, tmp_path):
    content = {"net": hollow(release_state(original)), "cmc": Greedy()}
    path = saved(tmp_path / "x.pth", content)
    load_released(path)
    with pytest.raises(MemoryError):
        torch.load(path, weights_only=False)


def test_python_objects_are_refused_by_name_and_the_documented_conversion_works(original, tmp_path):
    state = hollow(release_state(original))
    path = saved(tmp_path / "theirs.pth", {"net": state, "args": argparse.Namespace(lr=0.1)})
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*docs/released\.md"):
        load_released(path)
    snippet = next(code for code in snippets() if "weights_only=False" in code)
    exec(snippet.replace("theirs.", f"{tmp_path}/theirs."), {})
    _, report = load_released(tmp_path / "theirs.safetensors")
    assert {*report.used, *report.ignored} == set(state)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.pth", b"<!DOCTYPE html><html>quota exceeded</html>", "truncated, damaged or no"),
        ("empty.pth", b"", "truncated, damaged or no checkpoint"),
        ("page.safetensors", b"<!DOCTYPE html><html>quota</html>", "truncated, damaged or no"),
        ("new.pth", pickle.dumps({"net": 1}, protocol=4), "truncated, damaged or no checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_released(tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path, zipped):
    how = {"_use_new_zipfile_serialization": zipped}
    path = saved(tmp_path / "x.pth", {"net": {"backbone.a": torch.zeros(999)}}, **how)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(CheckpointError, match="truncated"):
        load_released(path)


def test_files_without_a_state_dict(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        load_released(tmp_path / "absent.pth")
    path = saved(tmp_path / "x.pth", {"epoch": 3, "optimizer": {"lr": 0.1}})
    with pytest.raises(CheckpointError, match="no state dict, only 'epoch', 'optimizer'"):
        load_released(path)
    with pytest.raises(CheckpointError, match="no state dict, only Tensor"):
        load_released(saved(path, torch.zeros(3)))
    with pytest.raises(CheckpointError, match="only an empty dictionary"):
        load_released(saved(path, {}))


def test_an_older_torch_warns(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    with pytest.warns(UserWarning, match="CVE-2026-24747"), pytest.raises(CheckpointError):
        load_released(saved(tmp_path / "x.pth", {}))


# Misfits


def edited(state, change):
    state = dict(state)
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("bn_neck.running_var"),
            r"missing for our network \(1\): neck.running_var",
        ),
        (lambda s: s.pop("backbone.layer3.5.bn2.bias"), r"\(1\): backbone.layer3.5.bn2.bias"),
        (
            lambda s: s.update({"bn_neck.weight": torch.ones(512)}),
            r"another shape or type \(1\): bn_neck.weight is \(512,\) float32 and not \(2048,\)",
        ),
        (
            lambda s: s.update({"bn_neck.weight": torch.ones(2048, dtype=torch.int8)}),
            r"bn_neck.weight is \(2048,\) int8 and not \(2048,\) float32",
        ),
        (
            lambda s: s.update({"backbone.pool.p": torch.ones(2048)}),
            r"backbone.pool.p is \(2048,\) float32 and not \(\) float32",
        ),
        (lambda s: s.update({"DEE.FC1.weight": X}), r"our network lacks \(1\): DEE.FC1.weight"),
        (lambda s: s.update({"backbone.fc.weight": X}), r"lacks \(1\): backbone.fc.weight"),
        (
            lambda s: s.pop("backbone.NL_2.1.theta.bias"),
            r"\(1\): backbone.layer2.non_local1.theta.bias",
        ),
        (
            lambda s: s.pop("backbone.NL_2.1.g.0.weight"),
            r"\(1\): backbone.layer2.non_local1.g.0.weight",
        ),
        (
            lambda s: [s.pop(key) for key in [*s] if key.startswith("backbone.NL_3.1.")],
            r"non-local blocks 0, 2 do not fit stage 3",
        ),
    ],
)
def test_misfits_are_named(original, tmp_path, change, message):
    state = edited(hollow(release_state(original)), change)
    with pytest.raises(CheckpointError, match=message):
        load_released(saved(tmp_path / "x.pth", state))


def test_other_architectures_are_refused(tmp_path, original):
    resnet18 = torchvision.models.resnet18(weights=None)
    state = hollow(prefixed("backbone.", resnet18) | prefixed("bn_neck.", nn.BatchNorm1d(512)))
    with pytest.raises(
        CheckpointError, match=r"no ResNet-50.*layer1.0.conv3.weight.*\(64, 64, 3, 3\)"
    ):
        load_released(saved(tmp_path / "x.pth", state))
    with pytest.raises(CheckpointError, match="no ResNet-50.*conv1.weight"):
        load_released(saved(tmp_path / "x.pth", hollow(resnet18.state_dict())))
    parts = edited(hollow(agw_state(original, blocks=False)), lambda s: s.update({"MFA1.x": X}))
    with pytest.raises(CheckpointError, match="our network lacks.*MFA1.x"):
        load_released(saved(tmp_path / "x.pth", parts), stem="visible")


def test_missing_counters_are_harmless_and_reported(original, tmp_path):
    state = {k: x for k, x in hollow(release_state(original)).items() if "num_batches" not in k}
    _, report = load_released(saved(tmp_path / "x.pth", state))
    assert len(report.missing) == 53 + 5 + 1  # batch norms: backbone, blocks, neck
    assert all(key.endswith("num_batches_tracked") for key in report.missing)
    assert "missing 59 (harmless)" in str(report)


def test_a_pooling_exponent_contradicts_average_pooling(original, tmp_path):
    path = saved(tmp_path / "x.pth", hollow(release_state(original)))
    with pytest.raises(CheckpointError, match="must not be average"):
        load_released(path, pooling="average")
    with pytest.raises(CheckpointError, match="does not determine the pooling"):
        load_released(saved(path, hollow(release_state(original, blocks=False))))


def test_a_network_with_one_stem_is_used_for_both_modalities(original, tmp_path):
    path = saved(tmp_path / "x.pth", hollow(release_state(original)))
    models, report = load_both_stems(path)
    assert set(models) == {"visible", "infrared"}
    assert report.stem is None
    assert load_released(path, stem="infrared")[1] == report


def test_loading_keeps_the_state_of_the_global_generator(original, tmp_path):
    path = saved(tmp_path / "x.pth", hollow(release_state(original)))
    before = torch.get_rng_state()
    load_released(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_report_prints_a_summary(original, tmp_path):
    state = hollow(agw_state(original))
    _, report = load_released(saved(tmp_path / "agw.t", state), stem="visible")
    lines = str(report).splitlines()
    assert lines[0] == "agw.t: AGW family, stem: visible"
    assert lines[1].startswith(f"  used {len(report.used)}: ")
    assert "  ignored 1 (classifier of the training identities): classifier.weight" in lines
    assert "  missing 0" in lines
    assert lines[-1].startswith("  note: pooling is assumed to be gem")
    assert len(report.used) + len(report.ignored) == len(state)


@pytest.mark.parametrize(
    ("beside", "classes"),
    [
        ({}, None),
        ({"classifier.weight": torch.zeros(395, 2048)}, 395),
        ({f"memory{m}.features": torch.zeros(7, 2048) for m in ("", "_rgb", "_ir", "_ca")}, 7),
        (
            {"memory.features": torch.zeros(7, 2048), "classifier.weight": torch.zeros(8, 2048)},
            None,
        ),
        ({"memory.features": torch.zeros(7, 64), "memory.labels": torch.zeros(9)}, None),
    ],
)
def test_the_report_has_the_number_of_identities_and_the_digest(
    beside, classes, original, tmp_path
):
    state = {k: x for k, x in release_state(original).items() if not k.startswith("memory")}
    path = saved(tmp_path / "x.pth", hollow(state | beside))
    _, report = load_released(path)
    assert report.classes == classes
    assert report.digest == hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    assert load_both_stems(path)[1] == report


def test_the_image_size_of_the_published_numbers_is_known():
    assert measured_at("DAKD release", "sysu") == {"height": 384, "width": 128, "filter": "lanczos"}
    assert measured_at("AGW family", "sysu") == {"height": 288, "width": 144, "filter": "lanczos"}
    with pytest.raises(ValueError, match="no size is known .*'AGW family' .*'llcm'"):
        measured_at("AGW family", "llcm")


# The documentation


def snippets():
    return re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_documented_evaluation_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    data = dataset(train=1, test=2, images=1)
    monkeypatch.setattr("dakd.data.load_dataset", lambda *args, **how: data)
    shown = [code for code in snippets() if "weights_only" not in code]
    exec("\n".join(shown), {})
    printed = capsys.readouterr().out
    assert "student.pth: DAKD release" in printed
    assert len(re.findall(r"^mean ", printed, flags=re.MULTILINE)) == 2


# On the command line, and as a teacher -----------------------------------------------------------


@pytest.fixture
def small_images(tmp_path, monkeypatch):
    """Options of the smoke profile with tiny images, for a ResNet-50."""
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))
    return ["--profile", "smoke", "--device", "cpu", "--data.height", "32", "--data.width", "16"]


def test_a_released_file_is_evaluated_from_the_command_line(folder, original, small_images, capsys):
    assert main(["evaluate", *small_images, "--checkpoint", str(folder / "student.pth")]) == 0
    out = capsys.readouterr().out
    assert "DAKD release" in out
    assert "trained on 4 identities; sysu trains on 24" in out
    assert "all-search, 1-shot, infrared → visible" in out
    assert main(["evaluate", *small_images, "--checkpoint", str(folder / "agw.t")]) == 0
    assert "AGW family, stem: both" in capsys.readouterr().out


def test_images_have_the_size_of_the_family_unless_another_is_given(folder):
    def size(name, *more):
        data = parse(["evaluate", "--checkpoint", str(folder / name), *more]).config.data
        return data.height, data.width, data.filter

    assert size("student.pth", "--data.name", "sysu") == (384, 128, "lanczos")
    assert size("student.pth", "--data.name", "regdb") == (288, 144, "lanczos")
    assert size("agw.t", "--profile", "smoke") == (288, 144, "lanczos")
    given = ("--data.height", "32", "--data.width", "16", "--data.filter", "bilinear")
    assert size("agw.t", *given) == (32, 16, "bilinear")


def test_a_student_is_distilled_from_a_released_teacher(original, tmp_path):
    """The numbers of identities must agree; the digest is kept with the student."""
    state = release_state(original) | {"memory.features": torch.zeros(24, 2048)}
    del state["memory_rgb.features"]
    path = saved(tmp_path / "teacher.t", {"net": state})
    config = load_profile("smoke")
    few = {"epochs": 1, "steps": 1, "identities": 2, "images": 1}
    config = replace(
        config,
        device="cpu",
        model=ModelConfig(weights=None),
        student=replace(config.student, **few),
    )
    experiment = Experiment(config, runs=tmp_path, show=False, teacher=path)
    teacher, released = experiment.teacher(), load_released(path)[0]
    assert torch.equal(teacher.model.neck.weight, released.neck.weight)
    given = load_checkpoint(experiment.student().folder)[2]["config"]["given_teacher"]
    assert given["file"] == "teacher.t"
    assert given["family"] == "DAKD release"
    assert given["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()[:10]

    other = saved(tmp_path / "other.t", {"net": release_state(original)})  # 4 identities
    with pytest.raises(ValueError, match=r"other.t was trained on 4 identities, and sysu has 24"):
        Experiment(config, runs=tmp_path, show=False, teacher=other).teacher()
