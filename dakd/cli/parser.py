"""The command line, generated from the dataclasses of `dakd.cli.commands` and `dakd.config`.

`dakd COMMAND --help` lists every setting; ``--profile`` sets the defaults of all others.
"""

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from dakd.cli import console
from dakd.cli.commands import (
    Evaluate,
    Evidence,
    Export,
    Figures,
    Recipe,
    Reproduce,
    Train,
    Verify,
    with_data,
)
from dakd.config import IMAGE_FIELDS, PROFILES, Config, SyntheticConfig, load_profile, nested

RECIPES = ("sysu", "regdb", "llcm")
NO_PROFILE = ("verify", "export", "figures")  # commands whose defaults follow from none

Command = Train | Evaluate | Recipe | Verify | Export | Reproduce | Evidence | Figures


def parse(arguments: Sequence[str]) -> Command:
    """Return the command that `arguments` ask for, with the defaults of its profile.

    Raises:
        ValueError: a setting out of its range, or an empty value.
    """
    arguments = [_expanded(word) for word in arguments]
    config = _defaults(arguments)
    defaults: dict[str, Command] = {
        "train": Train(config=config),
        "evaluate": Evaluate(config=config, checkpoint=tyro.MISSING),
        "recipe": Recipe(name=tyro.MISSING, config=config),
        "verify": Verify(name=tyro.MISSING, root=tyro.MISSING),
        "export": Export(root=tyro.MISSING, synthetic=SyntheticConfig()),
        "reproduce": Reproduce(config=config),
        "evidence": Evidence(config=config),
        "figures": Figures(),
    }
    commands = tyro.extras.subcommand_type_from_defaults(
        defaults, {name: type(c).__doc__ or "" for name, c in defaults.items()}, prefix_names=False
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(commands, prog="dakd", description=__doc__, args=arguments)
    except SystemExit:
        words = " ".join(re.sub("[│╭╮╰╯─|+]|-{3,}", " ", said.getvalue()).split())
        if inner := re.search(r"Error parsing __tyro-dummy-inner__\S*: (.*?)( For full |$)", words):
            raise ValueError(inner[1]) from None
        sys.stderr.write(said.getvalue())
        raise


def _expanded(word: str) -> str:
    """Return an argument with ``~`` as the home folder, which shells leave in ``--root=~/x``."""
    option, is_set, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not value and (is_set or not option):
        raise ValueError(
            f"{f'{option} has an empty value' if option else 'a value is empty'}; is a variable of "
            "the shell not set?"
        )
    return f"{option}{is_set}{os.path.expanduser(value) if value.startswith('~') else value}"


def _defaults(arguments: Sequence[str]) -> Config:
    """Return the configuration that the options of a command change."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--profile", nargs="?")  # one without a value is tyro's to refuse
    reader.add_argument("--release", action=argparse.BooleanOptionalAction, default=False)
    read, _ = reader.parse_known_args(arguments)
    asked = read.profile
    command = next((word for word in arguments[:1] if word not in NO_PROFILE), "")
    if not command or {"-h", "--help"} & {*arguments}:  # a help is printed whatever is set
        command = "" if command != "recipe" else command
        known = asked or os.environ.get("DAKD_PROFILE")
        asked = known if known in PROFILES else "full" if command == "recipe" else "demo"
    if command == "recipe":  # full size unless it is said otherwise
        from dakd.studies.recipes import recipe

        name = next((word for word in arguments[1:] if word in RECIPES), "sysu")
        return recipe(name, profile=asked, release=read.release)
    config = load_profile(asked)
    return _as_trained(config, arguments) if command == "evaluate" else config


def _as_trained(config: Config, arguments: Sequence[str]) -> Config:
    """Return the configuration with the size and filter that the first checkpoint asks for."""
    from dakd.released import load_both_stems, measured_at
    from dakd.train.checkpoint import is_complete, load_checkpoint

    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    reader.add_argument("--data.name", dest="data", nargs="?", default=config.data.name)
    known, _ = reader.parse_known_args(arguments)
    path = next(iter(known.checkpoint), None)
    seen: dict[str, Any] = {}
    if path and is_complete(path):
        model, _, description = load_checkpoint(path)
        made = nested(description["config"], "experiment", "data")
        seen = dict(model.trained_at)
        if made.get("name") == known.data == "regdb" and "trial" in made:
            seen["trial"] = made["trial"]
    elif path and path.is_file():
        family, layout = load_both_stems(path)[1].family, known.data
        given = {word.partition("=")[0] for word in arguments}
        if not {"--data.height", "--data.width"} <= given:
            seen = measured_at(family, layout if layout in RECIPES else "sysu")
    return with_data(config, seen, (*IMAGE_FIELDS, "trial"), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a known fault is one line and exit code 2, not a traceback; 130 if stopped."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def work() -> int:
        try:
            return parse(words).run() or 0
        except ValueError as error:
            raise ValueError(_as_options(str(error), words)) from error

    return console.run(work)


def _as_options(message: str, arguments: Sequence[str]) -> str:
    """Return a message with settings called as on the command line.

    >>> _as_options("StudentConfig.identity_weight must not be negative", ["train"])
    '--student.identity-weight must not be negative'
    """
    whose = {"": "", "Synthetic": "" if arguments[:1] == ["export"] else "data.synthetic."}

    def option(found: re.Match[str]) -> str:
        kind, name = found[1], found[2].replace("_", "-")
        return f"--{whose.get(kind, f'{kind.lower()}.')}{name}"

    kinds = "Teacher|Student|Data|Model|Evaluation|Engine|Synthetic|"
    return re.sub(rf"\b({kinds})Config\.(\w+)", option, message)
