"""Distributed data-parallel training: one process per device, one global batch.

Processes are launched by ``accelerate launch``, ``torchrun`` or `accelerate.notebook_launcher`.
Every process makes the same draws for the whole batch, forwards its own shard of the rows, and
gathers all embeddings before the loss. Mask thresholds, memories and batch statistics are therefore
those of the whole batch, whatever the number of processes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from dakd.batchnorm import PerStream


@dataclass(frozen=True)
class DistributedContext:
    """Rank and number of the processes that train together, and their collectives.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str = "auto") -> "DistributedContext":
        """Join the processes that were launched together; without a launcher there is only this.

        Args:
            device: ``"cpu"`` for training on CPUs; otherwise each process takes its own GPU if
                there are any.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files and shows progress."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()

    def broadcast(self, value: float) -> float:
        """Return the `value` of the main process; all processes must call it."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def any(self, value: bool) -> bool:
        """Return whether `value` is true in any process; all processes must call it."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        found = torch.tensor(int(value), device=device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def shard(self, count: int) -> slice:
        """Return this process's rows of `count`; all shards but the last ones are equally long.

        >>> [DistributedContext(rank, 3).shard(7) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 7, None)]
        """
        each = -(-count // self.size)
        return slice(min(count, self.rank * each), min(count, (self.rank + 1) * each))

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return the rows of all processes, (count, ...), in the order of `shard`.

        Every process must compute the same loss from them. Its own rows then receive their gradient
        times the number of processes, which cancels when DistributedDataParallel averages.

        Args:
            own: the rows ``shard(count)`` of this process.
            count: number of rows of all processes.
        """
        if self.size == 1:
            return own
        each = -(-count // self.size)
        padded = F.pad(own, (0, 0) * (own.ndim - 1) + (0, each - len(own)))  # (each, ...)
        shards = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(shards, padded.detach())
        if padded.requires_grad:
            padded.register_hook(lambda gradient: gradient * self.size)
        shards[self.rank] = padded  # equal to what was gathered, with its gradient
        return torch.cat(shards)[:count]

    @contextmanager
    def wrap(self, model: nn.Module) -> Iterator[nn.Module]:
        """Yield `model` wrapped in DistributedDataParallel, with synchronised batch norm.

        On exit, the original batch-norm layers are back in their places.
        """
        if self.size == 1:
            yield model
            return
        originals = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
        kind = _SyncBatchNorm if next(model.parameters()).is_cuda else _SyncBatchNormOnCPU
        for name, own in originals.items():
            model.set_submodule(name, _converted(own, kind))
        try:
            yield DistributedDataParallel(model)
        finally:
            for name, own in originals.items():
                model.set_submodule(name, own)


SINGLE_PROCESS = DistributedContext()


class _Mean(torch.autograd.Function):
    """The mean of a tensor over all processes, and of its gradient.

    `torch.distributed.nn.functional.all_reduce` would do, but torch 2.14 has deprecated it.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Any:
        total = own.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Mean.forward(ctx, grads[0])


class _SyncBatchNorm(PerStream, nn.SyncBatchNorm):
    """Batch normalisation over all processes, on GPUs."""


class _PlainSyncBatchNorm(_BatchNorm):
    """What `torch.nn.SyncBatchNorm` computes, which works on GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, D) or (B, D, h, w) in at least float32; B is the same in all processes."""
        if not self.training:
            running = self.running_mean, self.running_var
            return F.batch_norm(x, *running, self.weight, self.bias, eps=self.eps)
        dims = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * dist.get_world_size()
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Mean.apply(wide.mean(dims, keepdim=True))  # (1, D) or (1, D, 1, 1)
        centred = wide - mean
        var = _Mean.apply(centred.square().mean(dims, keepdim=True))
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr,operator]
            self.running_mean.lerp_(mean.flatten(), self.momentum)  # type: ignore[union-attr,arg-type]
            unbiased = var.flatten() * (count / (count - 1))
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr,arg-type]
        normal = centred * (var + self.eps).rsqrt()
        return (normal * self.weight.view_as(mean) + self.bias.view_as(mean)).to(x.dtype)


class _SyncBatchNormOnCPU(PerStream, _PlainSyncBatchNorm):
    """Batch normalisation over all processes, on CPUs."""


def _converted(own: _BatchNorm, kind: type[PerStream]) -> PerStream:
    """Return a layer of class `kind` that shares parameters and statistics with `own`."""
    layer = kind(own.num_features, own.eps, own.momentum)
    layer.weight, layer.bias = own.weight, own.bias
    layer.running_mean, layer.running_var = own.running_mean, own.running_var
    layer.num_batches_tracked = own.num_batches_tracked
    return layer.train(own.training)
