"""Several processes that train one network together, one device each.

``accelerate launch``, ``torchrun`` or `accelerate.notebook_launcher` start them; `World.join` finds
the others through `accelerate`. Every process draws the same batch and the same augmentation, works
on its own rows, and gathers the embeddings of all before the loss: mask thresholds, memories and
batch statistics are those of the whole batch, however many processes share it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from dakd.batchnorm import PerStream
from dakd.runtime import require


@dataclass(frozen=True)
class World:
    """Which of how many processes this is.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str = "auto") -> "World":
        """Return the processes that were launched together; alone if this one was not.

        Args:
            device: ``"cpu"`` keeps them on the CPU; else each takes its own GPU if there is one.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, value: float) -> float:
        """Return the main process's value to all."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def any(self, value: bool) -> bool:
        """Return whether `value` is true in any process; all must call it."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        found = torch.tensor(int(value), device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def part(self, count: int) -> slice:
        """Return which of `count` rows are this process's; the parts are as equal as can be.

        >>> [World(rank, 3).part(7) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 7, None)]
        """
        each = -(-count // self.size)
        return slice(min(count, self.rank * each), min(count, (self.rank + 1) * each))

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return the rows of all processes, (count, ...), in the order of `part`.

        Every process must go on to compute the same loss from them: each is then given the gradient
        of its own rows, times the number of processes, which averages gradients take out again.

        Args:
            own: this process's rows, ``part(count)``.
            count: rows of all processes.
        """
        return own if self.size == 1 else _Gather.apply(own, count, self)

    @contextmanager
    def together(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield `model` so that all processes train it alike, and leave it as it was.

        Gradients are averaged (DistributedDataParallel) and batch statistics are those of all
        processes.
        """
        if self.size == 1:
            yield model
            return
        originals = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
        on_gpu = next(model.parameters()).is_cuda
        for name, own in originals.items():
            model.set_submodule(name, _shared(own, _SyncBatchNorm if on_gpu else _SharedBatchNorm))
        try:
            yield DistributedDataParallel(model)
        finally:
            for name, own in originals.items():
                model.set_submodule(name, own)


ALONE = World()


class _Gather(torch.autograd.Function):
    """Rows of all processes; see `World.gather`."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, count: int, world: World) -> Any:
        ctx.world, ctx.count = world, count
        longest = -(-count // world.size)
        padded = own.new_zeros(longest, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(world.size)]
        dist.all_gather(parts, padded)
        return torch.cat(parts)[:count]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0][ctx.world.part(ctx.count)] * ctx.world.size, None, None


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, because each adds to every result."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Any:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Sum.forward(ctx, grads[0].contiguous())


class _SyncBatchNorm(PerStream, nn.SyncBatchNorm):
    """Batch normalisation over all processes, on GPUs."""


class _AllProcesses(_BatchNorm):
    """Batch normalisation over all processes, where `torch.nn.SyncBatchNorm` knows GPUs alone."""

    def _check_input_dim(self, x: Tensor) -> None:
        require(x.ndim in (2, 4), f"batch normalisation takes (B, D) or (B, D, h, w), not {x.ndim}")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the statistics of all processes while training, at least in float32."""
        if not self.training:
            return super().forward(x)
        dims = [d for d in range(x.ndim) if d != 1]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Sum.apply(wide.sum(dims)) / count  # (D,)
        apart = wide - _spread(mean, x)
        var = _Sum.apply(apart.square().sum(dims)) / count  # (D,)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr,operator]
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr,arg-type]
            unbiased = var * (count / (count - 1))
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr,arg-type]
        normal = apart * _spread((var + self.eps).rsqrt(), x)
        return (normal * _spread(self.weight, x) + _spread(self.bias, x)).to(x.dtype)


class _SharedBatchNorm(PerStream, _AllProcesses):
    """Batch normalisation over all processes, on CPUs."""


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """Return a value a channel (D,) in a shape that multiplies `x`."""
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _shared(own: _BatchNorm, kind: type[PerStream]) -> PerStream:
    """Return a layer of another kind that shares parameters and statistics with `own`."""
    layer = kind(own.num_features, own.eps, own.momentum)
    layer.weight, layer.bias = own.weight, own.bias
    layer.running_mean, layer.running_var = own.running_mean, own.running_var
    layer.num_batches_tracked = own.num_batches_tracked
    return layer.train(own.training)
