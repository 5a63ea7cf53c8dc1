import numpy as np
import pandas as pd
import pytest
import torch

from dakd.config import load_profile, replace
from dakd.experiment import METHODS, SETTINGS, Experiment, reproduce, runs_folder


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=3)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=3))


@pytest.fixture(scope="module")
def lab(config, tmp_path_factory):
    return Experiment(config, runs=tmp_path_factory.mktemp("runs"), show=False)


def test_the_data_are_files_in_the_layout_of_sysu_mm01(lab):
    assert lab.dataset.name == "sysu"
    assert (lab.dataset.root / "cam1").is_dir()
    assert (lab.dataset.root / "exp" / "test_id.txt").is_file()
    path = lab.dataset.train.records[0].path
    assert path.is_file()
    assert path.is_relative_to(lab.folder)


def test_what_is_trained_once_is_found_again(lab):
    first = lab.teacher()
    found = Experiment(lab.config, runs=lab.folder.parent, show=False).teacher()
    assert found.folder == first.folder
    assert torch.equal(found.model.neck.weight, first.model.neck.weight)
    pd.testing.assert_frame_equal(found.history, first.history)


def test_another_configuration_is_another_folder(lab):
    folders = {lab.student(ablation=a).folder for a in ("full_mlkd", "only_kd")}
    folders.add(lab.student(preset="release").folder)
    other = replace(lab.config, teacher=replace(lab.config.teacher, lr=1e-4))
    folders.add(Experiment(other, runs=lab.folder.parent, show=False).teacher().folder)
    folders.add(lab.teacher().folder)
    assert len(folders) == 5


def test_a_student_can_start_from_the_teacher(lab):
    slow = {"lr": 1e-9, "epochs": 1, "steps": 1}
    fresh, continued = (lab.student(init=start, **slow).model for start in ("fresh", "teacher"))
    weight = torch.nn.Module.get_parameter
    first, teacher = (
        weight(m, "backbone.conv1.weight") for m in (lab.untrained(), lab.teacher().model)
    )
    torch.testing.assert_close(weight(fresh, "backbone.conv1.weight"), first)
    torch.testing.assert_close(weight(continued, "backbone.conv1.weight"), teacher)
    assert not torch.allclose(first, teacher)


def test_an_interrupted_training_leaves_nothing_that_looks_finished(lab, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    other = Experiment(replace(lab.config, seed=99), runs=lab.folder.parent, show=False)
    monkeypatch.setattr("dakd.experiment.train_teacher", stop)
    with pytest.raises(KeyboardInterrupt):
        other.teacher()
    monkeypatch.undo()
    assert other.teacher().folder.is_dir()


def test_embeddings_are_computed_once_a_network(lab, monkeypatch):
    model = lab.teacher().model
    z = lab.embeddings(model)
    monkeypatch.setattr("dakd.experiment.extract", lambda *a, **k: pytest.fail("computed twice"))
    assert lab.embeddings(model) is z


def test_centres_are_the_normalised_class_means_of_either_modality(lab):
    model, train = lab.teacher().model, lab.dataset.train
    z, centres = lab.embeddings(model, "train"), lab.centres(model)
    rows = np.flatnonzero((train.labels == 3) & train.infrared)
    expected = torch.nn.functional.normalize(z[rows].mean(0), dim=0)
    torch.testing.assert_close(centres.infrared[3], expected)
    assert centres.visible.shape == (train.num_classes, model.embedding_dim)


def test_reproduce_has_a_row_for_every_seed_method_and_setting(config, tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path))
    assert runs_folder() == tmp_path
    table, record = reproduce(config, seeds=(0,), show=False)
    assert record["settings"]["indoor-10"]["trials"] == config.evaluation.trials
    assert record["config"]["teacher"]["steps"] == config.teacher.steps
    assert list(table.columns[:4]) == ["seed", "method", "mode", "shots"]
    keys = set(zip(table["method"], table["mode"], table["shots"], strict=True))
    assert keys == {(m, *s) for m in METHODS for s in SETTINGS}
    metrics = table[["rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]].to_numpy()
    assert ((metrics >= 0) & (metrics <= 1)).all()
    assert (np.diff(metrics[:, :4], axis=1) >= 0).all()
