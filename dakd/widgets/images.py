"""Browse people and cameras; try CutSwap."""

import itertools
from collections.abc import Sequence

import ipywidgets as w
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dakd import figures
from dakd.augment import CutSwap
from dakd.data.records import ImageSet
from dakd.runtime import make_generator
from dakd.widgets.panel import Panel, choice, fine_slider, slider

CHANNELS = ("random", "red", "green", "blue")


def _cameras(images: ImageSet, cams: np.ndarray) -> tuple[list[str], list[str]]:
    """Return the names of cameras, and the modality of each."""
    kinds = ["infrared" if images.infrared[images.cams == cam][0] else "visible" for cam in cams]
    return [f"camera {cam}\n{kind}" for cam, kind in zip(cams, kinds, strict=True)], kinds


def render_person(images: ImageSet, *, person: int, camera: str | int = "all") -> Figure:
    """Show all images of a person, one column per camera, or those of one camera in a row.

    Args:
        images: a split.
        person: index into ``images.classes``.
        camera: a camera number, or ``"all"``.
    """
    pid = images.classes[person]
    mine = np.flatnonzero(images.pids == pid)
    cams = np.unique(images.cams) if camera == "all" else np.array([camera])
    seen = images.images(mine)
    columns = [list(seen[images.cams[mine] == cam]) for cam in cams]
    names, kinds = _cameras(images, cams)
    title = f"Person {pid}"
    if camera != "all":
        title += f" in camera {camera}"
        if not columns[0]:
            return figures.image_grid([[None] * 4], title=f"{title}: no image")
        names = [f"image {n + 1}" for n in range(len(columns[0]))]
        return figures.strip(columns[0], titles=names, modalities=kinds * len(names), title=title)
    rows = list(itertools.zip_longest(*columns))
    return figures.image_grid(rows, column_titles=names, column_modalities=kinds, title=title)


def render_people(images: ImageSet, *, people: Sequence[int], title: str | None = None) -> Figure:
    """Show people by one image per camera: one row per person, a dash where there is no image.

    Args:
        images: a split.
        people: indices into ``images.classes``.
        title: of the figure.
    """
    pids, cams = images.classes[list(people)], np.unique(images.cams)
    names, kinds = _cameras(images, cams)

    def first(pid: int, cam: int) -> Tensor | None:
        rows = np.flatnonzero((images.pids == pid) & (images.cams == cam))[:1]
        return images.images(rows)[0] if len(rows) else None

    return figures.image_grid(
        [[first(pid, cam) for cam in cams] for pid in pids],
        row_titles=[f"person {pid}" for pid in pids],
        column_titles=names,
        column_modalities=kinds,
        title=title,
    )


def image_browser(images: ImageSet) -> Panel:
    """Browse the people and cameras of a split."""
    return Panel(
        lambda **values: render_person(images, **values),
        "Browse the people with the arrow keys. What stays the same in infrared?",
        person=w.SelectionSlider(
            options=[(str(pid), row) for row, pid in enumerate(images.classes)],
            description="person",
            continuous_update=False,
        ),
        camera=choice(["all", *np.unique(images.cams).tolist()], "camera"),
    )


def render_cutswap(
    images: Tensor,
    *,
    p: float = 1.0,
    ratio: tuple[float, float] = (0.3, 0.6),
    channel: str = "random",
    seed: int = 0,
) -> Figure:
    """Show CutSwap step by step: image, rectangle, the paper's result, the release's.

    Args:
        images: (n, 3, H, W), uint8 or float in 0..1.
        p: probability that an image is changed.
        ratio: smallest and largest side of the rectangle, as a fraction of the image's.
        channel: ``"random"``, ``"red"``, ``"green"`` or ``"blue"``.
        seed: of the random draws.
    """
    paper = CutSwap(p, *ratio, variant="paper")
    release = CutSwap(p, *ratio, variant="release")
    draws = paper.sample(images, make_generator(seed))
    if channel != "random":
        number = CHANNELS.index(channel) - 1
        draws = draws._replace(channel=torch.full_like(draws.channel, number))
    rectangles = torch.stack(draws.box, 1) * draws.active[:, None]  # (n, 4)
    changed = int(draws.active.sum())
    title = f"CutSwap: {changed} of {len(images)} images changed, {channel} channel"
    results = (swap.apply(images, draws) for swap in (paper, release))
    return figures.cutswap_strip(images, rectangles, *results, title=title)


def cutswap_playground(visible: Tensor, infrared: Tensor | None = None) -> Panel:
    """Change the settings of CutSwap, and compare the paper's version with the release's.

    Args:
        visible: images (n, 3, H, W), uint8 or float in 0..1.
        infrared: images (m, 3, H, W) that can be selected instead.
    """
    both = {"visible": visible, "infrared": visible if infrared is None else infrared}
    text = "Change the settings; the seed changes the draws. The release changes the whole image."
    sides = w.FloatRangeSlider(value=(0.3, 0.6), min=0.1, max=1, step=0.05, description="sides")
    sides.continuous_update = False
    switch = {}
    if infrared is not None:
        text += " Then select infrared images: what is left to swap?"
        switch = {"kind": choice(both, "images")}
    return Panel(
        lambda kind="visible", **values: render_cutswap(both[kind], **values),
        text,
        **switch,
        p=fine_slider(1.0, 1.0, 0.1, "probability"),
        ratio=sides,
        channel=choice(CHANNELS, "channel"),
        seed=slider(0, 20, 1, "seed"),
    )
