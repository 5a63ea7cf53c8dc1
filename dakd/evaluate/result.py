"""The record of an evaluation: every trial's numbers, and all that one must know to compare them.

``str(result)`` is a table with its conditions in a line above it, `Result.save` writes a JSON.
"""

import contextlib
import itertools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from dakd.runtime import atomic_path

# Two trials that are averaged may differ in these, as RegDB's ten splits do.
OF_A_TRIAL = (
    "data_fingerprint",
    "queries",
    "valid_queries",
    "gallery_images",
    "network",
    "versions",
    "repeated_pictures",
    "queries_without_order",
)
METRICS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")


@dataclass(frozen=True, eq=False)
class Result:
    """A benchmark table and how it was made.

    Attributes:
        header: dataset, protocol, direction, gallery, counts, feature, versions (see
            `dakd.evaluate.evaluate`). A count that differs between trials is a list.
        trials: one row a trial; columns rank1, rank5, rank10, rank20, mAP, mINP as fractions.
    """

    header: dict[str, Any]
    trials: pd.DataFrame

    @property
    def mean(self) -> pd.Series:
        """Mean over the trials."""
        return self.trials.mean()

    @property
    def std(self) -> pd.Series:
        """Standard deviation over the trials (of the sample, n - 1; 0 for one trial)."""
        return self.trials.std(ddof=1).fillna(0.0)

    @property
    def table(self) -> pd.DataFrame:
        """Mean, standard deviation and every trial, in per cent."""
        summary = pd.DataFrame({"mean": self.mean, "std": self.std}).T
        return pd.concat([summary, self.trials]).mul(100)

    @property
    def title(self) -> str:
        """The header in one line."""
        h = self.header
        count = "1 trial" if len(self.trials) == 1 else f"{len(self.trials)} trials"
        draw = [f"{h['mode']}-search, {h['shots']}-shot"] if h["mode"] else []
        draw += [f"{h['query']} → {h['gallery']}{self._exchanged}"]
        draw += [f"sampling {h['sampling']}"] if h["sampling"] else []
        draw += [
            count,
            f"{_span(h['valid_queries'])} of {_span(h['queries'])} queries with a match",
            f"{_span(h['gallery_images'])} gallery images{self._short}",
            f"dropped: {h['camera_rule']}",
            f"ranks count {h['ranks_count']}",
        ]
        return (
            f"{self._people} · protocol {h['protocol']}: {', '.join(draw)} · flip {h['flip']}, "
            f"re-ranking {h['reranking']}, feature {h['feature']}"
            + (f", corrupted: {h['corrupted']}" if h.get("corrupted", "none") != "none" else "")
            + self._doubts
        )

    @property
    def _people(self) -> str:
        """Say whose images these are: drawn people are not the dataset whose layout they have."""
        name = str(self.header["dataset"])
        if not self.header.get("drawn"):
            return name
        return f"drawn people, {'in memory' if name == 'synthetic' else f'layout of {name}'}"

    @property
    def _short(self) -> str:
        """Say so where an identity has fewer images than shots."""
        least, most = self.header["images_per_identity_and_camera"]
        if not self.header["shots"] or least >= self.header["shots"]:
            return ""
        return f" (only {_span([least, most])} an identity and camera, there are no more)"

    @property
    def _exchanged(self) -> str:
        """Say so where the gallery's images ranked those of the queries."""
        h = self.header
        swapped = f" (exchanged: drawn {h['gallery']} images ranked all {h['query']} ones)"
        return swapped if h.get("exchanged") else ""

    @property
    def _doubts(self) -> str:
        """Say what makes the numbers doubtful: a collapsed network, repeated pictures."""
        h = self.header
        blind, repeated = (
            _most(h.get(name)) for name in ("queries_without_order", "repeated_pictures")
        )
        words = [f"{blind} queries find all images equally similar"] * bool(blind)
        words += [f"{repeated} pictures are in the dataset more than once"] * bool(repeated)
        return "".join(f" · {text}" for text in words)

    def __str__(self) -> str:
        return f"{self.title}\n{self.table.round(2).to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{self.title}</p>{self.table.round(2).to_html()}"

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON, atomically; return the path it has.

        A record of the same network, settings, trials and numbers is replaced; only ``versions``
        may differ. Anything else of that name stays, and this one is written beside it, as
        ``name-2.json``, ``name-3.json`` and so on, also where several processes save at once.
        """
        record = {
            **self.header,
            "mean": self.mean.to_dict(),
            "std": self.std.to_dict(),
            "trials": self.trials.to_dict(orient="index"),
        }
        text = json.dumps(record, indent=2)
        path = Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"(-\d+)+$", "", path.stem) + path.suffix  # of r-2.json, too, it is r.json
        with FileLock(path.with_name(f".{name}.lock")):
            path = self._own_place(path)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return path

    def _own_place(self, path: Path) -> Path:
        """Return the first of `path`, ``path-2`` ... that is free or holds this record already."""
        for number in itertools.count(1):
            place = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
            if not os.path.lexists(place):
                return place
            with contextlib.suppress(ValueError, OSError):  # what is no record stays
                if place.is_file() and Result.load(place)._made_as() == self._made_as():
                    return place
        raise AssertionError("numbers do not end")

    def _made_as(self) -> Any:
        """All that tells one measurement from another, as it comes back from a file."""
        header = {key: value for key, value in self.header.items() if key != "versions"}
        numbers = self.trials.round(6).to_dict()  # networks of one name are told apart by them
        return json.loads(json.dumps([header, list(self.trials.index), numbers]))

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read a record that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no record of a result, or something in it is missing.
        """
        text = Path(path).expanduser().read_bytes()
        try:
            record = json.loads(text.decode("utf-8"))
            trials = pd.DataFrame(record.pop("trials")).T.astype(float)
            del record["mean"], record["std"]
            result = cls(record, trials)
            if trials[list(METRICS)].isna().to_numpy().any() or trials.empty:
                raise ValueError("a number is missing")
            str(result)  # all that its title says
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as e:
            raise ValueError(
                f"{path} is no result saved by dakd ({e!r}); evaluate again, or restore the file"
            ) from e
        return result

    @classmethod
    def join(cls, results: Sequence["Result"]) -> "Result":
        """Return one result of the trials of several, as RegDB's ten networks need it.

        Raises:
            ValueError: there is none, they were made differently, or a trial is there twice.
        """
        if not results:
            raise ValueError("no result to join")
        header = dict(results[0].header)
        for key in dict.fromkeys(key for result in results for key in result.header):
            values = [result.header.get(key) for result in results]
            if all(value == values[0] for value in values):
                continue
            if key not in OF_A_TRIAL:
                raise ValueError(f"results of different {key} cannot be joined: {values}")
            lists = (value if isinstance(value, list) else [value] for value in values)
            header[key] = [item for items in lists for item in items]
        trials = pd.concat([result.trials for result in results])
        if twice := trials.index[trials.index.duplicated()].tolist():
            raise ValueError(f"{twice[0]} is there more than once; join each trial's result once")
        return cls(header, trials)


def _most(value: int | list[int | None] | None) -> int:
    """Return a count, or the largest of several; 0 where it was not counted."""
    counts = value if isinstance(value, list) else [value]
    return max(count or 0 for count in counts)


def _span(value: int | Sequence[int]) -> str:
    """Return a count, or the smallest and the largest of several.

    >>> _span(301), _span([12, 10, 11])
    ('301', '10 to 12')
    """
    if isinstance(value, int):
        return str(value)
    least, most = int(min(value)), int(max(value))
    return f"{least} to {most}" if least < most else str(least)
