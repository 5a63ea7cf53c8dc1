"""Figures: contents, style, reproducibility, bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import to_rgb

from dakd import analysis, figures
from dakd.corruption import FAMILIES
from dakd.figures.style import NotebookFigure
from dakd.figures.tiles import Tile, tile_grid, to_uint8

RNG = np.random.default_rng(0)
IMAGES = torch.randint(0, 256, (8, 3, 32, 16), generator=torch.Generator().manual_seed(0)).byte()
CORRECT = np.array([True, False, True, False, False, True, False, True])
SCORE = np.array([0.9, 0.8, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2])
INFRARED = np.arange(60) % 3 == 0
PLACES = {"untrained": RNG.normal(size=(60, 2)), "teacher": RNG.normal(size=(60, 2))}
HISTORY = pd.DataFrame(
    {"epoch": [0, 0, 1], "step": [0, 1, 2], "loss": [3.0, 2, 1], "triplet": [2.0, 1, 1],
     "mutual": [1.0, 1, 0], "lr": [0.1, 0.2, 0.1], "images_per_second": [9.0, 9, 9]}
)  # fmt: skip
TRIALS = pd.DataFrame({"rank1": [0.2, 0.3], "mAP": [0.1, 0.2], "mINP": [0.1, 0.1]})
SEEDS = pd.DataFrame(
    {"method": ["untrained", "teacher", "teacher"], "seed": [0, 0, 1], "rank1": [0.1, 0.4, 0.6],
     "mAP": [0.1, 0.3, 0.35]}
)  # fmt: skip
CORRUPTED = pd.DataFrame(
    [(m, where, "all", pd.NA if where != "none" else 0, 0.3, 0.2, 0.05, 0.05)
     for m in ("teacher", "dakd") for where in ("none", "query", "gallery", "both")]
    + [(m, "both", f, s, 0.3 / s, 0.2 / s, 0.05, 0.05)
       for m in ("teacher", "dakd") for f in FAMILIES for s in (1, 2, 3, 4, 5)],
    columns=["method", "where", "family", "severity", "rank1", "mAP", "rank1_std", "mAP_std"],
)  # fmt: skip
PEOPLE = torch.randint(0, 256, (2, 3, 32, 16), generator=torch.Generator().manual_seed(0)).byte()
APART = pd.DataFrame(
    {"label": ["up", "down", "not known"], "group": ["method", "method", "mask"],
     "mean": [0.02, -0.02, 0.01], "low": [0.01, -0.03, 0.0], "high": [0.03, -0.01, 0.02],
     "t_low": [0.005, -0.035, -0.01], "t_high": [0.035, -0.005, 0.03],
     "each": [[0.01, 0.03], [-0.01, -0.03], [0.0, 0.02]]}
)  # fmt: skip

DRAWINGS = {
    "image_grid": lambda: figures.image_grid(
        [[IMAGES[0], None], [IMAGES[1], IMAGES[2]]],
        row_titles=["a", "b"],
        column_titles=["cam 1", "cam 3"],
        column_modalities=["visible", "infrared"],
        title="t",
    ),
    "strip": lambda: figures.strip(IMAGES, titles=list("abcdefgh")),
    "pairs": lambda: figures.pairs(IMAGES[:4], IMAGES[4:]),
    "cutswap_strip": lambda: figures.cutswap_strip(
        IMAGES[:2], [[2, 3, 10, 8], [0, 0, 0, 0]], IMAGES[2:4], IMAGES[4:6]
    ),
    "gradcam_overlay": lambda: figures.gradcam_overlay(IMAGES[:2], RNG.random((2, 32, 16))),
    "brightness_scatter": lambda: figures.brightness_scatter(SCORE, SCORE[::-1]),
    "histogram": lambda: figures.histogram({"visible": SCORE, "other": SCORE**2}, label="x"),
    "ranking": lambda: figures.ranking(
        IMAGES[0], IMAGES, correct=CORRECT, dropped=~CORRECT, similarity=SCORE,
        captions=list("abcdefgh"), ap=0.5, title="t", columns=5,
    ),
    "ranked_items": lambda: figures.ranked_items(CORRECT, dropped=[False] * 7 + [True]),
    "cmc_curve": lambda: figures.cmc_curve({"teacher": {1: 0.2, 5: 0.5}}, chance={1: 0.0, 5: 0.1}),
    "trial_spread": lambda: figures.trial_spread({"all": TRIALS, "indoor": TRIALS[:1]}),
    "loss_curves": lambda: figures.loss_curves(HISTORY, title="t"),
    "confidence_histograms": lambda: figures.confidence_histograms(SCORE, CORRECT, threshold=0.5),
    "mask_gallery": lambda: figures.mask_gallery(
        IMAGES, confidence=SCORE, correct=CORRECT, kept=SCORE > 0.3
    ),
    "reliability_diagram": lambda: figures.reliability_diagram(
        {"visible": analysis.reliability(SCORE, CORRECT)}
    ),
    "risk_coverage_curve": lambda: figures.risk_coverage_curve(
        {"infrared": analysis.risk_coverage(SCORE, CORRECT)}
    ),
    "maps_modality": lambda: figures.modality_maps(
        PLACES, infrared=INFRARED, captions={"teacher": "x"}
    ),
    "maps_camera": lambda: figures.modality_maps(
        PLACES, infrared=INFRARED, colouring="camera", cams=np.arange(60) % 6
    ),
    "maps_identity": lambda: figures.modality_maps(
        PLACES, infrared=INFRARED, colouring="identity", pids=np.arange(60)
    ),
    "gap_bars": lambda: figures.gap_bars(
        pd.DataFrame({"gap": [1.0, 0.5], "MMD²": [0.2, -0.0]}, index=["untrained", "teacher"])
    ),
    "benchmark_bars": lambda: figures.benchmark_bars(SEEDS),
    "corruption_grid": lambda: figures.corruption_grid(PEOPLE),
    "robustness_bars": lambda: figures.robustness_bars(CORRUPTED, curves="mAP"),
    "severity_curves": lambda: figures.severity_curves(CORRUPTED),
    "difference_plot": lambda: figures.difference_plot(
        APART, baseline="the teacher", measure="rank-1", title="Differences"
    ),
    "method_overview": lambda: figures.method_overview(IMAGES[0], IMAGES[1]),
}  # fmt: skip


def texts(figure):
    """Return the non-empty texts of a figure."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def words(figure):
    """Return the non-empty texts of a figure as strings."""
    return [text.get_text() for text in texts(figure)]


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_figure_is_readable_and_not_empty(name):
    figure = DRAWINGS[name]()
    assert isinstance(figure, NotebookFigure)
    assert min((text.get_fontsize() for text in texts(figure)), default=9) >= 8
    assert figure.get_size_inches()[0] <= 9.05, "wider than a page: it would be shrunk"
    figure.set_dpi(40)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert pixels[..., :3].std() > 5


def test_every_public_figure_is_tested():
    drawn = {name for name in figures.__all__ if name not in
             ("PALETTE", "colour", "png", "save", "loss_parts", "modality_maps")}  # fmt: skip
    assert drawn <= set(DRAWINGS)


def test_figures_do_not_change_pyplot_or_its_settings():
    before = dict(matplotlib.rcParams)
    figures.png(figures.ranked_items([1, 0]), dpi=40)
    assert dict(matplotlib.rcParams) == before
    assert not Gcf.figs  # pyplot has no figure to show


def test_colours_differ_in_greyscale():
    def grey(name):
        return float(np.dot(to_rgb(figures.PALETTE[name]), (0.2126, 0.7152, 0.0722)))

    for group in (("visible", "infrared"), ("teacher", "student", "only_kd", "untrained")):
        levels = [grey(name) for name in group]
        assert min(np.diff(sorted(levels))) > 0.1


def test_save_is_repeatable_and_whole(tmp_path):
    draw = DRAWINGS["ranking"]
    for ending in (".png", ".svg"):
        pair = [figures.save(draw(), tmp_path / name) for name in (f"deep/a{ending}", f"b{ending}")]
        assert pair[0].read_bytes() == pair[1].read_bytes()
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.png", "a.svg", "b.png", "b.svg"]
    with pytest.raises(ValueError, match=r"saved as \.png"):
        figures.save(DRAWINGS["strip"](), tmp_path / "a.jpg")


def test_a_figure_displays_itself_once_at_its_size():
    figure = DRAWINGS["ranked_items"]()
    data, size = figure._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size["width"] == int(96 * figure.get_size_inches()[0])


def test_an_image_keeps_its_colours():
    image = torch.zeros(3, 2, 1)
    image[0, 0] = 1.0  # red above black
    assert to_uint8(image).tolist() == [[[255, 0, 0]], [[0, 0, 0]]]
    assert to_uint8((image * 255).byte()).tolist() == to_uint8(image).tolist()
    with pytest.raises(ValueError, match="denormalise"):
        to_uint8(image * 2 - 1)
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        to_uint8(torch.zeros(1, 3, 2, 1))


def test_ranking_counts_ranks_without_dropped_images():
    figure = figures.ranking(
        IMAGES[0], IMAGES[:4], correct=[0, 1, 1, 0], dropped=[0, 1, 0, 0], ap=0.5
    )
    shown = [t for t in words(figure) if t[-1] in "✓✗–"]
    assert shown == ["1 ✗", "–", "2 ✓", "3 ✗"]
    assert "AP 0.50" in words(figure)


def test_ranking_adds_the_first_right_image_when_none_is_shown():
    late = [False] * 5 + [True] * 3
    figure = figures.ranking(IMAGES[0], IMAGES, correct=late, dropped=[1, *[0] * 7], shown=3)
    shown = [t for t in words(figure) if t[-1] in "✓✗–"]
    assert shown == ["–", "1 ✗", "2 ✗", "5 ✓"]  # the sixth image, at rank 5
    assert "…" in words(figure)
    for correct in (CORRECT, [False] * 8):  # one is shown already; none is right
        figure = figures.ranking(IMAGES[0], IMAGES, correct=correct, shown=3)
        assert len([t for t in words(figure) if t[-1] in "✓✗"]) == 3
        assert "…" not in words(figure)


def test_loss_curves_have_room_for_large_numbers_and_long_names():
    name = "a_part_whose_name_is_long"
    figure = figures.loss_curves(HISTORY.assign(**{"loss": [1e5, 1e4, 1e3], name: 1.0}))
    figure.draw_without_rendering()
    for axes in figure.axes:
        label, numbers = axes.yaxis.label.get_window_extent(), axes.get_yticklabels()
        assert 0 <= label.x0 < label.x1 < min(text.get_window_extent().x0 for text in numbers)
    legend = figure.axes[1].get_legend().get_window_extent()
    assert figure.axes[1].bbox.x1 < legend.x0 < legend.x1 <= figure.bbox.x1


def test_methods_have_their_label_and_keep_their_colour():
    labels = {"only_kd": "plain distillation"}
    pink = to_rgb(figures.PALETTE["only_kd"])
    curve = figures.cmc_curve({"only_kd": {1: 0.2, 5: 0.5}}, labels=labels)
    assert to_rgb(curve.axes[0].lines[0].get_color()) == pink
    spread = figures.trial_spread({"only_kd": TRIALS}, labels=labels)
    assert to_rgb(spread.axes[0].collections[0].get_facecolor()[0][:3]) == pink
    bars = figures.benchmark_bars(SEEDS.assign(method="only_kd"), labels=labels)
    for figure in (curve, spread, bars):
        assert "plain distillation" in words(figure)
        assert "only_kd" not in words(figure)


def test_ranked_items_prints_the_precisions_of_ap():
    shown = words(figures.ranked_items([True, False, True], dropped=[False, False, False]))
    assert {"1/1", "2/3"} <= set(shown)


def paper(figure):
    """The pixels of a grid of images, uint8 (H, W, 3)."""
    return (255 * np.asarray(figure.axes[0].images[0].get_array())[..., :3]).round().astype("uint8")


def grid(figure):
    """Rows and columns of images in a grid, counted by the white between them."""
    white = (paper(figure) == 255).all(axis=2)
    return tuple(
        int((np.diff(white.all(axis=1 - side).astype(int)) == -1).sum()) for side in (0, 1)
    )


def reading_order(figure):
    """Texts of a grid, line by line and from left to right."""
    placed = [(round(t.get_position()[1]), t.get_position()[0], t) for t in texts(figure)]
    return [text for *_, text in sorted(placed, key=lambda entry: entry[:2])]


def test_a_grid_puts_every_image_under_its_text():
    colors = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    tiles = {
        name: Tile(image=torch.tensor(color).byte()[:, None, None].expand(3, 20, 10), above=name)
        for name, color in colors.items()
    }
    figure = tile_grid([[tiles["red"], tiles["green"]], [Tile(), tiles["blue"]]], title="t")
    assert grid(figure) == (2, 2)
    for text in texts(figure):
        x, y = map(int, text.get_position())
        if text.get_text() in colors:
            assert tuple(paper(figure)[y + 20, x]) == colors[text.get_text()]
        elif text.get_text() == "–":
            assert tuple(paper(figure)[y, x]) == (255, 255, 255)
    assert "–" in words(figure)
    with pytest.raises(ValueError, match="one size"):
        figures.strip([IMAGES[0], IMAGES[1][:, :16]])


def many(count):
    """Return a strip of `count` images."""
    names = [f"image {n + 1}" for n in range(count)]
    return figures.strip(IMAGES[:1].expand(count, -1, -1, -1), titles=names, title="t")


def test_a_long_strip_wraps():
    assert [grid(many(n)) for n in (12, 20, 200)] == [(1, 12), (2, 10), (20, 10)]
    assert [t.get_text() for t in reading_order(many(20))] == [
        "t", *[f"image {n}" for n in range(1, 21)]
    ]  # fmt: skip
    assert grid(figures.strip(IMAGES[:1].expand(40, -1, -1, -1))) == (3, 14)  # without titles


def test_no_text_of_a_grid_touches_another_or_the_edge():
    predictions = [{100 + i: 0.7, 200: 0.2, 3: 0.1} for i in range(8)]
    drawn = [
        figures.mask_gallery(
            IMAGES, confidence=SCORE / 100, correct=CORRECT, kept=SCORE > 0.3,
            predictions=predictions, labels=range(100, 108),
            title="A title wider than its few images",
        ),
        figures.strip(IMAGES, titles=[f"a long title {i}" for i in range(8)]),
        *(many(n) for n in (13, 14, 20, 200)),
        DRAWINGS["ranking"](),
        DRAWINGS["cutswap_strip"](),
    ]  # fmt: skip
    for figure in drawn:
        renderer = figure.canvas.get_renderer()
        boxes = [text.get_window_extent(renderer).padded(-1) for text in texts(figure)]
        assert all(figure.bbox.contains(*corner) for box in boxes for corner in box.corners())
        apart = [not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]]
        assert all(apart), words(figure)


def test_a_dropped_image_is_pale():
    pale = figures.ranking(IMAGES[0], IMAGES[:2], correct=[0, 1], dropped=[1, 0])
    full = figures.ranking(IMAGES[0], IMAGES[:2], correct=[0, 1])
    left, right = np.split(
        paper(pale).astype(int) - paper(full), [paper(full).shape[1] * 2 // 3], 1
    )
    assert left.max() > 50  # the first image
    assert not right.any()


def test_gradcam_is_warm_where_the_heat_is():
    heats = np.zeros((2, 32, 16))
    heats[:, :16] = 1
    black = torch.zeros(2, 3, 32, 16)
    figure = figures.gradcam_overlay(black, heats)
    assert grid(figure) == (2, 2)
    label = next(text for text in texts(figure) if text.get_text() == "image")
    dark = paper(figure).sum(axis=2)[:, int(label.get_position()[0]) + 20]
    levels = dark[dark < 765]  # from top to bottom: a black image, then its upper half hot
    quarter = len(levels) // 4
    assert levels[: 2 * quarter].max() == 0
    assert levels[2 * quarter : 3 * quarter].min() > 300 > 20 > levels[3 * quarter :].max()


def test_mask_gallery_separates_and_sorts():
    kept = np.array([0, 1, 0, 1, 0, 0, 0, 1], dtype=bool)
    figure = figures.mask_gallery(IMAGES, confidence=SCORE, correct=CORRECT, kept=kept)
    printed = [text.get_text() for text in reading_order(figure)]
    numbers = [text for text in printed if text[0] == "."]
    assert numbers == [".80", ".60", ".20", ".90", ".75", ".50", ".40", ".30"]
    assert [text for text in printed if text in ("kept", "dropped")] == ["kept", "dropped"]


def test_mask_gallery_shows_the_top_predictions_and_highlights_the_right_one():
    predictions = [{3: 0.9, 5: 0.08, 6: 0.001}, {5: 0.8, 3: 0.15, 7: 0.05}]
    figure = figures.mask_gallery(
        IMAGES[:2], confidence=[0.9, 0.1], correct=[1, 0], kept=[1, 0], predictions=predictions,
        labels=[3, 3],
    )  # fmt: skip
    printed = [text.get_text() for text in reading_order(figure) if text.get_text() != "kept"]
    # The first confidence is the first probability and is printed once; 0.001 is not printed.
    assert printed == [
        "3 ✓",
        "3: .90",
        "5: .08",
        "3 ✗",
        "dropped",
        ".10",
        "5: .80",
        "3: .15",
        "7: .05",
    ]
    green = [t.get_text() for t in texts(figure) if t.get_color() == figures.PALETTE["right"]]
    assert green == ["3 ✓", "3: .90", "3: .15"]


def test_a_long_part_of_a_mask_gallery_wraps():
    many = IMAGES[:1].expand(40, -1, -1, -1)
    figure = figures.mask_gallery(
        many, confidence=np.linspace(0.1, 0.9, 40), correct=[1] * 40, kept=[1] * 3 + [0] * 37
    )
    assert grid(figure) == (1 + 3, 13)


def test_only_intervals_that_exclude_zero_are_coloured():
    axes = figures.difference_plot(APART, baseline="a", measure="b").axes[0]
    colors = [line.get_color() for line in axes.lines if line.get_marker() == "D"]
    assert colors == [figures.PALETTE[name] for name in ("right", "wrong", "dropped")]
    assert {"+2.0", "-2.0", "+1.0"} <= {text.get_text() for text in axes.texts}


def test_benchmark_bars_show_mean_and_sample_std():
    assert "50.0 ± 14.1" in words(figures.benchmark_bars(SEEDS))  # 40 and 60


def test_confidence_histogram_counts_both_sides():
    shown = {word.strip() for word in words(DRAWINGS["confidence_histograms"]())}
    assert {"67 % right", "40 % right"} <= shown  # 2 of 3 below, 2 of 5 at 0.5 and above


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.image_grid([[]]), "no image"),
        (lambda: figures.strip(IMAGES, titles=["a"]), "1 column titles"),
        (lambda: figures.pairs(IMAGES[:1], IMAGES), "do not pair"),
        (lambda: figures.image_grid([[IMAGES[0]] * 200]), "200 images in a row.*at most 5"),
        (
            lambda: figures.image_grid([[IMAGES[0]] * 20], column_titles=["image 12"] * 20),
            "at most 13 in a row",
        ),
        (lambda: figures.strip(IMAGES[:1], titles=["far too long " * 20]), "shorten the texts"),
        (lambda: figures.gradcam_overlay(IMAGES, np.zeros((1, 32, 16))), "heat maps"),
        (lambda: figures.ranking(IMAGES[0], IMAGES, correct=[1]), "ranked images"),
        (lambda: figures.ranked_items([1], dropped=[0, 1]), "of dropped"),
        (lambda: figures.loss_curves(HISTORY, ["nothing"]), "no term 'nothing'"),
        (lambda: figures.mask_gallery(IMAGES, confidence=[1], correct=[1], kept=[1]), "differ"),
        (lambda: figures.modality_maps(PLACES, infrared=INFRARED, colouring="x"), "unknown"),
        (lambda: figures.modality_maps(PLACES, infrared=INFRARED, colouring="camera"), "cams"),
        (lambda: figures.modality_maps(PLACES, infrared=INFRARED[:5]), r"must be \(5, 2\)"),
        (lambda: figures.benchmark_bars(SEEDS.drop(columns="mAP")), "lacks the columns mAP"),
        (
            lambda: figures.difference_plot(APART.drop(columns="low"), baseline="a", measure="b"),
            "lack the columns low",
        ),
        (lambda: figures.difference_plot(APART[:0], baseline="a", measure="b"), "no variant"),
        (
            lambda: figures.benchmark_bars(SEEDS.assign(mode=["all", "all", "indoor"])),
            "several values of 'mode'",
        ),
    ],
)
def test_bad_input(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
