"""Rows of the table: what was compared, where it comes from, how far apart the two are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .kit import Numbers

CODES = {
    "DAKD": "https://github.com/Fouroy4/DAKD, commit bba5edd",
    "MCE": "https://github.com/IDLNL/MCE, commit deea895",
}
HEADER = ("compared", "arrays", "published code", "float64", "tolerance", "float32", "tolerance")


@dataclass
class Row:
    """A quantity, and the largest relative error of the arrays that hold it.

    Attributes:
        what: the quantity.
        source: which of `CODES`, and where in it.
        errors: precision -> (error, tolerance).
        worst: precision -> the array with the largest error.
        arrays: names of those that were compared.
    """

    what: str
    source: str
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    worst: dict[str, str] = field(default_factory=dict)
    arrays: set[str] = field(default_factory=set)

    @property
    def agrees(self) -> bool:
        """Whether every error is within its tolerance."""
        return bool(self.errors) and all(error <= most for error, most in self.errors.values())

    def cells(self) -> list[str]:
        """Return the row as text, in the order of `HEADER`, and whether it agrees."""
        cells = [self.what, str(len(self.arrays)), self.source]
        for precision in ("float64", "float32"):
            error, most = self.errors.get(precision, (None, None))
            cells += ["", ""] if error is None else [_text(error), _text(most)]
        return [*cells, "yes" if self.agrees else "NO"]


def _text(value: float) -> str:
    """Return a number with one digit behind the point; 0 is "equal"."""
    return f"{value:.1e}".replace("e-0", "e-") if value else "equal"


class Rows:
    """Collects the comparisons of one part of the method.

    Args:
        source: which of `CODES`, and where in it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows: dict[str, Row] = {}

    def compare(
        self,
        what: str,
        numbers: Numbers,
        names: str | tuple[str, ...],
        ours: Any,
        tolerance: float,
        *,
        precision: str = "float64",
        first: int | None = None,
    ) -> None:
        """Compare one array; see `Numbers.error`."""
        names = (names,) if isinstance(names, str) else names
        where = [f"{numbers.file}: {name}" for name in names]
        self.add(what, where, numbers.error(names, ours, first), tolerance, precision=precision)

    def add(
        self,
        what: str,
        names: list[str],
        error: float,
        tolerance: float,
        *,
        precision: str = "float64",
    ) -> None:
        """Take the error of some arrays; of one quantity and precision the largest counts."""
        row = self.rows.setdefault(what, Row(what, self.source))
        row.arrays.update(names)
        before = row.errors.get(precision)
        if before is None or error > before[0]:
            row.errors[precision] = (error, tolerance)
            row.worst[precision] = " + ".join(names)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())


def as_line(row: Row) -> str:
    """Return a row for a terminal; of one that does not agree, which array is worst."""
    what, arrays, source, *numbers, agrees = row.cells()
    line = f"{what:<58} {arrays:>6}  {source:<26}" + "".join(f"{n:>10}" for n in numbers)
    worst = "" if row.agrees else f"  worst: {row.worst}"
    return f"{line}  {agrees}{worst}"


def as_markdown(row: Row) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(row.cells()) + " |"


def header(markdown: bool) -> str:
    """Return the table's head."""
    if markdown:
        cells = [*HEADER, "agrees"]
        return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)
    what, arrays, source, *numbers = HEADER
    return (
        f"{what:<58} {arrays:>6}  {source:<26}" + "".join(f"{n:>10}" for n in numbers) + "  agrees"
    )
