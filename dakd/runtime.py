"""Runtime utilities: devices, precision, generators, progress bars, atomic writes, code digests.

Functions import torch when they need it: configurations and the command line's help do not.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that may affect a result."""
    import numpy as np
    import PIL
    import torch
    import torchvision

    from dakd import __version__

    return {
        "python": platform.python_version(),
        "dakd": __version__,
        "torch": str(torch.__version__),
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; ``"auto"`` is the first GPU if there is one, else the CPU.

    Raises:
        ValueError: the device is unknown, not available on this machine, or cannot compute.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type != "cuda":  # CUDA must not be initialised before `deterministic`
            torch.ones(1, device=device).item()
    except Exception as error:  # the type depends on torch's backend
        why = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(
            f"device {name!r} cannot be used here ({why}); use 'auto', 'cpu' or, with a GPU, 'cuda'"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} is not available: torch sees no GPU; use device='auto'")
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(
            f"device {name!r} is not available: torch sees {count} GPUs, counted from 0; use "
            f"'cuda:{count - 1}' or lower"
        )
    return device


def pick_precision(name: str, device: torch.device) -> str:
    """Return the precision called `name`; ``"auto"`` is the faster one on the device.

    That is ``"bfloat16"`` (autocast) on GPUs and on CPUs with AVX-512, and ``"float32"``
    elsewhere, where bfloat16 is several times slower.
    """
    import torch

    if name != "auto":
        return name
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "bfloat16" if fast else "float32"


def at_least_float32(x: Tensor) -> Tensor:
    """Return half-precision tensors as float32 and others unchanged."""
    import torch

    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def make_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator on `device`, independent of the global one."""
    import torch

    return torch.Generator(device=device).manual_seed(seed)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """Return the mixed-precision context: autocast for ``"bfloat16"``, a null context otherwise.

    ``"float64"`` needs a network and images of that type. It serves comparisons with published
    numbers and is too slow for training.

    Raises:
        ValueError: the precision is unknown.
    """
    import torch

    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    if precision in ("float32", "float64"):
        return contextlib.nullcontext()
    raise ValueError(f"precision {precision!r} is unknown; use 'bfloat16' or 'float32'")


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put `model` into eval mode and restore its mode on exit, also after an exception."""
    was_training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(was_training)


@contextlib.contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Make torch use deterministic kernels, or else the fastest ones; restore its settings on exit.

    No effect on the CPU, whose kernels used here are all deterministic. Must be entered before
    CUDA is initialised, because cuBLAS reads an environment variable at that point.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def progress(
    items: Iterable[Any] | None,
    *,
    total: int | None = None,
    done: int = 0,
    title: str = "",
    show: bool = True,
) -> Any:
    """Wrap `items` in a progress bar (a widget in a notebook); ``show=False`` is silent."""
    from tqdm.auto import tqdm

    return tqdm(items, total=total, initial=done, desc=title, disable=not show, leave=False)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it only when the block succeeds.

    A crash, an exception or a full disk inside the block leaves the old file unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def source_fingerprint(*names: str) -> str:
    """Return ten hexadecimal digits of the code in files or folders of `dakd`.

    Trained networks are stored under this digest, so that they are not reused after a change of
    the code. It covers the syntax trees of all top-level statements in sorted order, without
    imports, docstrings and comments: rewording a docstring or moving a function from one of the
    files to another does not change it.

    Raises:
        FileNotFoundError: a name is neither a file nor a folder of the package.
    """
    parts = []
    for name in names:
        path = Path(__file__).parent / name
        for file in path.glob("*.py") if path.is_dir() else [path]:
            body = ast.parse(file.read_bytes()).body
            parts += [_syntax(node) for node in body if not _is_import_or_docstring(node)]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:10]


def _syntax(node: Any) -> str:
    """Return a syntax tree as text that is the same in every version of Python.

    >>> _syntax(ast.parse("import os\\nx = 1  # one")) == _syntax(ast.parse("x = (1)"))
    True
    """
    if isinstance(node, ast.AST):
        parts = [type(node).__name__]
        for name, value in ast.iter_fields(node):
            is_body = isinstance(value, list) and name == "body"
            kept = (
                [part for part in value if not _is_import_or_docstring(part)] if is_body else value
            )
            if kept not in (None, []) and name not in ("ctx", "kind"):
                parts.append(f"{name}={_syntax(kept)}")
        return f"({','.join(parts)})"
    return f"[{','.join(map(_syntax, node))}]" if isinstance(node, list) else repr(node)


def _is_import_or_docstring(statement: ast.stmt) -> bool:
    """Return whether a statement is an import or a bare string."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str)
    return isinstance(statement, ast.Import | ast.ImportFrom)
