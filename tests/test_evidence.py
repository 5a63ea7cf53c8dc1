import numpy as np
import pytest

from dakd.config import load_profile, replace
from dakd.evidence import QUANTILES, gap_table, robustness_tables, trust_table
from dakd.experiment import Experiment


@pytest.fixture(scope="module")
def config():
    config = load_profile("smoke")
    teacher = replace(config.teacher, epochs=1, steps=2)
    return replace(config, teacher=teacher, student=replace(config.student, epochs=1, steps=2))


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("DAKD_RUNS", str(tmp_path))


def test_trust_has_a_row_a_seed_modality_and_level(config):
    table = trust_table(config, seeds=(0, 1), show=False)
    keys = table[["seed", "modality", "level"]].drop_duplicates()
    assert len(table) == len(keys) == 2 * 2 * 2
    assert table["ece"].notna().tolist() == (table["level"] == "class").tolist()
    np.testing.assert_allclose(table["random"], 1 - table["accuracy"])
    assert (table["best"] <= table["area"] + 1e-12).all()
    for q in QUANTILES:  # the accuracy is what is kept and what is dropped, mixed
        low = np.minimum(table[f"kept_{q}"], table[f"dropped_{q}"])
        high = np.maximum(table[f"kept_{q}"], table[f"dropped_{q}"])
        assert ((table["accuracy"] >= low) & (table["accuracy"] <= high)).all()


def test_the_gap_has_a_row_a_run_and_seed(config):
    table = gap_table(config, seeds=(0,), runs=("untrained", "teacher"), show=False)
    assert table["run"].tolist() == ["untrained", "teacher"]
    assert {"centroid distance", "MMD²", "neighbour mixing"} < set(table.columns)
    assert np.isfinite(table.drop(columns="run").to_numpy(dtype=float)).all()


def test_robustness_has_every_seed_run_and_side(config):
    few = {"repeats": 1, "families": ("noise",), "severities": (3,), "family_repeats": 1}
    table = robustness_tables(config, seeds=(0, 1), runs=("teacher",), show=False, **few)
    sides = table[table["family"] == "all"]
    assert sides[["seed", "where"]].to_numpy().tolist() == [
        [seed, where] for seed in (0, 1) for where in ("none", "query", "gallery", "both")
    ]
    assert table["family"].value_counts()["noise"] == 2
    clean = Experiment(config, show=False)
    expected = clean.evaluate(clean.teacher().model).mean["mAP"]
    assert sides["mAP"].iloc[0] == pytest.approx(expected, abs=1e-6)
