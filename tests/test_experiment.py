import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from dakd.config import load_profile, replace
from dakd.experiment import Experiment, NotTrainedError, runs_folder, training_code
from dakd.train.checkpoint import CheckpointError, load_checkpoint


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=3)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=3))


@pytest.fixture(scope="module")
def experiment(config, tmp_path_factory):
    return Experiment(config, runs=tmp_path_factory.mktemp("runs"), show=False)


def test_the_data_are_files_in_the_layout_of_sysu_mm01(experiment):
    assert experiment.dataset.name == "sysu"
    assert (experiment.dataset.root / "cam1").is_dir()
    assert (experiment.dataset.root / "exp" / "test_id.txt").is_file()
    path = experiment.dataset.train.records[0].path
    assert path.is_file()
    assert path.is_relative_to(experiment.folder)


@pytest.mark.parametrize("name", ["regdb", "llcm", "custom"])
def test_every_layout_trains_and_is_measured_in_both_directions(config, name, tmp_path):
    data = replace(config.data, name=name, trial=3)
    experiment = Experiment(replace(config, data=data), runs=tmp_path, show=False)
    assert experiment.dataset.name == name
    assert experiment.dataset.trial == (3 if name == "regdb" else None)
    results = [
        experiment.evaluate(experiment.teacher().model, **setting)
        for setting in experiment.settings
    ]
    assert [r.header["query"] for r in results] == ["visible", "infrared"]
    assert {r.header["protocol"] for r in results} == {"none" if name == "custom" else name}


def test_where_pictures_wait_is_no_other_run(experiment):
    cached = replace(
        experiment.config, data=replace(experiment.config.data, cache=True, keep=False)
    )
    other = Experiment(cached, runs=experiment.folder.parent, show=False)
    assert other.teacher().folder == experiment.teacher().folder
    assert list((other.folder / "cache").iterdir())
    rows = np.arange(0, len(experiment.dataset.test), 7)
    assert torch.equal(other.dataset.test.images(rows), experiment.dataset.test.images(rows))


def test_moved_data_are_the_same_data(experiment, tmp_path, monkeypatch):
    """Another folder, a relative path, a link, and a split that SYSU-MM01 has not."""
    moved = tmp_path / "moved"
    shutil.copytree(experiment.dataset.root, moved)
    (tmp_path / "link").symlink_to(moved)
    monkeypatch.chdir(tmp_path)
    for root in (str(moved), "./moved", "link"):
        data = replace(experiment.config.data, root=root, trial=4)
        other = Experiment(
            replace(experiment.config, data=data), runs=experiment.folder.parent, show=False
        )
        assert other.teacher().folder == experiment.teacher().folder, root
    picture = next((moved / "cam1").rglob("*.*"))
    picture.unlink()
    data = replace(experiment.config.data, root=str(moved))
    other = Experiment(
        replace(experiment.config, data=data), runs=tmp_path, show=False, train=False
    )
    with pytest.raises(NotTrainedError):
        other.teacher()


def test_flip_and_reranking_of_the_configuration_are_done_and_said(experiment):
    evaluation = replace(experiment.config.evaluation, flip=True, rerank=True)
    other = Experiment(
        replace(experiment.config, evaluation=evaluation), runs=experiment.folder.parent, show=False
    )
    plain, changed = (lab_.evaluate(lab_.teacher().model) for lab_ in (experiment, other))
    assert "flip on, re-ranking k-reciprocal" in changed.title
    assert not plain.trials.equals(changed.trials)


def test_what_is_trained_once_is_found_again(experiment):
    first = experiment.teacher()
    found = Experiment(experiment.config, runs=experiment.folder.parent, show=False).teacher()
    assert found.folder == first.folder
    assert torch.equal(found.model.neck.weight, first.model.neck.weight)
    pd.testing.assert_frame_equal(found.history, first.history)


def test_another_configuration_is_another_folder(experiment):
    folders = {experiment.student(ablation=a).folder for a in ("full_mlkd", "only_kd")}
    folders.add(experiment.student(preset="release").folder)
    other = replace(experiment.config, teacher=replace(experiment.config.teacher, lr=1e-4))
    folders.add(Experiment(other, runs=experiment.folder.parent, show=False).teacher().folder)
    folders.add(experiment.teacher().folder)
    assert len(folders) == 5


def test_a_finished_teacher_can_be_given(experiment, tmp_path):
    given = experiment.teacher().folder
    other = Experiment(experiment.config, runs=tmp_path, show=False, teacher=given)
    teacher = other.teacher()
    assert torch.equal(teacher.model.neck.weight, experiment.teacher().model.neck.weight)
    student = other.student()
    assert not list(tmp_path.rglob("teacher-*"))
    same = experiment.student().model.state_dict()
    assert all(torch.equal(v, same[k]) for k, v in student.model.state_dict().items())
    told = load_checkpoint(student.folder)[2]["config"]["given_teacher"]
    assert told["file"] == given.name
    assert (told["classes"], told["chosen"]) == (24, "last epoch")
    assert told["trained"]["epochs"] == 1
    again = Experiment(experiment.config, runs=tmp_path, show=False, teacher=given)
    assert again.student().folder == student.folder


def test_a_given_teacher_must_fit_network_and_people(experiment, tmp_path):
    given, how = experiment.teacher().folder, {"runs": tmp_path, "show": False}
    model = replace(experiment.config.model, pooling="gem")
    with pytest.raises(ValueError, match="--model.pooling and --model.non-local to the teacher's"):
        Experiment(replace(experiment.config, model=model), teacher=given, **how).teacher()
    few = replace(experiment.config.data.synthetic, train_ids=12)
    fewer = replace(experiment.config, data=replace(experiment.config.data, synthetic=few))
    with pytest.raises(ValueError, match="trained on 24 identities, and sysu has 12"):
        Experiment(fewer, teacher=given, **how).teacher()
    other = replace(experiment.config.data.synthetic, seed=5)
    strangers = replace(experiment.config, data=replace(experiment.config.data, synthetic=other))
    with pytest.raises(ValueError, match="trained on other images .* may have seen people who"):
        Experiment(strangers, teacher=given, **how).teacher()
    wide = replace(experiment.config, data=replace(experiment.config.data, width=24))
    with pytest.raises(ValueError, match=r"images of width 16, and these have 24; give --data.w"):
        Experiment(wide, teacher=given, **how).teacher()
    with pytest.raises(CheckpointError, match="nowhere"):
        Experiment(experiment.config, teacher=tmp_path / "nowhere", **how).teacher()


def test_students_of_one_given_teacher_are_told_apart(experiment, tmp_path):
    """By seed, precision and start, as those of a teacher that was trained here."""
    given, folders = experiment.teacher().folder, set()
    pooled = replace(experiment.config.student, lr=1e-9)
    for changes in ({}, {"seed": 7}, {"student": pooled}):
        config = replace(experiment.config, **changes)
        other = Experiment(config, runs=tmp_path, show=False, teacher=given)
        folders.add(other.student().folder)
    assert len(folders) == 3


def test_the_test_set_scores_by_all_galleries_of_the_first_setting(experiment):
    """The mean mAP over the trials, all-search, single-shot."""
    model = experiment.teacher().model
    expected = experiment.evaluate(model, mode="all", shots=1).mean["mAP"]
    assert experiment._test_score(model) == pytest.approx(expected, abs=1e-6)
    assert experiment.config.evaluation.trials > 1


def test_regdb_is_scored_from_visible_to_thermal(experiment, tmp_path):
    data = replace(experiment.config.data, name="regdb")
    other = Experiment(replace(experiment.config, data=data), runs=tmp_path, show=False)
    model = other.untrained()
    expected = other.evaluate(model, query="visible", gallery="infrared").mean["mAP"]
    assert other._test_score(model) == pytest.approx(expected, abs=1e-6)
    assert other.dataset.train.pipeline == "regdb"


def test_a_student_can_start_from_the_teacher(experiment):
    slow = {"lr": 1e-9, "epochs": 1, "steps": 1}
    fresh, continued = (
        experiment.student(init=start, **slow).model for start in ("fresh", "teacher")
    )
    weight = torch.nn.Module.get_parameter
    first, teacher = (
        weight(m, "backbone.conv1.weight")
        for m in (experiment.untrained(), experiment.teacher().model)
    )
    torch.testing.assert_close(weight(fresh, "backbone.conv1.weight"), first)
    torch.testing.assert_close(weight(continued, "backbone.conv1.weight"), teacher)
    assert not torch.allclose(first, teacher)


def test_an_interrupted_training_leaves_nothing_that_looks_finished(experiment, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    other = Experiment(
        replace(experiment.config, seed=99), runs=experiment.folder.parent, show=False
    )
    monkeypatch.setattr("dakd.experiment.train_teacher", stop)
    with pytest.raises(KeyboardInterrupt):
        other.teacher()
    monkeypatch.undo()
    assert other.teacher().folder.is_dir()


def test_embeddings_are_computed_once_a_network(experiment, monkeypatch):
    model = experiment.teacher().model
    z = experiment.embeddings(model)
    monkeypatch.setattr("dakd.experiment.extract", lambda *a, **k: pytest.fail("computed twice"))
    assert experiment.embeddings(model) is z


def test_centres_are_the_normalised_class_means_of_either_modality(experiment):
    model, train = experiment.teacher().model, experiment.dataset.train
    z, centres = experiment.embeddings(model, "train"), experiment.centres(model)
    rows = np.flatnonzero((train.labels == 3) & train.infrared)
    expected = torch.nn.functional.normalize(z[rows].mean(0), dim=0)
    torch.testing.assert_close(centres.infrared[3], expected)
    assert centres.visible.shape == (train.num_classes, model.embedding_dim)


def test_runs_lie_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path))
    assert runs_folder() == tmp_path


def test_the_teacher_trained_on_is_the_control_of_equal_compute(experiment):
    teacher, more, student = experiment.teacher(), experiment.continued(), experiment.student()
    assert len(more.history) == len(student.history)
    first = torch.nn.Module.get_parameter
    a, b = (first(m.model, "backbone.conv1.weight") for m in (teacher, more))
    assert 0 < (a - b).abs().max() < 1  # it goes on from the teacher, who stays as it was
    assert "global" in more.history
    assert experiment.continued() is more


def test_the_release_is_trained_whole(experiment):
    trained = experiment.student(preset="release", epochs=2)
    chosen = load_checkpoint(trained.folder)[2]["config"]["selection"]
    assert chosen["on"] == "test set"
    assert chosen["epoch"] in (0, 1)
    assert 0 < chosen["score"] <= 1


def test_a_bad_switch_is_refused_before_the_teacher_is_trained(config, tmp_path):
    experiment = Experiment(config, runs=tmp_path, show=False)
    with pytest.raises(ValueError, match="quantile must lie in 0..1"):
        experiment.student(quantile=2.0)
    assert not (experiment.folder / "models").exists()


def test_other_images_are_another_teacher_also_where_sizes_agree(config, tmp_path):
    small = replace(config.data, name="regdb")
    folders, prints = set(), set()
    for noise in (0.3, 0.9):
        data = replace(small, synthetic=replace(small.synthetic, noise=noise))
        experiment = Experiment(replace(config, data=data), runs=tmp_path, show=False)
        sizes = {r.path.stat().st_size for r in experiment.dataset.train.records}
        prints.add(experiment.dataset.fingerprint)
        folders.add(experiment.teacher().folder.name)
    assert len(sizes) == 1  # bitmaps
    assert len(prints) == len(folders) == 2


def test_the_data_the_code_and_the_weights_are_in_the_teachers_name(
    experiment, monkeypatch, tmp_path
):
    def name():
        asked = []
        fresh = Experiment(experiment.config, runs=experiment.folder.parent, show=False)
        monkeypatch.setattr(fresh, "_find", lambda name, train: asked.append(name))
        fresh.teacher()
        return asked[0]

    names = [name(), name()]
    with monkeypatch.context() as changed:
        changed.setattr("dakd.data.Dataset.fingerprint", "other")
        names.append(name())
    with monkeypatch.context() as changed:
        changed.setattr("dakd.experiment.training_code", lambda: "other")
        names.append(name())
    with monkeypatch.context() as changed:
        changed.setattr("dakd.experiment._content", lambda weights: "other")
        names.append(name())
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_the_protocol_that_chose_the_epoch_is_in_the_students_name(experiment):
    other = replace(
        experiment.config, evaluation=replace(experiment.config.evaluation, protocol="none")
    )
    second = Experiment(other, runs=experiment.folder.parent, show=False)
    chosen = [
        x.student(selection="test", epochs=1, steps=1).folder.name for x in (experiment, second)
    ]
    plain = [x.student(epochs=1, steps=1).folder.name for x in (experiment, second)]
    assert chosen[0] != chosen[1]
    assert plain[0] == plain[1]


def test_only_test_images_are_flipped(experiment):
    flipped = replace(
        experiment.config, evaluation=replace(experiment.config.evaluation, flip=True)
    )
    other, model = (
        Experiment(flipped, runs=experiment.folder.parent, show=False),
        experiment.teacher().model,
    )
    assert torch.equal(other.embeddings(model, "train"), experiment.embeddings(model, "train"))
    assert not torch.equal(other.embeddings(model, "test"), experiment.embeddings(model, "test"))


def test_a_result_names_its_network(experiment):
    result = experiment.evaluate(experiment.teacher().model)
    assert result.header["network"] == experiment.teacher().folder.name
    assert (result.header["height"], result.header["seed"]) == (32, 0)


def test_code_that_is_edited_while_it_trains_trains_nothing_twice(monkeypatch):
    """The code of a process is what it has read; the student must find its teacher."""
    before = training_code()
    monkeypatch.setattr("dakd.experiment.source_fingerprint", lambda *names: "edited")
    assert training_code() == before
    training_code.cache_clear()
    assert training_code() == "edited"
    training_code.cache_clear()
