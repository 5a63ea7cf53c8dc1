"""Configurations as nested dictionaries, and their fingerprint, which identifies a run."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as nested dictionaries for JSON."""
    return dataclasses.asdict(config)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one flat dictionary with keys joined by dots.

    >>> flat({"teacher": {"lr": 0.1}, "seed": 3})
    {'teacher.lr': 0.1, 'seed': 3}
    """
    joined: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        joined |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return joined


def nested(values: Any, *names: str) -> dict[str, Any]:
    """Return the dictionary under the keys `names` of untrusted JSON; empty if there is none."""
    for name in names:
        values = values.get(name) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def fingerprint(*parts: Any) -> str:
    """Return ten hexadecimal digits that identify `parts` (configurations or values)."""
    plain = [to_dict(p) if dataclasses.is_dataclass(p) else p for p in parts]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
