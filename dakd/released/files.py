"""Read the tensors of downloaded weight files without executing code in them."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from dakd.data.lists import some
from dakd.train.checkpoint import CheckpointError

WRAPPERS = ("net", "state_dict", "model_state_dict", "model", "module")
_NUMPY = (
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",  # NumPy 1
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",  # NumPy 2
    "numpy._core.multiarray._reconstruct",
)


class _Discarded:
    """Placeholder for NumPy numbers and arrays in a file; keeps no data."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the state dict in a file, floating point as float32, on the CPU.

    The file is a ``.safetensors`` file, or one of ``torch.save`` with the state dict itself or with
    a dictionary that has it under one of `WRAPPERS`. Prefixes that all keys share (``module.`` of
    data-parallel training) are removed. ``torch.load`` reads only tensors and plain containers.
    NumPy numbers and arrays, often accuracies, are replaced by an inert object; NumPy is not
    called.

    Raises:
        CheckpointError: the file does not exist, is damaged, has no state dict, or holds objects
            whose loading would execute code; the message names them.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; give the path of a downloaded checkpoint")
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickled
    content = read(path)
    state = {key: value.detach() for key, value in _state_dict(content, path).items()}
    while (first := _shared_prefix(state)) in WRAPPERS:
        state = {key.removeprefix(f"{first}."): value for key, value in state.items()}
    return {key: x.float() if x.is_floating_point() else x for key, x in state.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise CheckpointError(_damaged(path)) from error


def _read_pickled(path: Path) -> Any:
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
        warnings.warn(
            f"in torch {torch.__version__} a malicious file can corrupt memory, even with "
            "weights_only=True (CVE-2026-24747, fixed in 2.10); use a newer torch for files of "
            "unknown origin",
            stacklevel=4,
        )
    with safe_globals([(_Discarded, name) for name in _NUMPY]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if not (names := _names_of_code(path, str(error))):
                raise CheckpointError(_damaged(path)) from error
            raise CheckpointError(
                f"{path} holds more than tensors: {some(sorted(names))}. Loading them would "
                "execute code from the file, so nothing was read. Ask its owner for the state dict "
                "alone, as safetensors; docs/released.md shows how to convert a file you trust"
            ) from error


def _names_of_code(path: Path, message: str) -> set[str]:
    """Return the functions and classes that a file would call, as ``module.name``."""
    try:
        return set(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # not a zip archive: torch before 1.6 wrote a bare pickle
        return set(re.findall(r"GLOBAL (\S+)", message))


def _damaged(path: Path) -> str:
    return (
        f"{path} cannot be read as weights: it is truncated, damaged or no checkpoint (perhaps a "
        "saved web page); compare its size with the original and download it again"
    )


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict, possibly nested in other dictionaries."""
    if isinstance(content, Mapping):
        for name in WRAPPERS:
            if isinstance(content.get(name), Mapping):
                return _state_dict(content[name], path)
        tensors = {str(key): x for key, x in content.items() if isinstance(x, Tensor)}
        if tensors:
            return tensors
    inside = some(map(repr, content)) if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(
        f"{path} holds no state dict, only {inside or 'an empty dictionary'}; it must be one, or a "
        f"dictionary with one under {some(WRAPPERS)}"
    )


def _shared_prefix(state: Mapping[str, Tensor]) -> str | None:
    """Return the first component of the keys, if all have the same one and more components."""
    first = {key.partition(".")[0] if "." in key else None for key in state}
    return first.pop() if len(first) == 1 else None
