import json

import numpy as np
import pandas as pd
import pytest

from dakd import ablation
from dakd.ablation import GRID, MAIN, describe, run_grid
from dakd.config import load_profile, replace
from dakd.distill import DAKDLoss

RUNS = ("untrained", "teacher", "continued", "only_kd")


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=2)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=2))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))


def test_a_row_a_run_and_seed_with_every_setting(config, tmp_path, runs):
    table = run_grid(config, tmp_path / "t.csv", runs=RUNS, seeds=(0, 3), show=False)
    assert table[["run", "seed"]].to_numpy().tolist() == [[r, s] for r in RUNS for s in (0, 3)]
    settings = {c.split("/")[0] for c in table.columns if "/" in c}
    assert settings == {"all-1", "all-10", "indoor-1", "indoor-10"}
    ranks = table[[f"all-1/rank{k}" for k in (1, 5, 10, 20)]].to_numpy()
    assert ((ranks >= 0) & (ranks <= 1)).all()
    assert (np.diff(ranks, axis=1) >= 0).all()
    for _, row in table.iterrows():
        trials = json.loads(row["trials"])["mAP"]
        assert len(trials) == config.evaluation.trials
        assert np.mean(trials) == pytest.approx(row["all-1/mAP"], abs=1e-5)
    assert (table["seconds"][table["run"] != "untrained"] > 0).all()
    assert table["parameters"].nunique() == 1
    back = pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(back, table, check_dtype=False)


def test_what_is_done_is_kept_and_what_was_stopped_goes_on(config, tmp_path, runs, monkeypatch):
    path, measured = tmp_path / "t.csv", []
    whole = ablation._measure

    def stop_at_the_third(lab, name):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(name)
        return whole(lab, name)

    monkeypatch.setattr(ablation, "_measure", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_grid(config, path, runs=RUNS, seeds=(0,), show=False)
    assert pd.read_csv(path)["run"].tolist() == list(RUNS[:2])
    monkeypatch.setattr(ablation, "_measure", lambda *a: measured.append(a[1]) or whole(*a))
    table = run_grid(config, path, runs=RUNS, seeds=(0,), show=False)
    assert measured == list(RUNS)
    assert table["run"].tolist() == list(RUNS)


def test_rows_of_another_configuration_are_made_again_and_others_stay(config, tmp_path, runs):
    path = tmp_path / "t.csv"
    first = run_grid(config, path, runs=("untrained",), seeds=(0, 1), show=False)
    other = replace(config, evaluation=replace(config.evaluation, trials=3))
    changed = run_grid(other, path, runs=("untrained",), seeds=(1,), show=False)
    assert changed["key"].item() != first["key"][1]
    assert len(json.loads(changed["trials"].item())["mAP"]) == 3
    on_disk = pd.read_csv(path)
    assert on_disk["key"].tolist() == [first["key"][0], changed["key"].item()]


def test_bad_requests_are_refused_before_anything_runs(config, tmp_path):
    with pytest.raises(ValueError, match=r"unknown runs \['dackd'\].*only_kd"):
        run_grid(config, tmp_path / "t.csv", runs=("dackd",))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no table of runs, it lacks"):
        run_grid(config, tmp_path / "other.csv", runs=("untrained",))
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("name", GRID)
def test_every_run_of_the_grid_is_a_valid_and_different_variant(config, name):
    run = GRID[name]
    student = replace(config.student, **run.student)
    DAKDLoss(student.preset, student.ablation, **student.switches)
    own = (run.kind, run.student, run.teacher)
    same = [n for n, r in GRID.items() if (r.kind, r.student, r.teacher) == own]
    assert same == [name]


def test_the_record_names_machine_seeds_and_code(config):
    record = describe(config, (0, 1))
    assert record["seeds"] == [0, 1]
    assert len(record["training_code"]) == 10
    assert record["config"]["student"]["steps"] == 2
    assert set(MAIN) <= set(GRID)
