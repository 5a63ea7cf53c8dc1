import json
import os
import signal
from dataclasses import asdict

import pytest

from dakd.config import EngineConfig, SyntheticConfig, load_profile, replace
from dakd.data.export import export_dataset
from dakd.data.records import MARKER
from dakd.data.regdb import load_regdb
from dakd.history import read_rows
from dakd.model import WeightsError
from dakd.parallel import World
from dakd.recipes import _changes, _notes, recipe, run_recipe
from dakd.run_folder import RunFolder
from dakd.stopping import Stopped

pytestmark = pytest.mark.filterwarnings("ignore:uneven training data")  # one image a camera
PEOPLE = SyntheticConfig(train_ids=12, test_ids=20, images_per_camera=1)
TRIALS = {"regdb": (1, 2)}
OFTEN = EngineConfig(tensorboard=False, snapshot_seconds=0)  # a snapshot after every step
SETTINGS = {
    "sysu": ["all-1", "all-10", "indoor-1", "indoor-10"],
    "regdb": ["visible-infrared", "infrared-visible"],
    "llcm": ["visible-infrared", "infrared-visible"],
}


def short(name, root=None):
    """A recipe in smoke size, with three steps a stage and fewer people."""
    config = recipe(name, root, profile="smoke")
    return replace(
        config,
        device="cpu",
        data=replace(config.data, synthetic=PEOPLE),
        teacher=replace(config.teacher, epochs=1, steps=3),
        student=replace(config.student, epochs=1, steps=3),
        engine=EngineConfig(tensorboard=False),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a copy of SYSU-MM01's layout, in which the recipes of this module run."""
    place = tmp_path_factory.mktemp("recipes")
    export_dataset("sysu", PEOPLE, place / "copy", height=32, width=16, show=False)
    return place


@pytest.fixture(scope="module")
def run(place):
    """Run a recipe, SYSU-MM01's on the copy and the others on an export that they make."""

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
def test_a_recipe_runs_to_its_record_and_the_second_time_only_measures(
    name, place, run, monkeypatch
):
    first = run(name)
    record = json.loads(first.path.read_text())
    trials = list(TRIALS.get(name, (1,)))
    assert (record["recipe"], record["drawn"], record["trials"]) == (name, True, trials)
    assert first.path.name.startswith(f"{name}-smoke-")
    for who in ("teacher", "student"):
        assert list(record["results"][who]) == SETTINGS[name]
        for result in record["results"][who].values():
            assert 0 < result["mean"]["mAP"] < 1
            assert result["protocol"] == name
        for training in record["trainings"]:
            made = training[who]
            assert made["network"].startswith(who)
            assert 0 < sum(made["seconds_of_epochs"]) < made["seconds"]
            assert len(made["seconds_of_epochs"]) == (2 if who == "teacher" else 1)  # 2 stages
            assert made["peak_memory_mb"] > 10
            assert made["hardware"].startswith("CPU (")
            assert made["versions"]["torch"]
    data = {training["student"]["data_fingerprint"] for training in record["trainings"]}
    assert len(data) == len(trials)
    assert record["config"]["student"]["steps"] == 3
    for name_ in ("train_teacher", "train_student"):
        monkeypatch.setattr(f"dakd.experiment.{name_}", lambda *a, **k: pytest.fail("trained"))
    again = run(name)
    assert (again.path, json.loads(again.path.read_text())) == (first.path, record)


def test_regdbs_trials_are_joined_and_each_is_measured_on_its_own_half(run, place):
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


def test_drawn_people_are_not_put_beside_the_published_figure(run):
    made = run("sysu")
    assert made.record["comparison"] == {}
    text = str(made)
    assert "drawn people in the layout of SYSU-MM01" in text
    assert "cannot be compared" in text
    assert "76.31" not in text
    assert "76.31" not in made.path.read_text()


def test_other_people_are_with_what_one_must_know(run, place, nothing_trains):
    run("sysu")
    marker = place / "copy" / MARKER
    content = marker.read_text()
    marker.unlink()
    try:
        with pytest.raises(ValueError, match=r"(?s)3 wrong.*Put the copy right.*--no-check"):
            run("sysu")
        made = run("sysu", check=False)
    finally:
        marker.write_text(content)
    ours = 100 * made.record["results"]["student"]["all-1"]["mean"]["rank1"]
    assert made.record["comparison"] == {"all-1": {"ours": ours, "published": 76.31}}
    assert f"{ours:.2f} % here, 76.31 % published" in str(made)
    assert "does not say how galleries were drawn" in str(made)
    assert "not the sizes and schedules" in str(made)


def test_notes_name_every_setting_that_is_not_the_recipes():
    full = recipe("sysu", profile="full")
    other = replace(full, seed=4, device="cpu", data=replace(full.data, root="X", cache=False))
    assert _changes(other, full) == []
    assert _notes(other, (1,), drawn=False)[1:] == []
    other = replace(full, student=replace(full.student, preset="release", cutswap="none"))
    changed = "student.cutswap none instead of preset, student.preset release instead of paper"
    assert set(_changes(other, full)) == set(changed.split(", "))
    assert _notes(other, (1,), drawn=False)[1].startswith("Not the recipe as it stands: student.")
    assert "No figure" in _notes(recipe("llcm", profile="full"), (1,), drawn=False)[0]


def test_an_interrupted_recipe_goes_on_where_it_stopped(run, place, tmp_path, monkeypatch):
    expected = run("sysu").record["results"]
    save = RunFolder.save

    def interrupted(self, step, snapshot):
        save(self, step, snapshot)
        if self.path.name.startswith("student") and step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "save", interrupted)
    with pytest.raises(Stopped, match="the same call or command goes on from there"):
        run("sysu", tmp_path)
    monkeypatch.setattr(RunFolder, "save", save)
    monkeypatch.setattr("dakd.experiment.train_teacher", lambda *a, **k: pytest.fail("again"))
    assert not list((tmp_path / "results").glob("*.json"))
    student = next((tmp_path / "runs" / "smoke" / "models").glob("student-*"))
    before = read_rows(student)
    made = run("sysu", tmp_path)
    assert read_rows(student)[: len(before)] == before
    assert 2 <= len(before) <= 3
    for who, settings in expected.items():
        for setting, result in settings.items():
            there = made.record["results"][who][setting]
            assert there["trials"] == result["trials"], (who, setting)


ADAM = {"lr": 3.5e-4, "epochs": 160, "steps": None, "identities": 8, "pad": 10}
FULL = {
    "sysu": {"size": (384, 128), "images": 4, "milestones": (20, 40)},
    "regdb": {"size": (288, 144), "images": 5, "milestones": (30, 60)},
    "llcm": {"size": (384, 128), "images": 4, "milestones": (20, 40)},
}


@pytest.mark.parametrize("name", FULL)
def test_full_size_has_the_values_of_the_method(name):
    config, own = recipe(name, "somewhere", profile="full"), FULL[name]
    assert (config.data.name, config.data.root) == (name, os.path.abspath("somewhere"))
    assert (config.data.height, config.data.width) == own["size"]
    assert (config.data.cache, config.data.keep) == (True, False)
    assert asdict(config.model) == {
        "backbone": "resnet50", "pooling": "average", "weights": "imagenet"
    }  # fmt: skip
    teacher, student = asdict(config.teacher), asdict(config.student)
    batch = {**ADAM, "images": own["images"]}
    warm = {"schedule": "multistep", "warmup": 10, "milestones": own["milestones"]}
    decay = {"weight_decay": 5e-4, "identity_epochs": 0, "cutswap": "paper", "holdout": 0.0}
    assert teacher == {**batch, **warm, **decay}
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
def test_what_would_stop_it_later_is_refused_at_once(
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


def test_an_unwritable_folder_is_refused(place, tmp_path, nothing_trains):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to .*file.*give another folder"):
        run_recipe(short("llcm"), tmp_path / "file", runs=place / "runs", show=False)


def test_another_process_than_the_main_one_writes_nothing(
    run, place, tmp_path, monkeypatch, nothing_trains
):
    run("sysu")
    seen = place / "runs" / "smoke" / "mark"
    seen.touch()
    monkeypatch.setattr(World, "join", classmethod(lambda cls, device: World(1, 2)))
    monkeypatch.setattr(World, "wait", lambda self: None)

    def told(name):
        send = lambda mark: mark.__setitem__(0, name)  # noqa: E731
        monkeypatch.setattr("torch.distributed.broadcast_object_list", send)
        return run_recipe(short("sysu", place / "copy"), tmp_path, runs=place / "runs", show=False)

    assert told("mark") is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="a folder that all machines share"):
        told("another")
    with pytest.raises(SystemExit):
        told("")


def test_a_batch_that_processes_cannot_share_is_refused_before_the_teacher(monkeypatch, tmp_path):
    monkeypatch.setattr(World, "join", classmethod(lambda cls, device: World(0, 2)))
    config = short("sysu")
    config = replace(config, student=replace(config.student, identities=5))
    with pytest.raises(ValueError, match="5 identities in a batch of the student do not divide"):
        run_recipe(config, tmp_path, runs=tmp_path, show=False)
