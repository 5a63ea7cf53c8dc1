import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from dakd.cli import console, main, parse
from dakd.cli.entry_point import Export
from dakd.config import load_profile, replace
from dakd.data import load_dataset
from dakd.evaluate.result import Result
from dakd.studies.ablation import GRID
from dakd.studies.recipes import recipe
from dakd.train.stopping import Stopped

TINY = ["--profile", "smoke", "--device", "cpu"]
ONE_STEP = ["--teacher.epochs", "1", "--teacher.steps", "1"]
ONE_STEP += ["--student.epochs", "1", "--student.steps", "1"]


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path / "runs"))


def test_the_profile_sets_the_defaults_and_options_override_them():
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
    record = json.loads((out / Path(student).name / "sysu-all-1.json").read_text())
    assert 0 <= record["mean"]["rank1"] <= 1
    for other in (["--data.height", "64"], ["--data.filter", "bilinear"]):
        assert main(["evaluate", *TINY, "--checkpoint", student, *other]) == 2
        assert f"trained on images of {other[0][7:]} " in capsys.readouterr().err


def test_a_network_is_not_tested_on_the_split_of_another_trial(capsys):
    regdb = [*TINY, "--data.name", "regdb"]
    assert main(["train", *regdb, *ONE_STEP, "--data.trial", "2", "--only", "teacher"]) == 0
    teacher = capsys.readouterr().out.strip().splitlines()[-1].split(": ", 1)[1]
    assert parse(["evaluate", *regdb, "--checkpoint", teacher]).config.data.trial == 2
    assert main(["evaluate", *regdb, "--checkpoint", teacher, "--data.trial", "1"]) == 2
    assert "trained on trial 2, so it would be tested on its training" in capsys.readouterr().err


def test_a_checkpoint_is_evaluated_at_the_size_and_filter_of_its_training(capsys):
    size = ["--data.height", "40", "--data.width", "20", "--data.filter", "bicubic"]
    assert main(["train", *TINY, *ONE_STEP, *size, "--only", "teacher"]) == 0
    teacher = capsys.readouterr().out.strip().splitlines()[-1].split(": ", 1)[1]
    data = parse(["evaluate", *TINY, "--checkpoint", teacher]).config.data
    assert (data.height, data.width, data.filter) == (40, 20, "bicubic")


def test_recipe_defaults_to_the_full_profile(monkeypatch):
    monkeypatch.delenv("DAKD_PROFILE")
    command = parse(["recipe", "regdb", "--root", "X", "--trials", "1", "2", "--seed", "4"])
    assert command.config == replace(recipe("regdb", profile="full"), seed=4)
    assert (str(command.root), command.trials) == ("X", (1, 2))
    changed = parse(["recipe", "llcm", "--profile", "smoke", "--student.preset", "release"])
    assert changed.config.student.preset == "release"
    assert changed.config.data == recipe("llcm", profile="smoke").data


def test_recipe_trains_evaluates_and_writes_a_record(tmp_path, capsys):
    few = ["--data.synthetic.train-ids", "8", "--data.synthetic.images-per-camera", "2"]
    out = tmp_path / "results"
    assert main(["recipe", "llcm", *TINY, *ONE_STEP, *few, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "student infrared-visible" in text
    assert "cannot be compared" in text
    assert [path.name in text for path in out.iterdir()] == [True]


def test_a_stopped_training_prints_how_to_continue(monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise Stopped("the state is saved")

    monkeypatch.setattr("dakd.studies.reproduction.run_recipe", stop)
    assert main(["recipe", "sysu", *TINY]) == 130
    assert capsys.readouterr().err == "dakd: the state is saved\n"


def test_export_writes_a_dataset_that_can_be_loaded(tmp_path):
    flags = ["--height", "32", "--width", "16", "--train-ids", "4", "--test-ids", "20"]
    command = parse(["export", "--root", str(tmp_path / "copy"), *flags])
    assert isinstance(command, Export)
    assert command.synthetic.train_ids == 4
    command.run()
    copy = load_dataset("sysu", tmp_path / "copy", height=32, width=16)
    assert (copy.train.num_classes, copy.test.num_classes) == (4, 20)


def test_reproduce_writes_a_table(tmp_path, capsys):
    reproduce = ["reproduce", *TINY, *ONE_STEP, "--seeds", "1", "--out", str(tmp_path)]
    assert main([*reproduce, "--runs", "untrained", "only_kd"]) == 0
    table = pd.read_csv(tmp_path / "ablation_smoke.csv")
    assert table[["run", "seed"]].to_numpy().tolist() == [["untrained", 1], ["only_kd", 1]]
    record = json.loads((tmp_path / "ablation_smoke.json").read_text())
    (call,) = record["calls"]
    assert (record["seeds"], call["config"]["profile"]) == ([1], "smoke")
    assert call["rows"] == [["untrained", 1], ["only_kd", 1]]
    assert "all-1/rank1" in capsys.readouterr().out


def test_figures_draws_the_figures_of_the_readme(tmp_path):
    trials = json.dumps({"rank1": [0.2, 0.3], "mAP": [0.1, 0.2]})
    rows = [(run, s, 0.2, 0.2, trials) for s in (0, 1) for run in GRID]
    columns = ["run", "seed", "all-1/rank1", "all-1/mAP", "trials"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "ablation_demo.csv", index=False)
    assert main(["figures", "--out", str(tmp_path)]) == 0
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "ablation_mAP", "ablation_rank1", "benchmark_demo", "contact_sheet", "cutswap",
        "method_overview",
    }  # fmt: skip


def test_evidence_writes_the_given_tables(tmp_path):
    few = ["--tables", "trust", "--seeds", "0", "--out", str(tmp_path)]
    assert main(["evidence", *TINY, *ONE_STEP, *few]) == 0
    assert [path.name for path in tmp_path.glob("*.csv")] == ["trust_smoke.csv"]
    assert len(pd.read_csv(tmp_path / "trust_smoke.csv")) == 4


@pytest.mark.parametrize("layout", ["sysu", "regdb", "llcm", "custom"])
def test_verify_accepts_an_export_and_rejects_a_damaged_one(layout, tmp_path, capsys):
    root, flags = tmp_path / "copy", ["--height", "32", "--width", "16"]
    few = ["--train-ids", "20", "--test-ids", "20", "--images-per-camera", "1"]
    assert main(["export", "--root", str(root), "--layout", layout, *flags, *few]) == 0
    name = str(root / "people.csv" if layout == "custom" else root)
    assert main(["verify", layout, name]) == 0
    assert "Drawn people" in capsys.readouterr().out
    image = next(p for p in sorted(root.rglob("*")) if p.suffix in (".jpg", ".bmp", ".png"))
    image.write_bytes(image.read_bytes()[:60])
    assert main(["verify", layout, name]) == 1
    assert image.name in capsys.readouterr().out


def test_regdb_networks_of_several_trials_give_one_result(tmp_path, capsys):
    folders = []
    for trial in ("2", "5"):
        flags = ["--data.name", "regdb", "--data.trial", trial, "--only", "teacher"]
        assert main(["train", *TINY, *ONE_STEP, *flags]) == 0
        folders.append(capsys.readouterr().out.strip().splitlines()[-1].split(": ", 1)[1])
    out = ["--out", str(tmp_path), "--data.name", "regdb"]
    assert main(["evaluate", *TINY, *out, "--checkpoint", *folders]) == 0
    assert "regdb: visible → infrared, 2 trials" in capsys.readouterr().out
    result = Result.load(tmp_path / "joined" / "regdb-visible-infrared.json")
    assert result.trials.index.tolist() == ["trial 2", "trial 5"]
    wrong_trial = ["--data.name", "regdb", "--data.trial", "7", "--checkpoint", folders[0]]
    assert main(["evaluate", *TINY, *wrong_trial]) == 2
    assert "was trained on trial 2, so it would be tested on" in capsys.readouterr().err
    assert main(["evaluate", *TINY, *wrong_trial[:2], *wrong_trial[4:]]) == 0
    result = capsys.readouterr().out
    assert "trial 2" in result
    assert "trained on" not in result
    assert main(["evaluate", *TINY, "--checkpoint", folders[0]]) == 0
    assert "trained on regdb (data" in capsys.readouterr().out
    assert main(["evaluate", *TINY, "--checkpoint", *folders]) == 2
    assert "only RegDB has one network per trial" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--profile", "huge"], "profile 'huge' is unknown"),
        (["evaluate", *TINY, "--checkpoint", "nowhere"], "nowhere is no complete checkpoint"),
        (["train", *TINY, "--data.root", "nowhere"], "nowhere"),
        (["train", *TINY, "--device", "cuda:77"], "cuda"),
        (["recipe", "sysu", "--profile", "full"], "needs root= (--root), the folder with cam1"),
        (["recipe", "sysu", *TINY, "--root", "nowhere"], "nowhere is no folder"),
        (["recipe", *TINY, "--data.name", "llcm", "sysu"], "'sysu' does not run on 'llcm'"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_code_2(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", *TINY, "--teacher.lr", "nan"], "dakd: --teacher.lr must be positive, not nan\n"),
        (["train", *TINY, "--student.identity-weight", "-1"], "--student.identity-weight must not"),
        (
            ["train", *TINY, "--data.synthetic.test-ids", "3"],
            "--data.synthetic.test-ids must be at",
        ),
        (["export", "--root", "x", "--test-ids", "3"], "dakd: --test-ids must be at least 20"),
        (["reproduce", *TINY, "--runs", "--out", "t"], "no run is given (--runs)"),
        (["reproduce", *TINY, "--seeds", "--out", "t"], "no seed is given (--seeds)"),
        (["reproduce", *TINY, "--seeds", "0", "-3", "--out", "t"], "dakd: --seed must lie in 0"),
        (["reproduce", *TINY, "--out="], "--out has an empty value; is a variable of the shell"),
        (["export", "--root", ""], "a value is empty; is a variable of the shell not set?"),
        (["evidence", *TINY, "--seeds", "--out", "t"], "no seed is given (--seeds)"),
        (["evidence", *TINY, "--tables", "--out", "t"], "no table is given (--tables)"),
        (["evaluate", *TINY, "--checkpoint"], "no checkpoint is given (--checkpoint)"),
        (["train", *TINY, "--device", "gpu"], "device 'gpu' cannot be used here"),
    ],
)
def test_an_invalid_value_is_named_by_its_option_and_nothing_is_written(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_profile_without_a_value_is_an_error_of_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--profile"])
    error = capsys.readouterr().err
    assert "'--profile'" in error
    assert "dakd train --help" in error


COMMANDS = ["train", "evaluate", "recipe", "verify", "export", "reproduce", "evidence", "figures"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_ignores_an_invalid_profile_in_the_environment(monkeypatch, capsys, command):
    monkeypatch.setenv("DAKD_PROFILE", "nonsense")
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    assert f"usage: dakd {' '.join(command)}" in capsys.readouterr().out


def test_help_does_not_import_torch_or_numpy():
    code = (
        "import sys\nfrom dakd.cli import main\ntry: main(['--help'])\n"
        "except SystemExit: print(*{'torch', 'numpy', 'pandas', 'scipy', 'PIL'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == ""


def test_a_tilde_is_the_home_folder_in_every_path_option(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    home = Path("/home/me")
    assert parse(["export", "--root=~/x"]).root == home / "x"
    assert parse(["verify", "sysu", "~/x"]).root == home / "x"
    train = parse(["train", *TINY, "--data.root=~/x", "--model.weights", "~/w", "--teacher=~/t"])
    assert Path(train.config.data.root) == home / "x"
    assert Path(train.config.model.weights) == home / "w"
    assert train.teacher == home / "t"
    assert parse(["figures", "--slides=~/s"]).slides == home / "s"
    assert parse(["evaluate", *TINY, "--checkpoint", "a", "~/b"]).checkpoint[1] == home / "b"


class Cp1252(io.TextIOWrapper):
    """A Windows console."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="cp1252")


class Closed(io.StringIO):
    """A closed pipe, or a file on a full disk."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_a_character_that_the_console_cannot_encode_is_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", stdout := Cp1252())
    assert console.run(lambda: print("infrared \u2192 visible") or 0) == 0
    assert stdout.buffer.getvalue().strip() == rb"infrared \u2192 visible"
    assert sys.stdout is stdout


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (BrokenPipeError("closed"), 0, ""),
        (OSError("no space"), 2, "dakd: not all output could be written: no space\n"),
    ],
)
def test_failing_output_does_not_end_the_work(monkeypatch, capsys, error, code, message):
    done = []
    monkeypatch.setattr(sys, "stdout", Closed(error))
    assert console.run(lambda: print("a row") or done.append(1) or print("another") or 0) == code
    assert done == [1]
    assert capsys.readouterr().err == message


def test_results_are_saved_before_they_are_printed(monkeypatch, tmp_path, capsys):
    assert main(["train", *TINY, *ONE_STEP, "--only", "teacher"]) == 0
    network = capsys.readouterr().out.strip().split(": ", 1)[1]
    monkeypatch.setattr("dakd.evaluate.result.Result.__str__", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", *TINY, "--checkpoint", network, "--out", str(tmp_path)])
    assert len(list(tmp_path.rglob("sysu-*.json"))) == 4


def test_evaluations_with_different_settings_have_different_records(tmp_path, capsys):
    assert main(["train", *TINY, *ONE_STEP, "--only", "teacher"]) == 0
    network = capsys.readouterr().out.strip().split(": ", 1)[1]
    evaluate = ["evaluate", *TINY, "--checkpoint", network, "--out", str(tmp_path / "out")]
    for more in ([], ["--evaluation.flip"], []):
        assert main([*evaluate, *more]) == 0
        paths = re.findall(r"written: (.*)", capsys.readouterr().out)
        flips = {json.loads(Path(path).read_text())["flip"] for path in paths}
        assert (len(paths), flips) == (4, {"on" if more else "off"})
    assert len(list((tmp_path / "out").rglob("*.json"))) == 8


@pytest.mark.parametrize(
    ("name", "message"),
    [("matplotlib.pyplot", "pip install '.[notebooks]'"), ("torch", "pip install '.'")],
)
def test_a_missing_package_is_named_with_the_command_to_install_it(capsys, name, message):
    def work():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert console.run(work) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemError, ImportError, ZeroDivisionError])
def test_ctrl_c_is_one_line_whatever_the_interrupted_library_raises(capsys, raised):
    def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise raised from None

    before = signal.getsignal(signal.SIGINT)
    assert console.run(work) == 130
    assert capsys.readouterr().err == "dakd: interrupted; the same command continues the work\n"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
@pytest.mark.parametrize("module", ["tyro", "torch", "torch.nn", "pandas"])
def test_ctrl_c_during_imports_is_one_line(module, tmp_path):
    code = (
        "import os, signal, sys\n"
        "class Press:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "sys.argv = ['dakd', 'train', '--profile', 'smoke']\n"
        "from dakd.__main__ import main\nsys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 130
    assert re.fullmatch("dakd: interrupted.*\n", ran.stderr)


def test_warnings_of_the_package_are_one_line_without_code(capsys):
    def work():
        for category in (UserWarning, FutureWarning):
            sys.stderr.write(warnings.formatwarning("look", category, "file.py", 7, "code"))
        return 0

    assert console.run(work) == 0
    output = capsys.readouterr().err
    assert output.startswith("dakd: look\nfile.py:7: FutureWarning: look\n")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"experiment": {"data": {"height": "x"}}}, "has invalid image settings (wrong type of h"),
        ({"experiment": {"data": {"filter": "sinc"}}}, "filter must be one of"),
        ({"experiment": [1]}, None),
        ({"experiment": {"data": None}, "selection": 3}, None),
    ],
)
def test_a_checkpoint_with_malformed_data_settings_does_not_crash(
    tmp_path, capsys, config, message
):
    from dakd.model import build_model
    from dakd.train.checkpoint import save_checkpoint

    rows = pd.DataFrame({"epoch": [0], "step": [0], "loss": [1.0]})
    folder = save_checkpoint(tmp_path / "net", build_model("small"), config=config, history=rows)
    assert main(["evaluate", *TINY, "--checkpoint", str(folder)]) == (2 if message else 0)
    assert (message or "") in capsys.readouterr().err
