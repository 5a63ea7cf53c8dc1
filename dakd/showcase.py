"""The pictures of the README, drawn again by one command (`dakd figures`, `make figures`)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dakd import figures
from dakd.ablation import GRID, MAIN
from dakd.analysis import paired_differences
from dakd.augment import CutSwap
from dakd.config import SyntheticConfig
from dakd.data import ImageSet
from dakd.data.synthetic import load_synthetic
from dakd.runtime import make_generator

CAMERAS = (1, 2, 4, 5, 3, 6)  # the visible ones first
PEOPLE, EACH = 8, 2


def contact_sheet(images: ImageSet) -> Figure:
    """Show eight identities, a row each, by two images of every camera."""
    complete = [p for p in images.classes if len(np.unique(images.cams[images.pids == p])) == 6]
    rows = [
        np.flatnonzero((images.pids == pid) & (images.cams == cam))[:EACH]
        for pid in complete[:PEOPLE]
        for cam in CAMERAS
    ]
    pictures = images.images(np.concatenate(rows))
    infrared = [cam in (3, 6) for cam in CAMERAS for _ in range(EACH)]
    return figures.contact_sheet(
        pictures.unflatten(0, (PEOPLE, len(CAMERAS) * EACH)),  # (8, 12, 3, H, W)
        row_titles=[f"id {pid}" for pid in complete[:PEOPLE]],
        column_titles=[f"cam {cam}" for cam in CAMERAS for _ in range(EACH)],
        column_modalities=["infrared" if dark else "visible" for dark in infrared],
    )


def cutswap(images: ImageSet, count: int = 8) -> Figure:
    """Show CutSwap on visible images: original, rectangle, paper's version, release's."""
    pictures = images.images(np.flatnonzero(images.cams == 5)[: 4 * count : 4]).float() / 255
    swap = CutSwap(p=1.0)
    draws = swap.sample(pictures, make_generator(3))
    release = CutSwap(p=1.0, variant="release").apply(pictures, draws)
    rectangles = torch.stack(tuple(draws.box), dim=1)  # (n, 4)
    return figures.cutswap_strip(pictures, rectangles, swap.apply(pictures, draws), release)


def benchmark_table(table: pd.DataFrame) -> str:
    """Return the README's table, Markdown: mean ± standard deviation over seeds, in per cent.

    Args:
        table: what `dakd.ablation.run_grid` returned.
    """
    columns = {
        "rank-1, all-search": "all-1/rank1",
        "mAP": "all-1/mAP",
        "mINP": "all-1/mINP",
        "rank-1, indoor-search": "indoor-1/rank1",
        "rank-1, all-search, multi-shot": "all-10/rank1",
    }
    lines = [f"| method | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for run in MAIN:
        own = table[table["run"] == run]
        cells = [
            f"{own[column].mean() * 100:.1f} ± {own[column].std() * 100:.1f}"
            for column in columns.values()
        ]
        lines.append(f"| {GRID[run].label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(table: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """Return the differences of all runs but the untrained one, with labels and groups."""
    apart = paired_differences(table, metric=metric, baseline=baseline)
    apart = apart.drop(["untrained", baseline], errors="ignore")
    return apart.assign(
        label=[GRID[run].label for run in apart.index],
        group=[GRID[run].group for run in apart.index],
    )


def ablation(table: pd.DataFrame, *, metric: str, measure: str) -> Figure:
    """Show how much every variant differs from the teacher.

    Args:
        table: what `dakd.ablation.run_grid` returned.
        metric, measure: the metric's name in the table and on the axis.
    """
    named = _named(table, metric, "teacher")
    return figures.difference_plot(named, baseline="the teacher", measure=measure)


def difference_table(table: pd.DataFrame, baseline: str = "teacher") -> str:
    """Return the table of docs/evidence.md, Markdown: points from a baseline with t intervals.

    Args:
        table: what `dakd.ablation.run_grid` returned.
        baseline: a run in it.
    """
    measures = {"rank1": "rank-1", "mAP": "mAP", "mINP": "mINP"}
    apart = {metric: _named(table, metric, baseline) for metric in measures}
    lines = [f"| variant | seeds | {' | '.join(measures.values())} |"]
    lines.append("|---" * (len(measures) + 2) + "|")
    for run, row in apart["rank1"].iterrows():
        cells = []
        for named in apart.values():
            mean, low, high = (100 * named.loc[run, key] for key in ("mean", "t_low", "t_high"))
            cell = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
            cells.append(f"**{cell}**" if low > 0 or high < 0 else cell)
        lines.append(f"| {row['label']} | {len(row['each'])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def trust_summary(table: pd.DataFrame) -> str:
    """Return what `dakd.evidence.trust_table` found, Markdown, in per cent but for the areas."""
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
    """Return what `dakd.evidence.gap_table` found, Markdown."""
    columns = {column: column for column in table.columns if column not in ("run", "seed")}
    named = table.assign(network=[GRID[run].label for run in table["run"]])
    return _summary(named, ["network"], columns, dict.fromkeys(columns, 3))


def _summary(
    table: pd.DataFrame, by: list[str], columns: dict[str, str], digits: dict[str, int]
) -> str:
    """Return mean ± standard deviation over seeds of every group."""
    lines = [f"| {' | '.join([*by, *columns.values()])} |", "|---" * (len(by) + len(columns)) + "|"]
    for key, own in table.groupby(by, sort=False):
        cells = [
            f"{own[c].mean():.{digits[c]}f} ± {own[c].std():.{digits[c]}f}"
            if own[c].notna().all()
            else "–"
            for c in columns
        ]
        lines.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join(lines)


def draw(folder: str | Path) -> Iterator[Path]:
    """Write every picture of the README into `folder`, one by one.

    Those of results are drawn from ``ablation_demo.csv`` in the same folder when it is there.
    """
    folder = Path(folder)
    config = SyntheticConfig(train_ids=4 * PEOPLE, images_per_camera=4)
    people = load_synthetic(config, height=192, width=96).train
    visible, infrared = (
        people.images(np.flatnonzero((people.pids == 1) & (people.cams == cam))[:1])[0]
        for cam in (4, 6)
    )
    made = {
        "method_overview": figures.method_overview(visible, infrared),
        "contact_sheet": contact_sheet(people),
        "cutswap": cutswap(people),
    }
    path = folder / "ablation_demo.csv"
    if path.is_file():
        table = pd.read_csv(path)
        main = table[table["run"].isin(MAIN)].assign(method=table["run"])
        main = main.rename(columns={"all-1/rank1": "rank1", "all-1/mAP": "mAP"})
        made["benchmark_demo"] = figures.benchmark_bars(main)
        for metric, measure in (("rank1", "rank-1"), ("mAP", "mAP")):
            made[f"ablation_{metric}"] = ablation(table, metric=metric, measure=measure)
    for name, figure in made.items():
        dpi = 90 if name == "contact_sheet" else 150  # ninety-six pictures make a large file
        yield figures.save(figure, folder / f"{name}.png", dpi=dpi)
