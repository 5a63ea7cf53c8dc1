"""Published numbers, read from a folder: the committed ones, or the larger kit they come from."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

COMMITTED = Path(__file__).parent / "numbers"
KEPT = 8  # columns of a long array that the committed numbers hold
LOSSES = ("student_loss_0", "student_loss_1", "teacher_loss_0", "teacher_loss_1")
SAMPLERS = ("sampler_equal_counts", "sampler_unequal_counts", "sampler_few_images")
STUDENT, TEACHER = "student_steps_full_mlkd", "teacher_steps"
FILES = (*LOSSES, *SAMPLERS, "network", "cutswap", STUDENT, TEACHER)
NOT_COMPARED = {  # file -> an array of it that no comparison needs
    "student_loss_0": "labels",  # which the student's loss does not use
    "student_loss_1": "labels",
    TEACHER: "terms/ACC",  # percent right by the global memory; no part of the loss
}


def reduced(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return what stands for an array (..., n) of long rows.

    Returns:
        ``first``, the first `KEPT` columns, (..., KEPT), and ``digest``, every row's sum weighted
        by cos(column), (...,), in which each entry of the row counts.
    """
    weights = np.cos(np.arange(x.shape[-1]))
    return {"first": x[..., :KEPT], "digest": np.asarray(x @ weights)}


def relative_error(published: np.ndarray, ours: np.ndarray) -> float:
    """Return the largest absolute difference over the largest absolute published entry.

    Where all published entries are 0 it is the largest absolute difference; where shapes differ or
    a number is not finite, infinity.

    >>> relative_error(np.array([1.0, -4.0]), np.array([1.0, -3.0]))
    0.25
    """
    if published.shape != ours.shape or not np.isfinite(ours).all():
        return float("inf")
    scale = np.abs(published).max()
    return float(np.abs(ours - published).max() / (scale or 1.0))


class Numbers:
    """The arrays of one file by name, and which of them nobody has asked for yet."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.file = path.stem
        self.unused = set(self.arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        self.unused.discard(name)
        return self.arrays[name]

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """Return an array as a new tensor."""
        return torch.tensor(self[name], dtype=dtype)

    def starting(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, without it and without what follows a /."""
        rest = [name.removeprefix(prefix) for name in self.arrays if name.startswith(prefix)]
        return list(dict.fromkeys(name.partition("/")[0] for name in rest))

    def error(self, names: tuple[str, ...], ours: Any, first: int | None = None) -> float:
        """Return the relative error of what should be an array, whole or `reduced`.

        Args:
            names: of the published array; where we have only the sum of several, of all of them.
            ours: the same as we compute it: a tensor, an array or a number.
            first: compare only so many rows of the published array.
        """
        ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours, dtype=np.float64)
        if names[0] in self.arrays:
            published = np.asarray(sum(self[name] for name in names))
            return relative_error(published[:first] if first else published, ours)
        parts = reduced(ours).items()
        return max(relative_error(self[f"{names[0]}/{part}"], value) for part, value in parts)


class Kit:
    """A folder of published numbers.

    Args:
        folder: by default the committed numbers.
    """

    def __init__(self, folder: str | Path = COMMITTED) -> None:
        self.folder = Path(folder)
        self._files: dict[str, Numbers] = {}

    def __getitem__(self, file: str) -> Numbers:
        if file not in self._files:
            self._files[file] = Numbers(self.folder / f"{file}.npz")
        return self._files[file]

    @cached_property
    def names(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the released state dict, in its order."""
        text = (self.folder / "names.json").read_text(encoding="utf-8")
        return [(name, tuple(shape)) for name, shape in json.loads(text)]

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """Learning rates of all epochs by column."""
        table = np.genfromtxt(self.folder / "learning_rate.csv", delimiter=",", names=True)
        return {name: table[name] for name in table.dtype.names}

    def left(self) -> list[str]:
        """Return the arrays of all files that no comparison has asked for."""
        return [
            f"{file}: {name}"
            for file in FILES
            for name in sorted(self[file].unused)
            if name != NOT_COMPARED.get(file)
        ]
