"""The command line, generated from the dataclasses of `dakd.cli.commands` and `dakd.config`.

`dakd COMMAND --help` lists all options; ``--profile`` sets the defaults of the others.
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
NO_PROFILE = ("verify", "export", "figures")  # commands whose defaults depend on no profile

Command = Train | Evaluate | Recipe | Verify | Export | Reproduce | Evidence | Figures


def parse(arguments: Sequence[str]) -> Command:
    """Return the command of `arguments`, with the defaults of its profile.

    Raises:
        ValueError: a value is out of range or empty.
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
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(commands, prog="dakd", description=__doc__, args=arguments)
    except SystemExit:
        text = " ".join(re.sub("[│╭╮╰╯─|+]|-{3,}", " ", errors.getvalue()).split())
        if inner := re.search(r"Error parsing __tyro-dummy-inner__\S*: (.*?)( For full |$)", text):
            raise ValueError(inner[1]) from None
        sys.stderr.write(errors.getvalue())
        raise


def _expanded(word: str) -> str:
    """Return an argument with ``~`` expanded, which shells do not do in ``--root=~/x``."""
    option, is_set, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not value and (is_set or not option):
        raise ValueError(
            f"{f'{option} has an empty value' if option else 'a value is empty'}; is a variable of "
            "the shell not set?"
        )
    return f"{option}{is_set}{os.path.expanduser(value) if value.startswith('~') else value}"


def _defaults(arguments: Sequence[str]) -> Config:
    """Return the configuration with the default values of a command's options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile", nargs="?")  # tyro reports a missing value
    parser.add_argument("--release", action=argparse.BooleanOptionalAction, default=False)
    options, _ = parser.parse_known_args(arguments)
    profile = options.profile
    command = next((word for word in arguments[:1] if word not in NO_PROFILE), "")
    if not command or {"-h", "--help"} & {*arguments}:  # ignore invalid profiles
        command = "" if command != "recipe" else command
        profile = profile or os.environ.get("DAKD_PROFILE")
        if profile not in PROFILES:
            profile = "full" if command == "recipe" else "demo"
    if command == "recipe":  # its default profile is "full"
        from dakd.studies.recipes import recipe

        name = next((word for word in arguments[1:] if word in RECIPES), "sysu")
        return recipe(name, profile=profile, release=options.release)
    config = load_profile(profile)
    return _with_checkpoint_data(config, arguments) if command == "evaluate" else config


def _with_checkpoint_data(config: Config, arguments: Sequence[str]) -> Config:
    """Return the configuration with the image size and resize filter of the first checkpoint."""
    from dakd.released import load_both_stems, measured_at
    from dakd.train.checkpoint import is_complete, load_checkpoint

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    parser.add_argument("--data.name", dest="data", nargs="?", default=config.data.name)
    options, _ = parser.parse_known_args(arguments)
    path = next(iter(options.checkpoint), None)
    fields: dict[str, Any] = {}
    if path and is_complete(path):
        model, _, description = load_checkpoint(path)
        data = nested(description["config"], "experiment", "data")
        fields = dict(model.trained_at)
        if data.get("name") == options.data == "regdb" and "trial" in data:
            fields["trial"] = data["trial"]
    elif path and path.is_file():
        family, layout = load_both_stems(path)[1].family, options.data
        names = {word.partition("=")[0] for word in arguments}
        if not {"--data.height", "--data.width"} <= names:
            fields = measured_at(family, layout if layout in RECIPES else "sysu")
    return with_data(config, fields, (*IMAGE_FIELDS, "trial"), path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (see `dakd.cli.console.run`)."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def work() -> int:
        try:
            return parse(words).run() or 0
        except ValueError as error:
            raise ValueError(_as_options(str(error), words)) from error

    return console.run(work)


def _as_options(message: str, arguments: Sequence[str]) -> str:
    """Return a message with fields of configurations replaced by command line options.

    >>> _as_options("StudentConfig.identity_weight must not be negative", ["train"])
    '--student.identity-weight must not be negative'
    >>> _as_options("DistillConfig.mask_keep must be", ["train"])
    '--student.distill.mask-keep must be'
    """
    prefixes = {"": "", "Distill": "student.distill."}
    prefixes["Synthetic"] = "" if arguments[:1] == ["export"] else "data.synthetic."

    def option(field: re.Match[str]) -> str:
        kind, name = field[1], field[2].replace("_", "-")
        return f"--{prefixes.get(kind, f'{kind.lower()}.')}{name}"

    kinds = "Teacher|Student|Distill|Data|Model|Evaluation|Engine|Synthetic|"
    return re.sub(rf"\b({kinds})Config\.(\w+)", option, message)
