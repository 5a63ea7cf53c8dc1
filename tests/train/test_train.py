import copy

import numpy as np
import pytest
import torch
from examples import TensorSource, image_set

from dakd.config import DistillConfig, EngineConfig, StudentConfig, TeacherConfig
from dakd.data import ImageSet
from dakd.data.sampler import CrossModalSampler
from dakd.evaluate import extract
from dakd.model import build_model
from dakd.train import TrainingError, train_student, train_teacher, with_both_modalities
from dakd.train.checkpoint import is_complete, load_checkpoint
from dakd.train.loop import fit, learning_rate
from dakd.train.objective import Batch
from dakd.train.state import TrainState
from dakd.train.student import StudentObjective
from dakd.train.teacher import TeacherObjective

SMALL = {"epochs": 2, "steps": 4, "identities": 4, "images": 2, "pad": 1, "lr": 1e-3}
ON_CPU = {"device": "cpu", "precision": "float32", "show": False}


@pytest.fixture(scope="module")
def images():
    return image_set(range(1, 9))


@pytest.fixture(scope="module")
def teacher(images):
    return train_teacher(build_model("small"), images, TeacherConfig(**SMALL), **ON_CPU)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_history_has_a_row_a_step_and_a_column_a_part(teacher):
    history = teacher.history
    assert len(history) == SMALL["epochs"] * SMALL["steps"]
    assert {"epoch", "step", "loss", "lr", "images_per_second"} < set(history.columns)
    assert history[["epoch", "step"]].iloc[5].tolist() == [1, 1]
    assert np.isfinite(history.to_numpy()).all()


def test_the_teacher_learns_to_tell_the_training_identities_apart(images):
    start = build_model("small")
    before = extract(start, images, device="cpu")
    config = TeacherConfig(**{**SMALL, "epochs": 4, "steps": 10, "lr": 2e-3}, schedule="onecycle")
    after = extract(train_teacher(start, images, config, **ON_CPU).model, images, device="cpu")
    same = torch.from_numpy(images.pids[:, None] == images.pids[None])
    cross = torch.from_numpy(images.infrared[:, None] != images.infrared[None])

    def margin(z):
        similarity = z @ z.T
        return similarity[same & cross].mean() - similarity[~same & cross].mean()

    assert margin(after) > margin(before) + 0.1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(images):
    def trained(seed):
        config = TeacherConfig(**{**SMALL, "epochs": 1})
        return weights(
            train_teacher(build_model("small"), images, config, seed=seed, **ON_CPU).model
        )

    one = trained(1)
    assert torch.equal(one, trained(1))
    assert not torch.equal(one, trained(2))


@pytest.mark.parametrize("ablation", ["full_mlkd", "only_kd", "mlkd_no_instance", "mlkd_no_class"])
def test_only_the_student_learns(images, teacher, ablation):
    frozen = copy.deepcopy(teacher.model.state_dict())
    student = build_model("small", seed=5)
    before = weights(student)
    config = StudentConfig(**{**SMALL, "epochs": 1}, ablation=ablation)
    train_student(student, teacher.model, images, config, **ON_CPU)
    assert not torch.equal(weights(student), before)
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(value, frozen[name]), name


def test_distillation_brings_the_student_nearer_to_its_teacher(images, teacher):
    student = build_model("small", seed=5)
    config = StudentConfig(**{**SMALL, "epochs": 5, "steps": 10, "lr": 3e-3}, ablation="only_kd")
    history = train_student(student, teacher.model, images, config, **ON_CPU).history
    assert history["loss"].tail(5).mean() < 0.8 * history["loss"].head(5).mean()


def labelled_images(pids=range(1, 9)):
    """Images whose every pixel is their identity's number, and one more if infrared."""
    images = image_set(pids)
    value = torch.from_numpy(2 * images.pids + images.infrared).to(torch.uint8)
    return ImageSet(images.records, TensorSource(value[:, None, None, None].expand(-1, 3, 32, 16)))


@pytest.mark.parametrize("learner", ["teacher", "student"])
def test_every_row_of_a_batch_pairs_one_person_in_both_modalities(learner, teacher):
    images, seen = labelled_images(), []
    how = {"seed": 0, "device": "cpu", "precision": "float32"}
    if learner == "teacher":
        config = TeacherConfig(**{**SMALL, "epochs": 1})
        objective = TeacherObjective(images, config, dim=256, **how)
    else:
        config = StudentConfig(**{**SMALL, "epochs": 1})
        objective = StudentObjective(images, config, teacher=teacher.model, **how)
    loss = objective.loss
    objective.loss = lambda model, batch: seen.append(batch) or loss(model, batch)
    fit(TrainState(build_model("small"), objective, config), seed=0)
    assert len(seen) == SMALL["steps"]
    for batch in seen:
        assert batch.visible.shape == batch.infrared.shape == (8, 3, 32, 16)
        people = torch.from_numpy(batch.pids)
        assert torch.equal(batch.visible[:, 0, 0, 0].long(), 2 * people)
        assert torch.equal(batch.infrared[:, 0, 0, 0].long(), 2 * people + 1)
        assert torch.equal(torch.from_numpy(images.classes)[batch.labels], people)


def test_identity_epochs_come_first_and_are_part_of_the_history(images):
    config = TeacherConfig(**SMALL, identity_epochs=1)
    history = train_teacher(build_model("small"), images, config, **ON_CPU).history
    assert history["epoch"].drop_duplicates().tolist() == [0, 1, 2]
    assert (history["identity"].notna() == (history["epoch"] < 1)).all()
    assert (history["triplet"].notna() == (history["epoch"] >= 1)).all()


def test_identities_with_few_images_are_reported(images):
    config = TeacherConfig(**{**SMALL, "epochs": 1, "images": 5})  # there are 4 infrared each
    with pytest.warns(UserWarning, match="fewer than 5 images in a modality"):
        train_teacher(build_model("small"), images, config, **ON_CPU)


def test_a_checkpoint_is_written_where_asked(images, tmp_path):
    config = TeacherConfig(**{**SMALL, "epochs": 1})
    trained = train_teacher(build_model("small"), images, config, folder=tmp_path / "t", **ON_CPU)
    assert trained.folder == tmp_path / "t"
    assert (trained.folder / "model.safetensors").is_file()


def test_nan_in_a_batch_stops_training_and_names_step_part_and_identities(images):
    config = TeacherConfig(**SMALL)
    how = {"seed": 0, "device": "cpu", "precision": "float32"}
    objective = TeacherObjective(images, config, dim=256, **how)
    objective.augmented = lambda *streams: torch.full((24, 3, 32, 16), float("nan"))
    with pytest.raises(
        TrainingError, match=r"loss, global, .* not finite at epoch 0, step 0, identities \[\d"
    ):
        fit(TrainState(build_model("small"), objective, config), seed=0)


def test_nan_weights_are_refused_before_the_first_step(images):
    model = build_model("small")
    with torch.no_grad():
        model.neck.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="not finite"):
        train_teacher(model, images, TeacherConfig(**SMALL), **ON_CPU)


def test_an_identity_without_infrared_images_is_left_out_and_named():
    images = labelled_images(range(11, 16))
    lopsided = images.select(~((images.pids == 13) & images.infrared))
    config = TeacherConfig(**{**SMALL, "epochs": 1}, identity_epochs=1)
    with pytest.warns(UserWarning, match=r"1 identities are left out .* \[13\]"):
        teacher = train_teacher(build_model("small"), lopsided, config, **ON_CPU)
    config = StudentConfig(**{**SMALL, "epochs": 1})
    with pytest.warns(UserWarning, match=r"\[13\]"):
        train_student(build_model("small", seed=1), teacher.model, lopsided, config, **ON_CPU)
    kept = with_both_modalities(images)
    assert kept is images


def test_data_of_one_modality_only_cannot_be_trained_on():
    images = labelled_images()
    with pytest.raises(ValueError, match="no identity has visible and infrared images"):
        train_teacher(build_model("small"), images.select(images.infrared), **ON_CPU)


def test_weights_that_end_non_finite_are_never_saved(images, tmp_path, monkeypatch):
    def diverge(stage, *, history, **kwargs):
        with torch.no_grad():
            stage.model.neck.weight.fill_(float("inf"))
        history.rows.append({"epoch": 0, "loss": 1.0})

    monkeypatch.setattr("dakd.train.run.fit", diverge)
    with pytest.raises(TrainingError, match=r"non-finite weights, neck\.weight first"):
        train_teacher(
            build_model("small"), images, TeacherConfig(**SMALL), folder=tmp_path / "t", **ON_CPU
        )
    assert not is_complete(tmp_path / "t")


def test_the_second_stage_draws_other_batches_than_the_first(images, monkeypatch):
    epochs = []
    original = CrossModalSampler.set_epoch
    monkeypatch.setattr(
        CrossModalSampler, "set_epoch", lambda s, e: (epochs.append(e), original(s, e))[1]
    )
    config = TeacherConfig(**SMALL, identity_epochs=2)
    train_teacher(build_model("small"), images, config, **ON_CPU)
    assert epochs == [0, 1, 2, 3]


def test_teacher_and_student_must_be_two_networks_of_one_architecture(images, teacher):
    with pytest.raises(ValueError, match="same object"):
        train_student(teacher.model, teacher.model, images, **ON_CPU)
    with pytest.raises(ValueError, match="one architecture"):
        train_student(build_model("resnet18"), teacher.model, images, **ON_CPU)


# Differences of the release that the loop makes, and the identity loss ----------------------------


def distil(images, teacher, **changes):
    config = StudentConfig(**{**SMALL, **changes})
    return train_student(build_model("small", seed=1), teacher.model, images, config, **ON_CPU)


def test_a_second_forward_pass_moves_batch_statistics_and_nothing_else(images, teacher):
    one_step = {"epochs": 1, "steps": 1}
    one, two = (distil(images, teacher, passes=n, **one_step).model for n in (1, 2))
    torch.testing.assert_close(weights(one), weights(two))
    start = build_model("small", seed=1).neck.running_mean
    moved = [(m.neck.running_mean - start).abs().sum() for m in (one, two)]
    assert moved[1] > 1.5 * moved[0] > 0
    assert int(two.neck.num_batches_tracked) == 4  # v, r, v, r


def test_batch_statistics_are_those_of_a_modality_or_joint(images, teacher):
    """Running statistics after one step: moved by v, then by r, or once by both."""
    batch, grown = [], {}
    for how in ("modality", "joint"):
        config = StudentConfig(**SMALL, batch_statistics=how)
        objective = StudentObjective(
            images, config, teacher=teacher.model, seed=0, device="cpu", precision="float32"
        )
        model = build_model("small", seed=1).train()
        rows = [np.flatnonzero(images.infrared == dark)[:8] for dark in (False, True)]
        batch = Batch(*(images.images(r) for r in rows), torch.zeros(8, dtype=torch.long), None)
        seen, augmented = [], objective.augmented
        objective.augmented = lambda *streams: seen.append(augmented(*streams)) or seen[0]
        objective.loss(model, batch)
        grown[how] = model.backbone.bn1.running_mean
        x = seen[0].split(8)
    first = build_model("small", seed=1).backbone.conv1
    v, r = (first(part).mean((0, 2, 3)) for part in x)
    torch.testing.assert_close(grown["modality"], 0.9 * 0.1 * v + 0.1 * r)
    torch.testing.assert_close(grown["joint"], 0.1 * (v + r) / 2)


def test_selection_on_the_test_set_reports_the_best_epoch(images, teacher, tmp_path):
    scores, seen = iter([0.1, 0.7, 0.4]), []

    def score(model):
        seen.append(copy.deepcopy(model.state_dict()))
        return next(scores)

    config = StudentConfig(**{**SMALL, "epochs": 3}, selection="test")
    student = build_model("small", seed=1)
    run = train_student(
        student, teacher.model, images, config, test_score=score, folder=tmp_path / "s", **ON_CPU
    )
    assert all(torch.equal(v, seen[1][k]) for k, v in run.model.state_dict().items())
    assert not torch.equal(seen[1]["neck.weight"], seen[2]["neck.weight"])
    chosen = load_checkpoint(tmp_path / "s")[2]["config"]["selection"]
    assert chosen == {"on": "test set", "epoch": 1, "score": 0.7}


def test_the_release_needs_to_be_told_how_to_measure_on_the_test_set(images, teacher):
    with pytest.raises(ValueError, match=r"test_score=\.\.\., or take the last epoch"):
        distil(images, teacher, preset="release")
    assert len(distil(images, teacher, preset="release", selection="last").history) == 8


def test_the_identity_loss_calls_similarities_to_the_teachers_centres_by_name(images, teacher):
    objectives = [
        StudentObjective(
            images,
            StudentConfig(**SMALL, identity_weight=weight),
            teacher=teacher.model, seed=0, device="cpu", precision="float32",
        )
        for weight in (0.0, 0.25)
    ]  # fmt: skip
    rows = [np.flatnonzero(images.infrared == dark)[:4] for dark in (False, True)]
    batch = Batch(*(images.images(r) for r in rows), torch.zeros(4, dtype=torch.long), None)
    student = build_model("small", seed=1).train()
    plain, named = (o.loss(copy.deepcopy(student), batch) for o in objectives)
    identity = named.parts["identity"]
    torch.testing.assert_close(named.total, plain.total + 0.25 * identity)

    again = StudentObjective(
        images, StudentConfig(**SMALL), teacher=teacher.model, seed=0, device="cpu",
        precision="float32",
    )  # fmt: skip
    streams = (
        again.augment_visible(batch.visible, again.generator),
        again.augment_infrared(batch.infrared, again.generator),
    )
    z = again.forward(student, torch.cat(streams), streams=2, joint=False)
    by_hand = [
        -(own @ c.T / 0.05).softmax(1)[:, 0].log().mean()
        for own, c in zip(z, again.centres, strict=True)
    ]
    torch.testing.assert_close(identity, torch.stack(by_hand).mean())


def test_without_distillation_only_the_identity_loss_teaches(images, teacher):
    run = distil(images, teacher, distill=DistillConfig(weight=0.0), identity_weight=1.0)
    torch.testing.assert_close(
        torch.tensor(run.history["loss"]), torch.tensor(run.history["identity"])
    )
    assert run.seconds > 0


def test_the_multistep_schedule_is_the_published_one():
    rate = learning_rate(TeacherConfig(), steps=10)  # e > 20: a tenth, e >= 40: a hundredth
    at = {epoch: rate(10 * epoch) for epoch in (0, 4, 9, 20, 21, 39, 40, 159)}
    expected = {0: 0.1, 4: 0.5, 9: 1.0, 20: 1.0, 21: 0.1, 39: 0.1, 40: 0.01, 159: 0.01}
    assert at == pytest.approx(expected)


def test_one_cycle_rises_for_a_quarter_and_ends_near_zero():
    rate = learning_rate(StudentConfig(epochs=10, schedule="onecycle"), steps=10)
    values = [rate(step) for step in range(100)]
    assert int(np.argmax(values)) == pytest.approx(25, abs=1)
    assert max(values) == pytest.approx(1.0, abs=1e-3)
    assert values[-1] == pytest.approx(1e-3)


def test_the_constant_schedule_is_constant():
    rate = learning_rate(StudentConfig(), steps=10)
    assert {rate(step) for step in range(0, 1600, 37)} == {1.0}


def test_compiling_compiles_the_student_and_the_teacher(images, teacher, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model, **how: (compiled.append(model), model)[1])
    config = StudentConfig(**{**SMALL, "epochs": 1})
    student = build_model("small", seed=1)
    engine = EngineConfig(compile=True)
    train_student(student, teacher.model, images, config, engine=engine, **ON_CPU)
    assert [m is teacher.model for m in compiled] == [False, True]


def test_a_network_is_measured_at_the_size_and_with_the_filter_of_its_training(images, tmp_path):
    """TrainingResult through Python, kept or loaded; another size or filter is refused by name."""
    config = TeacherConfig(**{**SMALL, "epochs": 1, "steps": 1})
    run = train_teacher(build_model("small"), images, config, folder=tmp_path / "t", **ON_CPU)
    loaded = load_checkpoint(tmp_path / "t")[0]
    other = image_set(range(1, 9), images=1, height=64, width=16)
    for model in (run.model, loaded, copy.deepcopy(loaded)):
        assert model.trained_at == {"height": 32, "width": 16}
        assert len(extract(model, images, device="cpu")) == len(images)
        with pytest.raises(ValueError, match="images of height 32, and these have 64; load the da"):
            extract(model, other, device="cpu")
    assert extract(build_model("small"), other, device="cpu").shape == (len(other), 256)
    run.model.trained_at = {"filter": "lanczos"}
    other.source.filter = "bilinear"
    with pytest.raises(ValueError, match="filter lanczos, and these have bilinear"):
        extract(run.model, other, device="cpu")
    with pytest.raises(ValueError, match="the teacher was trained on images of height 32, and"):
        train_student(build_model("small"), loaded, other, StudentConfig(**SMALL), **ON_CPU)
    again = train_teacher(run.model, other, config, **ON_CPU).model
    assert again.trained_at == {"height": 64, "width": 16, "filter": "bilinear"}
