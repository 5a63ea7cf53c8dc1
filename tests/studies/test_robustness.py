"""Robustness: which rows are corrupted, pairing of trials and draws, same images for all."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from examples import dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dakd.corruption import FAMILIES, KINDS, corrupt
from dakd.evaluate import evaluate, extract
from dakd.model import build_model
from dakd.runtime import make_generator
from dakd.studies import robustness
from dakd.studies.robustness import corrupted_embeddings, robustness_table


class Grid(nn.Module):
    """An image's mean colours in a 4 x 2 grid, unit length; suits `examples.image_set`."""

    def forward(self, x):
        places = nn.functional.adaptive_avg_pool2d(x, (4, 2)).flatten(1)
        return nn.functional.normalize(places)


class Blind(nn.Module):
    """The same embedding for every image."""

    def forward(self, x):
        return torch.ones(len(x), 4) / 2


class Untouchable(nn.Module):
    def forward(self, x):
        raise AssertionError("invalid input must raise before any network runs")


def short(**how):
    return {"device": "cpu", "trials": 2, **how}


def trials_of(
    model, data, *, where="both", repeats=10, seed=0, kinds=None, severity=None, **setting
):
    """The trials of one network and one corrupted side."""
    benchmark = robustness._Benchmark({"": model}, data, setting)
    results = benchmark.run((where,), repeats, seed, kinds=kinds, severity=severity)
    return results["", where]


@pytest.fixture(scope="module")
def data():
    return dataset(train=4, test=20)


def test_side_none_equals_the_clean_evaluation(data):
    model = build_model("small")
    ours = trials_of(model, data, where="none", repeats=2, **short())
    plain = evaluate(model, data, **short())
    np.testing.assert_array_equal(ours, plain.trials)
    assert list(ours.index) == ["trial 0, draw 0", "trial 1, draw 1"]


@pytest.mark.filterwarnings("ignore:.*the network has collapsed")
def test_a_constant_network_is_unaffected(data):
    tables = [
        trials_of(Blind(), data, where=where, repeats=2, **short()) for where in robustness.SIDES
    ]
    assert all(table.equals(tables[0]) for table in tables)


def test_corruption_lowers_map_on_every_side(data):
    found = {
        where: trials_of(Grid(), data, where=where, repeats=2, **short())["mAP"].mean()
        for where in robustness.SIDES
    }
    assert found["none"] > max(found["query"], found["gallery"]) + 0.05
    assert min(found["query"], found["gallery"]) > found["both"]


@pytest.mark.filterwarnings("ignore:.*the network has collapsed")
@pytest.mark.parametrize("query", ["infrared", "visible"])
def test_the_side_determines_which_rows_are_corrupted(data, query, monkeypatch):
    dirty = torch.full((len(data.test), 24), 9.0)
    monkeypatch.setattr(robustness, "corrupted_embeddings", lambda models, *_, **__: {"": dirty})
    seen = {}
    gallery = "visible" if query == "infrared" else "infrared"
    setting = {"protocol": "none", "query": query, "gallery": gallery, "device": "cpu"}
    for where in robustness.SIDES:

        def keep(z, *args, _where=where, **how):
            seen[_where] = (z == 9).all(1).numpy()
            return evaluate(z, *args, **how)

        monkeypatch.setattr(robustness, "evaluate", keep)
        trials_of(Grid(), data, where=where, repeats=1, **setting)
    queries = data.test.infrared == (query == "infrared")
    assert not seen["none"].any()
    assert seen["both"].all()
    np.testing.assert_array_equal(seen["query"], queries)
    np.testing.assert_array_equal(seen["gallery"], ~queries)


def test_corruptions_depend_on_the_seed_but_not_on_the_batch(data):
    def embed(seed, **how):
        return corrupted_embeddings({"a": Grid()}, data.test, seed=seed, device="cpu", **how)["a"]

    first = embed(0)
    assert torch.equal(first, embed(0))
    torch.testing.assert_close(first, embed(0, batch=7))
    assert not torch.allclose(first, embed(1))
    clean = extract(Grid(), data.test, device="cpu")
    assert (first != clean).any(1).float().mean() > 0.9  # saturate leaves infrared as it is


def test_settings_of_the_evaluation_are_used(data):
    """Flip, re-ranking and the unit of a rank, on clean and on corrupted images."""
    base = {"where": "gallery", "repeats": 1, "kinds": ["fog"], "severity": 5}
    plain = trials_of(Grid(), data, **base, **short())
    z = {
        flip: torch.where(
            torch.from_numpy(data.test.infrared)[:, None],
            extract(Grid(), data.test, device="cpu", flip=flip),
            corrupted_embeddings({"a": Grid()}, data.test, kinds=["fog"], severity=5, flip=flip,
                                 device="cpu")["a"],
        )
        for flip in (False, True)
    }  # fmt: skip
    for how in ({"flip": True}, {"rerank": True}, {"cmc_unit": "image"}):
        got = trials_of(Grid(), data, **base, **how, **short())
        expected = evaluate(z[how.get("flip", False)], data, **how, **short())
        np.testing.assert_allclose(got, expected.trials, atol=1e-9)
        assert not np.allclose(got, plain)
        table = robustness_table(
            {"a": Grid()}, data, sides=["none"], repeats=1, families=[], show=False,
            **how, **short(),
        )  # fmt: skip
        clean = evaluate(extract(Grid(), data.test, device="cpu", flip=how.get("flip", False)),
                         data, **how, **short())  # fmt: skip
        assert table["mAP"][0] == pytest.approx(clean.mean["mAP"])


def test_corrupted_images_keep_their_pipeline(data, monkeypatch):
    seen = []

    def spy(model, images, **how):
        seen.append(images.pipeline)
        return extract(model, images, **how)

    monkeypatch.setattr(robustness, "extract", spy)
    test = dataclasses.replace(data.test, pipeline="regdb")
    corrupted_embeddings({"a": Grid()}, test, device="cpu")
    assert set(seen) == {"regdb"}


def test_draws_differ_and_are_all_paired_with_a_single_trial(data):
    setting = {"protocol": "none", "repeats": 3, "seed": 4, "device": "cpu"}
    scores = trials_of(Grid(), data, **setting)["mAP"]
    assert list(scores.index) == ["trial 0, draw 0", "trial 0, draw 1", "trial 0, draw 2"]
    assert scores.nunique() == 3
    later = trials_of(Grid(), data, **{**setting, "seed": 5})["mAP"]
    np.testing.assert_allclose(later[:2], scores[1:])  # seeds are consecutive


def test_many_chunks_keep_the_order(data, monkeypatch):
    monkeypatch.setattr(robustness, "CHUNK", 10 * 32 * 16)
    how = {
        "kinds": ["contrast"],
        "severity": 1,
        "device": "cpu",
    }  # not random, so chunks do not matter
    small = corrupted_embeddings({"a": Grid()}, data.test, **how)["a"]
    monkeypatch.undo()
    torch.testing.assert_close(small, corrupted_embeddings({"a": Grid()}, data.test, **how)["a"])
    assert len(small) == len(data.test)


def test_every_network_sees_the_same_images(data):
    both = corrupted_embeddings({"a": Grid(), "b": Grid()}, data.test, device="cpu")
    assert torch.equal(both["a"], both["b"])
    alone = corrupted_embeddings({"b": Grid()}, data.test, device="cpu")
    assert torch.equal(both["b"], alone["b"])


@given(trials=st.integers(1, 12), repeats=st.integers(1, 12))
def test_trials_and_draws_are_paired_in_turn(trials, repeats):
    table = pd.DataFrame({"rank1": range(trials)}, index=[f"trial {i}" for i in range(trials)])
    pairs = pd.concat([robustness._paired(table, draw, repeats) for draw in range(repeats)])
    count = max(trials, repeats)
    assert len(pairs) == count
    assert sorted(pairs.index) == sorted(
        f"trial {i % trials}, draw {i % repeats}" for i in range(count)
    )


@pytest.mark.filterwarnings("ignore:.*the network has collapsed")
def test_the_table_is_complete_and_agrees_with_single_evaluations(data):
    models = {"a": Grid(), "b": Blind()}
    how = {"families": ["noise", "blur"], "severities": [1, 5], "seed": 3, "show": False}
    table = robustness_table(models, data, repeats=2, family_repeats=1, **how, **short())
    assert list(table.columns) == [
        "method", "where", "family", "severity", "rank1", "mAP", "mINP",
        "rank1_std", "mAP_std", "mINP_std",
    ]  # fmt: skip
    assert len(table) == 2 * (4 + 2 * 2)
    assert not table.duplicated(["method", "where", "family", "severity"]).any()
    assert (
        table["severity"].isna() == (table["family"] == "all") & (table["where"] != "none")
    ).all()
    assert (table.loc[table["where"] == "none", "severity"] == 0).all()
    cell = {"kinds": FAMILIES["blur"], "severity": 5, "repeats": 1}
    alone = trials_of(Grid(), data, where="both", seed=3, **cell, **short())
    row = table.query("method == 'a' and family == 'blur' and severity == 5").iloc[0]
    assert row["mAP"] == pytest.approx(alone.mean()["mAP"])
    assert row["mAP_std"] == pytest.approx(alone.std()["mAP"])
    gallery = trials_of(Grid(), data, where="gallery", seed=3, repeats=2, **short())
    row = table.query("method == 'a' and where == 'gallery'").iloc[0]
    assert row["rank1"] == pytest.approx(gallery.mean()["rank1"])
    assert table.query("method == 'b'")["mAP"].nunique() == 1
    noise = table.query("method == 'a' and family == 'noise'").set_index("severity")["mAP"]
    assert noise[5] < noise[1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sides": ["left"]}, "'left'"),
        ({"families": ["hail"]}, r"\['hail'\] are unknown; use noise"),
        ({"severities": [0]}, "1 to 5, not 0"),
        ({"family_repeats": 0}, "repeats"),
        ({"sides": [], "families": []}, "nothing to evaluate"),
    ],
)
def test_invalid_arguments_of_a_table_raise_first(data, how, message):
    with pytest.raises(ValueError, match=message):
        robustness_table({"a": Untouchable()}, data, device="cpu", show=False, **how)
    with pytest.raises(ValueError, match="no network"):
        robustness_table({}, data)


matplotlib = pytest.importorskip("matplotlib")
figures = pytest.importorskip("dakd.figures.robustness")


def table_of(*methods):
    """Every cell of a table, with made-up numbers."""
    cells = [(side, "all", 0 if side == "none" else pd.NA, 0.5) for side in robustness.SIDES]
    cells += [("both", family, s, 0.5 - s / 20) for family in FAMILIES for s in range(1, 6)]
    rows = [(m, *cell, 0.4, 0.02, 0.01) for m in methods for cell in cells]
    columns = ["method", "where", "family", "severity", "rank1", "mAP", "rank1_std", "mAP_std"]
    return pd.DataFrame(rows, columns=columns).astype({"severity": "Int64"})


def words(figure):
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def paper_of(figure):
    """Return a grid in its own pixels, uint8 (H, W, 3)."""
    shown = np.asarray(figure.axes[0].images[0].get_array())
    return (255 * shown[..., :3]).round().astype(np.uint8)


def tile_under(name, figure, *, height, width):
    """Return the image below a text of a grid, in pixels of the grid."""
    paper = paper_of(figure)
    x, y = next(text.get_position() for text in figure.texts if text.get_text() == name)
    white = (paper == 255).all(axis=2)
    top = round(y) + int(np.argmin(white[round(y) :, round(x)]))
    left = round(x) - int(np.argmax(white[top, round(x) :: -1])) + 1
    right = round(x) + int(np.argmax(white[top, round(x) :]))
    zoom = (right - left) // width
    return paper[top : top + zoom * height : zoom, left:right:zoom]


def test_the_grid_shows_every_kind_as_corrupt_computes_it(data):
    images = data.test.images([0, 5])
    figure = figures.corruption_grid(images, severity=2, title="t")
    assert {kind.replace("_", " ") for kind in KINDS} | set(FAMILIES) | {"t"} <= words(figure)
    assert len([text for text in figure.texts if text.get_text() == "clean"]) == len(FAMILIES)
    pair = tile_under("clean", figure, height=32, width=32)  # two images side by side
    np.testing.assert_array_equal(pair[:, 16:], images[1].permute(1, 2, 0))
    fog = corrupt(images, "fog", 2, make_generator(0))
    np.testing.assert_array_equal(
        tile_under("fog", figure, height=32, width=32), torch.cat(list(fog), -1).permute(1, 2, 0)
    )


def test_bars_and_curves_show_the_numbers():
    table = table_of("teacher", "dakd", "something else")
    bars = figures.robustness_bars(table, labels={"dakd": "DAKD"}, title="t")
    assert {"none", "queries", "gallery", "both", "DAKD", "something else"} <= words(bars)
    assert "dakd" not in words(bars)
    assert {patch.get_height() for patch in bars.axes[0].patches} == {0.5}
    curves = figures.severity_curves(table, measure="rank1", labels={"dakd": "DAKD"})
    assert "DAKD" in words(curves)
    line = curves.axes[2].lines[1]
    np.testing.assert_allclose(line.get_xdata(orig=False), range(6), atol=0.2)  # beside each other
    np.testing.assert_allclose(line.get_ydata(orig=False), [0.5, 0.45, 0.4, 0.35, 0.3, 0.25])
    assert [axes.get_title("left") for axes in curves.axes] == list(FAMILIES)
    assert len({line.get_color() for line in curves.axes[0].lines}) == 3


def test_several_seeds_are_averaged_and_shown():
    one = table_of("teacher")
    table = pd.concat([one.assign(seed=s, rank1=one["rank1"] + s / 10) for s in (0, 1, 2)])
    axes = figures.robustness_bars(table, measures=["rank1"]).axes[0]
    assert {round(patch.get_height(), 9) for patch in axes.patches} == {0.6}
    spread = axes.collections[0].get_segments()[0]
    np.testing.assert_allclose(spread[:, 1], [0.5, 0.7])  # over seeds; over trials it is 0.02
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.repeat([0.5, 0.6, 0.7], 4))
    alone = figures.robustness_bars(one, measures=["rank1"]).axes[0]
    np.testing.assert_allclose(alone.collections[0].get_segments()[0][:, 1], [0.48, 0.52])
    assert not alone.lines


def test_one_figure_holds_sides_families_and_hollow_bars():
    table = table_of("teacher", "teacher_no_cutswap", "dakd")
    table.loc[table["family"] == "blur", "mAP"] *= 2
    hollow = {"teacher_no_cutswap": "teacher"}
    figure = figures.robustness_bars(table, curves="mAP", hollow=hollow)
    assert [axes.get_title("left") for axes in figure.axes] == ["rank-1", "mAP", *FAMILIES]
    full, hollow, other = (figure.axes[0].patches[4 * i] for i in range(3))  # four sides each
    assert hollow.get_edgecolor() == full.get_facecolor() != other.get_facecolor()
    assert hollow.get_facecolor() != full.get_facecolor()
    assert (full.get_hatch(), hollow.get_hatch()) == ("", "/////")
    strokes = [line.get_linestyle() for line in figure.axes[2].lines]
    assert strokes == ["-", "--", "-"]
    assert len({axes.get_ylim() for axes in figure.axes[2:]}) == 1


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda t: figures.robustness_bars(t, measures=["mINP"]), "lacks the columns mINP, mINP_s"),
        (lambda t: figures.severity_curves(t.drop(columns="family")), "lacks the columns family"),
        (lambda t: figures.robustness_bars(t[t["family"] != "all"]), "no row of family 'all'"),
        (lambda t: figures.severity_curves(t[t["family"] == "all"]), "no row of family 'noise'"),
    ],
)
def test_figures_refuse_incomplete_tables(draw, message):
    with pytest.raises(ValueError, match=message):
        draw(table_of("teacher"))
