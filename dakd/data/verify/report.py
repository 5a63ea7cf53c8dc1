"""The report of `verify`, as text and as HTML."""

import html
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pandas as pd

from dakd.data.lists import printable
from dakd.data.verify.expected import ALL, Count, Key
from dakd.data.verify.readiness import Readiness
from dakd.data.verify.survey import Kind, Problem

COUNTED = ("identities", "images")
_SHOWN = 20  # problems of a kind that are printed
_ROWS = 24  # longer tables are printed without the rows that agree


@dataclass(frozen=True, eq=False)
class Report:
    """What `verify` found.

    Attributes:
        name: the dataset.
        root: its folder; for ``"custom"`` its table.
        title: what the copy is, and whether its people are drawn.
        counts: a row for each split, modality and camera, and for sums (``"all"``): identities and
            images found, and those of a complete copy (missing where they are not known).
        problems: all problems.
        notes: what is worth knowing, but is not a problem.
        decoded: the number of images that were decoded.
        ready: whether the copy can be used to train and to evaluate as it is.
    """

    name: str
    root: Path
    title: str
    counts: pd.DataFrame
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    decoded: int = 0
    ready: tuple[Readiness, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """One line: what the copy is, and whether it is complete."""
        decoded = f"{self.decoded:,} images decoded" if self.decoded else "no image decoded"
        if self.ok:
            known = self.counts[[f"known {column}" for column in COUNTED]].notna().to_numpy().all()
            state = "complete" if known else "complete as far as its counts are known"
        else:
            numbers = Counter(problem.kind for problem in self.problems)
            state = ", ".join(f"{numbers[k]:,} {k}" for k in get_args(Kind) if numbers[k])
        return printable(f"{self.title}: {state}; {decoded} ({self.root})")

    def _table(self) -> tuple[pd.DataFrame, str]:
        """Return the rows to print, and a line about the rows that are left out."""
        counts, hidden = self.counts, pd.Series(False, index=self.counts.index)
        if len(counts) > _ROWS:
            agree = [counts[f"known {c}"].eq(counts[c]).fillna(False) for c in COUNTED]
            hidden = agree[0] & agree[1] & (counts["camera"] != ALL)
        rows = counts[~hidden].astype(object)
        more = f"{hidden.sum()} more rows agree with the known counts" if hidden.any() else ""
        return rows.where(rows.notna(), "not known"), more

    def _sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the problems of each kind, and the notes, with their headings."""
        for kind in get_args(Kind):
            if problems := [problem for problem in self.problems if problem.kind == kind]:
                lines = [f"{problem.where}: {problem.what}" for problem in problems[:_SHOWN]]
                rest = len(problems) - _SHOWN
                yield f"{kind} ({len(problems):,})", lines + [f"... and {rest:,} more"] * (rest > 0)
        if self.notes:
            yield "notes", list(self.notes)

    def __str__(self) -> str:
        table, more = self._table()
        lines = [self.verdict, *map(str, self.ready), "", table.to_string(index=False)]
        lines += [more] if more else []
        for heading, texts in self._sections():
            lines += ["", f"{heading}:", *(f"  {text}" for text in texts)]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        table, more = self._table()
        lines = [f"<p><b>{html.escape(self.verdict)}</b></p>"]
        lines += [f"<p>{html.escape(str(one))}</p>" for one in self.ready]
        lines += [table.to_html(index=False), more]
        for heading, texts in self._sections():
            items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
            lines.append(f"<p>{heading}</p><ul>{items}</ul>")
        return printable("\n".join(lines))


def table_of(found: Mapping[Key, tuple[int, int]], known: Mapping[Key, Count]) -> pd.DataFrame:
    """Return the counts of all cameras, and the sums that are known, as in `Report.counts`."""
    splits = [*dict.fromkeys(key[0] for key in (*known, *found) if key[0] != ALL), ALL]
    keys = sorted(
        {key for key in found if key[2] != ALL} | known.keys(),
        key=lambda key: (
            splits.index(key[0]), key[1] == ALL, key[1] != "visible", key[2] == ALL, str(key[2]),
        ),
    )  # fmt: skip
    rows = []
    for key in keys:
        counts = zip(found.get(key, (0, 0)), known.get(key, (None, None)), strict=True)
        rows.append([*key, *(number for pair in counts for number in pair)])
    columns = [name for counted in COUNTED for name in (counted, f"known {counted}")]
    table = pd.DataFrame(rows, columns=["split", "modality", "camera", *columns])
    return table.astype(dict.fromkeys(columns, "Int64"))
