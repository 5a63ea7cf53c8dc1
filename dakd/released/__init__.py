"""Load checkpoints that others have published, for evaluation or as a teacher.

`load_released` reads one network; `load_both_stems` reads two from a file with separate first
layers (stems) for visible and infrared images. docs/released.md describes the supported files.
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

BothStems = Mapping[Modality, ReIDModel]  # the networks of `load_both_stems`


def load_released(
    path: str | Path,
    *,
    stem: Modality | None = None,
    pooling: Pooling | None = None,
) -> tuple[ReIDModel, Report]:
    """Return a published network in eval mode, and a report on the keys of its file.

    Its embeddings equal those of the original network up to rounding.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save``, which is read without executing
            code in it.
        stem: the modality whose first layers are used, where each has its own; the network is then
            valid for images of that modality only. Ignored for a network with one stem.
        pooling: needed where the file does not determine it; ``"gem"`` then has exponent 3.

    Raises:
        CheckpointError: the file cannot be read without executing code, has another architecture,
            is incomplete, or has two different stems and `stem` is None.
    """
    tensors, path = read_tensors(path), Path(path)
    if stem is None and has_two_stems(tensors):
        refuse_differing_stems(tensors, path)
    return assemble(tensors, path, stem=stem, pooling=pooling)


def load_both_stems(
    path: str | Path, *, pooling: Pooling | None = None
) -> tuple[dict[Modality, ReIDModel], Report]:
    """Return one published network per modality, and a report on the keys of the file.

    The two share the tensors that the original shares; from a file with one stem they are equal.

    Args:
        path, pooling: see `load_released`.

    Raises:
        CheckpointError: see `load_released`.
    """
    tensors, path = read_tensors(path), Path(path)
    models, reports = {}, []
    for stem in STEMS:
        models[stem], report = assemble(tensors, path, stem=stem, pooling=pooling)
        reports.append(report)
    return models, reports[0].merged(reports[1])


def extract_two_stems(models: Mapping[Modality, ReIDModel], images: ImageSet, **how: Any) -> Tensor:
    """Return the embedding of each image by the network of its modality.

    Args:
        models: from `load_both_stems`.
        images: of both modalities or of one.
        how: options of `dakd.evaluate.extract`: batch, device, precision, flip, transform.

    Returns:
        (N, D) float32 on the CPU, with rows of unit length, for ``evaluate(embeddings, dataset)``.
    """
    kinds: dict[Modality, np.ndarray] = {"visible": ~images.infrared, "infrared": images.infrared}
    rows = {modality: np.flatnonzero(mask) for modality, mask in kinds.items() if mask.any()}
    parts = [extract(models[modality], images, rows=own, **how) for modality, own in rows.items()]
    return torch.cat(parts)[np.argsort(np.concatenate([*rows.values()]))]  # (N, D)
