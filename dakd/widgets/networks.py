"""Loss terms, confidence masks and modality maps."""

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
from dakd.widgets.panel import Panel, choice, fine_slider

KEPT = [("confident", "confident"), ("uncertain", "uncertain"), ("everything", "none")]
TEMPERATURES = {"as in the method": 0.0, "0.02": 0.02, "0.05": 0.05, "0.2": 0.2, "1": 1.0}


def loss_terms(history: pd.DataFrame, *, title: str | None = None) -> Panel:
    """Show or hide the terms of a loss; see `dakd.figures.loss_curves`."""
    parts = figures.loss_parts(history)

    def render(smooth: float, **on: bool) -> Figure:
        shown = [part for part in parts if on[part]]
        return figures.loss_curves(history, shown, smooth=smooth, title=title)

    text = "Which term falls first? Hide the large ones to see the small ones."
    boxes = {part: w.Checkbox(value=True, description=part, indent=False) for part in parts}
    return Panel(render, text, smooth=fine_slider(0.98, 0.8, 0.02, "smoothing"), **boxes)


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
    top: int = 3,
) -> Figure:
    """Show which images of a batch the confidence mask keeps, and where the teacher is right.

    Args:
        images: (n, 3, H, W), uint8 or float in 0..1.
        embeddings: of the teacher, (n, D).
        centres: class centres of the teacher in the images' modality, (K, D).
        labels: true classes, (n,).
        level: ``"class"`` or ``"instance"``: whose confidence orders the images.
        quantile, keep: see `dakd.distill.confidence_mask`.
        temperature: of the softmax; None is 0.05 at the class level and 1 at the instance level.
        top: number of predictions below each image; the true class is above it, and green among
            the predictions.

    Raises:
        ValueError: see `dakd.analysis.predict`.
    """
    both = ("temperature", "instance_temperature")
    temperatures = {} if temperature is None else dict.fromkeys(both, temperature)
    predictions = predict(embeddings, centres, labels, **temperatures)
    confidence = {"class": predictions.confidence, "instance": predictions.instance_confidence}
    mask = kept_accuracy(confidence[level], predictions.correct, quantile=quantile, keep=keep)
    accuracy = {"kept": mask.kept, "dropped": mask.dropped}
    best = predictions.logits.softmax(dim=1).topk(min(top, len(centres)), dim=1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    words = [f"{name} {100 * x:.0f} % right" for name, x in accuracy.items() if not np.isnan(x)]
    return figures.mask_gallery(
        images,
        confidence=confidence[level],
        correct=predictions.correct,
        kept=mask.mask,
        predictions=[dict(zip(classes, values, strict=True)) for classes, values in pairs],
        labels=labels,
        title=f"{level} level, {mask.mask.sum()} of {len(images)} kept: {', '.join(words)}",
    )


def mask_explorer(images: Tensor, embeddings: Tensor, centres: Tensor, labels: Any) -> Panel:
    """Change the settings of the confidence mask; see `render_mask`."""

    def render(temperature: float, **values: Any) -> Figure:
        values["temperature"] = temperature or None  # a Dropdown cannot show a value of None
        return render_mask(images, embeddings, centres, labels, **values)

    return Panel(
        render,
        "Which level keeps images on which the teacher is right? Above each image: its true class, "
        "and whether the teacher predicts it (✓) or not (✗). Below: the top predictions with their "
        "probabilities, the true class in green. (At the instance level the first number is the "
        "instance-level confidence.)",
        level=choice(["class", "instance"], "level"),
        quantile=fine_slider(0.9, 0.5, 0.1, "quantile"),
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
    """Select a network and a colouring of its map; see `dakd.figures.modality_maps`.

    Args:
        points, infrared, cams, pids, captions: as in `dakd.figures.modality_maps`.
        images: (n, 3, H, W); maps of single networks then show the image of a point, see
            `hover_map`, and the last network is selected at first.
    """
    colours: Any = {"infrared": infrared, "cams": cams, "pids": pids}
    texts = captions or {}

    def render(model: str, colouring: str) -> Figure | str:
        if images is not None and model != "all":
            shown_texts = {"title": model, "caption": texts.get(model, "")}
            given = {"images": images, "colouring": colouring, **shown_texts, **colours}
            return hover_map(points[model], **given)
        shown = dict(points) if model == "all" else {model: points[model]}
        kept = {name: text for name, text in texts.items() if name in shown}
        return figures.modality_maps(shown, colouring=colouring, captions=kept, **colours)

    words = "Triangles are infrared. Do colours follow the modality, the camera, or the person?"
    if images is not None:
        words += " Point at a dot to see its image; click to keep it for comparison."
    return Panel(
        render,
        words,
        model=choice(["all", *points], "network", None if images is None else list(points)[-1]),
        colouring=choice(["modality", "camera", "identity"], "colour"),
    )
