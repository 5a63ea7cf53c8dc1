"""Committed results as Markdown: the tables of README and docs, which tests compare with them."""

from collections.abc import Mapping

import pandas as pd

from dakd.analysis import paired_differences
from dakd.studies.ablation import GRID, LABELS, MAIN

MEASURES = {"rank1": "rank-1", "mAP": "mAP", "mINP": "mINP"}
SIX = (  # as they are numbered in docs/method.md
    *("mask_mean", "mask_uncertain", "swapped"),
    *("cutswap_release", "two_passes", "select_on_test"),
)
QUESTIONS: Mapping[str, tuple[str, ...]] = {  # the rows of the grid that answer it, with DAKD
    "levels": ("only_kd", "no_instance", "no_class"),
    "mask": ("mask_none", "mask_uncertain", "quantile_25", "quantile_75"),
    "CutSwap": ("cutswap_none", "cutswap_release"),
    "temperatures": ("t_4", "t_low", "t_high", "not_standardised"),
    "the release's six differences": (*SIX, "release"),
}
SOURCES: Mapping[str, str] = {  # of what is not our own idea
    **dict.fromkeys(QUESTIONS["levels"], "release's ablation"),
    **{run: f"release, difference {i}" for i, run in enumerate(SIX, start=1)},
    "release": "release",
}
SIDES = {"none": "nothing", "query": "queries", "gallery": "gallery", "both": "both"}


def benchmark_table(table: pd.DataFrame) -> str:
    """Return the README's table, Markdown: mean ± standard deviation over seeds, in per cent.

    Args:
        table: what `dakd.studies.ablation.run_grid` returned.
    """
    columns = {
        "rank-1, all-search": "all-1/rank1",
        "mAP": "all-1/mAP",
        "mINP": "all-1/mINP",
        "rank-1, indoor-search": "indoor-1/rank1",
        "rank-1, all-search, multi-shot": "all-10/rank1",
    }
    lines = _head("method", *columns)
    for run in MAIN:
        own = table[table["run"] == run]
        cells = [_spread(100 * own[column], 1) for column in columns.values()]
        lines.append(_line(LABELS[run], *cells))
    return "\n".join(lines)


def differences(table: pd.DataFrame, *, metric: str, baseline: str = "teacher") -> pd.DataFrame:
    """Return the differences of all other runs from a baseline, in the order of the grid.

    Args:
        table: what `dakd.studies.ablation.run_grid` returned.
        metric, baseline: see `dakd.analysis.paired_differences`, whose columns these are, with
            ``label`` and ``group`` of `dakd.studies.ablation.GRID`.
    """
    apart = paired_differences(table, metric=metric, baseline=baseline)
    apart = apart.reindex([run for run in GRID if run in apart.index and run != baseline])
    groups = [GRID[run].group for run in apart.index]
    return apart.assign(label=apart.index.map(LABELS), group=groups)


def _intervals(table: pd.DataFrame, baseline: str) -> dict[str, list[str]]:
    """Return for every run the number of seeds, and points with t interval of every measure."""
    apart = {name: differences(table, metric=name, baseline=baseline) for name in MEASURES}
    return {
        run: [str(len(row["each"])), *(_interval(named.loc[run]) for named in apart.values())]
        for run, row in apart["rank1"].iterrows()
    }


def _interval(row: pd.Series) -> str:
    """Return a difference in points, bold where its t interval leaves zero out; one seed has none.

    >>> _interval(pd.Series({"mean": 0.02, "t_low": 0.01, "t_high": 0.03}))
    '**+2.0 (+1.0 to +3.0)**'
    """
    mean, low, high = (100 * row[key] for key in ("mean", "t_low", "t_high"))
    cell = f"{mean:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if low <= high else "")
    return f"**{cell}**" if low > 0 or high < 0 else cell


def difference_table(table: pd.DataFrame, baseline: str = "teacher") -> str:
    """Return the table of docs/evidence.md, Markdown: points from a baseline with t intervals.

    Args:
        table: what `dakd.studies.ablation.run_grid` returned.
        baseline: a run in it.
    """
    cells = _intervals(table, baseline)
    lines = [_line(LABELS[run], *own) for run, own in cells.items() if run != "untrained"]
    return "\n".join([*_head("variant", "seeds", *MEASURES.values()), *lines])


def question_table(table: pd.DataFrame, baseline: str = "dakd") -> str:
    """Return what one change each does to DAKD, question by question, Markdown.

    Args:
        table: what `dakd.studies.ablation.run_grid` returned; a run that it lacks gets dashes.
        baseline: a run in it.
    """
    cells, none = _intervals(table, baseline), ["–"] * (1 + len(MEASURES))
    lines = _head("change", "whose", "seeds", *MEASURES.values())
    for question, runs in QUESTIONS.items():
        lines.append(_line(f"**{question}**", *[""] * (2 + len(MEASURES))))
        for run in runs:
            lines.append(_line(LABELS[run], SOURCES.get(run, "ours"), *cells.get(run, none)))
    return "\n".join(lines)


def trust_summary(table: pd.DataFrame) -> str:
    """Return `dakd.studies.evidence.trust_table` as Markdown, in per cent but for the areas."""
    percent = ["accuracy", "ece", "kept_0.5", "dropped_0.5"]
    scaled = table.assign(**{column: 100 * table[column] for column in percent})
    columns = {
        "accuracy": "accuracy",
        "ece": "ECE",
        "area": "area",
        "random": "random order",
        "kept_0.5": "kept",
        "dropped_0.5": "dropped",
    }
    digits = {column: 1 if column in percent else 3 for column in columns}
    return _summary(scaled, ["modality", "level"], columns, digits)


def gap_summary(table: pd.DataFrame) -> str:
    """Return what `dakd.studies.evidence.gap_table` found, Markdown."""
    columns = {column: column for column in table.columns if column not in ("run", "seed")}
    named = table.assign(network=[LABELS[run] for run in table["run"]])
    return _summary(named, ["network"], columns, dict.fromkeys(columns, 3))


def _summary(
    table: pd.DataFrame, by: list[str], columns: dict[str, str], digits: dict[str, int]
) -> str:
    """Return mean ± standard deviation over seeds of every group."""
    lines = _head(*by, *columns.values())
    for key, own in table.groupby(by, sort=False):
        lines.append(_line(*key, *(_spread(own[c], digits[c]) for c in columns)))
    return "\n".join(lines)


def robustness_summary(table: pd.DataFrame, measure: str = "mAP") -> str:
    """Return what corrupted images cost, Markdown: mean ± deviation over seeds, in per cent.

    The first rows are the sides, every image with its own kind and severity. *Left* is the share of
    the clean value that remains when both sides are corrupted. Then both sides are corrupted by one
    family (mean over the severities) or with one severity (mean over the families).

    Args:
        table: what `dakd.studies.evidence.robustness_tables` returned.
        measure: ``"rank1"``, ``"mAP"`` or ``"mINP"``.
    """
    sides, both = table[table["family"] == "all"], table[table["family"] != "all"]
    parts = [
        sides.assign(row=sides["where"].map(SIDES)),
        both.assign(row="both: " + both["family"]),
        both.assign(row="both: severity " + both["severity"].astype("Int64").astype("string")),
    ]
    cells = pd.concat(parts).groupby(["row", "method", "seed"], sort=False)[measure].mean() * 100
    rows = {row: own.droplevel("row") for row, own in cells.groupby("row", sort=False)}
    if {"nothing", "both"} <= rows.keys():
        rows["left with both"] = 100 * rows["both"] / rows["nothing"]
    methods = table["method"].unique()
    lines = [
        _line(row, *(_spread(own[method], 1) for method in methods)) for row, own in rows.items()
    ]
    return "\n".join([*_head("corrupted", *(LABELS[method] for method in methods)), *lines])


def _spread(values: pd.Series, digits: int) -> str:
    """Return mean ± standard deviation over seeds.

    >>> _spread(pd.Series([1.0, 3.0]), 1), _spread(pd.Series([1.0]), 1)
    ('2.0 ± 1.4', '1.0')
    """
    if values.isna().any():
        return "–"
    spread = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(*names: str) -> list[str]:
    return [_line(*names), "|---" * len(names) + "|"]
