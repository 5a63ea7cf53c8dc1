"""What every loss returns, and a decorator that has it computed in float32."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from dakd.runtime import at_least_float32

P = ParamSpec("P")
T = TypeVar("T")


class LossTerms(NamedTuple):
    """A loss and its parts.

    Attributes:
        total: the weighted sum to call ``backward`` on, a scalar.
        parts: the unweighted terms by name, scalars with gradients; a term with weight 0 is absent.
    """

    total: Tensor
    parts: dict[str, Tensor]


def weighted(parts: dict[str, Tensor], weights: Mapping[str, float]) -> LossTerms:
    """Return `parts`, at least one scalar, with their weighted sum as the total."""
    return LossTerms(torch.stack([weights[name] * parts[name] for name in parts]).sum(), parts)


def in_float32(function: Callable[P, T]) -> Callable[P, T]:
    """Make `function` run without autocast, with half-precision arguments cast to float32."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        device = next(_tensors((*args, *kwargs.values()))).device.type
        with torch.autocast(device, enabled=False):
            return function(*_cast(args), **{name: _cast(v) for name, v in kwargs.items()})

    return run


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)


def _cast(value: Any) -> Any:
    """Return `value` with the tensors in nested tuples at least float32."""
    if isinstance(value, Tensor):
        return at_least_float32(value)
    if isinstance(value, tuple):
        items = map(_cast, value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
