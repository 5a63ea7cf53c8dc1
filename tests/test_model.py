import copy

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from dakd.model import GeM, NonLocal, ReIDModel, WeightsError, build_model


@pytest.mark.parametrize(
    ("backbone", "dim"), [("small", 256), ("resnet18", 512), ("resnet50", 2048)]
)
def test_embeddings_have_unit_length_and_the_stated_size(backbone, dim):
    model = ReIDModel(backbone).eval()
    with torch.no_grad():
        z = model(torch.randn(2, 3, 64, 32))
    assert z.shape == (2, dim) == (2, model.embedding_dim)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(("backbone", "stride"), [("resnet18", 16), ("resnet50", 16), ("small", 8)])
def test_the_last_stage_keeps_its_resolution(backbone, stride):
    model = ReIDModel(backbone).eval()
    with torch.no_grad():
        features = model.feature_map(torch.randn(1, 3, 64, 32))
    assert features.shape[2:] == (64 // stride, 32 // stride)


def test_the_bias_of_the_neck_stays_zero():
    model = ReIDModel("small")
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.randn(4, 3, 32, 16)).sum().backward()
    optimiser.step()
    assert not model.neck.bias.requires_grad
    assert (model.neck.bias == 0).all()


def test_gem_is_the_power_mean():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = ((1 + 8 + 27 + 64) / 4) ** (1 / 3)
    torch.testing.assert_close(GeM(p=3.0)(x), torch.tensor([[expected]]))


def test_gem_learns_its_exponent_in_the_model():
    model = ReIDModel("small", pooling="gem")
    model(torch.randn(4, 3, 32, 16)).pow(3).sum().backward()
    assert model.pool.p.grad is not None
    assert model.pool.p.grad != 0


# Non-local blocks


def block_names(model):
    names = (name for name, module in model.named_modules() if isinstance(module, NonLocal))
    return [name.removeprefix("backbone.layer") for name in names]


@pytest.mark.parametrize(
    ("backbone", "pooling", "blocks"),
    [
        ("small", "average", []),
        ("resnet18", "gem", ["2.non_local0", "2.non_local1", "3.non_local0", "3.non_local1"]),
        (
            "resnet50",
            "gem",
            ["2.non_local0", "2.non_local1", "3.non_local0", "3.non_local1", "3.non_local2"],
        ),
    ],
)
def test_defaults_are_those_of_the_method(backbone, pooling, blocks):
    with torch.device("meta"):
        model = ReIDModel(backbone, "auto")
        assert ReIDModel(backbone).architecture == model.architecture
    assert block_names(model) == blocks
    assert model.architecture == {
        "backbone": backbone,
        "pooling": pooling,
        "non_local": bool(blocks),
        "non_local_width": 1,
        "gem_eps": 1e-6,
    }


def test_the_default_network_has_as_many_parameters_as_the_published_one():
    with torch.device("meta"):
        assert sum(p.numel() for p in ReIDModel().parameters()) == 23_540_816


def test_non_local_blocks_follow_the_last_residual_blocks():
    with torch.device("meta"):
        stages = ReIDModel().backbone
    order = [list(dict(stages.get_submodule(f"layer{n}").named_children())) for n in (2, 3)]
    assert order[0] == ["0", "1", "2", "non_local0", "3", "non_local1"]
    assert order[1] == ["0", "1", "2", "3", "non_local0", "4", "non_local1", "5", "non_local2"]


def test_the_residual_blocks_have_the_names_of_torchvision():
    theirs = torchvision.models.resnet50(weights=None).state_dict()
    with torch.device("meta"):
        names = set(ReIDModel("resnet50").backbone.state_dict())
    wanted = {name for name in theirs if not name.startswith("fc.")}
    assert wanted == {name for name in names if ".non_local" not in name}


def test_counts_and_widths_of_each_stage_can_be_given():
    with torch.device("meta"):
        model = ReIDModel("resnet18", non_local=[1, 0, 0, 2], non_local_width=[8, 1, 1, 32])
        usual = ReIDModel("resnet18", non_local=[0, 2, 2, 0], non_local_width=[3, 3, 3, 3])
    assert block_names(model) == ["1.non_local0", "4.non_local0", "4.non_local1"]
    assert model.backbone.layer4.non_local1.theta.weight.shape == (32, 512, 1, 1)
    assert model.architecture["non_local"] == [1, 0, 0, 2]
    assert model.architecture["non_local_width"] == [8, 1, 1, 32]
    assert (usual.architecture["non_local"], usual.architecture["non_local_width"]) == (True, 3)


def with_random_scales(model):
    """Give the non-local blocks of a new network random scales instead of 0."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, NonLocal):
            weight = module.W[1].weight
            weight.data = 0.5 + torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
    return model


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_linear_form_is_the_matrix_of_all_pairs(width, generator):
    block = with_random_scales(NonLocal(8, width).double().eval())
    x = torch.randn(2, 8, 4, 3, generator=generator, dtype=torch.float64)
    theta, phi, g = (part(x).flatten(2) for part in (block.theta, block.phi, block.g))
    f = theta.transpose(1, 2) @ phi / 12  # (B, N, N)
    y = (f @ g.transpose(1, 2)).transpose(1, 2).reshape(2, width, 4, 3)
    torch.testing.assert_close(block(x), x + block.W(y), atol=1e-13, rtol=0)
    assert (block(x) - x).abs().max() > 0.1


@pytest.mark.parametrize("training", [True, False])
def test_new_blocks_are_the_identity(training, generator):
    x = torch.randn(4, 3, 64, 32, generator=generator)
    with_blocks, without = (
        build_model("resnet18", non_local=blocks, seed=1).train(training)
        for blocks in (True, False)
    )
    with torch.no_grad():
        assert torch.equal(with_blocks(x), without(x))
        assert not torch.equal(with_random_scales(with_blocks)(x), without(x))


def test_the_last_stage_takes_forward_hooks(generator):
    model, seen = build_model("resnet18", non_local=(0, 2, 2, 1)).eval(), []
    last = model.backbone.get_submodule("layer4")
    last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 32, generator=generator)
        model(x)
        assert torch.equal(seen[0], model.feature_map(x))


# Streams


@pytest.mark.parametrize(("backbone", "streams"), [("small", 3), ("resnet18", 2)])
def test_one_pass_over_streams_equals_a_pass_over_each(backbone, streams, generator):
    one = with_random_scales(build_model(backbone, "gem", seed=2)).double().train()
    many = copy.deepcopy(one)
    x = torch.randn(streams * 4, 3, 64, 32, generator=generator, dtype=torch.float64)
    x *= (
        torch.arange(1, streams + 1).repeat_interleave(4).view(-1, 1, 1, 1)
    )  # of different statistics
    together = one(x, streams=streams, unit=False)
    apart = torch.cat([many(part, unit=False) for part in x.split(4)])
    close = {"atol": 1e-12, "rtol": 1e-12}
    torch.testing.assert_close(together, apart, **close)
    assert (together - copy.deepcopy(one)(x, unit=False)).abs().max() > 0.1
    for z in (together, apart):
        (z.pow(3).mean() + z[:, 0].sum()).backward()
    for (name, a), b in zip(one.named_parameters(), many.parameters(), strict=True):
        if a.requires_grad:
            scale = 1 + b.grad.abs().max()
            torch.testing.assert_close(a.grad / scale, b.grad / scale, msg=name, **close)
    for (name, a), b in zip(one.named_buffers(), many.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name, **close)
    assert one.neck.num_batches_tracked == streams
    again = one.feature_map(x[:4]), many.feature_map(x[:4])  # as without streams
    torch.testing.assert_close(*again, **close)


def test_streams_have_no_effect_in_eval_mode(generator):
    model = build_model("small").eval()
    x = torch.randn(6, 3, 32, 16, generator=generator)
    assert torch.equal(model(x, streams=3), model(x))


@pytest.mark.parametrize("streams", [0, 4])
def test_streams_must_divide_the_batch(streams):
    with pytest.raises(ValueError, match=f"6 images is not {streams} streams of equal size"):
        ReIDModel("small")(torch.zeros(6, 3, 32, 16), streams=streams)


def test_the_output_of_the_neck_is_returned_on_request(generator):
    model = build_model("small").eval()
    x = torch.randn(3, 3, 32, 16, generator=generator)
    n = model(x, unit=False)
    assert torch.equal(n, model.neck(model.feature_map(x).mean(dim=(2, 3))))
    torch.testing.assert_close(model(x), n / n.norm(dim=1, keepdim=True))


# Random numbers and precision


def test_random_weights_depend_on_the_seed_only():
    before = torch.get_rng_state()
    one, two, other = (build_model("small", seed=s).neck for s in (1, 1, 2))
    a, b, c = (build_model("small", seed=s).backbone.conv1.weight for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_build_model_sets_no_generator_of_a_gpu(monkeypatch):
    def refuse(*args):
        raise AssertionError("a global generator was set")

    monkeypatch.setattr("torch.cuda.manual_seed_all", refuse)
    with pytest.raises(AssertionError, match="was set"):
        torch.manual_seed(0)
    expected = build_model("small", seed=1).backbone.conv1.weight
    with torch.device("meta"):  # in the place of a GPU with its own generator
        assert torch.equal(build_model("small", seed=1).backbone.conv1.weight, expected)


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
def test_float64_stays_float64(backbone, generator):
    model = build_model(backbone).eval()
    x = torch.randn(2, 3, 64, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        expected, z = model(x.float()), model.double()(x)
    assert z.dtype == torch.float64
    torch.testing.assert_close(z.float(), expected)
    assert not torch.equal(z, z.float().double())


def test_embeddings_stay_float32_under_autocast():
    model = ReIDModel("small").eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 3, 32, 16)).dtype == torch.float32


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_read_from_a_file(tmp_path, suffix):
    source = torchvision.models.resnet18(weights=None)
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    model = ReIDModel("resnet18", weights=str(path))
    assert torch.equal(model.backbone.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(WeightsError, match="do not fit resnet50"):
        ReIDModel("resnet50", weights=str(path))


def test_a_missing_or_damaged_weights_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file .*gone\.pth"):
        ReIDModel("resnet18", weights=str(tmp_path / "gone.pth"))
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"broken\.pth is not a file of weights"):
        ReIDModel("resnet18", weights=str(broken))


def test_without_network_the_error_says_how_to_get_imagenet_weights(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match="could not be downloaded.*weights='PATH/TO/FILE'"):
        ReIDModel("resnet18", weights="imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "vgg"}, "backbone 'vgg' is unknown"),
        ({"backbone": "small", "pooling": "max"}, "pooling 'max' is unknown"),
        ({"backbone": "small", "weights": "imagenet"}, "no pretrained weights exist"),
        ({"backbone": "small", "non_local": True}, "takes no non-local blocks.*'resnet18'"),
        ({"backbone": "small", "non_local": (0, 1, 0, 0)}, "counts of at most .* for small"),
        ({"backbone": "resnet18", "non_local": (0, 3, 0, 0)}, r"at most \(2, 2, 2, 2\)"),
        ({"backbone": "resnet18", "non_local": (0, 2)}, "non_local must be a bool"),
        ({"backbone": "resnet18", "non_local": 2}, "non_local must be a bool"),
        ({"backbone": "resnet18", "non_local_width": 0}, "must be a positive integer or four"),
        ({"backbone": "small", "gem_eps": 0}, "between 0 and 1, not 0"),
        ({"backbone": "resnet18", "non_local_width": 1.5}, "must be a positive integer or four"),
    ],
)
def test_unknown_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReIDModel(**arguments)


def test_images_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), not \(2, 1, 32, 16\)"):
        ReIDModel("small")(torch.zeros(2, 1, 32, 16))
