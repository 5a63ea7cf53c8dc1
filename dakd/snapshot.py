"""Everything that a training continues from, in one safetensors file; loading executes no code."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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


UNREADABLE = (OSError, SafetensorError, KeyError, ValueError)


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
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"notes": notes})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())


def read_snapshot(path: Path) -> Snapshot:
    """Return a snapshot; `UNREADABLE` errors mean a file that is broken or another thing."""
    with safe_open(path, "pt") as file:
        notes = json.loads(file.metadata()["notes"])
        return Snapshot({name: _own(file.get_tensor(name)) for name in file.keys()}, notes)  # noqa: SIM118


def _own(value: Tensor) -> Tensor:
    """Return a copy outside the file, in the memory format in which networks are trained.

    The fused optimiser of a GPU insists on moments that lie as their weights do.
    """
    pictures = value.ndim == 4
    return value.clone(memory_format=torch.channels_last if pictures else torch.contiguous_format)
