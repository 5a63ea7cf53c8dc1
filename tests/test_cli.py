import json

import pandas as pd
import pytest

from dakd.cli import Export, main, parse
from dakd.config import load_profile
from dakd.data import load_dataset

TINY = ["--profile", "smoke", "--device", "cpu"]
ONE_STEP = ["--teacher.epochs", "1", "--teacher.steps", "1"]
ONE_STEP += ["--student.epochs", "1", "--student.steps", "1"]


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))


def test_the_profile_sets_the_defaults_and_flags_change_them():
    command = parse(["train", "--profile", "full", "--data.root", "X", "--seed", "4"])
    full = load_profile("full")
    assert command.config.data.root == "X"
    assert command.config.seed == 4
    assert command.config.teacher == full.teacher
    assert parse(["train", "--profile", "smoke"]).config == load_profile("smoke")


def test_train_then_evaluate_a_checkpoint(capsys, tmp_path):
    assert main(["train", *TINY, *ONE_STEP]) == 0
    student = capsys.readouterr().out.strip().splitlines()[-1].split(": ", 1)[1]
    out = tmp_path / "results"
    assert main(["evaluate", *TINY, "--checkpoint", student, "--out", str(out)]) == 0
    assert "indoor-search, 10-shot, infrared → visible" in capsys.readouterr().out
    record = json.loads((out / "sysu-all-1.json").read_text())
    assert 0 <= record["mean"]["rank1"] <= 1
    assert main(["evaluate", "--profile", "demo", "--checkpoint", student]) == 2
    assert "trained on images of height 32" in capsys.readouterr().err


def test_export_writes_a_readable_copy(tmp_path):
    flags = ["--height", "32", "--width", "16", "--train-ids", "4", "--test-ids", "20"]
    command = parse(["export", "--root", str(tmp_path / "copy"), *flags])
    assert isinstance(command, Export)
    assert command.synthetic.train_ids == 4
    command.run()
    copy = load_dataset("sysu", tmp_path / "copy", height=32, width=16)
    assert (copy.train.num_classes, copy.test.num_classes) == (4, 20)


def test_reproduce_writes_a_table(tmp_path):
    assert main(["reproduce", *TINY, *ONE_STEP, "--seeds", "1", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "benchmark_smoke.csv")
    assert set(table["seed"]) == {1}
    assert json.loads((tmp_path / "benchmark_smoke.json").read_text())["seeds"] == [1]
    assert {"untrained", "teacher", "only_kd", "full_mlkd"} == set(table["method"])


def test_figures_draws_the_pictures_of_the_readme(tmp_path, capsys):
    rows = [(s, m, "all", 1, 0.2, 0.2) for s in (0, 1) for m in ("untrained", "teacher")]
    table = pd.DataFrame(rows, columns=["seed", "method", "mode", "shots", "rank1", "mAP"])
    table.to_csv(tmp_path / "benchmark_demo.csv", index=False)
    assert main(["figures", "--out", str(tmp_path)]) == 0
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {
        "benchmark_demo.png",
        "contact_sheet.png",
        "cutswap.png",
        "method_overview.png",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--profile", "huge"], "profile 'huge' is unknown"),
        (["evaluate", *TINY, "--checkpoint", "nowhere"], "nowhere is no complete checkpoint"),
        (["train", *TINY, "--data.root", "nowhere"], "nowhere"),
        (["train", *TINY, "--device", "cuda:77"], "cuda"),
    ],
)
def test_a_known_fault_is_one_line_and_exit_code_2(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
