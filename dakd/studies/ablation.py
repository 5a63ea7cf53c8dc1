"""Many trainings that differ in one thing each: run, resumed, and one table.

`dakd.studies.grid.GRID` names the variants. `run_grid` trains and measures what the table lacks
yet, one row a run, written as soon as the run is done, so that it can be stopped and continued at
any time, and so that several processes can fill one table. The JSON beside it says how each row was
made. `dakd.analysis.paired_differences` compares the rows.
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
from dakd.studies.grid import GRID, LABELS, MAIN, Variant
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
    """Train and measure every run for every seed; return the table.

    The table on disk gets a row as soon as a run is done. A row that is there already is kept if
    configuration, data and training code are those of today, and made again otherwise. Several
    processes may fill one table at the same time.

    Args:
        config: what all runs share.
        table: a CSV file; its folder is made when missing. Beside it a JSON file says how the rows
            were made (see `describe`), for every call that made some.
        runs: names in `GRID`, in the order in which they are run.
        seeds: of batches, augmentation and starting weights.
        show: progress bars, and a line for every finished run.

    Returns:
        One row a run and seed: ``run``, ``seed``, ``key`` (digits that stand for configuration,
        data and code), ``changes`` (JSON), ``seconds`` of training, ``parameters``; for every
        setting of the protocol, mean over trials of every metric as ``<setting>/<metric>``; and
        ``trials``, JSON of the first setting's values trial by trial.

    Raises:
        ValueError: there is no run or no seed, one is unknown, or a file is something else.
    """
    runs, seeds = _asked(config, runs, seeds)
    path = Path(table).expanduser()
    _read_record(path)  # what is no record is refused before the work
    rows = _read(path)
    for name in runs:
        for seed in seeds:
            experiment = Experiment(replace(config, seed=seed), show=show)
            key = _key(experiment, GRID[name])
            if rows.get((name, seed), {}).get("key") == key:
                continue
            row = {"run": name, "seed": seed, "key": key, **_measure(experiment, name)}
            rows = _add(path, row, describe(config))
            if show:
                print(f"{name}, seed {seed}: rank-1 {row[_first(experiment, 'rank1')]:.3f}")
    wanted = [rows[name, seed] for name in runs for seed in seeds]
    return pd.DataFrame(wanted)


def _asked(
    config: Config, runs: Sequence[str], seeds: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return what is to be run, each once; refuse what could not be, before anything is made."""
    require(bool(runs), f"no run is asked for (--runs); use some of {', '.join(GRID)}")
    require(bool(seeds), "no seed is asked for (--seeds); give one or more")
    if unknown := [name for name in runs if name not in GRID]:
        raise ValueError(f"unknown runs {unknown}; use some of {', '.join(GRID)}")
    for seed in seeds:
        replace(config, seed=seed)
    return tuple(dict.fromkeys(runs)), tuple(dict.fromkeys(seeds))


def _add(path: Path, row: dict[str, Any], made: dict[str, Any]) -> dict[tuple[str, int], Any]:
    """Add a row to what the table and its record hold by now; return all rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows, calls = _read(path), _read_record(path)
        place = (row["run"], row["seed"])
        rows[place] = row
        record = json.dumps(_record(calls, rows, place, made), indent=2) + "\n"
        with atomic_path(path) as temporary:
            pd.DataFrame(list(rows.values())).to_csv(temporary, index=False)
        with atomic_path(path.with_suffix(".json")) as temporary:
            temporary.write_text(record, encoding="utf-8")
    return rows


def _read(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows of a table by run and seed; nothing if there is none yet."""
    if not path.is_file():
        return {}
    try:
        frame = pd.read_csv(path, dtype={"run": str, "key": str})
    except ValueError as error:  # empty, damaged, not UTF-8
        raise ValueError(
            f"{path} is no table of runs ({str(error).strip()}); delete it, or name another file"
        ) from error
    if missing := {"run", "seed", "key", "trials"} - set(frame.columns):
        raise ValueError(
            f"{path} is no table of runs, it lacks {sorted(missing)}; name another file"
        )
    rows = frame.to_dict(orient="records")
    for number, row in enumerate(rows, start=1):
        require(
            isinstance(row["seed"], int)
            and isinstance(row["run"], str)
            and isinstance(row["trials"], str)
            and all(_is_share(value) for name, value in row.items() if "/" in str(name)),
            f"{path} is damaged in its row {number}; delete the row, and it is made again",
        )
    return {(row["run"], row["seed"]): row for row in rows}


def _is_share(value: Any) -> bool:
    """Return whether a value can be a rank-k or mAP, or stands where another protocol has one."""
    return isinstance(value, int | float) and (0 <= value <= 1 or math.isnan(value))


def _read_record(path: Path) -> list[dict[str, Any]]:
    """Return what made the rows of a table: descriptions, each with its ``rows``."""
    file = path.with_suffix(".json")
    if not file.is_file():
        return []
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        calls = record.get("calls", [record])  # it once described one call, and named no rows
        for call in calls:
            json.dumps([call["config"], call["versions"], call["machine"]])
            call["rows"] = [(str(run), int(seed)) for run, seed in call.get("rows", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file} does not say how the rows of {path.name} were made ({type(error).__name__}: "
            f"{error}); move it away, or name another file"
        ) from error
    return list(calls)


def _record(
    calls: list[dict[str, Any]],
    rows: dict[tuple[str, int], Any],
    place: tuple[str, int],
    made: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a table whose row at `place` was just made.

    Args:
        calls: of `_read_record`.
        rows: all rows of the table.
        place: run and seed.
        made: how it was made.
    """
    known = {row for call in calls for row in call["rows"]}
    made = json.loads(json.dumps(made))
    same = None
    for call in calls:
        if not call["rows"]:
            call["rows"] = [row for row in rows if row not in known]
        call["rows"] = [row for row in call["rows"] if row in rows and row != place]
        if {k: v for k, v in call.items() if k not in ("rows", "seeds")} == made:
            same = call
    if same is None:
        calls = [*calls, same := {**made, "rows": []}]
    same["rows"] = [*same["rows"], place]
    seeds = sorted({seed for _, seed in rows})
    return {"seeds": seeds, "calls": [call for call in calls if call["rows"]]}


def _key(experiment: Experiment, variant: Variant) -> str:
    code = training_code()
    own = _own(experiment.config, variant)
    config = replace(own, data=DataConfig(), device="auto", engine=EngineConfig())
    return fingerprint(config, variant.kind, _plain(variant.student), *experiment.data_key, code)


def _own(config: Config, variant: Variant) -> Config:
    """Return what all runs share, with the teacher of this one."""
    return replace(config, teacher=replace(config.teacher, **variant.teacher))


def network(experiment: Experiment, name: str) -> TrainingResult:
    """Return the network of a run of `GRID`, trained when missing."""
    variant = GRID[name]
    if variant.teacher:
        experiment = Experiment(
            _own(experiment.config, variant), runs=experiment.folder.parent, show=experiment.show
        )
    if variant.kind == "untrained":
        return TrainingResult(experiment.untrained(), pd.DataFrame(), seconds=0.0)
    if variant.kind == "student":
        return experiment.student(**variant.student)
    return experiment.teacher() if variant.kind == "teacher" else experiment.continued()


def _measure(experiment: Experiment, name: str) -> dict[str, Any]:
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


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a configuration as JSON values, of `DistillConfig` only those that are set.

    >>> _plain(GRID["mask_none"].student)
    {'distill': {'mask_keep': 'none'}}
    """
    return {k: v.overrides if isinstance(v, DistillConfig) else v for k, v in fields.items()}


def _changes(variant: Variant) -> dict[str, Any]:
    """Return what a variant changes, by the field's name.

    >>> _changes(GRID["teacher_cutswap"])
    {'teacher.cutswap': 'paper'}
    >>> _changes(GRID["mask_none"])
    {'mask_keep': 'none'}
    """
    teacher = {f"teacher.{name}": value for name, value in variant.teacher.items()}
    student = {
        name.removeprefix("distill."): v for name, v in flat(_plain(variant.student)).items()
    }
    return {**student, **teacher}


def _first(experiment: Experiment, metric: str) -> str:
    return f"{setting_name(experiment.settings[0])}/{metric}"


def describe(config: Config) -> dict[str, Any]:
    """Return what a table must be published with: machine, versions, code, configuration."""
    precision: Any = pick_precision(config.precision, pick_device(config.device))
    return {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        "training_code": training_code(),
        "config": to_dict(replace(config, precision=precision)),
    }
