"""A trained network on disk: weights as safetensors, everything else as JSON and CSV.

A folder holds ``model.safetensors``, ``history.jsonl`` and ``checkpoint.json``. Each is written
atomically, the JSON last: a folder with the JSON is complete. Loading executes no code.
"""

import hashlib
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dakd.config import IMAGE_FIELDS, fingerprint, nested
from dakd.data.lists import some
from dakd.model import ReIDModel
from dakd.runtime import atomic_path, versions
from dakd.train.history import HISTORY, read_history, write_history

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"
_KEYS = ("architecture", "config", "metrics", "versions")  # of the description
_BEFORE = {"non_local": False, "non_local_width": 1, "gem_eps": 1e-6}  # once it went unsaid


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, incomplete or of another network, or a network without one."""


def check_loadable(model: ReIDModel) -> None:
    """Raise unless `load_checkpoint` could build `model` again; a training asks before it starts.

    Raises:
        CheckpointError: ``ReIDModel(**model.architecture)`` has not the tensors of `model`, by name
            and shape, or JSON cannot hold the architecture.
    """
    try:
        again = _hollow(json.loads(json.dumps(model.architecture)))
        _refuse_misfits(model.state_dict(), again.state_dict())
    except Exception as error:
        raise CheckpointError(
            f"this network could not be loaded from a checkpoint: {error}. Build it by ReIDModel "
            "alone, and change no part of it afterwards"
        ) from error


def save_checkpoint(
    folder: str | Path,
    model: ReIDModel,
    *,
    config: dict[str, Any],
    history: pd.DataFrame,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write `model`, its configuration, history and metrics into `folder`; return the folder.

    All is on the disk when it returns.

    Raises:
        CheckpointError: the network could not be loaded again; nothing is written then.
        OSError: the folder cannot be written.
    """
    check_loadable(model)
    folder = Path(folder).expanduser()
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    description = {
        "architecture": model.architecture,
        "trained_at": model.trained_at,
        "config": config,
        "metrics": metrics or {},
        "versions": versions(),
        "digest": _digest(model, config),
    }
    with ExitStack() as files:  # replaced in reverse order: the description last
        paths = {
            name: files.enter_context(atomic_path(folder / name))
            for name in (DESCRIPTION, HISTORY, WEIGHTS)
        }
        save_file(state, paths[WEIGHTS])
        write_history(paths[HISTORY], history)
        paths[DESCRIPTION].write_text(json.dumps(description, indent=2), encoding="utf-8")
        for path in paths.values():
            _sync(path)
        # An old description must not vouch for new weights if the machine stops right here.
        (folder / DESCRIPTION).unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere folders cannot be opened
        _sync(folder)
        _sync(folder.parent)
    return folder


def _sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(model: ReIDModel, config: dict[str, Any]) -> str:
    return fingerprint(model.architecture, model.trained_at, config, weights_fingerprint(model))


def weights_fingerprint(model: nn.Module) -> str:
    """Return ten digits that change when a weight does."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


def is_complete(folder: str | Path) -> bool:
    """Tell whether `folder` holds a whole checkpoint."""
    return all(
        (Path(folder).expanduser() / name).is_file() for name in (WEIGHTS, HISTORY, DESCRIPTION)
    )


def load_checkpoint(folder: str | Path) -> tuple[ReIDModel, pd.DataFrame, dict[str, Any]]:
    """Return the network in eval mode, its history and its description.

    Raises:
        CheckpointError: the folder is no complete checkpoint, or the weights do not fit.
    """
    folder = Path(folder).expanduser()
    if not is_complete(folder):
        raise CheckpointError(
            f"{folder} is no complete checkpoint: it must hold {WEIGHTS}, {HISTORY} and "
            f"{DESCRIPTION}; train again or give another folder"
        )
    try:
        description = _description(folder / DESCRIPTION)
        model = _hollow(description["architecture"])
        # Copies: the tensors of `load_file` stay memory-mapped.
        state = {name: value.clone() for name, value in load_file(folder / WEIGHTS).items()}
        _refuse_misfits(state, model.state_dict())
        model.load_state_dict(state, assign=True)
        config = description["config"]
        data = description.get("trained_at") or nested(config, "experiment", "data")
        model.trained_at = description.get("trained_at") or {}
        digest = _digest(model, config)
        model.trained_at = {name: data[name] for name in IMAGE_FIELDS if name in data}
        if description.get("digest", digest) != digest:  # older checkpoints have none
            raise ValueError(f"{WEIGHTS} or {DESCRIPTION} is damaged, they do not fit their digest")
        history = read_history(folder, complete=True)
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be read: {error}; delete the folder and train again"
        ) from error
    return model.eval(), history, description


def _description(path: Path) -> dict[str, Any]:
    """Return what a file says about a checkpoint."""
    description = json.loads(path.read_text(encoding="utf-8"))
    found = description if isinstance(description, dict) else {}
    wrong = [key for key in _KEYS if not isinstance(found.get(key), dict)]
    if wrong:
        raise ValueError(f"{path.name} must hold {some(wrong)}, each with names and values")
    if bad := [k for k, v in found["metrics"].items() if not isinstance(v, int | float)]:
        raise ValueError(f"{path.name} must hold numbers as {some(bad)} of its metrics")
    return found


def _hollow(architecture: dict[str, Any]) -> ReIDModel:
    """Return a network of shapes alone, which takes neither time nor random numbers."""
    if architecture.keys() == {"backbone", "pooling"}:
        architecture = {**architecture, **_BEFORE}
    if "weights" in architecture:
        raise ValueError("an architecture names no file of weights")
    with torch.device("meta"):
        model = ReIDModel(**architecture)
    if model.architecture != architecture:
        raise ValueError(f"the architecture {architecture} does not say all of itself")
    return model


def _refuse_misfits(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raise an error unless two state dicts have the same names, shapes and kinds of number."""
    kinds, own = (
        {k: (x.shape, x.is_floating_point()) for k, x in s.items()} for s in (state, wanted)
    )
    differ = sorted(key for key in kinds.keys() | own.keys() if kinds.get(key) != own.get(key))
    if differ:
        raise ValueError(f"it differs from its architecture in {some(differ, 3)}")
