"""The command line, generated from the dataclasses of `dakd.config`.

`dakd COMMAND --help` lists every setting; ``--profile`` sets the defaults of all others.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dakd.checkpoint import CheckpointError, load_checkpoint
from dakd.config import Config, SyntheticConfig, load_profile
from dakd.data.synthetic import export_sysu
from dakd.experiment import SETTINGS, Experiment, reproduce
from dakd.model import WeightsError
from dakd.runtime import atomic_path
from dakd.train import TrainingError

FAULTS = (
    *(ValueError, OSError, FloatingPointError),
    *(CheckpointError, TrainingError, WeightsError),
)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the teacher, then the student, of one configuration."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    only: Literal["teacher", "both"] = "both"

    def run(self) -> None:
        """Train what is missing and say where it lies."""
        lab = Experiment(self.config)
        print("teacher:", lab.teacher().folder)
        if self.only == "both":
            print("student:", lab.student().folder)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a checkpoint under the protocol of SYSU-MM01, in all four settings."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    checkpoint: Path
    """Folder written by `dakd train`."""
    out: Path | None = None
    """Folder for the result records (JSON)."""

    def run(self) -> None:
        """Print one table a setting."""
        model, _, description = load_checkpoint(self.checkpoint)
        data = description["config"].get("experiment", {}).get("data")
        for size in ("height", "width") if data else ():
            if data[size] != getattr(self.config.data, size):
                raise ValueError(
                    f"the network was trained on images of {size} {data[size]}, and this would "
                    f"measure it at {getattr(self.config.data, size)}; give the --profile or "
                    f"--data.{size} of its training"
                )
        lab = Experiment(self.config)
        for mode, shots in SETTINGS:
            result = lab.evaluate(model, mode, shots)
            print(result, end="\n\n")
            if self.out:
                result.save(self.out / f"sysu-{mode}-{shots}.json")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the embedded benchmark to disk in the layout of SYSU-MM01."""

    root: Path
    height: int = 384
    width: int = 128
    synthetic: Annotated[SyntheticConfig, tyro.conf.arg(name="")]

    def run(self) -> None:
        """Draw and write the images."""
        print(export_sysu(self.synthetic, self.root, height=self.height, width=self.width))


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train and measure every method for several seeds; write the table and how it was made."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = Path("figures")

    def run(self) -> None:
        """Write ``benchmark_<profile>.csv`` and ``.json`` into `out`."""
        table, record = reproduce(self.config, self.seeds)
        path = self.out / f"benchmark_{self.config.profile}.csv"
        with atomic_path(path) as csv, atomic_path(path.with_suffix(".json")) as made:
            table.round(6).to_csv(csv, index=False)
            made.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(table.to_string(index=False), f"\nwritten: {path}")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw the README's pictures again (needs the notebook packages)."""

    out: Path = Path("figures")

    def run(self) -> None:
        """Write the pictures into `out`."""
        from dakd.showcase import draw  # matplotlib is not part of the core

        for path in draw(self.out):
            print(path)


Command = Train | Evaluate | Export | Reproduce | Figures


def parse(arguments: Sequence[str]) -> Command:
    """Return the command that `arguments` ask for, with the defaults of its profile."""
    profile = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    profile.add_argument("--profile")
    known, _ = profile.parse_known_args(arguments)
    config = load_profile(known.profile)
    defaults: dict[str, Command] = {
        "train": Train(config=config),
        "evaluate": Evaluate(config=config, checkpoint=tyro.MISSING),
        "export": Export(root=tyro.MISSING, synthetic=SyntheticConfig()),
        "reproduce": Reproduce(config=config),
        "figures": Figures(),
    }
    commands = tyro.extras.subcommand_type_from_defaults(
        defaults, {name: type(c).__doc__ or "" for name, c in defaults.items()}, prefix_names=False
    )
    return tyro.cli(commands, prog="dakd", description=__doc__, args=arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a known fault is one line and exit code 2, not a traceback."""
    try:
        parse(sys.argv[1:] if arguments is None else arguments).run()
    except FAULTS as error:
        print(f"dakd: {error}", file=sys.stderr)
        return 2
    return 0
