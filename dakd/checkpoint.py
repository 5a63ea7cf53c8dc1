"""A trained network on disk: weights as safetensors, everything else as JSON and CSV.

A folder holds ``model.safetensors``, ``history.jsonl`` and ``checkpoint.json``. Each is written
atomically, the JSON last: a folder with the JSON is complete. Loading executes no code.
"""

import hashlib
import json
import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import nn

from dakd.history import HISTORY, read_history, write_history
from dakd.model import ReIDModel
from dakd.runtime import atomic_path

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, incomplete or of another network."""


def versions() -> dict[str, str]:
    """Return the versions that a number may depend on."""
    packages = ("dakd", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def save_checkpoint(
    folder: str | Path,
    model: ReIDModel,
    *,
    config: dict[str, Any],
    history: pd.DataFrame,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write `model`, its configuration, history and metrics into `folder`; return the folder."""
    folder = Path(folder)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    description = {
        "architecture": model.architecture,
        "config": config,
        "metrics": metrics or {},
        "versions": versions(),
    }
    with ExitStack() as files:  # replaced in reverse order: the description last
        paths = {
            name: files.enter_context(atomic_path(folder / name))
            for name in (DESCRIPTION, HISTORY, WEIGHTS)
        }
        save_file(state, paths[WEIGHTS])
        write_history(paths[HISTORY], history)
        paths[DESCRIPTION].write_text(json.dumps(description, indent=2), encoding="utf-8")
        # An old description must not vouch for new weights if the machine stops right here.
        (folder / DESCRIPTION).unlink(missing_ok=True)
    return folder


def weights_fingerprint(model: nn.Module) -> str:
    """Return ten digits that change when a weight does."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


def is_complete(folder: str | Path) -> bool:
    """Tell whether `folder` holds a whole checkpoint."""
    return all((Path(folder) / name).is_file() for name in (WEIGHTS, HISTORY, DESCRIPTION))


def load_checkpoint(folder: str | Path) -> tuple[ReIDModel, pd.DataFrame, dict[str, Any]]:
    """Return the network in eval mode, its history and its description.

    Raises:
        CheckpointError: the folder is no complete checkpoint, or the weights do not fit.
    """
    folder = Path(folder)
    if not is_complete(folder):
        raise CheckpointError(
            f"{folder} is no complete checkpoint: it must hold {WEIGHTS}, {HISTORY} and "
            f"{DESCRIPTION}; train again or give another folder"
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        model = ReIDModel(**description["architecture"])
        model.load_state_dict(load_file(folder / WEIGHTS))
        history = read_history(folder)
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be read: {error}; delete the folder and train again"
        ) from error
    return model.eval(), history, description
