"""The base class of the augmentations, pipelines of several, and functions that they share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from dakd.runtime import require


class Augmentation:
    """A random change of image batches: `sample` draws, `apply` changes, and a call does both.

    A subclass implements `sample` and `_apply`. Neither may depend on the value of a tensor in
    Python: on a GPU that would make the host wait.

    Args:
        p: probability that an image is changed.

    Raises:
        ValueError: `p` lies outside 0..1.
    """

    def __init__(self, p: float = 1.0) -> None:
        require(0 <= p <= 1, f"p must be a probability in 0..1, not {p}")
        self.p = p

    def sample(self, x: Tensor, generator: Generator | None = None) -> Any:
        """Return the draws for a batch like `x`, a tensor (B, ...) or a nested tuple of such.

        Args:
            x: images (B, 3, H, W), of which only shape and device count:
                ``torch.empty(1).expand(B, 3, H, W)`` will do.
            generator: on the device of `x`; by default the global one.
        """
        raise NotImplementedError

    def _apply(self, x: Tensor, draws: Any) -> Tensor:
        """Return the changed batch; `x` itself must stay as it is."""
        raise NotImplementedError

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the results for images of this height and width."""
        return height, width

    def apply(self, x: Tensor, draws: Any) -> Tensor:
        """Return the augmented batch; the same draws give the same images.

        Args:
            x: images, (B, 3, H, W).
            draws: from `sample`, for B images.

        Returns:
            ``(B, 3, *output_size(H, W))``.

        Raises:
            ValueError: `x` is not a batch, or `draws` are for another number of images.
        """
        B, _, _ = sizes(x)
        _check_draws(draws, B)
        return self._apply(x, draws)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the batch (B, 3, H, W) with every image augmented by its own draws.

        Raises:
            ValueError: the batch is not (B, 3, H, W).
        """
        return self.apply(x, self.sample(x, generator))


class Pipeline(Augmentation):
    """Several augmentations, one after the other; its draws are the tuple of theirs."""

    def __init__(self, *stages: Augmentation) -> None:
        super().__init__()
        self.stages: Sequence[Augmentation] = stages

    def sample(self, x: Tensor, generator: Generator | None = None) -> tuple[Any, ...]:
        """Return the draws of every stage, each for images of the size that reaches it."""
        draws = []
        for stage in self.stages:
            draws.append(stage.sample(x, generator))
            B, H, W = sizes(x)
            x = x.new_empty(1).expand(B, 3, *stage.output_size(H, W))
        return tuple(draws)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after every stage."""
        for stage in self.stages:
            height, width = stage.output_size(height, width)
        return height, width

    def _apply(self, x: Tensor, draws: tuple[Any, ...]) -> Tensor:
        for stage, own in zip(self.stages, draws, strict=True):
            x = stage.apply(x, own)
        return x


def rows_of(draws: Any, rows: slice) -> Any:
    """Return the part of a batch's draws that belongs to some of its images.

    With it, several processes can make the same draws for the whole batch and augment only their
    own images.

    Args:
        draws: from `Augmentation.sample`.
        rows: which images.

    >>> whole = torch.arange(6), (torch.zeros(6, 2), ())
    >>> rows_of(whole, slice(4, 6))
    (tensor([4, 5]), (tensor([[0., 0.],
            [0., 0.]]), ()))
    """
    if isinstance(draws, Tensor):
        return draws[rows]
    parts = [rows_of(part, rows) for part in draws]
    return type(draws)(*parts) if hasattr(draws, "_fields") else tuple(parts)


def _check_draws(draws: Any, B: int) -> None:
    """Raise `ValueError` unless the draws are for B images."""
    if isinstance(draws, Tensor):
        wrong = f"draws of {len(draws)} images for a batch of {B}: take rows_of(draws, rows)"
        require(len(draws) == B, wrong)
        return
    for part in draws:
        _check_draws(part, B)


def sizes(x: Tensor) -> tuple[int, int, int]:
    """Return B, H, W of a batch (B, 3, H, W).

    Raises:
        ValueError: `x` has another shape.
    """
    require(
        x.ndim == 4 and x.shape[1] == 3,
        f"images must be a batch (B, 3, H, W), not {tuple(x.shape)}; "
        "add a batch dimension with x[None], put channels first with x.permute(0, 3, 1, 2)",
    )
    return x.shape[0], x.shape[2], x.shape[3]


def check_range(name: str, low: float, high: float, most: float = 1.0) -> None:
    """Raise `ValueError` unless 0 <= low <= high <= most."""
    require(
        0 <= low <= high <= most,
        f"{name} must be two numbers with 0 <= low <= high <= {most:g}, not ({low}, {high})",
    )


def uniform(x: Tensor, generator: Generator | None, *columns: int) -> Tensor:
    """Return random numbers in [0, 1), ``(B, *columns)`` float32 on the device of `x`."""
    return torch.rand(x.shape[0], *columns, device=x.device, generator=generator)


def integers(low: Tensor | int, high: Tensor | int, u: Tensor) -> Tensor:
    """Map `u`, uniform in [0, 1), to integers that are uniform in low..high, both included."""
    return low + (u * (high - low + 1)).long()
