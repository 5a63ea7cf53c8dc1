"""Everything that a training continues from, in one safetensors file; loading executes no code.

A digest of all of it is in the file, so that damage is noticed and never trained on.
"""

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dakd.runtime import atomic_path


@dataclass(frozen=True)
class Snapshot:
    """What was saved.

    Attributes:
        tensors: by name.
        notes: everything else; plain values.
    """

    tensors: dict[str, Tensor]
    notes: dict[str, Any]


def write_snapshot(path: Path, snapshot: Snapshot, settings: Mapping[str, Any]) -> None:
    """Write a snapshot under another name, to the disk, and rename it.

    A kill at any moment leaves the file that was there before.

    Args:
        path: of the file.
        snapshot: what to write.
        settings: of the training; `Snapshot.notes` holds them when it is read.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}
    notes = json.dumps({**snapshot.notes, "settings": dict(settings)})
    about = {"notes": notes, "digest": _digest(notes, tensors)}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=about)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError:
        raise
    except Exception as error:  # safetensors has errors of its own for a full disk
        raise OSError(f"{path} cannot be written: {error}") from error


def read_snapshot(path: Path) -> Snapshot:
    """Return a snapshot.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        whole = about["digest"] == _digest(about["notes"], tensors)
        snapshot = Snapshot({k: _own(v) for k, v in tensors.items()}, json.loads(about["notes"]))
        settings, seconds = snapshot.notes["settings"], snapshot.notes["seconds"]
    except OSError:
        raise
    except Exception as error:  # whatever a foreign file makes the libraries say
        raise ValueError(f"no snapshot of this version: {error!r}") from error
    if not whole:
        raise ValueError("damaged, its content does not fit its digest")
    if not isinstance(settings, dict) or not isinstance(seconds, (int, float)):
        raise ValueError("no snapshot of this version: its notes are of another kind")
    return snapshot


def _digest(notes: str, tensors: Mapping[str, Tensor]) -> str:
    """Return eight digits that change when a name, a value or a note does."""
    digest = zlib.crc32(notes.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest = zlib.crc32(f"{name} {value.dtype} {[*value.shape]}".encode(), digest)
        digest = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, digest)
    return f"{digest:08x}"


def _own(value: Tensor) -> Tensor:
    """Return a copy outside the file, in the memory format in which networks are trained.

    The fused optimiser of a GPU insists on moments that lie as their weights do.
    """
    pictures = value.ndim == 4
    return value.clone(memory_format=torch.channels_last if pictures else torch.contiguous_format)
