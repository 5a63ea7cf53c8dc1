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
from dakd.widgets.hover import hover_map
from dakd.widgets.panel import Panel, choice

KEPT = [("confident", "confident"), ("uncertain", "uncertain"), ("everything", "none")]
TEMPERATURES = {"as in the method": 0.0, "0.02": 0.02, "0.05": 0.05, "0.2": 0.2, "1": 1.0}


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
    guesses: int = 3,
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
        guesses: print so many of the teacher's best guesses under each image, with their
            probabilities; the true class stands above it, and is green among the guesses.
    """
    heat = {}
    if temperature is not None:
        heat = {"temperature": temperature, "instance_temperature": temperature}
    said = predict(embeddings, centres, labels, **heat)
    confidence = said.confidence if level == "class" else said.instance_confidence
    mask = kept_accuracy(confidence, said.correct, quantile=quantile, keep=keep)
    shares = {"kept": mask.kept, "dropped": mask.dropped}
    best = said.logits.softmax(dim=1).topk(min(guesses, len(centres)), dim=1)
    named = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    words = [f"{name} {100 * x:.0f} % right" for name, x in shares.items() if not np.isnan(x)]
    return figures.mask_gallery(
        images,
        confidence=confidence,
        correct=said.correct,
        kept=mask.mask,
        guesses=[dict(zip(names, values, strict=True)) for names, values in named],
        labels=labels,
        title=f"{level} level, {mask.mask.sum()} of {len(images)} kept: {', '.join(words)}",
    )


def mask_explorer(images: Tensor, embeddings: Tensor, centres: Tensor, labels: Any) -> Panel:
    """Move the confidence mask's settings; see `render_mask`."""

    def render(temperature: float, **values: Any) -> Figure:
        told = temperature or None  # a Dropdown shows no option whose value is None
        return render_mask(images, embeddings, centres, labels, temperature=told, **values)

    return Panel(
        render,
        "Which level keeps images on which the teacher is right? Over each image the true class, "
        "✓ named or ✗ missed; under it the teacher's best guesses with their probabilities, the "
        "right one in green. (At the instance level the first number is that level's confidence.)",
        level=choice(["class", "instance"], "level"),
        quantile=w.FloatSlider(
            0.5, min=0, max=0.9, step=0.1, description="quantile", continuous_update=False
        ),
        keep=choice(KEPT, "keep"),
        temperature=w.Dropdown(options=TEMPERATURES, description="temperature"),
    )


def gap_explorer(
    points: Mapping[str, np.ndarray],
    *,
    infrared: np.ndarray,
    cams: np.ndarray,
    pids: np.ndarray,
    captions: Mapping[str, str] | None = None,
    images: Tensor | None = None,
) -> Panel:
    """Choose a network and a colouring of its map; see `dakd.figures.modality_maps`.

    Args:
        points, infrared, cams, pids, captions: as there.
        images: (n, 3, H, W); the map of one network then shows the image of a point, see
            `hover_map`, and the panel begins with the last network.
    """
    colours: Any = {"infrared": infrared, "cams": cams, "pids": pids}
    texts = captions or {}

    def render(model: str, colouring: str) -> Figure | str:
        if images is not None and model != "all":
            return hover_map(
                points[model],
                images=images,
                colouring=colouring,
                title=model,
                caption=texts.get(model, ""),
                **colours,
            )
        shown = dict(points) if model == "all" else {model: points[model]}
        kept = {name: text for name, text in texts.items() if name in shown}
        return figures.modality_maps(shown, colouring=colouring, captions=kept, **colours)

    words = "Triangles are infrared. Do colours follow the modality, the camera, or the person?"
    if images is not None:
        words += " Point at a dot to see its image; a click holds it, to compare with another."
    return Panel(
        render,
        words,
        model=choice(["all", *points], "network", None if images is None else list(points)[-1]),
        colouring=choice(["modality", "camera", "identity"], "colour"),
    )
