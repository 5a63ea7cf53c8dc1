"""Comparison of a recipe's results with the published ones: differences, departures, caveats."""

from collections.abc import Mapping
from typing import Any

from dakd.config import Config, flat, to_dict
from dakd.evaluate.result import Result
from dakd.studies.recipes import NETWORKS, NO_RESULT, RECIPES, Recipe, recipe

DRAWN = "The people are drawn: these results cannot be compared with published ones."
RERANKED = "-reranked"  # suffix of a setting's name


def compare(own: Recipe, joined: dict[str, dict[str, Result]]) -> list[dict[str, Any]]:
    """Return a row for every published value and every result of ours that it can belong to."""
    return [
        {
            "network": published.network,
            "setting": label,
            "metric": metric,
            "ours": 100 * float(joined[published.network][label].mean[metric]),
            "published": value,
            "source": published.source,
        }
        for published in own.published
        for setting, metrics in published.values.items()
        for label in (setting + RERANKED * reranked for reranked in published.reranked)
        if label in joined[published.network]
        for metric, value in metrics.items()
    ]


def departures(config: Config, source: Mapping[str, Any] | None = None) -> list[str]:
    """Return the settings in which a run departs from the published training.

    Args:
        config: of the run.
        source: of an existing teacher (see `dakd.train.run.TrainingResult`).

    >>> departures(recipe("sysu", profile="full", release=True))
    []
    >>> departures(recipe("sysu", profile="smoke", release=True))
    ["profile 'smoke': its own images, network, weights and schedules"]
    """
    profile, own, found = config.profile, RECIPES[config.data.name], []
    if profile != "full":
        found.append(f"profile {profile!r}: its own images, network, weights and schedules")
    if not own.published:
        found.append(f"{own.dataset}: only image size and augmentation are published")
    changes = _changes(config, recipe(config.data.name, profile=profile, release=True))
    if source:
        found.append(f"existing teacher: {source['file']} ({source['digest']})")
        changes = [change for change in changes if not change.startswith("teacher.")]
    return found + changes


def notes(
    config: Config,
    trials: tuple[int, ...],
    drawn: bool,
    source: Mapping[str, Any] | None = None,
    *,
    check: bool = True,
) -> list[str]:
    """Return the caveats of a comparison with other results."""
    own = RECIPES[config.data.name]
    texts = [published.caveat for published in own.published if published.caveat] or [NO_RESULT]
    if drawn:
        texts = [DRAWN]
    on_test = {network: getattr(config, network).selects_on_test for network in NETWORKS}
    if source:
        selection = source.get("chosen")
        if selection is None:
            texts.append("Epoch and training split of the existing teacher are not known.")
        on_test["teacher"] = isinstance(selection, Mapping) and selection["on"] == "test set"
    texts += [
        f"The {network}'s epoch was selected on the test set: its numbers are no test results."
        for network, selected in on_test.items()
        if selected
    ]
    if not check:
        texts.append("The copy of the dataset was not checked for completeness.")
    if len(trials) < len(own.trials):
        texts.append(f"{len(trials)} of {len(own.trials)} trials.")
    return texts


def _changes(config: Config, standard: Config) -> list[str]:
    """Return the settings that may affect a result and differ from the recipe's.

    >>> from dakd.config import replace
    >>> full = recipe("sysu", profile="full", release=True)
    >>> _changes(replace(full, seed=3, teacher=replace(full.teacher, epochs=40)), full)
    ['teacher.epochs 40 instead of 160']
    """
    ignored = ["seed", "device", "engine", "data.root", "data.trial", "data.keep", "data.cache"]
    ignored += ["data.synthetic", "evaluation."]  # each result records its evaluation
    relevant = ["engine.compile"]  # changes rounding
    if config.teacher.selects_on_test or config.student.selects_on_test:
        relevant += [f"evaluation.{name}" for name in ("protocol", "sampling", "trials")]
    ours, theirs = (flat(to_dict(c)) for c in (config, standard))
    return [
        f"{key} {ours[key]} instead of {value}"
        for key, value in theirs.items()
        if ours[key] != value and (key in relevant or not key.startswith((*ignored,)))
    ]
