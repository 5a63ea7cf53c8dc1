"""The commands of the command line and their options.

Torch and the modules that use it are imported when a command runs, so that ``--help`` is fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dakd.config import Config, Profile, SyntheticConfig, load_profile, nested, replace
from dakd.runtime import atomic_path, require
from dakd.studies.ablation_variants import GRID, MAIN

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
    """A trained teacher to use: a checkpoint folder, or a file published with MCE or DAKD."""

    def run(self) -> None:
        """Train missing networks and print their folders."""
        from dakd.experiment import Experiment
        from dakd.train.distributed import DistributedContext

        if self.only == "teacher" and self.teacher:
            raise ValueError("--only teacher and --teacher exclude each other; omit one of them")
        experiment = Experiment(self.config, teacher=self.teacher)
        # The student first: it trains its teacher, after its own settings are checked.
        student = {"student": experiment.student().folder} if self.only == "both" else {}
        folders = {"teacher": experiment.teacher().folder or self.teacher, **student}
        if DistributedContext.join(self.config.device).is_main:
            print("\n".join(f"{name}: {folder}" for name, folder in folders.items() if folder))
            if unsaved := [name for name, folder in folders.items() if folder is None]:
                raise OSError(
                    f"the {' and the '.join(unsaved)} could not be written (see above); free disk "
                    "space and repeat the command, which continues from the last snapshot"
                )


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Evaluate a checkpoint in every setting of its benchmark that papers report."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    checkpoint: tuple[Path, ...]
    """Folder written by `dakd train`, or a published file; for RegDB one per trial. Image size and
    resize filter default to those of its training."""
    out: Path | None = None
    """Folder for the result records (JSON)."""

    def run(self) -> None:
        """Write and print one table per setting."""
        from dakd.evaluate.result import Result

        require(bool(self.checkpoint), "no checkpoint is given (--checkpoint)")
        if len(self.checkpoint) > 1 and self.config.data.name != "regdb":
            raise ValueError(
                f"{len(self.checkpoint)} checkpoints were given; only RegDB has one network per "
                "trial, evaluate the others one by one"
            )
        results: dict[str, list[Result]] = {}
        for path in self.checkpoint:  # one at a time, because each keeps its decoded images
            experiment, model = self._open_released(path) if path.is_file() else self._open(path)
            for label, result in experiment.evaluate_all(model).items():
                results.setdefault(label, []).append(result)
        name = self.checkpoint[0].name if len(self.checkpoint) == 1 else "joined"
        joined = {label: Result.join(of_trials) for label, of_trials in results.items()}
        saved = {}
        if self.out:  # before printing, which may fail
            for label, result in joined.items():
                path = self.out / name / f"{result.header['protocol']}-{label}.json"
                saved[label] = f"written: {result.save(path)}"
        for label, result in joined.items():
            print(*filter(None, (result, saved.get(label))), sep="\n", end="\n\n")

    def _open(self, folder: Path) -> "tuple[Experiment, ReIDModel]":
        """Return the experiment and the network of a checkpoint; print how it was trained."""
        from dakd.evaluate.embed import check_image_fields
        from dakd.experiment import Experiment
        from dakd.train.checkpoint import load_checkpoint

        model, _, description = load_checkpoint(folder)
        trained, config = description["config"], self.config
        if selection := nested(trained, "selection"):
            epoch, split = selection.get("epoch"), selection.get("on")
            print(f"{folder}: epoch {epoch} was selected on the {split}")
        data = nested(trained, "experiment", "data")
        check_image_fields(model, (config.data.height, config.data.width), config.data.filter)
        if config.data.name == "regdb" == data.get("name"):
            # It must be tested on the test identities of the trial that it was trained on.
            own = with_data(config, data, ("trial",), folder)
            if len(self.checkpoint) == 1 and own.data.trial != config.data.trial:
                raise ValueError(
                    f"the network was trained on trial {own.data.trial}, so it would be tested on "
                    "its training identities; omit --data.trial"
                )
            config = own
        elif len(self.checkpoint) > 1:
            raise ValueError(
                f"{folder} was trained on {data.get('name', 'unknown data')}, not on RegDB"
            )
        experiment = Experiment(config)
        experiment.metadata = {"network": folder.name, "seed": trained.get("seed", config.seed)}
        expected = trained.get("data_fingerprint", "unknown")
        if (fingerprint := experiment.dataset.fingerprint) != expected:
            print(
                f"{folder}: trained on {data.get('name', 'unknown data')} (data {expected}), "
                f"evaluated on {experiment.dataset.name} (data {fingerprint}). Its training images "
                "may show test identities of this dataset"
            )
        return experiment, model

    def _open_released(self, path: Path) -> "tuple[Experiment, ReIDModel | BothStems]":
        """Return the experiment and the networks of a published file; print what was read."""
        from dakd.experiment import Experiment
        from dakd.released import load_both_stems

        pooling = self.config.model.pooling
        models, report = load_both_stems(path, pooling=None if pooling == "auto" else pooling)
        print(report)
        data = self.config.data
        print(f"  images are read at {data.height} x {data.width}, filter {data.filter}")
        experiment = Experiment(self.config)
        experiment.metadata = {"network": f"{path.name} ({report.digest})"}
        classes = experiment.dataset.train.num_classes
        if report.classes not in (None, classes):
            name = experiment.dataset.name
            print(f"{path}: trained on {report.classes} identities; {name} trains on {classes}")
        return experiment, models if report.stem else models["visible"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Train and evaluate teacher and student on a dataset; continues if it is repeated."""

    name: Annotated[Literal["sysu", "regdb", "llcm"], tyro.conf.Positional]
    config: Annotated[Config, tyro.conf.arg(name="")]
    root: Path | None = None
    """The dataset's folder; without it, drawn people (in full size only with --drawn)."""
    out: Path = Path("results")
    """Folder for the record (JSON)."""
    trials: tuple[int, ...] | None = None
    """Which of RegDB's ten splits; by default all."""
    drawn: bool = False
    """Allow training on drawn people in full size."""
    check: bool = True
    """Check first that the copy of the dataset is complete."""
    release: bool = False
    """Train as the released code does: all six differences, float32, epochs selected on the test
    set."""
    teacher: Path | None = None
    """A trained teacher to use: a checkpoint folder, or a file published with MCE or DAKD."""

    def run(self) -> None:
        """Print the results and the path of the record."""
        from dakd.studies.reproduction import run_recipe

        config = self.config
        if self.name != config.data.name:
            raise ValueError(
                f"recipe {self.name!r} does not run on {config.data.name!r}; give the name first, "
                "as in `dakd recipe sysu --root FOLDER`, and omit --data.name"
            )
        if self.root is not None:
            config = replace(config, data=replace(config.data, root=str(self.root)))
        options = {name: getattr(self, name) for name in ("trials", "drawn", "check", "teacher")}
        if reproduction := run_recipe(config, self.out, **options):  # None in other processes
            print(reproduction)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Compare a copy of a dataset with the published one; exit code 1 if they differ."""

    name: Annotated[Literal["sysu", "regdb", "llcm", "custom"], tyro.conf.Positional]
    root: Annotated[Path, tyro.conf.Positional]
    """The dataset's folder; for ``custom`` the table."""
    decode: bool = True
    """Decode every image; otherwise only names and counts are checked."""

    def run(self) -> int:
        """Print the report."""
        from dakd.data.verify import verify

        report = verify(self.name, self.root, decode=self.decode)
        print(report)
        return 0 if report.ok else 1


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the embedded benchmark in the layout of a dataset."""

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
    """Train and evaluate the variants of the ablation; continues if it is repeated."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    runs: tuple[str, ...] = MAIN
    """Variants by name, or ``all`` (see `dakd.studies.ablation_variants.GRID`)."""
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("figures")

    def run(self) -> None:
        """Write ``ablation_<profile>.csv`` and ``.json`` row by row."""
        from dakd.studies.ablation import run_grid

        runs = tuple(GRID) if self.runs == ("all",) else self.runs
        path = self.out / f"ablation_{self.config.profile}.csv"
        table = run_grid(self.config, path, runs=runs, seeds=self.seeds)
        means = table.drop(columns="trials").groupby("run", sort=False).mean(numeric_only=True)
        print(means.drop(columns="seed").round(3).T.to_string(), f"\nwritten: {path}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Evaluate confidence masks, modality gap and robustness of the ablation's networks."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    tables: tuple[Literal["trust", "gap", "robustness"], ...] = ("trust", "gap", "robustness")
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("figures")

    def run(self) -> None:
        """Write every table as ``<table>_<profile>.csv``."""
        from dakd.studies.evidence import gap_table, robustness_tables, trust_table

        require(bool(self.tables), "no table is given (--tables)")
        require(bool(self.seeds), "no seed is given (--seeds)")
        for seed in self.seeds:
            replace(self.config, seed=seed)  # raises on an invalid seed
        makers = {"trust": trust_table, "gap": gap_table, "robustness": robustness_tables}
        for name in self.tables:
            path = self.out / f"{name}_{self.config.profile}.csv"
            table = makers[name](self.config, self.seeds)
            with atomic_path(path) as temporary:
                table.round(6).to_csv(temporary, index=False)
            print(table.to_string(index=False), f"\nwritten: {path}")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw the figures of README, docs and slides without training anything.

    Needs the notebook packages, the tables in `out` for figures of results, and networks trained by
    `dakd train` for figures of networks.
    """

    out: Path = Path("figures")
    """Folder of the tables, and for the PNG files."""
    slides: Path | None = None
    """Folder for PDF and SVG files; by default ``slides`` in the runs folder."""
    profile: Profile = "demo"
    """The profile of the networks."""
    seed: int = 0
    """The seed of the networks."""

    def run(self) -> None:
        """Write the figures and print their paths."""
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
            print(f"the remaining figures of networks were skipped: {missing}")


def with_data(
    config: Config, known: Mapping[str, Any], names: Sequence[str], path: Path | None
) -> Config:
    """Return a configuration with fields of `DataConfig` taken from a checkpoint's."""
    found = {name: known[name] for name in names if name in known}
    wrong = [name for name, value in found.items() if type(value) is not type(DATA[name])]
    try:
        require(not wrong, f"wrong type of {', '.join(wrong)}")
        return replace(config, data=replace(config.data, **found))
    except ValueError as error:
        raise ValueError(
            f"the checkpoint {path} has invalid image settings ({error}); restore its "
            "checkpoint.json, or train again"
        ) from error
