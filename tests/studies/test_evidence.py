import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dakd.cli import parse
from dakd.config import load_profile, replace
from dakd.experiment import Experiment
from dakd.studies.ablation import GRID, LABELS, network, run_grid
from dakd.studies.evidence import QUANTILES, ROBUST, gap_table, robustness_tables, trust_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=2)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=2))


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path))


def test_trust_has_one_row_per_seed_modality_and_level(config):
    table = trust_table(config, seeds=(0, 1), show=False)
    keys = table[["seed", "modality", "level"]].drop_duplicates()
    assert len(table) == len(keys) == 2 * 2 * 2
    assert table["ece"].notna().tolist() == (table["level"] == "class").tolist()
    np.testing.assert_allclose(table["random"], 1 - table["accuracy"])
    assert (table["best"] <= table["area"] + 1e-12).all()
    for q in QUANTILES:  # the accuracy is a weighted mean of kept and dropped
        low = np.minimum(table[f"kept_{q}"], table[f"dropped_{q}"])
        high = np.maximum(table[f"kept_{q}"], table[f"dropped_{q}"])
        assert ((table["accuracy"] >= low) & (table["accuracy"] <= high)).all()


def test_the_gap_has_one_row_per_run_and_seed(config):
    table = gap_table(config, seeds=(0,), runs=("untrained", "teacher"), show=False)
    assert table["run"].tolist() == ["untrained", "teacher"]
    assert {"centroid distance", "MMD²", "neighbour mixing"} < set(table.columns)
    assert np.isfinite(table.drop(columns="run").to_numpy(dtype=float)).all()


def test_robustness_has_every_seed_run_and_side(config):
    few = {"repeats": 1, "families": ("noise",), "severities": (3,), "family_repeats": 1}
    table = robustness_tables(config, seeds=(0, 1), runs=("teacher",), show=False, **few)
    sides = table[table["family"] == "all"]
    assert sides[["seed", "where"]].to_numpy().tolist() == [
        [seed, where] for seed in (0, 1) for where in ("none", "query", "gallery", "both")
    ]
    assert table["family"].value_counts()["noise"] == 2
    clean = Experiment(config, show=False)
    expected = clean.evaluate(clean.teacher().model).mean["mAP"]
    assert sides["mAP"].iloc[0] == pytest.approx(expected, abs=1e-6)


def test_a_run_can_have_its_own_teacher(config, tmp_path):
    experiment = Experiment(config, show=False)
    usual, other = experiment.teacher(), network(experiment, "teacher_cutswap")
    assert other.folder.parent == usual.folder.parent
    trained = json.loads((other.folder / "checkpoint.json").read_text())["config"]["experiment"]
    assert trained["teacher"]["cutswap"] == "paper"
    assert network(experiment, "teacher").folder == usual.folder != other.folder
    both = ("teacher", "teacher_cutswap")
    table = run_grid(config, tmp_path / "t.csv", runs=both, seeds=(0,), show=False)
    assert table["key"].nunique() == 2
    assert table["changes"].tolist() == ["{}", '{"teacher.cutswap": "paper"}']


def test_the_robustness_table_has_teacher_and_student_with_and_without_cutswap():
    students = {name: GRID[name].student.get("cutswap") for name in ("dakd", "cutswap_none")}
    assert students == {"dakd": None, "cutswap_none": "none"}
    assert {"teacher", "teacher_no_cutswap", *students} <= set(ROBUST) <= set(GRID)


pytest.importorskip("matplotlib")
tables = pytest.importorskip("dakd.studies.tables")
figures_of_results = pytest.importorskip("dakd.studies.figures_of_results")


def rows(run, *seeds):
    """Rows of the ablation's table with the given values, one per seed."""
    trials = [json.dumps(dict.fromkeys(("rank1", "mAP", "mINP"), [v, v + 0.1])) for v in seeds]
    return pd.DataFrame({"run": run, "seed": range(len(seeds)), "trials": trials})


def test_questions_compare_with_dakd_and_missing_runs_are_dashes():
    table = pd.concat(
        [rows("teacher", 0.1, 0.1), rows("mask_none", 0.31, 0.33), rows("dakd", 0.3, 0.3)]
    )
    lines = tables.question_table(table).splitlines()
    assert "| no mask | ours | 2 | +2.0 (-10.7 to +14.7) |" in " ".join(
        lines
    )  # t of 1 degree: 12.7
    assert lines.count("| uncertain half | release, difference 2 | – | – | – | – |") == 2
    assert sum(line.startswith("| **") for line in lines) == 5
    six = re.findall(r"release, difference (\d)", " ".join(lines[-7:-1]))
    assert six == list("123456")
    assert not re.search("only_kd|mask_none", " ".join(lines))


def test_differences_are_in_the_order_of_the_grid():
    table = pd.concat([rows("dakd", 0.3), rows("continued", 0.2), rows("teacher", 0.1)])
    found = tables.differences(table, metric="mAP")
    assert found["label"].tolist() == ["teacher, trained further", "DAKD"]
    assert found["group"].tolist() == ["controls", "method"]
    np.testing.assert_allclose(found["mean"], [0.1, 0.2])


def corrupted():
    """A table of two networks and three seeds with values chosen by hand."""
    cells = [("none", "all", 0, 0.4), ("query", "all", None, 0.3), ("both", "all", None, 0.1)]
    cells += [("both", f, s, 0.2 - s / 100) for f in ("noise", "blur") for s in (1, 5)]
    return pd.DataFrame(
        [
            {"method": name, "where": where, "family": family, "severity": severity, "seed": seed}
            | {m: value + seed / 100 for m in ("rank1", "mAP")}
            | {"rank1_std": 0.0, "mAP_std": 0.0}
            for name in ("teacher", "cutswap_none")
            for seed in (0, 1, 2)
            for where, family, severity, value in cells
        ]
    )


def test_the_robustness_summary_has_the_means_of_the_table():
    lines = tables.robustness_summary(corrupted()).splitlines()
    assert lines[0] == "| corrupted | teacher | DAKD without CutSwap |"
    found = {line.split(" | ")[0].strip("| "): line.split(" | ")[1] for line in lines[2:]}
    assert found == {
        "nothing": "41.0 ± 1.0", "queries": "31.0 ± 1.0", "both": "11.0 ± 1.0",
        "both: noise": "18.0 ± 1.0", "both: blur": "18.0 ± 1.0",
        "both: severity 1": "20.0 ± 1.0", "both: severity 5": "16.0 ± 1.0",
        "left with both": "26.8 ± 1.8",  # 10/40, 11/41, 12/42
    }  # fmt: skip


def test_the_robustness_figure_is_drawn_if_there_is_a_table(tmp_path):
    corrupted().to_csv(tmp_path / "robustness_demo.csv", index=False)
    drawn = figures_of_results.result_figures(tmp_path)
    assert list(drawn) == ["robustness_demo"]
    shown = {
        text.get_text()
        for text in drawn["robustness_demo"].findobj(lambda a: hasattr(a, "get_text"))
    }
    assert {"teacher", "DAKD without CutSwap", "noise", "blur"} <= shown
    assert not {"cutswap_none", "only_kd"} & shown


def test_the_section_on_robustness_has_networks_command_and_table():
    section = (ROOT / "docs" / "evidence.md").read_text().partition("## Robustness")[2]
    assert all(f"*{LABELS[run]}*" in section for run in ROBUST)
    lines = re.findall(r"^dakd (.+)$", section, flags=re.MULTILINE)
    command = parse(shlex.split(lines[0], comments=True))
    assert (command.tables, command.config.profile) == (("robustness",), "demo")
    path = ROOT / "figures" / "robustness_demo.csv"
    if path.is_file():
        assert tables.robustness_summary(pd.read_csv(path)) in section
        assert "figures/robustness_demo.png" in section
