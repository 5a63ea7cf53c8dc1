"""Checkpoints that others published, as networks that `dakd.evaluate` measures.

`load_released` reads one network, `load_both_stems` the two of a family that sees visible and
infrared images through first layers of their own. What a file must hold: docs/released.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dakd.data.records import ImageSet
from dakd.evaluate.embed import extract
from dakd.model import ReIDModel
from dakd.protocols import Modality
from dakd.released.assembly import Pooling, Report, assemble, refuse_differing_stems
from dakd.released.families import STEMS, has_two_stems, measured_at
from dakd.released.files import read_tensors

__all__ = ["Report", "extract_two_stems", "load_both_stems", "load_released", "measured_at"]

BothStems = Mapping[Modality, ReIDModel]  # what `load_both_stems` gives


def load_released(
    path: str | Path,
    *,
    stem: Modality | None = None,
    pooling: Pooling | None = None,
) -> tuple[ReIDModel, Report]:
    """Return a published network in eval mode, and what became of each key of its file.

    Its embeddings are those of the original, up to rounding.

    Args:
        path: a ``.safetensors``, or a file of ``torch.save``, which is read without executing
            anything in it.
        stem: which first layers to take, where each modality has its own: the network then is right
            for images of that modality alone. A network with one stem ignores it.
        pooling: needed where the file does not tell; ``"gem"`` then has the exponent 3.

    Raises:
        CheckpointError: the file cannot be read without executing code, is of another
            architecture, incomplete, or has two differing stems and none was chosen.
    """
    tensors, path = read_tensors(path), Path(path)
    if stem is None and has_two_stems(tensors):
        refuse_differing_stems(tensors, path)
    return assemble(tensors, path, stem=stem, pooling=pooling)


def load_both_stems(
    path: str | Path, *, pooling: Pooling | None = None
) -> tuple[dict[Modality, ReIDModel], Report]:
    """Return a published network for visible and one for infrared images, and one report.

    Both share the memory of the tensors that the original shares. Of a network with one stem the
    two are equal. Arguments and errors are those of `load_released`.
    """
    tensors, path = read_tensors(path), Path(path)
    models, reports = {}, []
    for stem in STEMS:
        models[stem], report = assemble(tensors, path, stem=stem, pooling=pooling)
        reports.append(report)
    return models, reports[0].joined(reports[1])


def extract_two_stems(models: Mapping[Modality, ReIDModel], images: ImageSet, **how: Any) -> Tensor:
    """Return the embedding of each image by the network of its modality.

    Args:
        models: from `load_both_stems`.
        images: the images, of both modalities or of one.
        how: batch, device, precision, flip, transform: see `dakd.evaluate.extract`.

    Returns:
        (N, D) float32 on the CPU, rows of unit length, for ``evaluate(embeddings, dataset)``.
    """
    kinds: dict[Modality, np.ndarray] = {"visible": ~images.infrared, "infrared": images.infrared}
    rows = {modality: np.flatnonzero(mask) for modality, mask in kinds.items() if mask.any()}
    parts = [extract(models[modality], images, rows=own, **how) for modality, own in rows.items()]
    return torch.cat(parts)[np.argsort(np.concatenate([*rows.values()]))]  # (N, D)
