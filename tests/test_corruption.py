"""Corruptions: effect of each kind, reproducibility, severities, bad input."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from dakd.config import SyntheticConfig
from dakd.corruption import FAMILIES, KINDS, SEVERITIES, corrupt, mixed
from dakd.corruption.fields import clouds, convolve, disk, gaussian, streak, warp
from dakd.data.synthetic import load_synthetic
from dakd.runtime import make_generator

FIXED = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "pixelate"}
FIXED |= {"jpeg", "saturate"}  # deterministic
VEILS = {"fog", "frost"}  # the brightness changes little


def people(height, width, count=12):
    """Visible and infrared pedestrians in equal parts, uint8 (count, 3, H, W)."""
    config = SyntheticConfig(train_ids=4, test_ids=20, images_per_camera=2)
    images = load_synthetic(config, height=height, width=width).test
    halves = [np.flatnonzero(images.infrared == side)[: count // 2] for side in (False, True)]
    return images.images(np.concatenate(halves))


@pytest.fixture(scope="module")
def crowd():
    return people(128, 64)


@pytest.fixture(scope="module")
def tall_crowd():
    return people(256, 128)


def plain(value, count=1, height=64, width=32):
    return torch.full((count, 3, height, width), value, dtype=torch.uint8)


def change(before, after):
    return (after.float() - before.float()).abs().mean().item()


def structure_lost(before, after):
    """1 - SSIM (Wang et al., 2004) with a Gaussian window of a 64th of the height."""
    a, b = (images.double() / 255 for images in (before, after))
    sigma = a.shape[-2] / 64
    mean_a, mean_b = gaussian(a, sigma), gaussian(b, sigma)
    var_a, var_b = gaussian(a * a, sigma) - mean_a**2, gaussian(b * b, sigma) - mean_b**2
    both = gaussian(a * b, sigma) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return 1 - (light * (2 * both + 9e-4) / (var_a + var_b + 9e-4)).mean().item()


def test_there_are_twenty_kinds_in_four_families():
    assert {family: len(kinds) for family, kinds in FAMILIES.items()} == {
        "noise": 4, "blur": 5, "weather": 6, "digital": 5
    }  # fmt: skip
    assert [kind for kinds in FAMILIES.values() for kind in kinds] == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_and_the_input_stays(kind, crowd):
    before = crowd.clone()
    first, again, other = (corrupt(crowd, kind, 3, make_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (kind in FIXED)
    assert torch.equal(crowd, before)
    assert (first.shape, first.dtype, first.device) == (crowd.shape, torch.uint8, crowd.device)
    assert first.is_contiguous()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - FIXED))
def test_random_numbers_are_drawn_per_image(kind, crowd):
    twins = corrupt(crowd[[0, 0]], kind, 3, make_generator(0))
    assert change(*twins) > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_severity_rises(kind, crowd):
    measure = structure_lost if kind in VEILS else change
    images = crowd[:6] if kind == "saturate" else crowd  # infrared has no colour
    found = [measure(images, corrupt(images, kind, s, make_generator(0))) for s in SEVERITIES]
    assert found[0] > 0
    assert np.diff(found).min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_people_stay_visible_at_severity_three(kind, crowd):
    def shapes(images):  # of 2 to 10 pixels
        grey = gaussian(images.float().mean(1, keepdim=True), 1.5)
        return (grey - gaussian(grey, 10.0)).flatten(1)

    seen = shapes(corrupt(crowd, kind, 3, make_generator(0)))
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(shapes(crowd), seen, strict=True)]
    assert min(correlation) > 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_stay_grey_in_a_batch_with_colour(kind, crowd):
    out = corrupt(crowd, kind, 4, make_generator(0))
    assert torch.equal(out[6:, 0], out[6:, 1])
    assert torch.equal(out[6:, 0], out[6:, 2])
    assert not torch.equal(out[:6, 0], out[:6, 2])


def test_saturate_does_not_change_grey(crowd):
    assert torch.equal(corrupt(crowd[6:], "saturate", 5, make_generator(0)), crowd[6:])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"pixelate", "jpeg"}))
def test_a_severity_looks_the_same_at_two_sizes(kind, crowd, tall_crowd):
    small, large = (
        change(images, corrupt(images, kind, 3, make_generator(0)))
        for images in (crowd, tall_crowd)
    )
    assert 0.7 < small / large < 1.4


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (24, 60)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size_and_no_image_at_all(kind, size):
    images = torch.randint(0, 256, (2, 3, *size), generator=make_generator(0)).byte()
    for severity in (1, 5):
        assert corrupt(images, kind, severity, make_generator(0)).shape == images.shape
        assert corrupt(images[:0], kind, severity, make_generator(0)).shape == (0, 3, *size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu(kind, crowd):
    images = crowd.cuda()
    first, again = (corrupt(images, kind, 3, make_generator(0, "cuda")) for _ in range(2))
    assert first.device.type == "cuda"
    assert change(first, again) < 0.01  # sums on a GPU may differ in the last digit
    ours = change(crowd, corrupt(crowd, kind, 3, make_generator(0)))
    assert change(images, first) == pytest.approx(ours, rel=0.2)


def test_noise_has_the_strength_of_the_literature():
    def values(kind, severity, value=128):
        out = corrupt(plain(value, 20), kind, severity, make_generator(0))
        return out[:, 0].double() / 255

    assert values("gaussian_noise", 2).std().item() == pytest.approx(0.12, rel=0.02)
    assert values("speckle_noise", 1).std().item() == pytest.approx(0.15 * 128 / 255, rel=0.02)
    shot = values("shot_noise", 1)
    assert shot.mean().item() == pytest.approx(128 / 255, rel=0.01)
    assert shot.var().item() == pytest.approx(128 / 255 / 60, rel=0.05)  # Poisson: mean / photons
    impulse = values("impulse_noise", 5)
    assert (impulse == 0).double().mean().item() == pytest.approx(0.135, abs=0.005)
    assert (impulse == 1).double().mean().item() == pytest.approx(0.135, abs=0.005)


def test_noise_of_colour_images_differs_between_channels():
    images = plain(128)
    images[:, 0] = 120
    out = corrupt(images, "gaussian_noise", 1, make_generator(0)).float()
    red, green = (out[0, c].flatten() - out[0, c].mean() for c in (0, 1))
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.1


def test_light_and_colour_by_hand():
    def pixel(rgb, kind, severity):
        image = torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 2)
        return corrupt(image, kind, severity, make_generator(0))[0, :, 0, 0].tolist()

    assert pixel([102, 68, 0], "brightness", 2) == [153, 102, 0]  # 0.4 + 0.2, ratios kept
    assert pixel([0, 0, 0], "brightness", 2) == [51, 51, 51]
    assert pixel([204, 102, 102], "saturate", 1) == [204, 173, 173]  # 0.5 * 0.3: 204 * 0.85
    assert pixel([200, 150, 150], "saturate", 3) == [200, 100, 100]  # 0.25 * 2
    assert pixel([200, 150, 175], "saturate", 5) == [200, 0, 100]  # 1: the hue stays
    two = plain(0, height=2, width=2)
    two[..., 0] = 200
    out = corrupt(two, "contrast", 3, make_generator(0))[0, 0]
    assert out.tolist() == [[120, 80], [120, 80]]  # 100 ± 100 * 0.2


def test_pixelate_makes_blocks(crowd):
    out = corrupt(crowd, "pixelate", 2, make_generator(0))  # half the rows and columns
    corner = out[..., ::2, ::2]
    assert torch.equal(out, corner.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert len(corner.unique()) > 50


@pytest.mark.parametrize("kind", [*FAMILIES["blur"], "elastic", "pixelate", "contrast"])
def test_a_plain_wall_stays_plain(kind):
    out = corrupt(plain(77), kind, 5, make_generator(0))
    assert (out.int() - 77).abs().max() <= 1


def test_blurs_spread_a_point_as_they_should():
    point = torch.zeros(1, 1, 65, 65)
    point[..., 32, 32] = 1
    place = torch.arange(65) - 32.0
    wide = gaussian(point, 3.0)[0, 0]
    assert (wide.sum(0) * place**2).sum().item() == pytest.approx(9, rel=0.01)
    lens = convolve(point, disk(6.0, point.device))[0, 0]
    radius = torch.hypot(place[:, None], place)
    inside = radius <= 5
    torch.testing.assert_close(lens[inside], lens[32, 32].expand(int(inside.sum())))
    assert lens[32, 32].item() == pytest.approx(1 / (np.pi * 36), rel=0.03)
    assert lens[radius > 7].abs().max() < 1e-6
    down, right = convolve(point.repeat(2, 1, 1, 1), streak(torch.tensor([90.0, 0.0]), 10, 1e6))
    assert torch.allclose(down[0], right[0].T, atol=1e-6)
    even = torch.tensor([0.05] + 9 * [0.1] + [0.05])  # from 0 to 10: half a pixel at either end
    torch.testing.assert_close(right[0, 32, 32:43], even, atol=1e-4, rtol=0)
    assert right.sum().item() == pytest.approx(1)
    assert right[0, :, :31].abs().max() < 1e-6


def test_convolve_equals_a_plain_loop():
    generator = make_generator(0)
    x, kernel = (
        torch.rand(2, 1, 6, 5, generator=generator),
        torch.rand(2, 3, 3, generator=generator),
    )
    padded = torch.nn.functional.pad(x, [1] * 4, mode="replicate")
    expected = torch.zeros_like(x)
    for n in range(2):
        for i in range(6):
            for j in range(5):
                expected[n, 0, i, j] = (
                    padded[n, 0, i : i + 3, j : j + 3] * kernel[n].flip(0, 1)
                ).sum()
    torch.testing.assert_close(convolve(x, kernel), expected)


def test_warp_samples_at_the_shift():
    x = torch.arange(20.0).view(1, 1, 4, 5)
    shift = torch.zeros(1, 2, 4, 5)
    shift[:, 0], shift[:, 1] = 2, 1  # right, down
    torch.testing.assert_close(warp(x, shift)[..., :3, :3], x[..., 1:, 2:])
    torch.testing.assert_close(warp(x, shift)[0, 0, 3], torch.tensor([17.0, 18, 19, 19, 19]))


def test_clouds_fill_0_to_1_and_get_rougher_as_they_decay_less():
    x = torch.zeros(4, 3, 64, 32)
    smooth, rough = (clouds(x, decay, make_generator(0)) for decay in (2.5, 1.2))
    for field in (smooth, rough):
        assert field.shape == (4, 1, 64, 32)
        assert (field.amin((1, 2, 3)) == 0).all()
        torch.testing.assert_close(field.amax((1, 2, 3)), torch.ones(4))
    assert rough.diff(dim=-1).abs().mean() > 2 * smooth.diff(dim=-1).abs().mean()


def test_rain_falls_in_streaks():
    out = corrupt(plain(0, 8, 256, 128), "rain", 5, make_generator(0)).float()
    along, across = out.diff(dim=-2).abs().mean(), out.diff(dim=-1).abs().mean()
    assert across > 3 * along
    assert out.max() > 20


def test_mixed_draws_every_kind_and_severity_equally_often():
    wall = plain(51, 2000, 2, 2)
    bright = mixed(wall, make_generator(0), kinds=["brightness"])[:, 0, 0, 0]
    levels, counts = bright.unique(return_counts=True)  # 0.2 + 0.1 * severity
    assert levels.tolist() == pytest.approx([76.5, 102, 127.5, 153, 178.5], abs=0.6)
    assert chisquare(counts.numpy()).pvalue > 0.01
    both = mixed(wall, make_generator(0), kinds=["brightness", "contrast"], severity=5)[:, 0, 0, 0]
    levels, counts = both.unique(return_counts=True)
    assert levels.tolist() == pytest.approx([51, 178.5], abs=0.6)
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_mixed_corrupts_each_image_in_its_place(crowd):
    before = crowd.clone()
    first, again = (mixed(crowd, make_generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(crowd, before)
    mild = mixed(crowd, make_generator(0), kinds=["zoom_blur", "jpeg", "elastic"])
    correlation = torch.corrcoef(torch.cat([crowd, mild]).float().flatten(1))[:12, 12:]
    assert (correlation.argmax(1) == torch.arange(12)).all()
    alone = mixed(crowd, make_generator(0), kinds=["contrast"], severity=2)
    assert torch.equal(alone, corrupt(crowd, "contrast", 2, make_generator(0)))
    assert mixed(crowd[:0], make_generator(0)).shape == (0, 3, 128, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, g: corrupt(x.float(), "fog", 1, g), "must be uint8"),
        (lambda x, g: corrupt(x[0], "fog", 1, g), r"\(n, 3, H, W\), not torch.uint8 \(3, 64, 32\)"),
        (lambda x, g: corrupt(x[:, :1], "fog", 1, g), "must be uint8"),
        (lambda x, g: corrupt(x, "hail", 1, g), "'hail'.*gaussian_noise"),
        (lambda x, g: corrupt(x, "fog", 0, g), "1 to 5, not 0"),
        (lambda x, g: corrupt(x, "fog", 6, g), "1 to 5, not 6"),
        (lambda x, g: corrupt(x, "fog", 2.5, g), "1 to 5, not 2.5"),
        (lambda x, g: corrupt(x, "fog", None, g), "1 to 5, not None"),
        (lambda x, g: mixed(x, g, severity=0), "1 to 5, not 0"),
        (lambda x, g: mixed(x, g, kinds=["hail"]), "'hail'"),
        (lambda x, g: mixed(x, g, kinds=[]), "no kind"),
        (lambda x, g: corrupt(x.to("meta"), "fog", 1, g), "generator is on cpu"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(plain(0), make_generator(0))
