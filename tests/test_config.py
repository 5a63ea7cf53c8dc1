import pytest

from dakd.config import (
    PROFILES,
    Config,
    DistillConfig,
    StudentConfig,
    SyntheticConfig,
    TeacherConfig,
    fingerprint,
    load_profile,
    replace,
    to_dict,
)
from dakd.distill import Switches


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_loads_and_knows_its_name(name):
    assert load_profile(name).profile == name


def test_the_profile_comes_from_the_argument_then_the_environment_then_demo(monkeypatch):
    monkeypatch.setenv("DAKD_PROFILE", "full")
    assert load_profile("smoke").profile == "smoke"
    assert load_profile().profile == "full"
    monkeypatch.delenv("DAKD_PROFILE")
    assert load_profile().profile == "demo"


def test_an_unknown_profile_is_named():
    with pytest.raises(ValueError, match="profile 'huge' is unknown; use one of smoke, demo, full"):
        load_profile("huge")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TeacherConfig(lr=-1.0), "TeacherConfig.lr must be positive, not -1.0"),
        (lambda: StudentConfig(epochs=0), "StudentConfig.epochs must be positive, not 0"),
        (lambda: StudentConfig(pad=-1), "pad must not be negative"),
        (lambda: StudentConfig(cutswap="half"), "cutswap must be .* not 'half'"),
        (lambda: StudentConfig(preset="both"), "preset must be .* not 'both'"),
        (lambda: StudentConfig(ablation="no_kd"), "ablation must be .* not 'no_kd'"),
        (lambda: StudentConfig(init="zero"), "init must be .* not 'zero'"),
        (lambda: StudentConfig(schedule="step"), "schedule must be .* not 'step'"),
        (lambda: StudentConfig(weight_decay=-1.0), "weight_decay must not be negative, not -1.0"),
        (lambda: DistillConfig(mask_keep="half"), "mask_keep must be one of"),
        (lambda: DistillConfig(quantile=7.0), "quantile must lie in 0..1, not 7.0"),
        (lambda: DistillConfig(temperatures=(4, 0)), "temperatures must be positive"),
        (lambda: DistillConfig(class_weight=-1.0), "class_weight must not be negative"),
        (lambda: DistillConfig(masked_modalities=("thermal",)), "masked_modalities must be among"),
        (lambda: DistillConfig(centre_temperature=0.0), "centre_temperature must be positive"),
        (lambda: TeacherConfig(milestones=(-3,)), "milestones must be positive epochs"),
        (lambda: TeacherConfig(cutswap="preset"), "cutswap must be .* not 'preset'"),
        (lambda: TeacherConfig(identity_epochs=-1), "identity_epochs must not be negative"),
        (lambda: TeacherConfig(lr=float("inf")), "lr must be positive, not inf"),
        (lambda: TeacherConfig(weight_decay=float("nan")), "weight_decay must not be neg.*nan"),
        (lambda: Config(seed=-1), "seed must lie in 0..2.32 - 1, not -1"),
        (lambda: SyntheticConfig(train_ids=3), "train_ids must be at least 4"),
        (lambda: SyntheticConfig(test_ids=5), "test_ids must be at least 20"),
        (lambda: SyntheticConfig(material=1.5), "material must lie in 0..1, not 1.5"),
    ],
)
def test_bad_values_are_refused_with_their_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_fingerprint_changes_with_every_field():
    config = load_profile("smoke")
    assert fingerprint(config) == fingerprint(load_profile("smoke"))
    assert fingerprint(config) != fingerprint(replace(config, seed=1))
    deeper = replace(config, student=replace(config.student, ablation="only_kd"))
    assert fingerprint(config) != fingerprint(deeper)


def test_the_schedule_of_the_full_profile_is_that_of_the_released_code():
    teacher = to_dict(load_profile("full").teacher)
    expected = {"lr": 3.5e-4, "weight_decay": 5e-4, "warmup": 10, "milestones": (21, 40)}
    assert {key: teacher[key] for key in expected} == expected
    student = to_dict(load_profile("full").student)
    expected = {"lr": 3.5e-4, "weight_decay": 0.0, "schedule": "constant", "epochs": 160}
    assert {key: student[key] for key in expected} == expected


def test_a_students_cutswap_follows_its_preset_unless_forced():
    assert StudentConfig(preset="release").cutswap_in("sysu") == "release"
    assert StudentConfig().cutswap_in("sysu") == "paper"
    assert StudentConfig().cutswap_in("regdb") == StudentConfig().cutswap_in("llcm") == "none"
    assert StudentConfig(cutswap="paper").cutswap_in("regdb") == "paper"
    assert StudentConfig(preset="release", cutswap="none").cutswap_in("sysu") == "none"
    assert TeacherConfig().cutswap_in("sysu") == "none"
    assert TeacherConfig(cutswap="release").cutswap_in("sysu") == "release"


def test_the_release_is_six_differences_and_each_has_a_switch():
    release, paper = StudentConfig(preset="release"), StudentConfig()
    assert (release.cutswap_in("sysu"), paper.cutswap_in("sysu")) == ("release", "paper")
    assert (release.forward_passes, paper.forward_passes) == (2, 1)
    assert (release.selects_on_test, paper.selects_on_test) == (True, False)
    back = StudentConfig(preset="release", cutswap="paper", passes=1, selection="last")
    assert (back.cutswap_in("sysu"), back.forward_passes) == ("paper", 1)
    assert not back.selects_on_test
    assert release.distill.overrides == {}  # the loss knows its presets
    changed = DistillConfig(mask_keep="uncertain", swapped_temperatures=(), quantile=0.0)
    expected = {"mask_keep": "uncertain", "swapped_temperatures": (), "quantile": 0}
    assert changed.overrides == expected
    assert set(vars(changed)) == set(Switches.__dataclass_fields__)  # every switch of the loss
