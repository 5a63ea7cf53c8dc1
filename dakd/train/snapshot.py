"""Snapshots of a training as safetensors files; loading executes no code.

A digest of the content is stored in the file, so that a damaged snapshot is recognised.
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
    """The saved state of a training.

    Attributes:
        tensors: by name.
        metadata: everything else, as JSON values.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def write_snapshot(path: Path, snapshot: Snapshot, settings: Mapping[str, Any]) -> None:
    """Write a snapshot under a temporary name, sync it to the disk, and rename it.

    If the process is killed, the previous file stays as it was.

    Args:
        path: of the file.
        snapshot: what to write.
        settings: of the training; stored in the metadata.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in snapshot.tensors.items()}
    metadata = json.dumps({**snapshot.metadata, "settings": dict(settings)})
    header = {"metadata": metadata, "digest": _digest(metadata, tensors)}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=header)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError:
        raise
    except Exception as error:  # safetensors has errors of its own for a full disk
        raise OSError(f"{path} cannot be written: {error}") from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged, or no snapshot of this version.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        intact = header["digest"] == _digest(header["metadata"], tensors)
        snapshot = Snapshot(
            {k: _own(v) for k, v in tensors.items()}, json.loads(header["metadata"])
        )
        settings, seconds = snapshot.metadata["settings"], snapshot.metadata["seconds"]
    except OSError:
        raise
    except Exception as error:  # the libraries raise many kinds for other files
        raise ValueError(f"no snapshot of this version: {error!r}") from error
    if not intact:
        raise ValueError("damaged, its content does not match its digest")
    if not isinstance(settings, dict) or not isinstance(seconds, (int, float)):
        raise ValueError("no snapshot of this version: its metadata is of another kind")
    return snapshot


def _digest(metadata: str, tensors: Mapping[str, Tensor]) -> str:
    """Return eight digits that change when a name, a value or the metadata does."""
    digest = zlib.crc32(metadata.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest = zlib.crc32(f"{name} {value.dtype} {[*value.shape]}".encode(), digest)
        digest = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, digest)
    return f"{digest:08x}"


def _own(value: Tensor) -> Tensor:
    """Return a copy in memory, in the memory format in which networks are trained.

    The fused optimiser on GPUs needs moments in the memory format of their weights.
    """
    format = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    return value.clone(memory_format=format)
