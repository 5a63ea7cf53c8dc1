"""Committed results in notebooks 02 and 04 to 06: figures, and tables with missing rows."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from dakd import analysis, figures
from dakd.studies.ablation import GRID, LABELS

FOLDER = Path(__file__).parents[1]
NOTEBOOKS = ("02_cutswap", "04_confidence_masks", "05_modality_gap", "06_benchmark")
OF_NOTEBOOK = {
    "02_cutswap": ("cutswap_release", "cutswap_none", "teacher_no_cutswap"),
    "04_confidence_masks": (
        *("mask_mean", "mask_none", "mask_uncertain", "quantile_25", "quantile_75"),
    ),
}
each_comparison = pytest.mark.parametrize("name", OF_NOTEBOOK)


def cells_of(name):
    return nbformat.read(FOLDER / "notebooks" / f"{name}.ipynb", as_version=4).cells


def made_table(runs, seeds=(0, 1, 2)):
    """A run's score is its place in the grid / 100, the same in every seed but for 0.0001 each."""
    rows = []
    for run in runs:
        for seed in seeds:
            values = [list(GRID).index(run) / 100 + seed / 10_000] * 2
            trials = json.dumps({metric: values for metric in ("rank1", "mAP", "mINP")})
            rows.append((run, seed, values[0], trials))
    return pd.DataFrame(rows, columns=["run", "seed", "all-1/mAP", "trials"])


def run_comparison(name, table, folder, monkeypatch):
    """Run the cells that compare committed trainings; return what they print, and their names."""
    (folder / "figures").mkdir()
    (folder / "notebooks").mkdir()
    table.to_csv(folder / "figures" / "ablation_demo.csv", index=False)
    monkeypatch.chdir(folder / "notebooks")
    code = [cell.source for cell in cells_of(name) if cell.cell_type == "code"]
    start = next(i for i, source in enumerate(code) if "ablation_demo.csv" in source)
    end = next(i for i, source in enumerate(code) if "points of mAP" in source)
    names = {
        "pd": pd,
        "Path": Path,
        "figures": figures,
        "experiment": SimpleNamespace(figures=folder),
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for source in code[start : end + 1]:
            exec(source, names)
    return printed.getvalue(), names


@each_comparison
def test_missing_rows_of_a_table_are_named(name, tmp_path, monkeypatch):
    table = made_table(["teacher", "dakd", "only_kd"])
    printed, names = run_comparison(name, table, tmp_path, monkeypatch)
    assert all(run in printed.splitlines()[0] for run in OF_NOTEBOOK[name])
    assert "points of mAP" not in printed
    assert names["apart"].index.tolist() == ["teacher"]


@each_comparison
def test_all_rows_are_shown_with_their_significance(name, tmp_path, monkeypatch):
    printed, names = run_comparison(name, made_table(GRID), tmp_path, monkeypatch)
    assert "not in the table yet: nothing" in printed
    assert set(names["apart"].index) == {"teacher", *OF_NOTEBOOK[name]}
    place = list(GRID).index
    for run in OF_NOTEBOOK[name]:
        base = "teacher" if run.startswith("teacher") else "dakd"
        (line,) = [line for line in printed.splitlines() if line.startswith(LABELS[run] + " ")]
        assert f"{place(run) - place(base):+.1f} points of mAP" in line
        assert "differs from" in line


@each_comparison
def test_one_seed_has_no_interval(name, tmp_path, monkeypatch):
    printed, _ = run_comparison(name, made_table(GRID, seeds=(0,)), tmp_path, monkeypatch)
    assert printed.count("does not differ significantly from") == len(OF_NOTEBOOK[name])
    assert printed.count("one seed, no interval") == len(OF_NOTEBOOK[name])
    assert "nan" not in printed


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_opens_with_the_sources(name):
    opening = cells_of(name)[0].source
    assert all(who in opening for who in ("the **paper**", "the **release**", "**we measured**"))
    assert "drawn people" in opening


def test_the_last_notebook_states_limits_and_separates_published_results():
    cells = cells_of("06_benchmark")
    (limits,) = (c.source for c in cells if "## What this course does not show" in c.source)
    parts = ("**Drawn data.**", "**Not reproduced.**", "**Licences.**", "**Responsible use.**")
    assert all(part in limits for part in parts)
    assert all(name in limits for name in ("SYSU-MM01", "RegDB", "LLCM", "MIT", "not comparable"))
    published = [i for i, c in enumerate(cells) if "76.31" in c.source]
    assert [cells[i].cell_type for i in published] == ["markdown"]
    assert "quoted" in cells[published[0]].source
    assert "benchmark_table(table)" in cells[published[0] - 1].source
    assert "**Ours, measured.**" in cells[published[0] - 2].source


def test_the_worst_query_is_shown_with_the_right_person():
    (cell,) = (c.source for c in cells_of("06_benchmark") if "06_failure.png" in c.source)
    assert "shown=10" in cell
    rank = next(c.source for c in cells_of("06_benchmark") if "ranked = " in c.source)
    assert "[:" not in rank  # the whole gallery is handed over, so that the first hit is in it


def test_every_seed_is_a_dot_under_its_bar():
    bars = pd.DataFrame({"gap": [0.5, 0.2]}, index=["untrained", "teacher"])
    seeds = pd.DataFrame({"gap": [0.9, 0.3, 0.1]}, index=["teacher", "teacher", "continued"])
    axes = figures.gap_bars(bars, seeds=seeds).axes[0]
    (dots,) = axes.collections  # the untrained network has none, and "continued" no bar
    places, row = np.asarray(dots.get_offsets()), axes.patches[1]
    np.testing.assert_allclose(places[:, 0], [0.9, 0.3])
    assert (places[:, 1] > row.get_y() + row.get_height()).all()  # the axis runs down
    assert axes.get_xlim()[1] > 0.9
    with pytest.raises(ValueError, match="seeds lacks the columns gap"):
        figures.gap_bars(bars, seeds=seeds.rename(columns={"gap": "other"}))


def test_risk_coverage_has_modality_colours_and_a_quantile_axis():
    order = analysis.risk_coverage([0.2, 0.9, 0.8, 0.1], [1, 1, 0, 0])
    names = ("visible, class level", "visible, instance level", "infrared, class level")
    axes = figures.risk_coverage_curve(dict.fromkeys(names, order)).axes[0]
    colors = [to_hex(line.get_color()).upper() for line in axes.lines[:3]]
    assert colors == [figures.PALETTE[key] for key in ("visible", "visible", "infrared")]
    assert len({line.get_linestyle() for line in axes.lines[:3]}) == 3
    (above,) = axes.child_axes
    axes.figure.draw_without_rendering()
    at_quantile, at_coverage = (
        a.transData.transform((x, 0))[0] for a, x in ((above, 0.3), (axes, 0.7))
    )
    assert at_quantile == pytest.approx(at_coverage)
