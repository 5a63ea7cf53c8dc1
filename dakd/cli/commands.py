"""The commands of the command line: their options, and what they do.

What computes is imported when a command runs: a help needs none of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dakd.config import (
    IMAGE_FIELDS,
    Config,
    Profile,
    SyntheticConfig,
    load_profile,
    nested,
    replace,
)
from dakd.runtime import atomic_path, require
from dakd.studies.grid import GRID, MAIN

if TYPE_CHECKING:
    from dakd.experiment import Experiment
    from dakd.model import ReIDModel
    from dakd.released import BothStems

DATA = vars(load_profile("demo").data)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the teacher, then the student, of one configuration."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    only: Literal["teacher", "both"] = "both"
    teacher: Path | None = None
    """A finished teacher to distil from: a folder of ours, or a file published with MCE or DAKD."""

    def run(self) -> None:
        """Train what is missing and say where it lies."""
        from dakd.experiment import Experiment
        from dakd.train.distributed import DistributedContext

        if self.only == "teacher" and self.teacher:
            raise ValueError("--only teacher trains one, and --teacher gives one; leave one out")
        experiment = Experiment(self.config, teacher=self.teacher)
        found = {"teacher": experiment.teacher().folder or self.teacher}
        if self.only == "both":
            found["student"] = experiment.student().folder
        if DistributedContext.join(self.config.device).is_main:
            print("\n".join(f"{name}: {folder}" for name, folder in found.items() if folder))
            lost = [name for name, folder in found.items() if folder is None]
            if lost:
                raise OSError(
                    f"the {' and the '.join(lost)} could not be written (see above); make room "
                    "and repeat the command, which goes on from the last snapshot"
                )


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a checkpoint in every setting in which its benchmark is customarily reported."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    checkpoint: tuple[Path, ...]
    """Folder written by `dakd train`, or a published file; for RegDB one for each trial. Size and
    resize filter are those of its training unless given."""
    out: Path | None = None
    """Folder for the result records (JSON)."""

    def run(self) -> None:
        """Write and print one table a setting."""
        from dakd.evaluate.result import Result

        require(bool(self.checkpoint), "no checkpoint is given (--checkpoint)")
        if len(self.checkpoint) > 1 and self.config.data.name != "regdb":
            raise ValueError(
                f"{len(self.checkpoint)} checkpoints were given; only RegDB has a network for each "
                "trial, evaluate the others one by one"
            )
        results: dict[str, list[Result]] = {}
        for path in self.checkpoint:  # one at a time: each keeps its decoded images
            experiment, model = self._open_released(path) if path.is_file() else self._open(path)
            for label, result in experiment.evaluate_all(model).items():
                results.setdefault(label, []).append(result)
        name = self.checkpoint[0].name if len(self.checkpoint) == 1 else "joined"
        joined = {}
        for label, of_trials in results.items():
            joined[label] = Result.join(of_trials)
        saved = {}
        if self.out:  # before anything is printed, which may fail
            for label, result in joined.items():
                path = self.out / name / f"{result.header['protocol']}-{label}.json"
                saved[label] = f"written: {result.save(path)}"
        for label, result in joined.items():
            print(*filter(None, (result, saved.get(label))), sep="\n", end="\n\n")

    def _open(self, folder: Path) -> "tuple[Experiment, ReIDModel]":
        """Return a network and the data that it is measured on; say what it was trained on."""
        from dakd.experiment import Experiment
        from dakd.train.checkpoint import load_checkpoint

        model, _, description = load_checkpoint(folder)
        made, config = description["config"], self.config
        if chosen := nested(made, "selection"):
            print(f"{folder}: epoch {chosen.get('epoch')} was chosen on the {chosen.get('on')}")
        trained_on = nested(made, "experiment", "data")
        for name in IMAGE_FIELDS:
            here = getattr(config.data, name)
            if (there := model.trained_at.get(name, here)) != here:
                raise ValueError(
                    f"the network was trained on images of {name} {there}, and this would measure "
                    f"it at {here}; leave --data.{name} out, or give that of its training"
                )
        if config.data.name == "regdb" == trained_on.get("name"):
            # It has seen the training half of its own trial and must be tested on the other.
            own = with_data(config, trained_on, ("trial",), folder)
            if len(self.checkpoint) == 1 and own.data.trial != config.data.trial:
                raise ValueError(
                    f"the network was trained on trial {own.data.trial}, and would be tested on "
                    "people whom it has seen; leave --data.trial out"
                )
            config = own
        elif len(self.checkpoint) > 1:
            raise ValueError(
                f"{folder} was trained on {trained_on.get('name', 'unknown data')}, not on RegDB"
            )
        experiment = Experiment(config)
        experiment.about = {"network": folder.name, "seed": made.get("seed", config.seed)}
        here, there = made.get("data_fingerprint", "unknown"), experiment.dataset.fingerprint
        if here != there:
            print(
                f"{folder}: trained on {trained_on.get('name', 'unknown data')} (data {here}), "
                f"measured on {experiment.dataset.name} (data {there}). Its training images may "
                "show people who are tested here"
            )
        return experiment, model

    def _open_released(self, path: Path) -> "tuple[Experiment, ReIDModel | BothStems]":
        """Return a published network and the data; say what was read from the file."""
        from dakd.experiment import Experiment
        from dakd.released import load_both_stems

        asked = self.config.model.pooling
        models, report = load_both_stems(path, pooling=None if asked == "auto" else asked)
        print(report)
        data = self.config.data
        print(f"  images are read at {data.height} x {data.width}, filter {data.filter}")
        experiment = Experiment(self.config)
        experiment.about = {"network": f"{path.name} ({report.digest})"}
        if report.classes not in (None, experiment.dataset.train.num_classes):
            print(
                f"{path}: trained on {report.classes} identities; {experiment.dataset.name} has "
                f"{experiment.dataset.train.num_classes}"
            )
        return experiment, models if report.stem else models["visible"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Run a dataset's experiment: teacher, student, evaluation, one record; goes on if repeated."""

    name: Annotated[Literal["sysu", "regdb", "llcm"], tyro.conf.Positional]
    config: Annotated[Config, tyro.conf.arg(name="")]
    root: Path | None = None
    """The dataset's folder; without one, drawn people (in full size only with --drawn)."""
    out: Path = Path("results")
    """Folder for the record (JSON)."""
    trials: tuple[int, ...] | None = None
    """Which of RegDB's ten splits; all if not given."""
    drawn: bool = False
    """Train on drawn people in full size."""
    check: bool = True
    """Compare the dataset with a complete copy first."""
    release: bool = False
    """Train as the published codes do: all six rows, float32, epochs chosen on the test set."""
    teacher: Path | None = None
    """A finished teacher to distil from: a folder of ours, or a file published with MCE or DAKD."""

    def run(self) -> None:
        """Print the numbers and where the record lies."""
        from dakd.studies.reproduction import run_recipe

        config = self.config
        if self.name != config.data.name:
            raise ValueError(
                f"recipe {self.name!r} does not run on {config.data.name!r}; write its name first, "
                "as in `dakd recipe sysu --root FOLDER`, and leave --data.name to it"
            )
        if self.root is not None:
            config = replace(config, data=replace(config.data, root=str(self.root)))
        how: dict[str, Any] = {"trials": self.trials, "drawn": self.drawn, "check": self.check}
        how["teacher"] = self.teacher
        if made := run_recipe(config, self.out, **how):  # by the main process
            print(made)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Compare a copy of a dataset with what its authors gave out; exit code 1 if it differs."""

    name: Annotated[Literal["sysu", "regdb", "llcm", "custom"], tyro.conf.Positional]
    root: Annotated[Path, tyro.conf.Positional]
    """The dataset's folder; of ``custom`` the table."""
    decode: bool = True
    """Decode every picture; without it only names and counts are looked at."""

    def run(self) -> int:
        """Print the report."""
        from dakd.data.verify import verify

        report = verify(self.name, self.root, decode=self.decode)
        print(report)
        return 0 if report.ok else 1


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the embedded benchmark to disk in the layout of a dataset."""

    root: Path
    layout: Literal["sysu", "regdb", "llcm", "custom"] = "sysu"
    height: int = 384
    width: int = 128
    synthetic: Annotated[SyntheticConfig, tyro.conf.arg(name="")]

    def run(self) -> None:
        """Draw and write the images."""
        from dakd.data.export import export_dataset

        size: dict[str, Any] = {"height": self.height, "width": self.width}
        print(export_dataset(self.layout, self.synthetic, self.root, **size))


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train and measure the variants of the ablation; can be stopped and continued."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    runs: tuple[str, ...] = MAIN
    """Variants by name, or ``all`` (see `dakd.studies.grid.GRID`)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("figures")

    def run(self) -> None:
        """Write ``ablation_<profile>.csv`` and ``.json``, row by row, into `out`."""
        from dakd.studies.ablation import run_grid

        runs = tuple(GRID) if self.runs == ("all",) else self.runs
        path = self.out / f"ablation_{self.config.profile}.csv"
        table = run_grid(self.config, path, runs=runs, seeds=self.seeds)
        means = table.drop(columns="trials").groupby("run", sort=False).mean(numeric_only=True)
        print(means.drop(columns="seed").round(3).T.to_string(), f"\nwritten: {path}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Measure confidence masks, the modality gap and robustness of the ablation's networks."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    tables: tuple[Literal["trust", "gap", "robustness"], ...] = ("trust", "gap", "robustness")
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("figures")

    def run(self) -> None:
        """Write a table each, ``<table>_<profile>.csv``."""
        from dakd.studies.evidence import gap_table, robustness_tables, trust_table

        require(bool(self.tables), "no table is asked for (--tables)")
        require(bool(self.seeds), "no seed is asked for (--seeds)")
        for seed in self.seeds:
            replace(self.config, seed=seed)  # refuses what is none, before the work
        makers = {"trust": trust_table, "gap": gap_table, "robustness": robustness_tables}
        for name in self.tables:
            path = self.out / f"{name}_{self.config.profile}.csv"
            table = makers[name](self.config, self.seeds)
            with atomic_path(path) as temporary:
                table.round(6).to_csv(temporary, index=False)
            print(table.to_string(index=False), f"\nwritten: {path}")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw the pictures of README, docs and slides (needs the notebook packages); trains nothing.

    Those of results need the tables in `out`, those of networks what `dakd train` has trained.
    """

    out: Path = Path("figures")
    """Folder for the PNG files, with the tables."""
    slides: Path | None = None
    """Folder for the same as PDF and SVG; by default ``slides`` among the runs."""
    profile: Profile = "demo"
    """Whose networks are shown."""
    seed: int = 0
    """Of these networks."""

    def run(self) -> None:
        """Write the pictures; say which are left out for want of a network."""
        from dakd.experiment import Experiment, NotTrainedError, runs_folder
        from dakd.studies.write_figures import draw  # matplotlib is not part of the core

        config = replace(load_profile(self.profile), seed=self.seed)
        experiment = Experiment(config, show=False, train=False)
        try:
            for path in draw(
                self.out, slides=self.slides or runs_folder() / "slides", experiment=experiment
            ):
                print(path)
        except NotTrainedError as missing:
            print(f"left out, the pictures of networks that are not named above: {missing}")


def with_data(
    config: Config, known: Mapping[str, Any], names: Sequence[str], path: Path | None
) -> Config:
    """Return a configuration with what a checkpoint says about its data."""
    found = {name: known[name] for name in names if name in known}
    wrong = [name for name, value in found.items() if type(value) is not type(DATA[name])]
    try:
        require(not wrong, f"{', '.join(wrong)} of another kind")
        return replace(config, data=replace(config.data, **found))
    except ValueError as error:
        raise ValueError(
            f"the checkpoint {path} does not say how its images are read ({error}); restore its "
            "checkpoint.json, or train again"
        ) from error
