"""The figures of README, docs and slides that need no network: of images and of tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from dakd import figures
from dakd.augment import CutSwap
from dakd.config import SyntheticConfig
from dakd.data import ImageSet
from dakd.data.synthetic import load_synthetic
from dakd.figures.style import add_note
from dakd.runtime import make_generator
from dakd.studies.ablation import LABELS, MAIN
from dakd.studies.tables import differences

CAMERAS = (1, 2, 4, 5, 3, 6)  # visible cameras first
PEOPLE, EACH = 8, 2
METRICS = {"rank1": "rank-1", "mAP": "mAP"}
LINES = (
    "Thick line: bootstrap, thin line: Student's t, both 95 %; green or red where the latter "
    "leaves zero out."
)
SLIDE = (  # the variants of the slide
    *("continued", "identity", "dakd", "only_kd", "dakd_identity", "release"),
    *("no_instance", "no_class", "mask_none", "mask_uncertain", "cutswap_none"),
)
WITHOUT_CUTSWAP = {"teacher_no_cutswap": "teacher", "cutswap_none": "dakd"}


def contact_sheet(images: ImageSet) -> Figure:
    """Show eight identities, one per row, with two images of every camera."""
    complete = [p for p in images.classes if len(np.unique(images.cams[images.pids == p])) == 6]
    rows = [
        np.flatnonzero((images.pids == pid) & (images.cams == cam))[:EACH]
        for pid in complete[:PEOPLE]
        for cam in CAMERAS
    ]
    pixels = images.images(np.concatenate(rows))
    columns = [cam for cam in CAMERAS for _ in range(EACH)]
    return figures.image_grid(
        pixels.unflatten(0, (PEOPLE, len(columns))),  # (8, 12, 3, H, W)
        row_titles=[f"id {pid}" for pid in complete[:PEOPLE]],
        column_titles=[f"cam {cam}" for cam in columns],
        column_modalities=["infrared" if cam in (3, 6) else "visible" for cam in columns],
    )


def cutswap(images: ImageSet, count: int = 6) -> Figure:
    """Show CutSwap on visible images: original, rectangle, paper's version, release's."""
    x = images.images(np.flatnonzero(images.cams == 5)[: 4 * count : 4]).float() / 255
    swap = CutSwap(p=1.0)
    draws = swap.sample(x, make_generator(3))
    release = CutSwap(p=1.0, variant="release").apply(x, draws)
    rectangles = torch.stack(tuple(draws.box), dim=1)  # (n, 4)
    return figures.cutswap_strip(x, rectangles, swap.apply(x, draws), release)


def ablation(table: pd.DataFrame, *, metric: str) -> Figure:
    """Show the difference of every variant from the teacher.

    Args:
        table: from `dakd.studies.ablation.run_grid`.
        metric: a key of `METRICS`.
    """
    rows = differences(table, metric=metric).drop("untrained", errors="ignore")
    texts: Any = {"baseline": "the teacher", "measure": METRICS[metric]}
    title = f"{METRICS[metric]}: every variant against the teacher of its seed"
    return add_note(figures.difference_plot(rows, title=title, **texts), _seeds(table), LINES)


def ablation_slide(table: pd.DataFrame) -> Figure:
    """Show the variants that answer the main questions, in rank-1 and mAP, for a slide."""
    both = [differences(table, metric=metric) for metric in METRICS]
    rank1, mean_ap = (rows[rows.index.isin(SLIDE)] for rows in both)
    texts: Any = {"baseline": "the teacher", "measure": "rank-1"}
    title = "The main variants against the teacher of their seed"
    figure = figures.difference_plot(rank1, further={"mAP": mean_ap}, title=title, **texts)
    return add_note(figure, _seeds(table), LINES)


def _seeds(table: pd.DataFrame) -> str:
    """Return the data and seeds of a committed table as a note."""
    seeds = ", ".join(map(str, sorted(table["seed"].unique())))
    return f"Drawn people of the embedded benchmark, demo profile; seeds {seeds} (dots)."


def robustness(table: pd.DataFrame) -> Figure:
    """Show `dakd.studies.evidence.robustness_tables`: by side, and by family and severity."""
    title = f"Corrupted test images, seeds {', '.join(map(str, table['seed'].unique()))}"
    how: Any = {"curves": "mAP", "labels": LABELS, "hollow": WITHOUT_CUTSWAP}
    return figures.robustness_bars(table, title=title, **how)


def result_figures(folder: Path) -> dict[str, Figure]:
    """Return the figures of ``ablation_demo.csv`` and ``robustness_demo.csv``, if they exist.

    Args:
        folder: the folder of the tables.
    """
    drawn = {}
    if (path := folder / "ablation_demo.csv").is_file():
        table = pd.read_csv(path)
        names = {"run": "method", "all-1/rank1": "rank1", "all-1/mAP": "mAP"}
        runs = [run for run in MAIN if run in set(table["run"])]
        main = table.set_index("run").loc[runs].reset_index().rename(columns=names)
        bars = figures.benchmark_bars(main, labels=LABELS)
        drawn["benchmark_demo"] = add_note(bars, _seeds(main))
        drawn |= {f"ablation_{metric}": ablation(table, metric=metric) for metric in METRICS}
        drawn["ablation_main"] = ablation_slide(table)
    if (path := folder / "robustness_demo.csv").is_file():
        table = pd.read_csv(path)
        drawn["robustness_demo"] = add_note(robustness(table), _seeds(table))
    return drawn


def image_figures() -> dict[str, Figure]:
    """Return the figures that only need images, which are drawn in memory."""
    config = SyntheticConfig(train_ids=4 * PEOPLE, images_per_camera=4)
    people = load_synthetic(config, height=192, width=96).train
    visible, infrared = (
        people.images(np.flatnonzero((people.pids == 1) & (people.cams == cam))[:1])[0]
        for cam in (4, 6)
    )
    return {
        "method_overview": figures.method_overview(visible, infrared),
        "contact_sheet": contact_sheet(people),
        "cutswap": cutswap(people),
    }
