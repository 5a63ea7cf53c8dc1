"""Checks of configuration values; each error names the field and its value."""

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dakd.runtime import require


def check_positive(config: Any, *names: str) -> None:
    """Raise ValueError if a field is not positive and finite."""
    for name in names:
        value = getattr(config, name)
        where = f"{type(config).__name__}.{name}"
        require(0 < value < math.inf, f"{where} must be positive, not {value!r}")


def check_fraction(config: Any, *names: str) -> None:
    """Raise ValueError if a field is outside 0..1."""
    for name in names:
        value = getattr(config, name)
        where = f"{type(config).__name__}.{name}"
        require(0 <= value <= 1, f"{where} must lie in 0..1, not {value!r}")


def check_choices(config: Any) -> None:
    """Raise ValueError if a field has none of the values of its Literal type, or of None."""
    for name, kind in get_type_hints(type(config)).items():
        optional = type(None) in get_args(kind)
        literal = next((k for k in get_args(kind) if get_origin(k) is Literal), kind)
        value = getattr(config, name)
        if get_origin(literal) is Literal and not (optional and value is None):
            allowed = get_args(literal)
            where = f"{type(config).__name__}.{name}"
            require(value in allowed, f"{where} must be one of {allowed}, not {value!r}")
