"""The figures of README, docs and slides: complete, reproducible, and drawn without training."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from examples import image_set
from PIL import Image

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.text import Text

from dakd import figures
from dakd.cli import main
from dakd.config import load_profile, replace
from dakd.experiment import Experiment, NotTrainedError
from dakd.figures.style import PALETTE, add_note
from dakd.studies import figures_of_networks, write_figures
from dakd.studies.ablation import GRID
from dakd.studies.figures_of_results import SLIDE, ablation_slide
from dakd.studies.tables import differences
from dakd.studies.write_figures import FOR_SLIDES

SMOKE = load_profile("smoke")
ONE = {"epochs": 1, "steps": 1}
CONFIG = replace(
    SMOKE, teacher=replace(SMOKE.teacher, **ONE), student=replace(SMOKE.student, **ONE)
)


def words(figure):
    """All text of a figure."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))
    return " ".join(" ".join(text.get_text() for text in found).split())


def ablation_table(runs=tuple(GRID)):
    """Two seeds of some variants."""
    trials = {"rank1": [0.2, 0.3], "mAP": [0.1, 0.2], "mINP": [0.1, 0.1]}
    rows = [(run, seed, 0.2, 0.2, json.dumps(trials)) for seed in (0, 1) for run in runs]
    return pd.DataFrame(rows, columns=["run", "seed", "all-1/rank1", "all-1/mAP", "trials"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run folder with a teacher and a student trained for one step."""
    folder = tmp_path_factory.mktemp("runs")
    trained = Experiment(CONFIG, runs=folder, show=False)
    trained.student()
    return folder


@pytest.fixture
def experiment(runs, monkeypatch):
    """An experiment that loads them; without UMAP, which compiles for ten seconds."""
    monkeypatch.setattr(figures_of_networks, "umap_map", lambda z, **how: z.numpy()[:, :2])
    return Experiment(CONFIG, runs=runs, show=False, train=False)


@pytest.fixture
def few_images(monkeypatch):
    """One figure in place of those that need drawn people."""
    drawn = {"cutswap": figures.strip(torch.rand(2, 3, 8, 4))}
    monkeypatch.setattr(write_figures, "image_figures", lambda: drawn)


def test_all_figures_are_written_and_the_same_input_gives_the_same_bytes(
    experiment, few_images, tmp_path
):
    names = {
        "cutswap",
        "benchmark_demo",
        "ablation_rank1",
        "ablation_mAP",
        *figures_of_networks.FIGURES,
    }
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        ablation_table(["teacher", "dakd"]).to_csv(folder / "ablation_demo.csv", index=False)
        torch.manual_seed(0)
        written = list(write_figures.draw(folder, slides=folder / "slides", experiment=experiment))
        assert sorted(written) == sorted([*folder.glob("*.png"), *folder.glob("slides/*")])
    assert {path.stem for path in folder.glob("*.png")} == names
    slides = {f"{name}{ending}" for name in {*names, *FOR_SLIDES} for ending in (".pdf", ".svg")}
    assert {path.name for path in folder.glob("slides/*")} == slides
    for path in written:
        twin = tmp_path / "a" / path.relative_to(folder)
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_slides_embed_their_font_and_have_no_date(tmp_path):
    figure = figures.ranked_items([True, False], title="Rank")
    pdf = figures.save(figure, tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # the TrueType font itself
    assert b"CreationDate" not in pdf
    svg = figures.save(figure, tmp_path / "a.svg").read_text()
    assert "<text" not in svg  # text is converted to paths
    assert "<dc:date>" not in svg


def test_without_networks_their_figures_are_skipped_and_nothing_is_trained(
    few_images, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))
    assert main(["figures", "--profile", "smoke", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "figures of networks were skipped" in output
    assert "`dakd train --profile smoke`" in output
    assert [path.name for path in tmp_path.glob("*.png")] == ["cutswap.png"]
    assert sorted(path.name for path in (tmp_path / "runs").rglob("*.*")) == [
        "cutswap.pdf", "cutswap.svg",
    ]  # fmt: skip


def test_the_figures_of_the_teacher_need_no_student(runs, experiment, tmp_path):
    shutil.copytree(runs / "smoke" / "data", tmp_path / "smoke" / "data")
    (teacher,) = (runs / "smoke" / "models").glob("teacher-*")
    shutil.copytree(teacher, tmp_path / "smoke" / "models" / teacher.name)
    drawn = figures_of_networks.network_figures(
        Experiment(CONFIG, runs=tmp_path, show=False, train=False)
    )
    assert [next(drawn)[0], next(drawn)[0]] == ["mask_gallery", "reliability"]
    with pytest.raises(NotTrainedError, match=r"the student of seed 0 .* --profile smoke"):
        next(drawn)
    other = Experiment(replace(CONFIG, seed=7), runs=tmp_path, show=False, train=False)
    with pytest.raises(NotTrainedError, match="teacher of seed 7 .* --seed 7"):
        next(figures_of_networks.network_figures(other))
    assert [path.name for path in (tmp_path / "smoke" / "models").iterdir()] == [teacher.name]


def test_figures_of_networks_name_dataset_profile_and_seed(experiment):
    for name, figure in figures_of_networks.network_figures(experiment):
        assert "drawn people (embedded benchmark), smoke profile, seed 0" in words(figure), name


def test_a_ranked_list_marks_the_right_person():
    people = image_set([1, 2], images=1)  # six cameras each
    tiles = figures_of_networks._tiles(people, query=2, ranked=np.array([6, 1, 7, 0]))
    assert [tile.above for tile in tiles] == ["query", "1 ✗", "2 ✓", "3 ✗", "4 ✓"]
    assert [tile.below for tile in tiles] == ["cam 3", "cam 1", "cam 2", "cam 2", "cam 1"]
    assert [tile.frame for tile in tiles[1:3]] == [PALETTE["wrong"], PALETTE["right"]]


def test_the_slide_has_the_main_variants_in_both_metrics():
    figure = ablation_slide(ablation_table())
    left, right = figure.axes
    assert [axes.get_xlabel().split(":")[0] for axes in (left, right)] == ["rank-1", "mAP"]
    rows = [label.get_text() for label in left.get_yticklabels()]
    assert set(rows) == {GRID[run].label for run in SLIDE}
    assert figure.get_size_inches()[1] < 6
    rows = differences(ablation_table(), metric="mAP")
    with pytest.raises(ValueError, match="rows of 'mAP' are not those of 'rank-1'"):
        figures.difference_plot(rows, baseline="b", measure="rank-1", further={"mAP": rows[1:]})


def test_a_failed_write_keeps_the_old_figure(tmp_path, monkeypatch):
    path = figures.save(figures.ranked_items([True]), tmp_path / "a.pdf")
    before = path.read_bytes()

    def half(self, file, **how):
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        figures.save(figures.ranked_items([False]), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.pdf", before)]


def test_a_palette_of_few_colours_keeps_rare_colours():
    sheet = torch.rand(3, 64, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    sheet[:, 0, 0] = torch.tensor([1.0, 0.9, 0.0])  # a small yellow bag
    figure = figures.strip([sheet])
    small = Image.open(io.BytesIO(figures.png(figure, colours=16))).convert("RGB")
    assert len(small.getcolors()) <= 16
    seen = np.asarray(small, dtype=int).reshape(-1, 3)
    assert np.abs(seen - [255, 230, 0]).sum(1).min() < 30


@pytest.mark.parametrize(
    "draw_one",
    [
        lambda: figures.ranked_items([True, False]),
        lambda: figures.strip(torch.rand(12, 3, 64, 32)),
        lambda: figures.modality_maps({"a": np.eye(4, 2)}, infrared=[True, False] * 2),
    ],
    ids=["axis", "sheet", "legend"],
)
def test_a_note_is_inside_the_figure_and_covers_nothing(draw_one):
    plain = draw_one()
    height = plain.get_size_inches()[1]
    text = "Words that a reader needs, and so many of them that they need more than a line. " * 3
    figure = add_note(draw_one(), text)
    assert figure.get_size_inches()[1] > height + 0.3
    figure.canvas.draw()
    (own,) = (t for t in figure.findobj(Text) if t.get_text().startswith("Words that"))
    box, canvas = own.get_window_extent(), figure.bbox
    assert canvas.x0 <= box.x0 < box.x1 <= canvas.x1
    assert canvas.y0 <= box.y0 < box.y1 <= canvas.y1
    others = [t for t in figure.findobj(Text) if t is not own and t.get_text().strip()]
    boxes = [artist.get_window_extent() for artist in [*figure.axes, *others]]
    assert not any(box.overlaps(other) for other in boxes)
