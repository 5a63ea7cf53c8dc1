"""Reproduction of published experiments: run a recipe and write its record."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch.distributed as dist

from dakd.config import Config, fingerprint, replace, to_dict
from dakd.data import WHAT_ROOT_IS
from dakd.data.verify import verify
from dakd.evaluate.request import check_request
from dakd.evaluate.result import Result
from dakd.experiment import Experiment
from dakd.runtime import atomic_path, pick_device, pick_precision, require, versions
from dakd.studies.comparison import RERANKED, compare, departures, notes
from dakd.studies.recipes import NETWORKS, RECIPES, absolute
from dakd.train.checkpoint import DESCRIPTION, CheckpointError
from dakd.train.distributed import DistributedContext
from dakd.train.run import TrainingResult
from dakd.train.run_folder import check_space


@dataclass(frozen=True, eq=False)
class Reproduction:
    """The outcome of a recipe; its text has our results and the published ones.

    Attributes:
        record: the content of the file (see docs/recipes.md).
        path: the file.
    """

    record: dict[str, Any]
    path: Path

    @property
    def table(self) -> pd.DataFrame:
        """Mean ± standard deviation over the trials in per cent, a row per network and setting."""
        rows = {
            f"{network} {setting}": {
                metric: f"{100 * mean:.2f} ± {100 * result['std'][metric]:.2f}"
                for metric, mean in result["mean"].items()
            }
            for network, results in self.record["results"].items()
            for setting, result in results.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        r = self.record
        trained = [t[network] for t in r["trainings"] for network in NETWORKS]
        trained = [t for t in trained if "seconds" in t]  # not of an existing teacher
        hours = timedelta(seconds=round(sum(t["seconds"] for t in trained)))
        hardware = " and ".join(dict.fromkeys(t["hardware"] for t in trained))
        dataset = "drawn people in the layout of " * r["drawn"] + r["dataset"]
        profile, first = r["config"]["profile"], next(iter(r["results"]["student"].values()))
        lines = [
            f"recipe {r['recipe']} ({profile}), {dataset}: trained for {hours} on {hardware}",
            f"protocol {first['protocol']}, trials: {len(first['trials'])}, flip {first['flip']}, "
            "k-reciprocal re-ranking in rows ending in -reranked; per cent, mean ± standard "
            "deviation over the trials",
            self.table.to_string(),
        ]
        for row in r["comparison"]:
            lines.append(
                f"{row['network']} {row['setting']} {row['metric']}: {row['ours']:.2f} % here, "
                f"{row['published']:.2f} % published ({row['source']})"
            )
        text = "; ".join(r["departures"]) or "none"
        lines.append(f"departures from the published training: {text}")
        return "\n".join([*lines, *r["notes"], f"written: {self.path}"])


def run_recipe(
    config: Config,
    out: str | os.PathLike[str] = "results",
    *,
    trials: Sequence[int] | None = None,
    drawn: bool = False,
    check: bool = True,
    teacher: str | os.PathLike[str] | None = None,
    runs: str | Path | None = None,
    show: bool = True,
) -> Reproduction | None:
    """Train a teacher and a student, evaluate both in every reported setting, write one record.

    Every setting is evaluated with and without k-reciprocal re-ranking. All requirements that can
    be checked are checked before training. Repeated after an interruption, the call continues.
    Processes that were launched together train together (see `dakd.train.distributed`), and the
    main process evaluates and writes.

    Args:
        config: from `dakd.studies.recipes.recipe`, possibly modified.
        out: folder for the record.
        trials: which of RegDB's ten splits; by default all.
        drawn: allow drawn people in full size.
        check: check that the dataset is complete before training.
        teacher: a trained teacher to use (see `dakd.experiment.Experiment`); for one trial only.
        runs: folder of all networks; by default `dakd.experiment.runs_folder`.
        show: show progress bars.

    Returns:
        The record; None except in the main process.

    Raises:
        ValueError: a setting is invalid, or the dataset is incomplete.
        OSError: a folder is missing or cannot be written to.
        WeightsError: there are no pretrained weights.
        Stopped: the training was interrupted; its state is saved.
    """
    context = DistributedContext.join(config.device)  # first: it assigns a GPU to each process
    out, show = Path(out).expanduser(), show and context.is_main
    path = None if teacher is None else Path(teacher)
    experiment_of = partial(Experiment, runs=runs, show=show, teacher=path)
    require(config.data.name in RECIPES, f"there is no recipe for {config.data.name!r}")
    precision: Any = pick_precision(config.precision, pick_device(config.device))  # for the record
    data = replace(config.data, root=absolute(config.data.root))
    config = replace(config, data=data, precision=precision)
    trials = RECIPES[config.data.name].trials if trials is None else tuple(trials)
    _check_settings(config, trials, context, drawn)
    require(
        teacher is None or len(trials) == 1,
        f"one teacher was given for {len(trials)} trials, whose training identities differ; give "
        "one trial (--trials 1) with its own teacher",
    )
    folder = experiment_of(config).folder

    def checks() -> None:
        check_space(Path(out))
        check_space(folder)
        _check_data(config, trials, experiment_of, check=check, show=show)

    _run_in_main_process(context, folder, checks)
    trainings, results = [], []
    for trial in trials:  # one at a time, because each keeps its networks and embeddings
        experiment = experiment_of(_of_trial(config, trial))
        networks = {"student": experiment.student(), "teacher": experiment.teacher()}
        if context.is_main:
            trainings.append({"trial": trial, **{n: _training(t) for n, t in networks.items()}})
            results.append({n: _evaluate(experiment, t) for n, t in networks.items()})
    if not context.is_main:
        return None
    return _write(config, trials, trainings, results, Path(out), check=check)


def _evaluate(experiment: Experiment, trained: TrainingResult) -> dict[str, Result]:
    """Return the results of a network in every setting, without and with re-ranking."""
    original = experiment.evaluate_all(trained.model, rerank=False)
    reranked = experiment.evaluate_all(trained.model, rerank=True)
    return original | {f"{setting}{RERANKED}": result for setting, result in reranked.items()}


def _of_trial(config: Config, trial: int, **data: Any) -> Config:
    return replace(config, data=replace(config.data, trial=trial, **data))


def _check_settings(
    config: Config, trials: tuple[int, ...], context: DistributedContext, drawn: bool
) -> None:
    name, known = config.data.name, RECIPES[config.data.name].trials
    require(
        0 < len(trials) == len(set(trials)) and set(trials) <= set(known),
        f"trials of {name!r} must be some of {known}, each once, not {trials}",
    )
    require(
        config.data.root is not None or config.profile != "full" or drawn,
        f"recipe {name!r} in full size needs root= (--root), {WHAT_ROOT_IS.get(name)}. To train on "
        "drawn people, set drawn=True (--drawn), or profile='smoke' (--profile smoke) for a test "
        "that takes seconds",
    )
    if config.data.root is not None and not Path(config.data.root).is_dir():
        raise NotADirectoryError(f"{config.data.root} is no folder; root must be the dataset's")
    for network in NETWORKS:
        batch = getattr(config, network).identities
        require(
            batch % context.size == 0,
            f"{batch} identities in a batch of the {network} do not divide among {context.size} "
            "processes; change the number of either",
        )
    pick_device(config.device)


def _run_in_main_process(
    context: DistributedContext, folder: Path, checks: Callable[[], None]
) -> None:
    """Run the checks in the main process, and check that all processes see its files."""
    name = [""]
    with contextlib.ExitStack() as stack:
        try:
            if context.is_main:
                checks()
                file = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder))
                name = [Path(file.name).name]
        finally:
            if context.size > 1:
                dist.broadcast_object_list(name)
        if not name[0]:
            raise SystemExit(2)  # the main process reports the error
        if not (folder / name[0]).exists():
            raise OSError(
                f"this process does not see the files of the main process in {folder}; set "
                "DAKD_RUNS to a folder that all machines share"
            )
        context.barrier()


def _check_data(
    config: Config,
    trials: tuple[int, ...],
    experiment_of: Callable[[Config], Experiment],
    *,
    check: bool,
    show: bool,
) -> None:
    """Check the weights, the copy of the dataset, and the split and protocol of every trial."""
    # Without a cache, because no image is decoded here.
    experiments = [experiment_of(_of_trial(config, t, cache=False)) for t in trials]
    experiments[0].untrained()  # loads the pretrained weights
    if experiments[0].teacher_path is not None:
        experiments[0].teacher()
    name, root = config.data.name, config.data.root or experiments[0].dataset.root
    if check and not (report := verify(name, str(root), decode=False, show=show)).ok:
        raise ValueError(
            f"{report}\n\nRepair the copy, or train on it as it is with check=False (--no-check)"
        )
    names = ("protocol", "sampling", "cmc_unit")
    settings = {name: getattr(config.evaluation, name) for name in names}
    for experiment in experiments:
        for setting in experiment.settings:
            check_request(experiment.dataset, device=config.device, **settings, **setting)


def _training(trained: TrainingResult) -> dict[str, Any]:
    """Return hardware, versions and times of a training; epoch times cover the steps only."""
    if trained.source:
        return {"network": trained.name, **trained.source}
    folder, history = trained.folder, trained.history
    if folder is None:
        return {
            "network": trained.name,
            "hardware": "not recorded, because the checkpoint could not be written",
            "seconds": trained.seconds,
        }
    if missing := {"epoch", "images_per_second", "memory_mb"} - {*history.columns}:
        raise CheckpointError(
            f"the history in {folder} lacks {', '.join(sorted(missing))}; delete the folder and "
            "train again"
        )
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    config = description["config"]
    batch = config.get("teacher") or config["student"]
    seconds = 2 * batch["identities"] * batch["images"] / history["images_per_second"]
    return {
        "network": folder.name,
        "data_fingerprint": config["data_fingerprint"],
        "hardware": config.get("hardware", "unknown hardware"),
        "versions": description["versions"],
        "seconds": trained.seconds,
        "seconds_of_epochs": seconds.groupby(history["epoch"]).sum().round(3).tolist(),
        "peak_memory_mb": history["memory_mb"].max(),
        "chosen": config.get("selection", "last epoch"),
    }


def _write(
    config: Config,
    trials: tuple[int, ...],
    trainings: list[dict[str, Any]],
    results: list[dict[str, dict[str, Result]]],
    out: Path,
    *,
    check: bool,
) -> Reproduction:
    """Join the trials and write the record."""
    teacher = trainings[0]["teacher"]
    source = teacher if "file" in teacher else None
    name, own = config.data.name, RECIPES[config.data.name]
    joined = {
        network: {label: Result.join([r[network][label] for r in results]) for label in settings}
        for network, settings in results[0].items()
    }
    drawn = bool(next(iter(joined["student"].values())).header["drawn"])
    record = {
        "recipe": name,
        "dataset": own.dataset,
        "drawn": drawn,
        "trials": list(trials),
        "comparison": [] if drawn else compare(own, joined),
        "departures": departures(config, source),
        "notes": notes(config, trials, drawn, source, check=check),
        "results": {
            network: {label: result.record for label, result in settings.items()}
            for network, settings in joined.items()
        },
        "trainings": trainings,
        "versions": versions(),
        "config": to_dict(config),
    }  # fmt: skip
    networks = [training[network]["network"] for training in trainings for network in joined]
    path = out / f"{name}-{config.profile}-{fingerprint(networks, config.evaluation)}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Reproduction(record, path)
