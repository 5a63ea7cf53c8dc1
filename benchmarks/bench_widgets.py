"""Time to redraw a widget, compared with drawing one matplotlib axes per image.

Image sizes and counts are those of a profile, embeddings are random, nothing is trained. A time is
the CPU time of this process from moving a control to the finished PNG, on one thread. The baseline
draws the same images, frames and texts with one axes per image and constrained layout.
"""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import Mock, patch

import ipywidgets
import matplotlib
import numpy as np
import pandas as pd
import torch
import tyro
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch.nn.functional import normalize

from dakd import widgets
from dakd.config import Profile, SyntheticConfig, load_profile
from dakd.data.synthetic import load_synthetic
from dakd.figures.tiles import Tile, to_uint8
from dakd.protocols import sysu_trials

D, MASKED, MAPPED = 256, 32, 600  # dimensions, images of the mask's batch, points of a map
PARTS = ("class_visible", "class_infrared", "instance_visible", "instance_infrared", "triplet")
USERS = ("images", "rankings", "confidence")  # modules of `dakd.figures` that draw grids


def panels(config, people: int) -> dict[str, widgets.Panel]:
    """Return every widget, on images of `people` identities."""
    size = {"height": config.data.height, "width": config.data.width}
    dataset = load_synthetic(SyntheticConfig(train_ids=4, test_ids=people), **size)
    test = dataset.test
    test.images()  # drawn once, then kept
    visible, infrared = np.flatnonzero(~test.infrared), np.flatnonzero(test.infrared)
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    centres = normalize(torch.randn(people, D, generator=generator), dim=1)
    noise = normalize(torch.randn(len(test), D, generator=generator), dim=1)
    z = normalize(
        0.33 * centres[test.labels] + noise, dim=1
    )  # most predictions are right, few confident
    batch = np.resize(infrared, MASKED)
    some = np.sort(random.permutation(len(test))[:MAPPED])
    points = {name: random.normal(size=(len(some), 2)) for name in ("untrained", "teacher", "DAKD")}
    columns = {"infrared": test.infrared[some], "cams": test.cams[some], "pids": test.pids[some]}
    steps = np.arange(config.student.epochs * config.student.steps)
    history = pd.DataFrame({part: np.exp(-steps / 200) + random.random() for part in PARTS})
    history = history.assign(loss=history.sum(axis=1), step=steps, epoch=0, lr=0.1)
    return {
        "image browser": widgets.image_browser(test),
        "ranking by hand": widgets.ranking_playground(),
        "query browser": widgets.query_browser(dataset, z, sysu_trials(test)[0]),
        "CutSwap": widgets.cutswap_playground(
            test.images(visible[:6]), test.images(infrared[:6])
        ),
        "loss terms": widgets.loss_terms(history),
        "mask explorer": widgets.mask_explorer(
            test.images(batch), z[batch], centres, test.labels[batch]
        ),
        "gap maps": widgets.gap_explorer(points, **columns),
        "gap maps, hover": widgets.gap_explorer(points, images=test.images(some), **columns),
    }  # fmt: skip


def moved(panel: widgets.Panel, each: int) -> Iterator[None]:
    """Move every control of a panel to up to `each` other values, and back."""
    for control in panel.controls.values():
        if hasattr(control, "index"):
            name, values = "index", list(range(len(control.options)))
        elif isinstance(control.value, bool):
            name, values = "value", [False, True]
        else:
            kind = type(control.value)
            steps = np.linspace(control.min, control.max, each + 3)[1:-1].tolist()
            name, values = "value", [(control.min, x) if kind is tuple else kind(x) for x in steps]
        start = getattr(control, name)
        for value in [*[x for x in values if x != start][:each], start]:
            setattr(control, name, value)
            yield


def milliseconds(panel: widgets.Panel, each: int) -> float:
    times, moves = [], moved(panel, each)
    while True:
        start = time.process_time()
        if next(moves, "end") == "end":
            return 1000 * float(np.median(times))
        times.append(time.process_time() - start)


def plain_grid(rows: list[list[Tile]], *, row_titles=None, title=None, **_layout) -> Figure:
    """Draw what `dakd.figures.tiles.tile_grid` draws, with one axes per image."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(9, 1.8 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    figure.suptitle(title)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, row, name in zip(grid, rows, row_titles or [""] * len(rows), strict=True):
        line[0].set_ylabel(name)
        for axes, tile in zip(line, row, strict=False):
            axes.set_title(tile.above, fontsize=9, color=tile.color)
            axes.set_xlabel(tile.below, fontsize=9)
            if tile.image is not None:
                axes.imshow(to_uint8(tile.image), alpha=tile.opacity)
            if tile.frame:
                axes.spines[:].set(visible=True, color=tile.frame, linewidth=2.5)
            if tile.box is not None:
                top, left, height, width = tile.box
                axes.add_patch(Rectangle((left, top), width, height, fill=False))
    return figure


def plain_milliseconds(panel: widgets.Panel, each: int) -> float:
    """Return the time of the baseline; NaN for a widget that shows no grid of images."""
    drawn = []
    with ExitStack() as patches:
        for user in USERS:
            drawing = Mock(side_effect=plain_grid)
            drawn.append(patches.enter_context(patch(f"dakd.figures.{user}.tile_grid", drawing)))
        took = milliseconds(panel, each)
    return took if any(mock.called for mock in drawn) else float("nan")


def main(profile: Profile = "demo", people: int = 48, moves: int = 2) -> None:
    """Measure with images of a profile's size and `moves` moves of every control."""
    torch.set_num_threads(1)
    matplotlib.use("agg")
    config = load_profile(profile)
    versions = f"matplotlib {matplotlib.__version__}, ipywidgets {ipywidgets.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread, {versions}")
    print(f"images of {config.data.height} x {config.data.width}, {people} people")
    print("CPU time per redraw, median over the moves of all controls")
    for name, panel in panels(config, people).items():
        ours = milliseconds(panel, moves)
        plain = plain_milliseconds(panel, moves)
        ratio = (
            ""
            if np.isnan(plain)
            else f"   one axes per image {plain:6.0f} ms   {plain / ours:4.1f} x"
        )
        print(f"{name:16} {ours:5.0f} ms{ratio}")


if __name__ == "__main__":
    tyro.cli(main)
