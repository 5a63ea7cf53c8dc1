import json

import numpy as np
import pandas as pd
import pytest

from dakd.config import load_profile, replace
from dakd.distill import DAKDLoss
from dakd.studies import ablation
from dakd.studies.ablation import GRID, MAIN, describe, run_grid

RUNS = ("untrained", "teacher", "continued", "only_kd")


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=2)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=2))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))


def test_one_row_per_run_and_seed_has_every_setting(config, tmp_path, runs):
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


def test_an_interrupted_grid_keeps_its_rows_and_continues(config, tmp_path, runs, monkeypatch):
    path, evaluated = tmp_path / "t.csv", []
    original = ablation._evaluate

    def stop_at_the_third(experiment, name):
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(name)
        return original(experiment, name)

    monkeypatch.setattr(ablation, "_evaluate", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_grid(config, path, runs=RUNS, seeds=(0,), show=False)
    assert pd.read_csv(path)["run"].tolist() == list(RUNS[:2])
    monkeypatch.setattr(ablation, "_evaluate", lambda *a: evaluated.append(a[1]) or original(*a))
    table = run_grid(config, path, runs=RUNS, seeds=(0,), show=False)
    assert evaluated == list(RUNS)
    assert table["run"].tolist() == list(RUNS)


def test_rows_of_another_configuration_are_replaced_and_others_kept(config, tmp_path, runs):
    path = tmp_path / "t.csv"
    first = run_grid(config, path, runs=("untrained",), seeds=(0, 1), show=False)
    other = replace(config, evaluation=replace(config.evaluation, trials=3))
    changed = run_grid(other, path, runs=("untrained",), seeds=(1,), show=False)
    assert changed["key"].item() != first["key"][1]
    assert len(json.loads(changed["trials"].item())["mAP"]) == 3
    on_disk = pd.read_csv(path)
    assert on_disk["key"].tolist() == [first["key"][0], changed["key"].item()]


def test_invalid_requests_raise_before_anything_runs(config, tmp_path):
    with pytest.raises(ValueError, match=r"unknown runs \['dackd'\].*only_kd"):
        run_grid(config, tmp_path / "t.csv", runs=("dackd",))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no table of runs, it lacks"):
        run_grid(config, tmp_path / "other.csv", runs=("untrained",))
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"runs": ()}, r"no run is given \(--runs\)"),
        ({"seeds": ()}, r"no seed is given \(--seeds\)"),
        ({"seeds": (0, -1)}, "seed must"),
        ({"runs": ("untrained", "")}, r"unknown runs \[''\]"),
    ],
)
def test_an_empty_request_raises_before_anything_is_written(config, tmp_path, how, message):
    with pytest.raises(ValueError, match=message):
        run_grid(
            config, tmp_path / "new" / "t.csv", **{"runs": ("untrained",), "seeds": (0,), **how}
        )
    assert not (tmp_path / "new").exists()


def test_a_repeated_run_is_one_row(config, tmp_path, runs):
    how = {"runs": ("untrained", "untrained"), "seeds": (0, 0), "show": False}
    assert len(run_grid(config, tmp_path / "t.csv", **how)) == 1


def test_rows_added_by_another_process_are_kept(config, tmp_path, runs, monkeypatch):
    path, original = tmp_path / "t.csv", ablation._evaluate

    def meanwhile(experiment, name):
        monkeypatch.setattr(ablation, "_evaluate", original)
        run_grid(config, path, runs=("untrained",), seeds=(7,), show=False)
        return original(experiment, name)

    monkeypatch.setattr(ablation, "_evaluate", meanwhile)
    table = run_grid(config, path, runs=("untrained",), seeds=(0, 1), show=False)
    assert table["seed"].tolist() == [0, 1]
    assert sorted(pd.read_csv(path)["seed"]) == [0, 1, 7]
    assert json.loads(path.with_suffix(".json").read_text())["seeds"] == [0, 1, 7]


def test_the_record_describes_every_row(config, tmp_path, runs):
    path = tmp_path / "t.csv"
    other = replace(config, evaluation=replace(config.evaluation, trials=3))
    for settings, seeds in ((config, (0, 1, 2)), (other, (1,)), (config, (0,))):
        run_grid(settings, path, runs=("untrained",), seeds=seeds, show=False)
    record = json.loads(path.with_suffix(".json").read_text())
    rows = {c["config"]["evaluation"]["trials"]: c["rows"] for c in record["calls"]}
    assert record["seeds"] == [0, 1, 2]
    assert rows == {2: [["untrained", 0], ["untrained", 2]], 3: [["untrained", 1]]}


def test_an_old_record_still_describes_its_rows(config, tmp_path, runs):
    path, record = tmp_path / "t.csv", tmp_path / "t.json"
    run_grid(config, path, runs=("untrained",), seeds=(0, 1), show=False)
    old = {**json.loads(record.read_text())["calls"][0], "seeds": [0, 1], "training_code": "old"}
    del old["rows"]
    record.write_text(json.dumps(old))
    run_grid(config, path, runs=("untrained",), seeds=(2,), show=False)
    rows = {c["training_code"]: c["rows"] for c in json.loads(record.read_text())["calls"]}
    assert rows.pop("old") == [["untrained", 0], ["untrained", 1]]
    assert list(rows.values()) == [[["untrained", 2]]]


def good_table(path):
    pd.DataFrame(
        [{"run": "dakd", "seed": 0, "key": "1e5", "trials": "{}", "all-1/mAP": 0.5}]
    ).to_csv(path, index=False)


@pytest.mark.parametrize("content", ["", "\xff\xfe", "a,b\n1,2\n", "a\n1,2\n1,2,3\n", '"'])
def test_a_file_that_is_no_table_is_kept(config, tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content.encode("latin1"))
    with pytest.raises(ValueError, match=r"t\.csv is no table of runs.*(delete it|another file)"):
        run_grid(config, tmp_path / "t.csv", runs=("untrained",), show=False)
    assert (tmp_path / "t.csv").read_bytes() == content.encode("latin1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dakd,0", "dakd,x"),
        ("dakd,0", "dakd,"),
        ("0.5", "5"),
        ("0.5", "inf"),
        ("0.5", "o.5"),
        ("dakd,0", ",0"),
    ],
)
def test_a_damaged_row_raises(config, tmp_path, old, new):
    path = tmp_path / "t.csv"
    good_table(path)
    assert ablation._read_table(path)["dakd", 0]["key"] == "1e5"  # text, not a number
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"row 1 of .*t\.csv is damaged"):
        run_grid(config, path, runs=("untrained",), show=False)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"calls": 3}', '{"calls": [{"rows": 1}]}', "[" * 9999]
)
def test_a_damaged_record_raises_before_the_work(config, tmp_path, content):
    good_table(tmp_path / "t.csv")
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match=r"t\.json is no record of t\.csv"):
        run_grid(config, tmp_path / "t.csv", runs=("untrained",), show=False)


@pytest.mark.parametrize("name", GRID)
def test_every_run_of_the_grid_is_a_valid_and_distinct_variant(config, name):
    run = GRID[name]
    student = replace(config.student, **run.student)
    DAKDLoss(student.preset, student.ablation, **student.distill.overrides)
    own = (run.kind, run.student, run.teacher)
    same = [n for n, r in GRID.items() if (r.kind, r.student, r.teacher) == own]
    assert same == [name]


def test_the_record_has_code_and_configuration(config):
    record = describe(config)
    assert len(record["training_code"]) == 10
    assert record["config"]["student"]["steps"] == 2
    assert set(MAIN) <= set(GRID)
