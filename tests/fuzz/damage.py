"""Damage to files: bytes of any file, cells of a table, values of a JSON."""

import json
import random
from pathlib import Path

ODD = (None, True, -1, 0, 3, 1e400, "", "x", [], [1], {}, {"x": 1}, 10**30, "\udc80", "é\x00")
CELLS = (
    "",
    "-1",
    "0",
    "x",
    "1e999",
    "nan",
    "\x00",
    "../..",
    "9" * 40,
    '"',
    "é",
    "visible",
    "train",
)


def bytes_of(file: Path, rng: random.Random) -> str:
    """Flip bits, cut, repeat, overwrite or empty a file."""
    content = bytearray(file.read_bytes())
    how = rng.choice(["flip", "flip", "head", "cut", "zero", "insert", "empty", "other"])
    at = rng.randrange(len(content))
    if how in ("flip", "head"):
        for _ in range(rng.choice([1, 8])):
            place = rng.randrange(min(len(content), 64 if how == "head" else len(content)))
            content[place] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del content[at:]
    elif how == "zero":
        content[at : at + 64] = bytes(len(content[at : at + 64]))
    elif how == "insert":
        content[at:at] = rng.randbytes(16)
    elif how == "empty":
        content.clear()
    else:
        content[:] = rng.randbytes(200)
    file.write_bytes(content)
    return how


def table(file: Path, rng: random.Random) -> str:
    """Change a cell, or drop, repeat or shorten a line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    number = rng.choice([0, rng.randrange(len(lines))])
    how = rng.choice(["cell", "cell", "cell", "drop", "repeat", "shorten"])
    cells = lines[number].split(",")
    if how == "cell":
        cells[rng.randrange(len(cells))] = rng.choice(CELLS)
        lines[number] = ",".join(cells)
    elif how == "shorten":
        lines[number] = ",".join(cells[:-1])
    else:
        lines[number : number + 1] = [lines[number]] * (2 if how == "repeat" else 0)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{how} in line {number}"


def values_of(file: Path, rng: random.Random) -> str:
    """Drop a value of a JSON at any depth, or put one of another kind there."""
    root = json.loads(file.read_text(encoding="utf-8"))
    places = [(root, key) for key in root]
    for inner, key in places:  # grows while it is walked
        value = inner[key]
        keys = (
            value
            if isinstance(value, dict)
            else range(len(value) if isinstance(value, list) else 0)
        )
        places += [(value, k) for k in keys]
    inner, key = rng.choice(places)
    if rng.random() < 0.3:
        del inner[key]
        how = f"no {key!r}"
    else:
        inner[key] = rng.choice(ODD)
        how = f"{key!r} is {inner[key]!r}"
    file.write_text(json.dumps(root), encoding="utf-8")
    return how
