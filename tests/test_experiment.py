import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from dakd.config import DistillConfig, load_profile, replace
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


def test_the_dataset_has_files_in_the_layout_of_sysu_mm01(experiment):
    assert experiment.dataset.name == "sysu"
    assert (experiment.dataset.root / "cam1").is_dir()
    assert (experiment.dataset.root / "exp" / "test_id.txt").is_file()
    path = experiment.dataset.train.records[0].path
    assert path.is_file()
    assert path.is_relative_to(experiment.folder)


@pytest.mark.parametrize("name", ["regdb", "llcm", "custom"])
def test_every_layout_is_trained_and_evaluated_in_both_directions(config, name, tmp_path):
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


def test_the_image_cache_does_not_change_the_run(experiment):
    cached = replace(
        experiment.config, data=replace(experiment.config.data, cache=True, keep=False)
    )
    other = Experiment(cached, runs=experiment.folder.parent, show=False)
    assert other.teacher().folder == experiment.teacher().folder
    assert list((other.folder / "cache").iterdir())
    rows = np.arange(0, len(experiment.dataset.test), 7)
    assert torch.equal(other.dataset.test.images(rows), experiment.dataset.test.images(rows))


def test_a_moved_dataset_is_the_same_dataset(experiment, tmp_path, monkeypatch):
    """Another folder, a relative path, a link, and a trial, which SYSU-MM01 ignores."""
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
    image = next((moved / "cam1").rglob("*.*"))
    image.unlink()
    data = replace(experiment.config.data, root=str(moved))
    other = Experiment(
        replace(experiment.config, data=data), runs=tmp_path, show=False, train=False
    )
    with pytest.raises(NotTrainedError):
        other.teacher()


def test_flip_and_reranking_follow_the_configuration_and_are_recorded(experiment):
    evaluation = replace(experiment.config.evaluation, flip=True, rerank=True)
    other = Experiment(
        replace(experiment.config, evaluation=evaluation), runs=experiment.folder.parent, show=False
    )
    plain, changed = (e.evaluate(e.teacher().model) for e in (experiment, other))
    assert "flip on, re-ranking k-reciprocal" in changed.title
    assert not plain.trials.equals(changed.trials)


def test_a_trained_network_is_loaded_from_the_run_folder(experiment):
    first = experiment.teacher()
    found = Experiment(experiment.config, runs=experiment.folder.parent, show=False).teacher()
    assert found.folder == first.folder
    assert torch.equal(found.model.neck.weight, first.model.neck.weight)
    pd.testing.assert_frame_equal(found.history, first.history)


def test_every_configuration_has_its_own_folder(experiment):
    folders = {experiment.student(ablation=a).folder for a in ("full_mlkd", "only_kd")}
    folders.add(experiment.student(preset="release").folder)
    other = replace(experiment.config, teacher=replace(experiment.config.teacher, lr=1e-4))
    folders.add(Experiment(other, runs=experiment.folder.parent, show=False).teacher().folder)
    folders.add(experiment.teacher().folder)
    assert len(folders) == 5


def test_an_existing_teacher_can_be_used(experiment, tmp_path):
    given = experiment.teacher().folder
    other = Experiment(experiment.config, runs=tmp_path, show=False, teacher=given)
    teacher = other.teacher()
    assert torch.equal(teacher.model.neck.weight, experiment.teacher().model.neck.weight)
    student = other.student()
    assert not list(tmp_path.rglob("teacher-*"))
    same = experiment.student().model.state_dict()
    assert all(torch.equal(v, same[k]) for k, v in student.model.state_dict().items())
    source = load_checkpoint(student.folder)[2]["config"]["given_teacher"]
    assert source["file"] == given.name
    assert (source["classes"], source["chosen"]) == (24, "last epoch")
    assert source["trained"]["epochs"] == 1
    again = Experiment(experiment.config, runs=tmp_path, show=False, teacher=given)
    assert again.student().folder == student.folder


def test_an_existing_teacher_must_fit_architecture_identities_and_images(experiment, tmp_path):
    given, how = experiment.teacher().folder, {"runs": tmp_path, "show": False}
    model = replace(experiment.config.model, pooling="gem")
    with pytest.raises(ValueError, match="--model.pooling and --model.non-local to the teacher's"):
        Experiment(replace(experiment.config, model=model), teacher=given, **how).teacher()
    few = replace(experiment.config.data.synthetic, train_ids=12)
    fewer = replace(experiment.config, data=replace(experiment.config.data, synthetic=few))
    with pytest.raises(ValueError, match="trained on 24 identities, and sysu has 12"):
        Experiment(fewer, teacher=given, **how).teacher()
    other = replace(experiment.config.data.synthetic, seed=5)
    other_people = replace(experiment.config, data=replace(experiment.config.data, synthetic=other))
    with pytest.raises(ValueError, match="trained on other images .* may show test identities"):
        Experiment(other_people, teacher=given, **how).teacher()
    wide = replace(experiment.config, data=replace(experiment.config.data, width=24))
    with pytest.raises(ValueError, match=r"images of width 16, not 24; set --data.width 16"):
        Experiment(wide, teacher=given, **how).teacher()
    with pytest.raises(CheckpointError, match="nowhere"):
        Experiment(experiment.config, teacher=tmp_path / "nowhere", **how).teacher()


def test_students_of_an_existing_teacher_have_their_own_folders(experiment, tmp_path):
    """By seed and schedule, as those of a teacher trained by the experiment."""
    given, folders = experiment.teacher().folder, set()
    pooled = replace(experiment.config.student, lr=1e-9)
    for changes in ({}, {"seed": 7}, {"student": pooled}):
        config = replace(experiment.config, **changes)
        other = Experiment(config, runs=tmp_path, show=False, teacher=given)
        folders.add(other.student().folder)
    assert len(folders) == 3


def test_the_test_score_averages_all_galleries_of_the_first_setting(experiment):
    """The mean mAP over the trials, all-search, single-shot."""
    model = experiment.teacher().model
    expected = experiment.evaluate(model, mode="all", shots=1).mean["mAP"]
    assert experiment._test_score(model) == pytest.approx(expected, abs=1e-6)
    assert experiment.config.evaluation.trials > 1


def test_the_test_score_of_regdb_is_visible_to_infrared(experiment, tmp_path):
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


def test_an_interrupted_training_is_not_taken_for_a_complete_one(experiment, monkeypatch):
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


def test_embeddings_are_computed_once_per_network(experiment, monkeypatch):
    model = experiment.teacher().model
    z = experiment.embeddings(model)
    monkeypatch.setattr("dakd.experiment.extract", lambda *a, **k: pytest.fail("computed twice"))
    assert experiment.embeddings(model) is z


def test_centres_are_the_normalised_class_means_of_each_modality(experiment):
    model, train = experiment.teacher().model, experiment.dataset.train
    z, centres = experiment.embeddings(model, "train"), experiment.centres(model)
    rows = np.flatnonzero((train.labels == 3) & train.infrared)
    expected = torch.nn.functional.normalize(z[rows].mean(0), dim=0)
    torch.testing.assert_close(centres.infrared[3], expected)
    assert centres.visible.shape == (train.num_classes, model.embedding_dim)


def test_the_environment_sets_the_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path))
    assert runs_folder() == tmp_path


def test_the_continued_teacher_is_the_control_of_equal_compute(experiment):
    teacher, more, student = experiment.teacher(), experiment.continued(), experiment.student()
    assert len(more.history) == len(student.history)
    first = torch.nn.Module.get_parameter
    a, b = (first(m.model, "backbone.conv1.weight") for m in (teacher, more))
    assert 0 < (a - b).abs().max() < 1  # it continues from the teacher, which is unchanged
    assert "global" in more.history
    assert experiment.continued() is more


def test_the_release_preset_selects_the_epoch_on_the_test_set(experiment):
    trained = experiment.student(preset="release", epochs=2)
    chosen = load_checkpoint(trained.folder)[2]["config"]["selection"]
    assert chosen["on"] == "test set"
    assert chosen["epoch"] in (0, 1)
    assert 0 < chosen["score"] <= 1


def test_an_invalid_switch_raises_before_the_teacher_is_trained(config, tmp_path):
    experiment = Experiment(config, runs=tmp_path, show=False)
    with pytest.raises(ValueError, match="quantile must lie in 0..1"):
        experiment.student(distill=DistillConfig(quantile=2.0))
    assert not (experiment.folder / "models").exists()


def test_other_images_give_another_teacher_even_if_file_sizes_agree(config, tmp_path):
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


def test_the_teachers_name_depends_on_data_code_and_weights(experiment, monkeypatch, tmp_path):
    def name():
        names = []
        fresh = Experiment(experiment.config, runs=experiment.folder.parent, show=False)
        monkeypatch.setattr(fresh, "_load_or_train", lambda name, train: names.append(name))
        fresh.teacher()
        return names[0]

    names = [name(), name()]
    with monkeypatch.context() as changed:
        changed.setattr("dakd.data.Dataset.fingerprint", "other")
        names.append(name())
    with monkeypatch.context() as changed:
        changed.setattr("dakd.experiment.training_code", lambda: "other")
        names.append(name())
    with monkeypatch.context() as changed:
        changed.setattr("dakd.experiment._file_digest", lambda weights: "other")
        names.append(name())
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_the_students_name_depends_on_the_protocol_that_selects_the_epoch(experiment):
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


def test_a_result_records_its_network(experiment):
    result = experiment.evaluate(experiment.teacher().model)
    assert result.header["network"] == experiment.teacher().folder.name
    assert (result.header["height"], result.header["seed"]) == (32, 0)


def test_editing_the_code_during_a_training_trains_nothing_twice(monkeypatch):
    """The digest of a process must not change, so that the student finds its teacher."""
    before = training_code()
    monkeypatch.setattr("dakd.experiment.source_fingerprint", lambda *names: "edited")
    assert training_code() == before
    training_code.cache_clear()
    assert training_code() == "edited"
    training_code.cache_clear()
