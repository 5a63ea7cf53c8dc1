"""Loss terms, confidence masks and modality maps of trained networks."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from dakd import figures
from dakd.analysis import kept_accuracy, predict
from dakd.widgets.panel import Panel, choice

TEMPERATURES = {"as in the method": None, "0.02": 0.02, "0.05": 0.05, "0.2": 0.2, "1": 1.0}


def loss_terms(history: pd.DataFrame, *, title: str | None = None) -> Panel:
    """Switch the parts of a loss on and off; see `dakd.figures.loss_curves`."""
    parts = figures.loss_parts(history)

    def render(smooth: float, **on: bool) -> Figure:
        shown = [part for part in parts if on[part]]
        return figures.loss_curves(history, shown, smooth=smooth, title=title)

    smooth = w.FloatSlider(0.8, min=0, max=0.98, step=0.02, description="smoothing")
    smooth.continuous_update = False
    boxes = {part: w.Checkbox(value=True, description=part, indent=False) for part in parts}
    return Panel(
        render,
        "Which part falls first? Switch the large ones off to see the small ones.",
        smooth=smooth,
        **boxes,
    )


def render_mask(
    images: Tensor,
    embeddings: Tensor,
    centres: Tensor,
    labels: Any,
    *,
    level: str = "class",
    quantile: float = 0.5,
    keep: Any = "confident",
    temperature: float | None = None,
) -> Figure:
    """Show which images of a batch the confidence mask keeps, and where the teacher is right.

    Args:
        images: (n, 3, H, W), uint8 or float in 0..1.
        embeddings: the teacher's, (n, D).
        centres: the teacher's class centres of the modality, (K, D).
        labels: true classes, (n,).
        level: ``"class"`` or ``"instance"``: whose confidence orders the images.
        quantile, keep: see `dakd.distill.confidence_mask`.
        temperature: of the softmax; None is 0.05 at the class level and 1 at the instance level.
    """
    heat = {}
    if temperature is not None:
        heat = {"temperature": temperature, "instance_temperature": temperature}
    said = predict(embeddings, centres, labels, **heat)
    confidence = said.confidence if level == "class" else said.instance_confidence
    mask = kept_accuracy(confidence, said.correct, quantile=quantile, keep=keep)
    shares = {"kept": mask.kept, "dropped": mask.dropped}
    words = [f"{name} {100 * x:.0f} % right" for name, x in shares.items() if not np.isnan(x)]
    return figures.mask_gallery(
        images,
        confidence=confidence,
        correct=said.correct,
        kept=mask.mask,
        title=f"{level} level, {mask.mask.sum()} of {len(images)} kept: {', '.join(words)}",
    )


def mask_explorer(images: Tensor, embeddings: Tensor, centres: Tensor, labels: Any) -> Panel:
    """Move the confidence mask's settings; see `render_mask`."""
    return Panel(
        lambda **values: render_mask(images, embeddings, centres, labels, **values),
        "Which level keeps images on which the teacher is right? ✓ right person, ✗ wrong.",
        level=choice(["class", "instance"], "level"),
        quantile=w.FloatSlider(
            0.5, min=0, max=0.9, step=0.1, description="quantile", continuous_update=False
        ),
        keep=choice(["confident", "uncertain", "none"], "keep"),
        temperature=w.Dropdown(options=TEMPERATURES, description="temperature"),
    )


def gap_explorer(
    points: Mapping[str, np.ndarray],
    *,
    infrared: np.ndarray,
    cams: np.ndarray,
    pids: np.ndarray,
    captions: Mapping[str, str] | None = None,
) -> Panel:
    """Choose a network and a colouring of its map; see `dakd.figures.modality_maps`."""

    def render(model: str, colouring: str) -> Figure:
        shown = dict(points) if model == "all" else {model: points[model]}
        kept = {name: text for name, text in (captions or {}).items() if name in shown}
        colours = {"infrared": infrared, "cams": cams, "pids": pids}
        return figures.modality_maps(shown, colouring=colouring, captions=kept, **colours)  # type: ignore[arg-type]

    return Panel(
        render,
        "Triangles are infrared. Do colours follow the modality, the camera, or the person?",
        model=choice(["all", *points], "network"),
        colouring=choice(["modality", "camera", "identity"], "colour"),
    )
