"""What all augmentations share: draws that are apart from their use, and stages in a row."""

# mypy: disable-error-code="override"
# `apply(x, draws)` means something else than `torch.nn.Module.apply(fn)`.

from typing import Any

import torch
from torch import Generator, Tensor, nn

from dakd.runtime import require


class Augmentation(nn.Module):
    """What all augmentations share: calling one samples, then applies.

    A new one writes `sample`, and its change twice, to the same result: `on_image` for the CPU,
    in whose cache one image stays, and where only what changes is touched; `on_batch` for a GPU,
    without a look at the draws, for which the host would have to wait.

    Args:
        p: probability that an image is changed.

    Raises:
        ValueError: `p` lies outside 0..1.
    """

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        require(0 <= p <= 1, f"p must be a probability in 0..1, not {p}")
        self.p = p

    def sample(self, x: Tensor, generator: Generator | None = None) -> Any:
        """Return the draws for a batch like `x`, from `generator` (on x's device) if given.

        Draws are a tensor (B, ...) or a tuple of draws; see `rows_of`. Only the shape and device
        of `x` count, so ``torch.empty(1, device=...).expand(B, 3, H, W)`` will do.
        """
        raise NotImplementedError

    def on_image(self, image: Tensor, drawn: Any) -> Tensor:
        """Return one image (3, H, W), changed by its draws, which are numbers; may overwrite it.

        The result has memory of its own, so that the next stage may overwrite that.
        """
        raise NotImplementedError

    def on_image_in(self, room: Tensor | None, image: Tensor, drawn: Any) -> Tensor:
        """Return what `on_image` does; in `room` if that saves a copy.

        `room` is floating point, as large as what comes out of the whole pipeline. A stage that
        puts out another size or dtype must not use it.
        """
        return self.on_image(image, drawn)

    def on_batch(self, x: Tensor, draws: Any) -> Tensor:
        """Return a new batch, every image of which is changed by its draws."""
        raise NotImplementedError

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of what comes out of images of this height and width."""
        return height, width

    def apply(self, x: Tensor, draws: Any, out: Tensor | None = None) -> Tensor:
        """Return the augmented batch; the same draws give the same pictures.

        Args:
            x: images, (B, 3, H, W).
            draws: what `sample` returned.
            out: where the result is written, if given: (B, 3, *output_size(H, W)); any layout and
                floating point dtype will do, for instance some rows of a channels-last batch. To a
                CPU, fresh memory for a large batch costs more than the augmentation.

        Raises:
            ValueError: `x` is not a batch; the draws are another batch's; `out` has another shape
                or holds integers.
        """
        B, H, W = sizes(x)
        if out is not None:
            shape = (B, 3, *self.output_size(H, W))
            told = f"{shape}, not {out.dtype}, {tuple(out.shape)}"
            fits = out.shape == shape and out.is_floating_point()
            require(fits, f"out must be floating point, {told}")
        if x.device.type == "cpu" and len(x):
            return self._image_by_image(x, draws, out)
        done = self.on_batch(x, draws)
        return done if out is None else out.copy_(done)

    def _image_by_image(self, x: Tensor, draws: Any, out: Tensor | None) -> Tensor:
        for i, drawn in enumerate(_of_each(draws, len(x))):
            room = None if out is None else out[i]
            if room is not None and not room.is_contiguous():
                room = None  # other layouts are slow: copy at the end
            image = self.on_image_in(room, x[i].clone(), drawn)
            out = image.new_empty((len(x), *image.shape)) if out is None else out
            if image is not room:
                out[i] = image
        assert out is not None  # there was an image
        return out

    def forward(
        self, x: Tensor, generator: Generator | None = None, out: Tensor | None = None
    ) -> Tensor:
        """Return the batch (B, 3, H, W) with every image augmented by its own draws.

        Raises:
            ValueError: the batch is not (B, 3, H, W), or `out` does not fit; see `apply`.
        """
        return self.apply(x, self.sample(x, generator), out)


class Pipeline(Augmentation):
    """Several augmentations, one after the other; its draws are the tuple of theirs."""

    def __init__(self, *stages: Augmentation) -> None:
        super().__init__()
        self.stages: Any = nn.ModuleList(stages)

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

    def on_image(self, image: Tensor, drawn: tuple[Any, ...]) -> Tensor:
        """Return one image after every stage."""
        return self.on_image_in(None, image, drawn)

    def on_image_in(self, room: Tensor | None, image: Tensor, drawn: tuple[Any, ...]) -> Tensor:
        """Return one image after every stage; in `room` if that saves a copy."""
        for stage, part in zip(self.stages, drawn, strict=True):
            image = stage.on_image_in(room, image, part)
        return image

    def on_batch(self, x: Tensor, draws: tuple[Any, ...]) -> Tensor:
        """Return the batch after every stage."""
        for stage, drawn in zip(self.stages, draws, strict=True):
            x = stage.on_batch(x, drawn)
        return x


def rows_of(draws: Any, rows: slice) -> Any:
    """Return the part of a batch's draws that belongs to some of its images.

    Several processes can so draw alike for the whole batch, and each augment its own images.

    Args:
        draws: what `Augmentation.sample` returned.
        rows: which images.

    >>> whole = torch.arange(6), (torch.zeros(6, 2), ())
    >>> rows_of(whole, slice(4, 6))
    (tensor([4, 5]), (tensor([[0., 0.],
            [0., 0.]]), ()))
    """
    if isinstance(draws, Tensor):
        return draws[rows]
    return _like(draws, [rows_of(part, rows) for part in draws])


def _of_each(draws: Any, count: int) -> list[Any]:
    """Return the draws of each of `count` images, with numbers in place of tensors."""
    if isinstance(draws, Tensor):
        told = f"draws of {len(draws)} images for a batch of {count}: take rows_of(draws, rows)"
        require(len(draws) == count, told)
        return draws.tolist()
    parts = [_of_each(part, count) for part in draws]
    return [_like(draws, [part[i] for part in parts]) for i in range(count)]


def _like(draws: Any, parts: list[Any]) -> Any:
    return type(draws)(*parts) if hasattr(draws, "_fields") else tuple(parts)


def sizes(x: Tensor) -> tuple[int, int, int]:
    """Return B, H, W of a batch (B, 3, H, W)."""
    require(
        x.ndim == 4 and x.shape[1] == 3,
        f"images must be a batch (B, 3, H, W), not {tuple(x.shape)}; "
        "add a batch dimension with x[None], put channels first with x.permute(0, 3, 1, 2)",
    )
    return x.shape[0], x.shape[2], x.shape[3]


def check_range(name: str, low: float, high: float, most: float = 1.0) -> None:
    """Refuse limits that are not 0 <= low <= high <= most."""
    require(
        0 <= low <= high <= most,
        f"{name} must be two numbers with 0 <= low <= high <= {most:g}, not ({low}, {high})",
    )


def uniform(x: Tensor, generator: Generator | None, *columns: int) -> Tensor:
    """Return numbers in [0, 1), (B, *columns) float32 on x's device."""
    return torch.rand(x.shape[0], *columns, device=x.device, generator=generator)


def integers(low: Tensor | int, high: Tensor | int, share: Tensor) -> Tensor:
    """Return integers of low..high, both included, from shares in [0, 1)."""
    return low + (share * (high - low + 1)).long()
