"""Committed results as Markdown: the tables of README and docs, which the tests compare."""

from collections.abc import Mapping

import pandas as pd

from dakd.analysis import paired_differences
from dakd.studies.ablation import GRID, LABELS, MAIN

MEASURES = {"rank1": "rank-1", "mAP": "mAP", "mINP": "mINP"}
SIX = (  # numbered as in docs/method.md
    *("mask_mean", "mask_uncertain", "swapped"),
    *("cutswap_release", "two_passes", "select_on_test"),
)
QUESTIONS: Mapping[str, tuple[str, ...]] = {  # runs of the grid that are compared with DAKD
    "levels": ("only_kd", "no_instance", "no_class"),
    "mask": ("mask_none", "mask_uncertain", "quantile_25", "quantile_75"),
    "CutSwap": ("cutswap_none", "cutswap_release"),
    "temperatures": ("t_4", "t_low", "t_high", "not_standardised"),
    "the release's six differences": (*SIX, "release"),
}
SOURCES: Mapping[str, str] = {  # of the runs that are not our own idea
    **dict.fromkeys(QUESTIONS["levels"], "release's ablation"),
    **{run: f"release, difference {i}" for i, run in enumerate(SIX, start=1)},
    "release": "release",
}
SIDES = {"none": "nothing", "query": "queries", "gallery": "gallery", "both": "both"}


def benchmark_table(table: pd.DataFrame) -> str:
    """Return the README's table as Markdown: mean ± standard deviation over seeds, in per cent.

    Args:
        table: from `dakd.studies.ablation.run_grid`.
    """
    columns = {
        "rank-1, all-search": "all-1/rank1",
        "mAP": "all-1/mAP",
        "mINP": "all-1/mINP",
        "rank-1, indoor-search": "indoor-1/rank1",
        "rank-1, all-search, multi-shot": "all-10/rank1",
    }
    lines = [["method", *columns]]
    for run in MAIN:
        rows = 100 * table.loc[table["run"] == run, [*columns.values()]]
        lines.append([LABELS[run], *(_mean_std(rows[column], 1) for column in rows)])
    return _markdown(lines)


def differences(table: pd.DataFrame, *, metric: str, baseline: str = "teacher") -> pd.DataFrame:
    """Return the differences of all other runs from a baseline, in the order of the grid.

    Args:
        table: from `dakd.studies.ablation.run_grid`.
        metric, baseline: see `dakd.analysis.paired_differences`, which describes the columns
            except ``label`` and ``group`` of `dakd.studies.ablation_variants.GRID`.
    """
    rows = paired_differences(table, metric=metric, baseline=baseline)
    rows = rows.reindex([run for run in GRID if run in rows.index and run != baseline])
    groups = [GRID[run].group for run in rows.index]
    return rows.assign(label=rows.index.map(LABELS), group=groups)


def _intervals(table: pd.DataFrame, baseline: str) -> dict[str, list[str]]:
    """Return the number of seeds and the difference in every measure for each run."""
    by_metric = {name: differences(table, metric=name, baseline=baseline) for name in MEASURES}
    return {
        run: [str(len(row["each"])), *(_interval(rows.loc[run]) for rows in by_metric.values())]
        for run, row in by_metric["rank1"].iterrows()
    }


def _interval(row: pd.Series) -> str:
    """Return a difference in points with its t interval, bold if the interval excludes zero."""
    mean, low, high = (100 * row[key] for key in ("mean", "t_low", "t_high"))
    cell = f"{mean:+.1f}" + (f" ({low:+.1f} to {high:+.1f})" if low <= high else "")
    return f"**{cell}**" if low > 0 or high < 0 else cell


def difference_table(table: pd.DataFrame, baseline: str = "teacher") -> str:
    """Return the table of docs/evidence.md as Markdown: differences in points with t intervals.

    Args:
        table: from `dakd.studies.ablation.run_grid`.
        baseline: the run to compare with.
    """
    intervals = _intervals(table, baseline)
    lines = [[LABELS[run], *cells] for run, cells in intervals.items() if run != "untrained"]
    return _markdown([["variant", "seeds", *MEASURES.values()], *lines])


def question_table(table: pd.DataFrame, baseline: str = "dakd") -> str:
    """Return the effect of single changes of DAKD, grouped by question, as Markdown.

    Args:
        table: from `dakd.studies.ablation.run_grid`; missing runs get dashes.
        baseline: the run to compare with.
    """
    intervals, missing = _intervals(table, baseline), ["–"] * (1 + len(MEASURES))
    lines = [["change", "whose", "seeds", *MEASURES.values()]]
    for question, runs in QUESTIONS.items():
        lines.append([f"**{question}**", *[""] * (2 + len(MEASURES))])
        for run in runs:
            cells = intervals.get(run, missing)
            lines.append([LABELS[run], SOURCES.get(run, "ours"), *cells])
    return _markdown(lines)


def trust_summary(table: pd.DataFrame) -> str:
    """Return `dakd.studies.evidence.trust_table` as Markdown, in per cent except for the areas."""
    percent = {"accuracy": "accuracy", "ece": "ECE"}
    areas = {"area": "area", "random": "random order"}
    masked = {"kept_0.5": "kept", "dropped_0.5": "dropped"}
    digits = dict.fromkeys(percent | masked, 1) | dict.fromkeys(areas, 3)
    scaled = table.assign(**{column: 100 * table[column] for column in percent | masked})
    return _summary(scaled, ["modality", "level"], percent | areas | masked, digits)


def gap_summary(table: pd.DataFrame) -> str:
    """Return `dakd.studies.evidence.gap_table` as Markdown."""
    columns = {column: column for column in table.columns if column not in ("run", "seed")}
    named = table.assign(network=[LABELS[run] for run in table["run"]])
    return _summary(named, ["network"], columns, dict.fromkeys(columns, 3))


def _summary(
    table: pd.DataFrame, by: list[str], columns: dict[str, str], digits: dict[str, int]
) -> str:
    """Return mean ± standard deviation over seeds of every group."""
    lines = [[*by, *columns.values()]]
    for key, rows in table.groupby(by, sort=False):
        lines.append([*key, *(_mean_std(rows[c], digits[c]) for c in columns)])
    return _markdown(lines)


def robustness_summary(table: pd.DataFrame, measure: str = "mAP") -> str:
    """Return the accuracy on corrupted images as Markdown: mean ± std over seeds, in per cent.

    The first rows corrupt the sides, with a random kind and severity for every image. The next
    corrupt both sides by one family (mean over severities) or with one severity (mean over
    families). *left with both* is the fraction of the clean value that remains if both sides are
    corrupted.

    Args:
        table: from `dakd.studies.evidence.robustness_tables`.
        measure: ``"rank1"``, ``"mAP"`` or ``"mINP"``.
    """
    sides, both = table[table["family"] == "all"], table[table["family"] != "all"]
    parts = [
        sides.assign(row=sides["where"].map(SIDES)),
        both.assign(row="both: " + both["family"]),
        both.assign(row="both: severity " + both["severity"].astype("Int64").astype("string")),
    ]
    cells = pd.concat(parts).groupby(["row", "method", "seed"], sort=False)[measure].mean() * 100
    rows = {row: values.droplevel("row") for row, values in cells.groupby("row", sort=False)}
    if {"nothing", "both"} <= rows.keys():
        rows["left with both"] = 100 * rows["both"] / rows["nothing"]
    methods = table["method"].unique()
    lines = [["corrupted", *(LABELS[method] for method in methods)]]
    lines += [[row, *(_mean_std(v[method], 1) for method in methods)] for row, v in rows.items()]
    return _markdown(lines)


def _mean_std(values: pd.Series, digits: int) -> str:
    """Return mean ± standard deviation over seeds."""
    if values.isna().any():
        return "–"
    std = f" ± {values.std():.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{std}"


def _markdown(rows: list[list[str]]) -> str:
    """Return a Markdown table of rows of cells, the first of which is the header."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *lines])
