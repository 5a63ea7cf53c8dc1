import pytest
import torch
import torchvision
from safetensors.torch import save_file

from dakd.model import GeM, ReIDModel, WeightsError, build_model


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


def test_the_shift_of_the_neck_stays_zero():
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


def test_random_weights_follow_from_the_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two, other = (build_model("small", seed=s).neck for s in (1, 1, 2))
    a, b, c = (build_model("small", seed=s).backbone.conv1.weight for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


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


def test_a_missing_or_broken_weights_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file .*gone\.pth"):
        ReIDModel("resnet18", weights=str(tmp_path / "gone.pth"))
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"broken\.pth is not a file of weights"):
        ReIDModel("resnet18", weights=str(broken))


def test_imagenet_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
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
    ],
)
def test_unknown_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReIDModel(**arguments)


def test_images_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), not \(2, 1, 32, 16\)"):
        ReIDModel("small")(torch.zeros(2, 1, 32, 16))
