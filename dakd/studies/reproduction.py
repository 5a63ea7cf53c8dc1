"""A recipe run from its data to one record, with the published figures beside ours."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch.distributed as dist

from dakd.config import Config, fingerprint, flat, replace, to_dict
from dakd.data import WHAT_ROOT_IS
from dakd.data.verify import verify
from dakd.evaluate.request import check_request
from dakd.evaluate.result import Result
from dakd.experiment import Experiment
from dakd.runtime import atomic_path, pick_device, pick_precision, require, versions
from dakd.studies.recipes import NO_FIGURE, RECIPES, Recipe, _absolute, recipe
from dakd.train.checkpoint import DESCRIPTION, CheckpointError
from dakd.train.distributed import DistributedContext
from dakd.train.run import TrainingResult
from dakd.train.run_folder import check_space

DRAWN = "The people are drawn: these numbers cannot be compared with any published figure."


RERANKED = "-reranked"


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What a recipe leaves; printing it shows the numbers and what they may be compared with.

    Attributes:
        record: everything, as in the file (see docs/recipes.md).
        path: the file.
    """

    record: dict[str, Any]
    path: Path

    @property
    def table(self) -> pd.DataFrame:
        """Mean and standard deviation over the trials in per cent, a row a network and setting."""
        rows = {
            f"{who} {setting}": {
                metric: f"{100 * mean:.2f} ± {100 * result['std'][metric]:.2f}"
                for metric, mean in result["mean"].items()
            }
            for who, results in self.record["results"].items()
            for setting, result in results.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def __str__(self) -> str:
        r = self.record
        trained = [t[who] for t in r["trainings"] for who in ("teacher", "student")]
        trained = [t for t in trained if "seconds" in t]  # a teacher that was given has none
        hours = timedelta(seconds=round(sum(t["seconds"] for t in trained)))
        where = " and ".join(dict.fromkeys(t["hardware"] for t in trained))
        people = "drawn people in the layout of " * r["drawn"] + r["dataset"]
        size, how = r["config"]["profile"], next(iter(r["results"]["student"].values()))
        lines = [
            f"recipe {r['recipe']} ({size}), {people}: trained for {hours} on {where}",
            f"protocol {how['protocol']}, trials: {len(how['trials'])}, flip {how['flip']}, "
            "k-reciprocal re-ranking where a row says so; per cent, mean ± standard deviation over "
            "the trials",
            self.table.to_string(),
        ]
        for row in r["comparison"]:
            lines.append(
                f"{row['network']} {row['setting']} {row['metric']}: {row['ours']:.2f} % here, "
                f"{row['published']:.2f} % published ({row['source']})"
            )
        apart = "; ".join(r["departures"]) or "none"
        lines.append(f"departures from the published training: {apart}")
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
    """Train a teacher and a student, measure both in every customary setting, write one record.

    Every setting is measured with and without k-reciprocal re-ranking.

    What was trained before is found, what was interrupted is continued. Whatever can be known to
    stop the work later is looked for first. Processes that were launched together train together
    (see `dakd.train.distributed`), and the main one measures and writes.

    Args:
        config: from `recipe`, changed as you like.
        out: folder for the record.
        trials: which of RegDB's ten splits; all if not given.
        drawn: allow drawn people in full size.
        check: look whether the dataset is complete before anything is trained.
        teacher: a finished teacher to distil from (see `dakd.experiment.Experiment`); of RegDB, for
            one trial.
        runs: folder of all networks; by default `dakd.experiment.runs_folder`.
        show: progress bars.

    Returns:
        The record; None in a process that is not the main one.

    Raises:
        ValueError: an unsuitable setting, or a dataset that is not complete.
        OSError: a folder is missing or cannot be written to.
        WeightsError: there are no pretrained weights to start from.
        Stopped: the user asked to stop; the state is saved.
    """
    context = DistributedContext.join(config.device)  # first: it gives each process its own GPU
    given, out = None if teacher is None else Path(teacher), Path(out).expanduser()
    experiment_of = partial(Experiment, runs=runs, show=show and context.is_main, teacher=given)
    show = show and context.is_main
    require(config.data.name in RECIPES, f"there is no recipe for {config.data.name!r}")
    precision: Any = pick_precision(config.precision, pick_device(config.device))  # for the record
    data = replace(config.data, root=_absolute(config.data.root))
    config = replace(config, data=data, precision=precision)
    trials = RECIPES[config.data.name].trials if trials is None else tuple(trials)
    _refuse_settings(config, trials, context, drawn)
    require(
        teacher is None or len(trials) == 1,
        f"one teacher was given for {len(trials)} trials, whose training identities differ; give "
        "one trial (--trials 1) with its own teacher",
    )
    folder = experiment_of(config).folder

    def look() -> None:
        check_space(Path(out))
        check_space(folder)
        _refuse_data(config, trials, experiment_of, check=check, show=show)

    _look_first(context, folder, look)
    trainings, results = [], []
    for trial in trials:  # one at a time: each keeps its networks and embeddings
        experiment = experiment_of(_of_trial(config, trial))
        networks = {"student": experiment.student(), "teacher": experiment.teacher()}
        if context.is_main:
            trainings.append({"trial": trial, **{w: _training(t) for w, t in networks.items()}})
            results.append(
                {who: _measured(experiment, trained) for who, trained in networks.items()}
            )
    if not context.is_main:
        return None
    return _write(config, trials, trainings, results, Path(out), check=check)


def _measured(experiment: Experiment, trained: TrainingResult) -> dict[str, Result]:
    """Return the tables of a network in every setting, without and with re-ranking."""
    plain = experiment.evaluate_all(trained.model, rerank=False)
    again = experiment.evaluate_all(trained.model, rerank=True)
    return plain | {f"{setting}{RERANKED}": result for setting, result in again.items()}


def _of_trial(config: Config, trial: int, **data: Any) -> Config:
    return replace(config, data=replace(config.data, trial=trial, **data))


def _refuse_settings(
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
        "drawn people, say drawn=True (--drawn), or profile='smoke' (--profile smoke) to see "
        "everything work in seconds",
    )
    if config.data.root is not None and not Path(config.data.root).is_dir():
        raise NotADirectoryError(f"{config.data.root} is no folder; root must be the dataset's")
    for who in ("teacher", "student"):
        batch = getattr(config, who).identities
        require(
            batch % context.size == 0,
            f"{batch} identities in a batch of the {who} do not divide among {context.size} "
            "processes; change the number of either",
        )
    pick_device(config.device)


def _look_first(context: DistributedContext, folder: Path, look: Callable[[], None]) -> None:
    """Let the main process look; the others follow it, and must see the folder that it sees."""
    mark = [""]
    with contextlib.ExitStack() as seen:
        try:
            if context.is_main:
                look()
                file = seen.enter_context(tempfile.NamedTemporaryFile(dir=folder))
                mark = [Path(file.name).name]
        finally:
            if context.size > 1:
                dist.broadcast_object_list(mark)
        if not mark[0]:
            raise SystemExit(2)  # the main process says why
        if not (folder / mark[0]).exists():
            raise OSError(
                f"this process does not see what the main process writes into {folder}; set "
                "DAKD_RUNS to a folder that all machines share"
            )
        context.barrier()


def _refuse_data(
    config: Config,
    trials: tuple[int, ...],
    experiment_of: Callable[[Config], Experiment],
    *,
    check: bool,
    show: bool,
) -> None:
    """Go through everything but training: weights, the copy, every trial's lists and protocol."""
    # No picture is decoded yet, so there is nothing to cache.
    experiments = [experiment_of(_of_trial(config, t, cache=False)) for t in trials]
    experiments[0].untrained()  # weights are fetched now or never
    if experiments[0].given_teacher is not None:
        experiments[0].teacher()
    name, root = config.data.name, config.data.root or experiments[0].dataset.root
    if check and not (report := verify(name, str(root), decode=False, show=show)).ok:
        raise ValueError(
            f"{report}\n\nPut the copy right, or train on it as it is with check=False (--no-check)"
        )
    e = config.evaluation
    how: dict[str, Any] = {"protocol": e.protocol, "sampling": e.sampling, "cmc_unit": e.cmc_unit}
    for experiment in experiments:
        for setting in experiment.settings:
            check_request(experiment.dataset, device=config.device, **how, **setting)


def _training(trained: TrainingResult) -> dict[str, Any]:
    """Return how long a training took and on what; epochs are timed by their steps alone."""
    if trained.source:
        return {"network": trained.name, **trained.source}
    folder, history = trained.folder, trained.history
    if folder is None:
        return {
            "network": trained.name,
            "hardware": "not recorded, as the checkpoint could not be written",
            "seconds": trained.seconds,
        }
    if missing := {"epoch", "images_per_second", "memory_mb"} - {*history.columns}:
        raise CheckpointError(
            f"the history in {folder} lacks {', '.join(sorted(missing))}; delete the folder and "
            "train again"
        )
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    made = description["config"]
    batch = made.get("teacher") or made["student"]
    seconds = 2 * batch["identities"] * batch["images"] / history["images_per_second"]
    return {
        "network": folder.name,
        "data_fingerprint": made["data_fingerprint"],
        "hardware": made.get("hardware", "hardware that was not recorded"),
        "versions": description["versions"],
        "seconds": trained.seconds,
        "seconds_of_epochs": seconds.groupby(history["epoch"]).sum().round(3).tolist(),
        "peak_memory_mb": history["memory_mb"].max(),
        "chosen": made.get("selection", "last epoch"),
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
    made = trainings[0]["teacher"]
    given = made if "file" in made else None
    name, own = config.data.name, RECIPES[config.data.name]
    joined = {
        who: {label: Result.join([r[who][label] for r in results]) for label in settings}
        for who, settings in results[0].items()
    }
    drawn = bool(next(iter(joined["student"].values())).header["drawn"])
    record = {
        "recipe": name,
        "dataset": own.dataset,
        "drawn": drawn,
        "trials": list(trials),
        "comparison": [] if drawn else _comparison(own, joined),
        "departures": _departures(config, given),
        "notes": _notes(config, trials, drawn, given, check=check),
        "results": {
            who: {label: _plain(result) for label, result in settings.items()}
            for who, settings in joined.items()
        },
        "trainings": trainings,
        "versions": versions(),
        "config": to_dict(config),
    }  # fmt: skip
    networks = [training[who]["network"] for training in trainings for who in joined]
    path = out / f"{name}-{config.profile}-{fingerprint(networks, config.evaluation)}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Reproduction(record, path)


def _comparison(own: Recipe, joined: dict[str, dict[str, Result]]) -> list[dict[str, Any]]:
    """Return a row for each published figure and each of our results that it may stand beside."""
    return [
        {
            "network": figure.who,
            "setting": label,
            "metric": metric,
            "ours": 100 * float(joined[figure.who][label].mean[metric]),
            "published": value,
            "source": figure.source,
        }
        for figure in own.published
        for setting, metrics in figure.values.items()
        for label in (setting + RERANKED * again for again in figure.reranked)
        if label in joined[figure.who]
        for metric, value in metrics.items()
    ]


def _departures(config: Config, given: Mapping[str, Any] | None = None) -> list[str]:
    """Return the settings in which a run departs from the published training.

    Args:
        config: of the run.
        given: what is known of a teacher that was not trained here.

    >>> _departures(recipe("sysu", profile="full", release=True))
    []
    >>> _departures(recipe("sysu", profile="smoke", release=True))
    ["profile 'smoke': its own images, network, batches, schedules and start"]
    """
    profile, apart = config.profile, []
    if profile != "full":
        apart.append(f"profile {profile!r}: its own images, network, batches, schedules and start")
    if not RECIPES[config.data.name].published:
        apart.append(
            f"{RECIPES[config.data.name].dataset}: nothing is published but size and augmentation"
        )
    changes = _changes(config, recipe(config.data.name, profile=profile, release=True))
    if given:
        apart.append(f"teacher given: {given['file']} ({given['digest']})")
        changes = [change for change in changes if not change.startswith("teacher.")]
    return apart + changes


def _plain(result: Result) -> dict[str, Any]:
    summary = {"mean": result.mean.to_dict(), "std": result.std.to_dict()}
    return {**result.header, **summary, "trials": result.trials.to_dict(orient="index")}


def _notes(
    config: Config,
    trials: tuple[int, ...],
    drawn: bool,
    given: Mapping[str, Any] | None = None,
    *,
    check: bool = True,
) -> list[str]:
    """Return what one must know before putting the numbers beside others."""
    own = RECIPES[config.data.name]
    if drawn:
        notes = [DRAWN]
    else:
        notes = [figure.unsaid for figure in own.published if figure.unsaid] or [NO_FIGURE]
    on_test = {who for who in ("teacher", "student") if getattr(config, who).selects_on_test}
    if given:
        chosen = given.get("chosen")
        if chosen is None:
            notes.append(
                "Which epoch the given teacher is, and on which split it was trained, is not known."
            )
        told = isinstance(chosen, Mapping) and chosen["on"] == "test set"
        on_test = on_test - {"teacher"} | ({"teacher"} if told else set())
    notes += [
        f"The {who}'s epoch was chosen on the test set: its numbers are no test results."
        for who in ("teacher", "student")
        if who in on_test
    ]
    if not check:
        notes.append("Whether the copy of the dataset is complete was not checked.")
    if len(trials) < len(own.trials):
        notes.append(f"{len(trials)} of {len(own.trials)} trials.")
    return notes


def _changes(config: Config, standard: Config) -> list[str]:
    """Return the settings that may change a result and are not the recipe's.

    >>> full = recipe("sysu", profile="full", release=True)
    >>> _changes(replace(full, seed=3, teacher=replace(full.teacher, epochs=40)), full)
    ['teacher.epochs 40 instead of 160']
    """
    free = ["seed", "device", "engine", "data.root", "data.trial", "data.keep", "data.cache"]
    free.append("evaluation.")  # how it is measured stands in each result
    counted = ["engine.compile"]  # rounds otherwise
    if config.teacher.selects_on_test or config.student.selects_on_test:
        counted += [f"evaluation.{name}" for name in ("protocol", "sampling", "trials")]
    here, there = (flat(to_dict(c)) for c in (config, standard))
    return [
        f"{key} {here[key]} instead of {value}"
        for key, value in there.items()
        if here[key] != value and (key in counted or not key.startswith((*free, "data.synthetic")))
    ]
