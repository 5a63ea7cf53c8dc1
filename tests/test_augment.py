import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reference_augment import augmented
from torch import Tensor

from dakd.augment import (
    Augmentation,
    Box,
    ChannelExchange,
    ChannelGray,
    ChannelRandomErasing,
    CutSwap,
    Flip,
    Normalise,
    PadCrop,
    Pipeline,
    RandomGrayscale,
    auxiliary_train,
    denormalise,
    evaluation_transform,
    infrared_train,
    rows_of,
    visible_train,
)
from dakd.augment.colour import per_channel

ALL = [
    CutSwap(),
    CutSwap(variant="release"),
    ChannelExchange(p=0.5),
    ChannelGray(),
    ChannelRandomErasing(),
    PadCrop(3),
    PadCrop(3, fill=127, keep_width=8 / 9),
    Flip(),
    RandomGrayscale(),
    Normalise(),
    Normalise(torch.float64),
    Pipeline(PadCrop(2), Flip(), Normalise(), CutSwap(), ChannelRandomErasing(), ChannelGray()),
]


STREAMS = {"visible": visible_train, "infrared": infrared_train, "auxiliary": auxiliary_train}
NAMES = ["sysu", "regdb", "llcm"]
TRAINING = {
    **{
        f"{name} {stream}": (name, stream, {"cutswap": "none"} if stream == "visible" else {})
        for name, stream in itertools.product(NAMES, STREAMS)
    },
    **{f"{name} {swap}": (name, "visible", {"cutswap": swap})
       for name, swap in [("sysu", "paper"), ("sysu", "release"), ("regdb", "paper")]},
}  # fmt: skip


def build(title, pad, **options):
    name, stream, own = TRAINING[title]
    return STREAMS[stream](pad=pad, pipeline=name, **own, **options)


def images(B=64, H=20, W=10, seed=0):
    """A batch in which all values differ, so that a copied pixel can be told from any other."""
    order = torch.randperm(B * 3 * H * W, generator=torch.Generator().manual_seed(seed))
    return order.reshape(B, 3, H, W) / order.numel()


def make(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
def test_shared_contract(stage):
    """A seed decides, `sample` and `apply` make a call, images differ, no input is changed."""
    x = images()
    before, state = x.clone(), torch.get_rng_state()
    first = stage(x, make(1))
    assert torch.equal(first, stage(x, make(1)))
    draws = stage.sample(x, make(1))
    assert torch.equal(first, stage.apply(x, draws))
    assert torch.equal(first, stage.apply(x, draws))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)  # of the global generator
    assert first.shape == (64, 3, *stage.output_size(20, 10))
    if not isinstance(stage, Normalise):
        assert not torch.equal(first, stage(x, make(2)))
        same = x[:1].expand_as(x)  # one image, B times: the results differ
        assert len({tuple(row.flatten().tolist()) for row in stage(same, make(3))}) > 1
    for wrong in (x[0], x[:, :1], x.permute(0, 2, 3, 1)):
        with pytest.raises(ValueError, match=r"must be a batch \(B, 3, H, W\)"):
            stage(wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("title", TRAINING)
def test_training_pipelines_equal_the_reference_to_the_bit(title, dtype):
    """The reference takes one pixel at a time."""
    name, stream, own = TRAINING[title]
    options = {"dtype": {torch.float32: np.float32, torch.float64: np.float64}[dtype]}
    options["variant"] = own.get("cutswap")
    for seed, (H, W, pad) in enumerate([(12, 9, 3), (9, 18, 1), (5, 9, 6), (8, 9, 0)]):
        x = torch.randint(0, 256, (9, 3, H, W), dtype=torch.uint8, generator=make(seed))
        pipeline = build(title, pad, dtype=dtype)
        for pixels in (x, x / 255):
            draws = pipeline.sample(pixels, make(seed))
            whole = augmented(name, stream, pipeline.stages, pixels, draws, pad=pad, **options)
            expected = torch.from_numpy(whole)
            assert expected.shape == (9, 3, *pipeline.output_size(H, W))
            out = pipeline.apply(pixels, draws)
            assert out.dtype == dtype
            assert torch.equal(out, expected)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
def test_processes_with_the_same_draws_augment_their_own_rows(stage):
    batches = [images(B=12), images(B=12).half(), images(B=12)[:1].expand(12, -1, -1, -1)]
    if not isinstance(stage, ChannelRandomErasing):
        batches.append((images(B=12) * 255).byte())
    for x in batches:
        shape_only = torch.empty(1).expand(x.shape)  # no pixels are needed to draw
        draws = stage.sample(shape_only, make(4))
        whole = stage.apply(x, draws)
        assert torch.equal(whole, stage(x, make(4)))
        assert type(rows_of(draws, slice(0, 1))) is type(draws)
        for edges in ([*range(13)], [0, 6, 12], [0, 1, 1, 9, 12]):  # also uneven or empty shards
            shards = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
            parts = [stage.apply(x[rows], rows_of(draws, rows)) for rows in shards]
            assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("stage", ALL, ids=lambda stage: type(stage).__name__)
def test_draws_of_another_batch_are_refused(stage):
    draws = stage.sample(images(B=12))
    if isinstance(stage, Normalise):
        assert draws == ()
        return
    for B in (1, 6):  # 12 draws would broadcast with one image
        with pytest.raises(ValueError, match=f"of 12 images for a batch of {B}: take rows_of"):
            stage.apply(images(B=B), draws)


# What makes the host wait for a GPU: reading values, and copying numbers there.
WAITS = {"item", "nonzero", "index", "lift_fresh", "scalar_tensor"}


def operations(function):
    with torch.autograd.profiler.profile() as profile:
        function()
    return {event.name.removeprefix("aten::") for event in profile.function_events}


@pytest.mark.parametrize("title", TRAINING)
def test_no_operation_makes_the_host_wait_for_a_gpu(title):
    x = torch.randint(0, 256, (6, 3, 20, 10), dtype=torch.uint8, generator=make())
    pipeline, active = build(title, 4), Flip().sample(x)
    pipeline(x)  # the first time, constants are copied to the device
    assert not WAITS & operations(lambda: pipeline(x))
    for wait in (
        lambda: bool(active.any()),
        lambda: x[active],
        lambda: x.new_tensor([1, 2]),
        lambda: torch.where(active, 4, active.long()),
    ):
        assert WAITS & operations(wait)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("title", TRAINING)
def test_on_a_gpu_the_host_does_not_wait_and_the_images_are_those_of_the_cpu(title):
    x = torch.randint(0, 256, (6, 3, 20, 10), dtype=torch.uint8, generator=make())
    pipeline, moved, generator = build(title, 4), x.cuda(), torch.Generator("cuda")
    pipeline(moved, generator)  # the first time, constants are copied to the GPU
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        draws = pipeline.sample(moved, generator)
        out = pipeline.apply(moved, draws)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    on_cpu = torch.utils._pytree.tree_map(Tensor.cpu, draws)
    torch.testing.assert_close(out.cpu(), pipeline.apply(x, on_cpu))


@pytest.mark.parametrize("title", TRAINING)
def test_an_empty_batch_stays_empty(title):
    pipeline = build(title, 2)
    x = torch.zeros(0, 3, 20, 9, dtype=torch.uint8)
    assert pipeline(x).shape == (0, 3, *pipeline.output_size(20, 9))


def test_a_pipeline_returns_its_output_size_and_draws_inside_it():
    """LLCM's images are cropped, and later rectangles lie inside the crop."""
    for name, size in (("sysu", (384, 144)), ("regdb", (384, 144)), ("llcm", (384, 128))):
        for factory in STREAMS.values():
            pipeline = factory(pad=10, pipeline=name)
            assert pipeline.output_size(384, 144) == size
    assert evaluation_transform().output_size(384, 144) == (384, 144)
    assert [PadCrop(keep_width=8 / 9).output_size(8, w)[1] for w in (1, 2, 8, 18)] == [1, 2, 7, 16]
    x = torch.empty(1).expand(4000, 3, 16, 9)
    crop, *_, swap, erasing = Pipeline(
        PadCrop(2, keep_width=2 / 3), Normalise(), CutSwap(1.0), ChannelRandomErasing(1.0)
    ).sample(x, make())
    assert [sorted(set(part.tolist())) for part in crop.T] == [list(range(5)), list(range(8))]
    assert int((swap.box.left + swap.box.width).max()) == 6
    assert int((erasing.box.left + erasing.box.width).max()) == 6


def test_the_draws_of_a_seed_do_not_change():
    """The values were recorded before the pipelines of other datasets were added."""
    draws = visible_train(pad=10).sample(torch.empty(1).expand(4, 3, 384, 128), make(5))
    crop, flip, _, swap, erasing = draws
    assert crop.tolist() == [[17, 2], [19, 17], [19, 2], [3, 15]]
    assert flip.tolist() == [True, False, False, False]
    assert swap.channel.tolist() == [1, 2, 0, 0]
    assert torch.stack(list(swap.box)).tolist() == [
        [183, 7, 55, 210], [44, 63, 25, 53], [198, 193, 176, 121], [61, 48, 64, 57]
    ]  # fmt: skip
    assert erasing.active.tolist() == [False, False, True, False]


def changed_rectangle(x, out):
    """Return top, left, height, width of where one image (3, H, W) changed, or None."""
    rows, columns = torch.where((x != out).any(0))
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    return top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1


@settings(deadline=None, max_examples=40)
@given(H=st.integers(8, 40), W=st.integers(8, 40), seed=st.integers(0, 10**6))
def test_cutswap_changes_one_rectangle_of_the_right_size(H, W, seed):
    x = images(B=6, H=H, W=W)
    for before, after in zip(x, CutSwap(p=1.0)(x, make(seed)), strict=True):
        top, left, h, w = changed_rectangle(before, after)
        assert 0.3 * H - 1e-6 <= h <= 0.6 * H + 1e-6
        assert 0.3 * W - 1e-6 <= w <= 0.6 * W + 1e-6
        inside = after[:, top : top + h, left : left + w]
        assert torch.equal(inside, inside[:1].expand_as(inside))
        sources = before[:, top : top + h, left : left + w]
        assert sum(torch.equal(inside[0], source) for source in sources) == 1
        restored = after.clone()
        restored[:, top : top + h, left : left + w] = sources
        assert torch.equal(restored, before)


def test_cutswap_uses_all_channels_sizes_and_places():
    x = images(B=2000)
    draws = CutSwap(p=0.5).sample(x, make())
    share = draws.active.float().mean()
    assert abs(share - 0.5) < 0.05
    assert (draws.channel.bincount() / len(x) - 1 / 3).abs().max() < 0.05
    box = draws.box
    assert sorted(set(box.height.tolist())) == list(range(6, 13))  # 30-60 % of 20
    assert sorted(set(box.width.tolist())) == [3, 4, 5, 6]
    assert int(box.top.min()) == 0
    assert int((box.top + box.height).max()) == 20
    assert int((box.left + box.width).max()) == 10
    correlation = torch.corrcoef(torch.stack([box.height, box.width]).float())[0, 1]
    assert abs(correlation) < 0.1  # height and width are drawn independently


def test_cutswap_by_hand():
    x = torch.arange(12.0).reshape(1, 3, 2, 2)
    box = Box(*(torch.tensor([n]) for n in (0, 1, 2, 1)))  # the right column
    draws = (
        CutSwap()
        .sample(x)
        ._replace(active=torch.tensor([True]), channel=torch.tensor([1]), box=box)
    )
    expected = torch.tensor([[[0, 5], [2, 7]], [[4, 5], [6, 7]], [[8, 5], [10, 7]]]).float()
    assert torch.equal(CutSwap().apply(x, draws)[0], expected)
    whole = x[:, 1:2].expand_as(x)
    assert torch.equal(CutSwap(variant="release").apply(x, draws), whole)
    off = draws._replace(active=torch.tensor([False]))
    for variant in ("paper", "release"):
        assert torch.equal(CutSwap(variant=variant).apply(x, off), x)


def test_release_cutswap_exchanges_the_whole_of_the_same_images():
    x = images()
    draws = CutSwap().sample(x, make())
    release = CutSwap(variant="release")
    again = release.sample(x, make())
    assert torch.equal(draws.active, again.active)
    assert torch.equal(draws.channel, again.channel)
    out = release.apply(x, draws)
    for i, (active, channel) in enumerate(zip(draws.active, draws.channel, strict=True)):
        expected = x[i, channel].expand(3, -1, -1) if active else x[i]
        assert torch.equal(out[i], expected)


def test_cutswap_takes_bytes_and_tiny_images():
    x = torch.randint(0, 256, (4, 3, 1, 1), dtype=torch.uint8, generator=make())
    out = CutSwap(p=1.0)(x, make())
    assert out.dtype == torch.uint8
    assert torch.equal(out, out[:, :1].expand_as(out))  # one pixel: the rectangle is all of it
    assert CutSwap()(images(B=2)[:0]).shape == (0, 3, 20, 10)


def test_channel_exchange():
    x = images(B=300)
    out = ChannelExchange(p=1.0)(x, make())
    source = (out[:, :1] == x).flatten(2).all(2)  # (B, 3): which channel was copied
    assert (source.sum(1) == 1).all()
    assert (source.float().mean(0) - 1 / 3).abs().max() < 0.1
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert torch.equal(ChannelExchange(p=0.0)(x, make()), x)


def test_channel_gray_has_five_outcomes():
    x = images(B=5, H=2, W=2)
    out = ChannelGray().apply(x, torch.arange(5))
    for channel in range(3):
        assert torch.equal(out[channel], x[channel, channel].expand(3, 2, 2))
    grey = 0.2989 * x[3, 0] + 0.5870 * x[3, 1] + 0.1140 * x[3, 2]
    torch.testing.assert_close(out[3], grey.expand(3, 2, 2))
    assert torch.equal(out[4], x[4])
    shares = ChannelGray(p=0.5).sample(images(B=4000, H=1, W=1), make()).bincount() / 4000
    expected = torch.tensor([0.25, 0.25, 0.25, 0.125, 0.125])
    assert (shares - expected).abs().max() < 0.03


def test_erasing_fills_a_rectangle_that_fits():
    x = images(B=400, H=48, W=16)
    out = ChannelRandomErasing(p=1.0)(x, make())
    fill = torch.tensor([0.4914, 0.4822, 0.4465])
    for before, after in zip(x, out, strict=True):
        top, left, h, w = changed_rectangle(before, after)
        assert h < 48
        assert w < 16
        assert 0.01 < h * w / (48 * 16) < 0.45  # rounding to whole pixels
        inside = after[:, top : top + h, left : left + w]
        assert torch.equal(inside, fill[:, None, None].expand_as(inside))
        assert int((before != after).any(0).sum()) == h * w  # nothing outside
    active = ChannelRandomErasing(p=0.5).sample(images(B=2000), make()).active
    assert abs(active.float().mean() - 0.5) < 0.05


def test_erasing_redraws_until_it_fits_and_gives_up():
    x = images(B=500, H=30, W=10)
    once = ChannelRandomErasing(p=1.0, attempts=1).sample(x, make()).active.float().mean()
    often = ChannelRandomErasing(p=1.0).sample(x, make()).active.float().mean()
    assert 0.6 < once < 0.9
    assert often == 1.0
    never = ChannelRandomErasing(p=1.0, area=(1.0, 1.0), aspect=(1.0, 1.0))
    assert torch.equal(never(x, make()), x)
    with pytest.raises(ValueError, match="put Normalise first"):
        ChannelRandomErasing()(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_pad_crop_by_hand():
    x = torch.arange(1.0, 13.0).reshape(1, 3, 2, 2)
    with_grey = PadCrop(1, fill=51).apply(x / 255, torch.tensor([[0, 2]]))[0, 0] * 255
    torch.testing.assert_close(with_grey, torch.tensor([[51.0, 51.0], [2.0, 51.0]]))
    bytes_ = PadCrop(1, fill=127).apply(x.byte(), torch.tensor([[0, 2]]))[0, 0]
    assert bytes_.tolist() == [[127, 127], [2, 127]]
    left = PadCrop(0, keep_width=0.5).apply(x, torch.tensor([[0, 0]]))
    assert torch.equal(left, x[..., :1])
    corner = PadCrop(1).apply(x, torch.tensor([[0, 2]]))[0, 0]  # up by one, right by one
    assert torch.equal(corner, torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert torch.equal(PadCrop(1).apply(x, torch.tensor([[1, 1]])), x)
    assert torch.equal(PadCrop(0)(x), x)
    draws = PadCrop(2).sample(images(B=500), make())
    assert set(draws.flatten().tolist()) == set(range(5))
    two = torch.cat([x, x])  # each image its own corner
    out = PadCrop(1).apply(two, torch.tensor([[1, 1], [0, 2]]))
    assert torch.equal(out[0], x[0])
    assert torch.equal(out[1, 0], corner)


def test_flip_mirrors_left_to_right():
    x = images(B=2)
    out = Flip().apply(x, torch.tensor([True, False]))
    assert torch.equal(out[0], x[0].flip(-1))
    assert torch.equal(out[1], x[1])


def test_random_greyscale_is_pillows():
    colours = torch.randint(0, 256, (40, 3, 16, 8), dtype=torch.uint8, generator=make())
    out = RandomGrayscale(1.0)(colours, make())
    for before, after in zip(colours, out, strict=True):
        pillow = Image.fromarray(before.permute(1, 2, 0).numpy()).convert("L").convert("RGB")
        assert np.array_equal(after.permute(1, 2, 0).numpy(), np.asarray(pillow))
    floats = RandomGrayscale(1.0)(colours / 255, make())
    assert (floats * 255 - out).abs().max() < 0.501  # but for rounding to whole levels
    share = RandomGrayscale().sample(images(B=2000), make()).float().mean()
    assert abs(share - 0.5) < 0.05
    assert torch.equal(RandomGrayscale(0.0)(colours, make()), colours)


def test_normalise_by_hand_and_back():
    pixel = torch.tensor([255, 0, 51], dtype=torch.uint8).reshape(1, 3, 1, 1)
    expected = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225])
    torch.testing.assert_close(Normalise()(pixel).flatten(), expected)
    torch.testing.assert_close(Normalise()(pixel / 255).flatten(), expected)
    torch.testing.assert_close(denormalise(Normalise()(pixel)), pixel / 255)
    x = images(B=2)
    for dtype in (torch.float64, torch.float16):
        assert Normalise()(x.to(dtype)).dtype == torch.float32
    torch.testing.assert_close(denormalise(evaluation_transform()(x)), x)
    exact = evaluation_transform(torch.float64)(pixel).flatten().tolist()
    assert exact == [(1 - 0.485) / 0.229, -0.456 / 0.224, (51 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(denormalise(evaluation_transform(torch.float64)(x)), x)


def test_constants_cached_under_inference_mode_work_in_training():
    per_channel.cache_clear()
    with torch.inference_mode():
        denormalise(images(B=1))
    x = images(B=1).requires_grad_()
    denormalise(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.full((1, 3, 2, 2), 255.0), r"must lie in 0\.\.1, not 255\.\.255; divide by 255"),
        (torch.full((1, 3, 2, 2), -0.5), "must lie in 0..1"),
        (torch.full((1, 3, 2, 2), torch.nan), "must lie in 0..1"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), "not torch.int64"),
    ],
)
def test_normalise_refuses(x, match):
    with pytest.raises(ValueError, match=match):
        Normalise()(x)


def kinds(pipeline):
    return [type(stage) for stage in pipeline.stages]


def test_factories_have_the_stages_of_the_method_in_order():
    start = [PadCrop, Flip, Normalise]
    visible = visible_train(pad=10)
    assert kinds(visible) == [*start, CutSwap, ChannelRandomErasing]
    assert visible.stages[3].variant == "paper"
    assert visible.stages[3].p == visible.stages[4].p == 0.5
    assert visible_train(pad=10, cutswap="release").stages[3].variant == "release"
    assert kinds(visible_train(pad=10, cutswap="none")) == [*start, ChannelRandomErasing]
    assert kinds(infrared_train(pad=10)) == [*start, ChannelRandomErasing, ChannelGray]
    auxiliary = auxiliary_train(pad=4)
    assert kinds(auxiliary) == [*start, ChannelRandomErasing, ChannelExchange]
    assert auxiliary.stages[0].pad == 4
    x = torch.randint(0, 256, (8, 3, 20, 10), dtype=torch.uint8, generator=make())
    out = auxiliary(x, make())
    assert out.dtype == torch.float32
    assert torch.equal(out, out[:, :1].expand_as(out))


def test_erasing_has_the_published_settings():
    erasing = ChannelRandomErasing()
    assert (erasing.p, erasing.area, erasing.aspect) == (0.5, (0.02, 0.4), (0.3, 1 / 0.3))
    box = ChannelRandomErasing(1.0).sample(torch.empty(1).expand(4000, 3, 600, 600), make()).box
    aspect = box.height / box.width
    assert 0.29 < float(aspect.min()) < 0.31
    assert 3.31 < float(aspect.max()) < 3.36


@pytest.mark.parametrize(
    ("make_stage", "match"),
    [
        (lambda: CutSwap(p=1.5), "probability in 0..1, not 1.5"),
        (lambda: CutSwap(min_ratio=0.6, max_ratio=0.3), r"not \(0.6, 0.3\)"),
        (lambda: CutSwap(max_ratio=1.2), r"not \(0.3, 1.2\)"),
        (lambda: CutSwap(min_ratio=-0.1), r"not \(-0.1, 0.6\)"),
        (lambda: CutSwap(variant="Paper"), "'paper' or 'release', not 'Paper'"),
        (lambda: Flip(-0.1), "not -0.1"),
        (lambda: ChannelGray(2), "not 2"),
        (lambda: ChannelRandomErasing(area=(0.4, 0.02)), r"area.*not \(0.4, 0.02\)"),
        (lambda: ChannelRandomErasing(aspect=(0.0, 3.0)), "aspect must be positive"),
        (lambda: ChannelRandomErasing(attempts=0), "at least 1, not 0"),
        (lambda: PadCrop(-1), "must not be negative, not -1"),
        (lambda: PadCrop(fill=256), r"grey level in 0\.\.255, not 256"),
        (lambda: PadCrop(keep_width=0), "above 0, up to 1, not 0"),
        (lambda: PadCrop(keep_width=1.1), "above 0, up to 1, not 1.1"),
        (lambda: RandomGrayscale(2), "not 2"),
        (lambda: Normalise(torch.float16), "torch.float32 or torch.float64, not torch.float16"),
        (lambda: visible_train(pad=2, pipeline="market"), "'market' is unknown; use one of sysu"),
        (lambda: infrared_train(pad=2, pipeline="x"), "pipeline 'x' is unknown"),
        (lambda: auxiliary_train(pad=2, pipeline="x"), "pipeline 'x' is unknown"),
        (lambda: visible_train(pad=2, cutswap="off"), "not 'off'"),
    ],
)
def test_bad_settings(make_stage, match):
    with pytest.raises(ValueError, match=match):
        make_stage()


def test_base_class_is_abstract():
    with pytest.raises(NotImplementedError):
        Augmentation().sample(images(B=1))
    with pytest.raises(NotImplementedError):
        Augmentation().apply(images(B=1), ())
