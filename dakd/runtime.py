"""What every long job needs: a device, a seed, a progress bar, files never half written."""

import contextlib
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; ``"auto"`` is the first GPU if there is one, else the CPU.

    Raises:
        ValueError: the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but torch sees no GPU; use device='auto'")
    return device


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code draws from the global state
    torch.manual_seed(seed)


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a private generator on `device`, so that nobody else's draws move ours."""
    return torch.Generator(device=device).manual_seed(seed)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """Return the mixed-precision context: ``"bfloat16"`` autocast, nothing for ``"float32"``.

    Raises:
        ValueError: another precision was asked for.
    """
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    if precision == "float32":
        return contextlib.nullcontext()
    raise ValueError(f"precision {precision!r} is unknown; use 'bfloat16' or 'float32'")


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` into eval mode, and back as it was afterwards, whatever happens."""
    was_training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(was_training)


def progress(
    items: Iterable[Any] | None, *, total: int | None = None, title: str = "", show: bool = True
) -> Any:
    """Wrap `items` in a progress bar (a widget in a notebook); ``show=False`` is silent."""
    return tqdm(items, total=total, desc=title, disable=not show, leave=False)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it only when the block succeeds.

    A crash, an error or a full disk inside the block leaves the old file as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
