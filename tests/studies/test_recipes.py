import json
import os
import shutil
import signal
from dataclasses import asdict

import pytest

from dakd.config import EngineConfig, SyntheticConfig, load_profile, replace
from dakd.data.export import export_dataset
from dakd.data.records import MARKER
from dakd.data.regdb import load_regdb
from dakd.model import WeightsError
from dakd.studies.comparison import departures, notes
from dakd.studies.recipes import recipe
from dakd.studies.reproduction import run_recipe
from dakd.train.checkpoint import CheckpointError
from dakd.train.distributed import DistributedContext
from dakd.train.history import read_rows
from dakd.train.run_folder import RunFolder
from dakd.train.stopping import Stopped

pytestmark = pytest.mark.filterwarnings("ignore:uneven training data")  # one image per camera
PEOPLE = SyntheticConfig(train_ids=12, test_ids=20, images_per_camera=1)
TRIALS = {"regdb": (1, 2)}
OFTEN = EngineConfig(snapshot_seconds=0)  # a snapshot after every step
SETTINGS = {
    "sysu": ["all-1", "all-10", "indoor-1", "indoor-10"],
    "regdb": ["visible-infrared", "infrared-visible"],
    "llcm": ["visible-infrared", "infrared-visible"],
}
SETTINGS = {name: [*s, *(f"{one}-reranked" for one in s)] for name, s in SETTINGS.items()}


def short(name, root=None):
    """A recipe in smoke size, with three steps per stage and fewer identities."""
    config = recipe(name, root, profile="smoke")
    return replace(
        config,
        device="cpu",
        data=replace(config.data, synthetic=PEOPLE),
        teacher=replace(config.teacher, epochs=1, steps=3),
        student=replace(config.student, epochs=1, steps=3),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an export in SYSU-MM01's layout, in which the recipes of this module run."""
    place = tmp_path_factory.mktemp("recipes")
    export_dataset("sysu", PEOPLE, place / "copy", height=32, width=16, show=False, warn=False)
    return place


@pytest.fixture(scope="module")
def run(place):
    """Run a recipe, SYSU-MM01's on the export above and the others on their own."""

    def run(name, where=place, **changes):
        config = short(name, place / "copy" if name == "sysu" else None)
        how = {"trials": TRIALS.get(name), "runs": where / "runs", "show": False, **changes}
        return run_recipe(replace(config, engine=OFTEN), where / "results", **how)

    return run


@pytest.fixture
def nothing_trains(monkeypatch):
    for name in ("train_teacher", "train_student"):
        monkeypatch.setattr(f"dakd.experiment.{name}", lambda *a, **k: pytest.fail("trained"))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_recipe_writes_a_record_and_only_evaluates_when_repeated(name, place, run, monkeypatch):
    first = run(name)
    record = json.loads(first.path.read_text())
    trials = list(TRIALS.get(name, (1,)))
    assert (record["recipe"], record["drawn"], record["trials"]) == (name, True, trials)
    assert first.path.name.startswith(f"{name}-smoke-")
    for who in ("teacher", "student"):
        assert list(record["results"][who]) == SETTINGS[name]
        for setting, result in record["results"][who].items():
            assert 0 < result["mean"]["mAP"] < 1
            assert (result["reranking"] == "off") != setting.endswith("-reranked")
            assert result["protocol"] == name
        for training in record["trainings"]:
            trained = training[who]
            assert trained["network"].startswith(who)
            assert 0 < sum(trained["seconds_of_epochs"]) < trained["seconds"]
            assert len(trained["seconds_of_epochs"]) == (2 if who == "teacher" else 1)  # 2 stages
            assert trained["peak_memory_mb"] > 10
            assert trained["hardware"].startswith("CPU (")
            assert trained["versions"]["torch"]
    data = {training["student"]["data_fingerprint"] for training in record["trainings"]}
    assert len(data) == len(trials)
    assert record["config"]["student"]["steps"] == 3
    for name_ in ("train_teacher", "train_student"):
        monkeypatch.setattr(f"dakd.experiment.{name_}", lambda *a, **k: pytest.fail("trained"))
    again = run(name)
    assert (again.path, json.loads(again.path.read_text())) == (first.path, record)


def test_regdbs_trials_are_joined_and_each_is_evaluated_on_its_own_split(run, place):
    record = run("regdb").record
    result = record["results"]["student"]["visible-infrared"]
    assert list(result["trials"]) == ["trial 1", "trial 2"]
    assert len(set(result["data_fingerprint"])) == 2
    exported = next((place / "runs" / "smoke" / "data").glob("regdb-*"))
    people = [
        {
            r.path.parent.name
            for r in load_regdb(exported, trial=t, height=32, width=16).test.records
        }
        for t in (1, 2)
    ]
    assert people[0] != people[1]
    assert "2 of 10 trials." in record["notes"]


def test_results_on_drawn_people_are_not_compared_with_published_ones(run):
    reproduction = run("sysu")
    assert reproduction.record["comparison"] == []
    text = str(reproduction)
    assert "drawn people in the layout of SYSU-MM01" in text
    assert "cannot be compared" in text
    assert "76.31" not in text
    assert "76.31" not in reproduction.path.read_text()
    assert "74.77" not in text


def test_other_results_are_compared_with_published_ones_and_their_caveats(
    run, place, nothing_trains
):
    run("sysu")
    marker = place / "copy" / MARKER
    content = marker.read_text()
    marker.unlink()
    try:
        with pytest.raises(ValueError, match=r"(?s)3 wrong.*Repair the copy.*--no-check"):
            run("sysu")
        reproduction = run("sysu", check=False)
    finally:
        marker.write_text(content)
    rows = {(r["network"], r["setting"], r["metric"]): r for r in reproduction.record["comparison"]}
    published = {key: row["published"] for key, row in rows.items()}
    assert published == {
        ("teacher", "all-1", "rank1"): 74.77,
        ("teacher", "all-1", "mAP"): 72.01,
        ("teacher", "indoor-1", "rank1"): 83.48,
        ("teacher", "indoor-1", "mAP"): 86.06,
        ("student", "all-1", "rank1"): 76.31,
        ("student", "all-1-reranked", "rank1"): 76.31,
    }
    for (who, setting, metric), row in rows.items():
        assert row["ours"] == 100 * reproduction.record["results"][who][setting]["mean"][metric]
        assert f"{row['ours']:.2f} % here, {row['published']:.2f} % published" in str(reproduction)
    assert "MCE" in rows["teacher", "all-1", "mAP"]["source"]
    assert "does not state how galleries were drawn" in str(reproduction)
    assert "profile 'smoke': its own images" in str(reproduction)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_record_names_every_departure_from_the_published_training(name):
    full = recipe(name, profile="full", release=True)
    other = replace(full, seed=4, device="cpu", data=replace(full.data, root="X", cache=False))
    known = {d for d in departures(other) if name == "llcm" and d.startswith("LLCM: only image")}
    assert set(departures(other)) == known
    assert len(known) == (name == "llcm")
    other = replace(full, evaluation=replace(full.evaluation, trials=1))  # selects the epoch
    assert set(departures(other)) - known == {"evaluation.trials 1 instead of 10"}
    source = {"file": "teacher.t", "digest": "0123456789"}
    fewer = replace(full, teacher=replace(full.teacher, epochs=3))
    assert set(departures(fewer, source)) - known == {"existing teacher: teacher.t (0123456789)"}
    other = replace(full, student=replace(full.student, cutswap="none", batch_statistics="joint"))
    assert set(departures(other)) - known == {
        "student.cutswap none instead of preset",
        "student.batch_statistics joint instead of modality",
    }
    assert set(departures(recipe(name, profile="full"))) - known == {
        "precision auto instead of float32",
        "teacher.selection last instead of test",
        "student.preset paper instead of release",
    }
    smoke = departures(recipe(name, profile="smoke", release=True))
    assert len(smoke) == 1 + len(known)
    assert smoke[0].startswith("profile 'smoke'")


def test_notes_state_the_selection_of_the_epoch_and_missing_published_results():
    paper, release = (recipe("sysu", profile="full", release=how) for how in (False, True))
    assert len(notes(paper, (1,), drawn=False)) == 1
    selected = "The {}'s epoch was selected on the test set: its numbers are no test results."
    expected = [selected.format("teacher"), selected.format("student")]
    assert notes(release, (1,), drawn=False)[1:] == expected
    assert "no published result" in notes(recipe("llcm", profile="full"), (1,), drawn=False)[0]
    known = {"chosen": {"on": "test set", "epoch": 14, "score": 0.4}}
    assert notes(paper, (1,), False, known)[1:] == expected[:1]
    assert notes(release, (1,), False, {"chosen": "last epoch"})[1:] == expected[1:]
    unknown = notes(release, (1,), False, {"family": "DAKD release"})[1:]
    assert "are not known" in unknown[0]
    assert unknown[1:] == expected[1:]
    assert "not checked" in notes(paper, (1,), False, check=False)[-1]


def test_a_release_recipe_has_no_otherdepartures(place, tmp_path):
    config = recipe("sysu", place / "copy", profile="smoke", release=True)
    config = replace(config, device="cpu")
    few = {"epochs": 1, "steps": 2, "images": 1, "identities": 4}
    config = replace(config, **{
        who: replace(getattr(config, who), **few) for who in ("teacher", "student")
    })  # fmt: skip
    reproduction = run_recipe(config, tmp_path / "results", runs=tmp_path / "runs", show=False)
    assert reproduction.record["departures"][0].startswith("profile 'smoke'")
    assert all(d.split(".")[1].split()[0] in few for d in reproduction.record["departures"][1:])
    for who in ("teacher", "student"):
        assert reproduction.record["trainings"][0][who]["chosen"]["on"] == "test set"
    given = reproduction.record["trainings"][0]["teacher"]["network"]
    teacher = next((tmp_path / "runs").rglob(given))

    again = run_recipe(
        config, tmp_path / "results", runs=tmp_path / "other", show=False, teacher=teacher
    )
    source = again.record["trainings"][0]["teacher"]
    assert source["file"] == teacher.name
    assert source["chosen"]["on"] == "test set"
    assert any(d.startswith("existing teacher: ") for d in again.record["departures"])
    assert not any(d.startswith("teacher.") for d in again.record["departures"])
    assert len(source["digest"]) == 10
    assert not list((tmp_path / "other").rglob("teacher-*"))
    same = [r.record["results"]["student"]["all-1"]["trials"] for r in (reproduction, again)]
    assert same[0] == same[1]  # the same teacher, the same student


def test_a_history_without_its_columns_raises(run, place, tmp_path):
    shutil.copytree(place / "runs", tmp_path / "runs")
    run("llcm", tmp_path)
    teacher = next((tmp_path / "runs" / "smoke" / "models").glob("teacher-*"))
    for folder in teacher.parent.glob("*"):
        (folder / "history.jsonl").write_text("")
    with pytest.raises(CheckpointError, match=r"history in .* lacks epoch, images_per_second"):
        run("llcm", tmp_path)


def test_an_existing_teacher_is_for_one_trial(place):
    with pytest.raises(ValueError, match="one teacher was given for 2 trials"):
        run_recipe(short("regdb"), place / "no", trials=(1, 2), teacher=place, show=False)


def test_an_interrupted_recipe_continues_where_it_stopped(run, place, tmp_path, monkeypatch):
    expected = run("sysu").record["results"]
    save = RunFolder.save

    def interrupted(self, step, snapshot):
        save(self, step, snapshot)
        if self.path.name.startswith("student") and step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "save", interrupted)
    with pytest.raises(Stopped, match="the same call or command continues from there"):
        run("sysu", tmp_path)
    monkeypatch.setattr(RunFolder, "save", save)
    monkeypatch.setattr("dakd.experiment.train_teacher", lambda *a, **k: pytest.fail("again"))
    assert not list((tmp_path / "results").glob("*.json"))
    student = next((tmp_path / "runs" / "smoke" / "models").glob("student-*"))
    before = read_rows(student)
    reproduction = run("sysu", tmp_path)
    assert read_rows(student)[: len(before)] == before
    assert 2 <= len(before) <= 3
    for who, settings in expected.items():
        for setting, result in settings.items():
            there = reproduction.record["results"][who][setting]
            assert there["trials"] == result["trials"], (who, setting)


ADAM = {"lr": 3.5e-4, "epochs": 160, "steps": None, "identities": 8, "pad": 10}
FULL = {
    "sysu": {"size": (384, 128), "images": 4, "milestones": (21, 40)},
    "regdb": {"size": (288, 144), "images": 5, "milestones": (31, 60)},
    "llcm": {"size": (384, 144), "images": 4, "milestones": (21, 40)},
}


@pytest.mark.parametrize("name", FULL)
def test_full_size_has_the_published_settings(name):
    config, own = recipe(name, "somewhere", profile="full"), FULL[name]
    assert (config.data.name, config.data.root) == (name, os.path.abspath("somewhere"))
    assert (config.data.height, config.data.width) == own["size"]
    assert (config.data.cache, config.data.keep) == (True, False)
    assert asdict(config.model) == {
        "backbone": "resnet50", "pooling": "auto", "non_local": None, "weights": "imagenet"
    }  # fmt: skip
    assert config.data.filter == "lanczos"
    teacher, student = asdict(config.teacher), asdict(config.student)
    batch = {**ADAM, "images": own["images"]}
    warm = {"schedule": "multistep", "warmup": 10, "milestones": own["milestones"]}
    decay = {"weight_decay": 5e-4, "identity_epochs": 0, "cutswap": "none", "holdout": 0.0}
    drawn = {"sampler": "published", "pipeline": "auto", "selection": "last"}
    assert teacher == {**batch, **warm, **decay, **drawn}
    assert student["batch_statistics"] == "modality"
    flat = {"schedule": "constant", "weight_decay": 0.0, "warmup": 0, "milestones": ()}
    assert {key: student[key] for key in batch | flat} == batch | flat
    assert (student["preset"], student["ablation"], student["init"]) == (
        "paper", "full_mlkd", "fresh"
    )  # fmt: skip
    assert not config.student.selects_on_test
    assert config.evaluation == load_profile("full").evaluation
    assert config.evaluation.trials == 10


def test_another_profile_keeps_its_sizes(monkeypatch):
    smoke = load_profile("smoke")
    config = recipe("regdb", profile="smoke")
    assert replace(config, data=smoke.data) == smoke
    assert (config.data.name, config.data.height, config.data.root) == ("regdb", 32, None)
    assert recipe("regdb") == config  # the environment says smoke
    monkeypatch.delenv("DAKD_PROFILE")
    assert recipe("regdb").profile == "full"
    with pytest.raises(ValueError, match="recipe 'market' is unknown; use one of sysu, regdb"):
        recipe("market")


@pytest.mark.parametrize(
    ("change", "how", "error", "message"),
    [
        ({"profile": "full"}, {}, ValueError, r"in full size needs root= .*--drawn"),
        ({}, {"trials": (2,)}, ValueError, "trials of 'llcm' must be some of"),
        ({}, {"trials": ()}, ValueError, "trials of 'llcm' must be some of"),
        ({"device": "cuda:77"}, {}, ValueError, "torch sees no GPU"),
        ({"data": {"root": "nowhere"}}, {}, NotADirectoryError, "nowhere is no folder"),
        ({"data": {"name": "custom"}}, {}, ValueError, "no recipe for 'custom'"),
        ({"evaluation": {"sampling": "official"}}, {}, ValueError, "settings of protocol 'sysu'"),
        (
            {"model": {"backbone": "resnet18", "weights": "nowhere.pth"}}, {},
            WeightsError, "no weights file",
        ),
    ],
)  # fmt: skip
def test_invalid_requirements_raise_before_training(
    change, how, error, message, place, monkeypatch, nothing_trains
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = replace(short("llcm"), seed=7)  # nothing is trained yet
    parts = {
        key: replace(getattr(config, key), **value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    with pytest.raises(error, match=message):
        run_recipe(replace(config, **parts), place / "no", runs=place / "runs", show=False, **how)
    assert not list((place / "no").glob("*"))


def test_an_unwritable_folder_raises_before_training(place, tmp_path, nothing_trains):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to .*file.*give another folder"):
        run_recipe(short("llcm"), tmp_path / "file", runs=place / "runs", show=False)


def test_only_the_main_process_writes(run, place, tmp_path, monkeypatch, nothing_trains):
    run("sysu")
    (place / "runs" / "smoke" / "shared").touch()
    monkeypatch.setattr(
        DistributedContext, "join", classmethod(lambda cls, device: DistributedContext(1, 2))
    )
    monkeypatch.setattr(DistributedContext, "barrier", lambda self: None)

    def run_second_process(name):
        """Run with `name` as the file that the main process broadcasts."""
        send = lambda names: names.__setitem__(0, name)  # noqa: E731
        monkeypatch.setattr("torch.distributed.broadcast_object_list", send)
        return run_recipe(short("sysu", place / "copy"), tmp_path, runs=place / "runs", show=False)

    assert run_second_process("shared") is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="a folder that all machines share"):
        run_second_process("another")
    with pytest.raises(SystemExit):
        run_second_process("")


def test_a_batch_that_processes_cannot_share_raises_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(
        DistributedContext, "join", classmethod(lambda cls, device: DistributedContext(0, 2))
    )
    config = short("sysu")
    config = replace(config, student=replace(config.student, identities=5))
    with pytest.raises(ValueError, match="5 identities in a batch of the student do not divide"):
        run_recipe(config, tmp_path, runs=tmp_path, show=False)
