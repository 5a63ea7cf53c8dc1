"""The ablation: train and evaluate the variants of `GRID` into one table.

`run_grid` writes each row as soon as it is complete, so that it can be interrupted and repeated at
any time, and several processes can fill the same table. A JSON file records the configuration,
versions and machine of every row. `dakd.analysis.paired_differences` compares the rows.
"""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from dakd.config import (
    Config,
    DataConfig,
    DistillConfig,
    EngineConfig,
    fingerprint,
    flat,
    replace,
    to_dict,
)
from dakd.evaluate.request import setting_name
from dakd.evaluate.result import Result
from dakd.experiment import Experiment, training_code
from dakd.runtime import atomic_path, pick_device, pick_precision, require, versions
from dakd.studies.ablation_variants import GRID, LABELS, MAIN, Variant
from dakd.train.run import TrainingResult

__all__ = ["GRID", "LABELS", "MAIN", "Variant", "describe", "network", "run_grid"]


def run_grid(
    config: Config,
    table: str | Path,
    *,
    runs: Sequence[str] = tuple(GRID),
    seeds: Sequence[int] = (0, 1, 2),
    show: bool = True,
) -> pd.DataFrame:
    """Train and evaluate every run for every seed; return the table.

    Existing rows are kept if configuration, data and training code are unchanged, and computed
    again otherwise. Several processes may fill the same table at the same time.

    Args:
        config: the configuration that all runs share.
        table: a CSV file. A JSON file of the same name describes every call that wrote rows (see
            `describe`).
        runs: names in `GRID`, in the order of execution.
        seeds: of sampling, augmentation and weight initialisation.
        show: show progress bars, and a line for every finished run.

    Returns:
        One row per run and seed: ``run``, ``seed``, ``key`` (digest of configuration, data and
        code), ``changes`` (JSON), ``seconds`` of training, ``parameters``; for every setting of
        the protocol, the mean of every metric over trials as ``<setting>/<metric>``; and
        ``trials``, the metrics of every trial of the first setting as JSON.

    Raises:
        ValueError: runs or seeds are empty or invalid, or an existing file is not such a table or
            record.
    """
    runs, seeds = _unique(config, runs, seeds)
    path = Path(table).expanduser()
    _read_record(path)  # raises on an invalid file before the work
    rows = _read_table(path)
    for name in runs:
        for seed in seeds:
            experiment = Experiment(replace(config, seed=seed), show=show)
            key = _key(experiment, GRID[name])
            if rows.get((name, seed), {}).get("key") == key:
                continue
            row = {"run": name, "seed": seed, "key": key, **_evaluate(experiment, name)}
            rows = _add_row(path, row, describe(config))
            if show:
                first = setting_name(experiment.settings[0])
                print(f"{name}, seed {seed}: rank-1 {row[f'{first}/rank1']:.3f}")
    return pd.DataFrame([rows[name, seed] for name in runs for seed in seeds])


def _unique(
    config: Config, runs: Sequence[str], seeds: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return runs and seeds without repetitions after checking them."""
    require(bool(runs), f"no run is given (--runs); use some of {', '.join(GRID)}")
    require(bool(seeds), "no seed is given (--seeds)")
    if unknown := [name for name in runs if name not in GRID]:
        raise ValueError(f"unknown runs {unknown}; use some of {', '.join(GRID)}")
    for seed in seeds:
        replace(config, seed=seed)  # raises on an invalid seed
    return tuple(dict.fromkeys(runs)), tuple(dict.fromkeys(seeds))


def _add_row(path: Path, row: dict[str, Any], call: dict[str, Any]) -> dict[tuple[str, int], Any]:
    """Add a row to the table and to its record, as they are on disk now; return all rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows, calls = _read_table(path), _read_record(path)
        key = (row["run"], row["seed"])
        rows[key] = row
        record = json.dumps(_record(calls, rows, key, call), indent=2) + "\n"
        with atomic_path(path) as temporary:
            pd.DataFrame(list(rows.values())).to_csv(temporary, index=False)
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(record, encoding="utf-8")
    return rows


def _read_table(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of a table by run and seed; empty if there is no table yet."""
    if not path.is_file():
        return {}
    try:
        frame = pd.read_csv(path, dtype={"run": str, "key": str})
    except ValueError as error:  # empty, damaged, not UTF-8
        raise ValueError(
            f"{path} is no table of runs ({str(error).strip()}); delete it, or use another file"
        ) from error
    if missing := {"run", "seed", "key", "trials"} - set(frame.columns):
        raise ValueError(
            f"{path} is no table of runs, it lacks {sorted(missing)}; use another file"
        )
    rows = frame.to_dict(orient="records")
    for number, row in enumerate(rows, start=1):
        require(
            isinstance(row["seed"], int)
            and isinstance(row["run"], str)
            and isinstance(row["trials"], str)
            and all(_is_metric(value) for name, value in row.items() if "/" in str(name)),
            f"row {number} of {path} is damaged; delete the row, and it is computed again",
        )
    return {(row["run"], row["seed"]): row for row in rows}


def _is_metric(value: Any) -> bool:
    """Return whether a value is in 0..1, or NaN as in the columns of another protocol."""
    return isinstance(value, int | float) and (0 <= value <= 1 or math.isnan(value))


def _read_record(path: Path) -> list[dict[str, Any]]:
    """Return the descriptions of the calls that wrote a table, each with its ``rows``."""
    file = path.with_suffix(".json")
    if not file.is_file():
        return []
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        calls = record.get("calls", [record])  # old records describe one call, without rows
        for call in calls:
            json.dumps([call["config"], call["versions"], call["machine"]])
            call["rows"] = [(str(run), int(seed)) for run, seed in call.get("rows", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} is no record of {path.name} ({type(error).__name__}: {error}); move it away, "
            "or use another file"
        ) from error
    return list(calls)


def _record(
    calls: list[dict[str, Any]],
    rows: dict[tuple[str, int], Any],
    key: tuple[str, int],
    new: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a table after adding a row.

    Args:
        calls: from `_read_record`.
        rows: all rows of the table.
        key: run and seed of the new row.
        new: description of the call that wrote it.
    """
    known = {row for call in calls for row in call["rows"]}
    new = json.loads(json.dumps(new))
    same = None
    for call in calls:
        if not call["rows"]:
            call["rows"] = [row for row in rows if row not in known]
        call["rows"] = [row for row in call["rows"] if row in rows and row != key]
        if {k: v for k, v in call.items() if k not in ("rows", "seeds")} == new:
            same = call
    if same is None:
        calls = [*calls, same := {**new, "rows": []}]
    same["rows"] = [*same["rows"], key]
    seeds = sorted({seed for _, seed in rows})
    return {"seeds": seeds, "calls": [call for call in calls if call["rows"]]}


def _key(experiment: Experiment, variant: Variant) -> str:
    code, config = training_code(), _with_teacher(experiment.config, variant)
    config = replace(config, data=DataConfig(), device="auto", engine=EngineConfig())
    return fingerprint(config, variant.kind, _as_json(variant.student), *experiment.data_key, code)


def _with_teacher(config: Config, variant: Variant) -> Config:
    """Return the configuration with the variant's changes of the teacher."""
    return replace(config, teacher=replace(config.teacher, **variant.teacher))


def network(experiment: Experiment, name: str) -> TrainingResult:
    """Return the network of a run of `GRID`; train it if it is missing."""
    variant = GRID[name]
    if variant.teacher:
        config = _with_teacher(experiment.config, variant)
        experiment = Experiment(config, runs=experiment.folder.parent, show=experiment.show)
    if variant.kind == "untrained":
        return TrainingResult(experiment.untrained(), pd.DataFrame(), seconds=0.0)
    if variant.kind == "student":
        return experiment.student(**variant.student)
    return experiment.teacher() if variant.kind == "teacher" else experiment.continued()


def _evaluate(experiment: Experiment, name: str) -> dict[str, Any]:
    """Return the columns of a run."""
    trained = network(experiment, name)
    results = experiment.evaluate_all(trained.model)
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


def _as_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a configuration as JSON values; of `DistillConfig` only the overrides.

    >>> _as_json(GRID["mask_none"].student)
    {'distill': {'mask_keep': 'none'}}
    """
    return {k: v.overrides if isinstance(v, DistillConfig) else v for k, v in fields.items()}


def _changes(variant: Variant) -> dict[str, Any]:
    """Return the changes of a variant by field.

    >>> _changes(GRID["teacher_cutswap"])
    {'teacher.cutswap': 'paper'}
    >>> _changes(GRID["mask_none"])
    {'mask_keep': 'none'}
    """
    teacher = {f"teacher.{name}": value for name, value in variant.teacher.items()}
    student = {
        name.removeprefix("distill."): v for name, v in flat(_as_json(variant.student)).items()
    }
    return {**student, **teacher}


def describe(config: Config) -> dict[str, Any]:
    """Return the machine, versions, training code and configuration behind a table."""
    precision: Any = pick_precision(config.precision, pick_device(config.device))
    return {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "training_code": training_code(),
        "config": to_dict(replace(config, precision=precision)),
    }
