"""Many trainings that differ in one thing each: which of them, run, resumed, and one table.

`GRID` names the variants. `run_grid` trains and measures what the table does not hold yet, one row
a run, written as soon as the run is done, so that it can be stopped and continued at any time.
`dakd.analysis.paired_differences` compares the rows.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from dakd.checkpoint import versions
from dakd.config import Config, EngineConfig, fingerprint, replace, to_dict
from dakd.evaluate import setting_name
from dakd.experiment import TRAINED_BY, Experiment
from dakd.result import Result
from dakd.runtime import atomic_path, source_fingerprint
from dakd.train import Trained


@dataclass(frozen=True)
class Run:
    """One variant.

    Attributes:
        group: rows that are compared with each other.
        label: what a figure calls it.
        kind: which network; ``"continued"`` is the teacher, trained on by its own objective for as
            long as a student is.
        student: fields of `dakd.config.StudentConfig` that differ from the configuration.
        teacher: fields of `dakd.config.TeacherConfig` that differ; a student then has that teacher.
    """

    group: str
    label: str
    kind: Literal["untrained", "teacher", "continued", "student"] = "student"
    student: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Any] = field(default_factory=dict)


_IDENTITY = {"weight": 0.0, "identity_weight": 1.0}

MAIN = ("untrained", "teacher", "continued", "only_kd", "dakd")  # the rows of the README
GRID: Mapping[str, Run] = MappingProxyType({
    "untrained": Run("controls", "untrained", "untrained"),
    "teacher": Run("controls", "teacher", "teacher"),
    "continued": Run("controls", "teacher, trained on", "continued"),
    "identity": Run("controls", "identity loss alone", student=_IDENTITY),
    "dakd": Run("method", "DAKD"),
    "only_kd": Run("method", "plain distillation", student={"ablation": "only_kd"}),
    "dakd_identity": Run("method", "DAKD + identity loss", student={"identity_weight": 1.0}),
    "from_teacher": Run("method", "DAKD from the teacher's weights", student={"init": "teacher"}),
    "identity_from_teacher": Run(
        "controls", "identity loss alone, from the teacher's weights",
        student={**_IDENTITY, "init": "teacher"},
    ),
    "dakd_identity_from_teacher": Run(
        "method", "DAKD + identity loss, from the teacher's weights",
        student={"identity_weight": 1.0, "init": "teacher"},
    ),
    "release": Run("release", "release (all six)", student={"preset": "release"}),
    "no_instance": Run("levels", "class level alone", student={"ablation": "mlkd_no_instance"}),
    "no_class": Run("levels", "instance level alone", student={"ablation": "mlkd_no_class"}),
    "mask_none": Run("mask", "no mask", student={"mask_keep": "none"}),
    "mask_uncertain": Run("mask", "uncertain half", student={"mask_keep": "uncertain"}),
    "cutswap_none": Run("CutSwap", "DAKD without CutSwap", student={"cutswap": "none"}),
    "cutswap_release": Run("CutSwap", "whole image", student={"cutswap": "release"}),
    "teacher_cutswap": Run(
        "CutSwap", "teacher with CutSwap", "teacher", teacher={"cutswap": "paper"}
    ),
    # What "teacher" is by now; the published tables have the row, and go on without it once remade.
    "teacher_no_cutswap": Run(
        "CutSwap", "teacher without CutSwap", "teacher", teacher={"cutswap": "none"}
    ),
    "joint": Run(
        "batch statistics", "joint batch statistics", student={"batch_statistics": "joint"}
    ),
    "balanced": Run("batches", "balanced batches", student={"sampler": "balanced"}),
    "mask_mean": Run("release", "mask scales the mean", student={"mask_acts_on": "mean"}),
    "swapped": Run("release", "infrared at t = 2, 6", student={"swapped_temperatures": (2, 6)}),
    "two_passes": Run("release", "two forward passes", student={"passes": 2}),
    "select_on_test": Run("release", "epoch chosen on test", student={"selection": "test"}),
    "quantile_25": Run("mask", "confident three quarters", student={"quantile": 0.25}),
    "quantile_75": Run("mask", "confident quarter", student={"quantile": 0.75}),
    "t_4": Run("temperatures", "t = 4", student={"temperatures": (4,)}),
    "t_low": Run("temperatures", "t = 2, 3", student={"temperatures": (2, 3)}),
    "t_high": Run("temperatures", "t = 5, 6", student={"temperatures": (5, 6)}),
    "not_standardised": Run("temperatures", "not standardised", student={"standardised": False}),
})  # fmt: skip
LABELS: Mapping[str, str] = MappingProxyType({name: run.label for name, run in GRID.items()})


def run_grid(
    config: Config,
    table: str | Path,
    *,
    runs: Sequence[str] = tuple(GRID),
    seeds: Sequence[int] = (0, 1, 2),
    show: bool = True,
) -> pd.DataFrame:
    """Train and measure every run for every seed; return the table.

    The table on disk gets a row as soon as a run is done. A row that is there already is kept if
    configuration, data and training code are those of today, and made again otherwise.

    Args:
        config: what all runs share.
        table: a CSV file; its folder is made when missing.
        runs: names in `GRID`, in the order in which they are run.
        seeds: of batches, augmentation and starting weights.
        show: progress bars, and a line for every finished run.

    Returns:
        One row a run and seed: ``run``, ``seed``, ``key`` (digits that stand for configuration,
        data and code), ``changes`` (JSON), ``seconds`` of training, ``parameters``; for every
        setting of the protocol, mean over trials of every metric as ``<setting>/<metric>``; and
        ``trials``, JSON of the first setting's values trial by trial.

    Raises:
        ValueError: a run or a setting is unknown, or the file is another table.
    """
    if unknown := [name for name in runs if name not in GRID]:
        raise ValueError(f"unknown runs {unknown}; use some of {', '.join(GRID)}")
    path = Path(table)
    rows = _read(path)
    for name in runs:
        for seed in seeds:
            lab = Experiment(replace(config, seed=seed), show=show)
            key = _key(lab, GRID[name])
            if rows.get((name, seed), {}).get("key") == key:
                continue
            rows[name, seed] = {"run": name, "seed": seed, "key": key, **_measure(lab, name)}
            frame = pd.DataFrame(list(rows.values()))
            with atomic_path(path) as temporary:
                frame.to_csv(temporary, index=False)
            if show:
                print(f"{name}, seed {seed}: rank-1 {rows[name, seed][_first(lab, 'rank1')]:.3f}")
    wanted = [rows[name, seed] for name in runs for seed in seeds]
    return pd.DataFrame(wanted)


def _read(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of a table by run and seed; nothing if there is none yet."""
    if not path.is_file():
        return {}
    frame = pd.read_csv(path)
    if missing := {"run", "seed", "key", "trials"} - set(frame.columns):
        raise ValueError(
            f"{path} is no table of runs, it lacks {sorted(missing)}; name another file"
        )
    return {(row["run"], row["seed"]): row for row in frame.to_dict(orient="records")}


def _key(lab: Experiment, run: Run) -> str:
    code = source_fingerprint(*TRAINED_BY)
    stored = replace(lab.config.data, keep=True, cache=False)
    config = replace(_own(lab.config, run), data=stored, device="auto", engine=EngineConfig())
    return fingerprint(config, run.kind, dict(run.student), lab.dataset.fingerprint, code)


def _own(config: Config, run: Run) -> Config:
    """Return what all runs share, with the teacher of this one."""
    return replace(config, teacher=replace(config.teacher, **run.teacher))


def network(lab: Experiment, name: str) -> Trained:
    """Return the network of a run of `GRID`, trained when missing."""
    run = GRID[name]
    if run.teacher:
        lab = Experiment(_own(lab.config, run), runs=lab.folder.parent, show=lab.show)
    if run.kind == "untrained":
        return Trained(lab.untrained(), pd.DataFrame(), seconds=0.0)
    if run.kind == "student":
        return lab.student(**run.student)
    return lab.teacher() if run.kind == "teacher" else lab.continued()


def _measure(lab: Experiment, name: str) -> dict[str, Any]:
    """Return the columns of a run."""
    trained = network(lab, name)
    results = lab.evaluate_all(trained.model)
    first: Result = next(iter(results.values()))
    trials = {metric: values.round(6).tolist() for metric, values in first.trials.items()}
    columns: dict[str, Any] = {
        "changes": json.dumps(_changes(GRID[name])),
        "seconds": round(trained.seconds, 1),
        "parameters": sum(p.numel() for p in trained.model.parameters()),
    }
    for setting, result in results.items():
        columns |= {f"{setting}/{metric}": round(v, 6) for metric, v in result.mean.items()}
    return {**columns, "trials": json.dumps(trials)}


def _changes(run: Run) -> dict[str, Any]:
    """Return what a run changes, the teacher's fields with their prefix.

    >>> _changes(GRID["teacher_cutswap"])
    {'teacher.cutswap': 'paper'}
    """
    return {**run.student, **{f"teacher.{name}": value for name, value in run.teacher.items()}}


def _first(lab: Experiment, metric: str) -> str:
    return f"{setting_name(lab.settings[0])}/{metric}"


def describe(config: Config, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what a table must be published with: machine, versions, code, seeds, configuration."""
    return {
        "seeds": list(seeds),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "training_code": source_fingerprint(*TRAINED_BY),
        "config": to_dict(config),
    }
