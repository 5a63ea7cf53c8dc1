"""The result of an evaluation: the metrics of every trial and the settings behind them.

``str(result)`` is a table below a line with the settings; `Result.save` writes JSON.
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

# Header fields in which joined trials may differ, as RegDB's ten splits do.
PER_TRIAL = (
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
    """A benchmark table and its settings.

    Attributes:
        header: dataset, protocol, direction, gallery, counts, feature, versions (see
            `dakd.evaluate.evaluate`). A count that differs between trials is a list.
        trials: one row per trial; columns rank1, rank5, rank10, rank20, mAP, mINP as fractions.
    """

    header: dict[str, Any]
    trials: pd.DataFrame

    @property
    def mean(self) -> pd.Series:
        """Mean over the trials."""
        return self.trials.mean()

    @property
    def std(self) -> pd.Series:
        """Sample standard deviation over the trials (n - 1; 0 for one trial)."""
        return self.trials.std(ddof=1).fillna(0.0)

    @property
    def table(self) -> pd.DataFrame:
        """Mean, standard deviation and every trial, in per cent."""
        summary = pd.DataFrame({"mean": self.mean, "std": self.std}).T
        return pd.concat([summary, self.trials]).mul(100)

    @property
    def record(self) -> dict[str, Any]:
        """Header, mean, standard deviation and trials, for JSON."""
        summary = {"mean": self.mean.to_dict(), "std": self.std.to_dict()}
        return {**self.header, **summary, "trials": self.trials.to_dict(orient="index")}

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
            f"{self._dataset} · protocol {h['protocol']}: {', '.join(draw)} · flip {h['flip']}, "
            f"re-ranking {h['reranking']}, feature {h['feature']}"
            + (f", corrupted: {h['corrupted']}" if h.get("corrupted", "none") != "none" else "")
            + self._problems
        )

    @property
    def _dataset(self) -> str:
        """The dataset; drawn people are not called by the name of the dataset's layout."""
        name = str(self.header["dataset"])
        if not self.header.get("drawn"):
            return name
        return f"drawn people, {'in memory' if name == 'synthetic' else f'layout of {name}'}"

    @property
    def _short(self) -> str:
        """A note if an identity has fewer images in a camera than there are shots."""
        least, most = self.header["images_per_identity_and_camera"]
        if not self.header["shots"] or least >= self.header["shots"]:
            return ""
        return f" (only {_span([least, most])} per identity and camera, there are no more)"

    @property
    def _exchanged(self) -> str:
        """A note if queries and gallery were exchanged."""
        h = self.header
        note = f" (exchanged: drawn {h['gallery']} images rank all {h['query']} images)"
        return note if h.get("exchanged") else ""

    @property
    def _problems(self) -> str:
        """Notes on problems that affect the numbers: a collapsed network, repeated images."""
        texts = {
            "queries_without_order": "queries are equally similar to all gallery images",
            "repeated_pictures": "images are in the dataset more than once",
        }
        counts = {name: _largest(self.header.get(name)) for name in texts}
        return "".join(f" · {count} {texts[name]}" for name, count in counts.items() if count)

    def __str__(self) -> str:
        return f"{self.title}\n{self.table.round(2).to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{self.title}</p>{self.table.round(2).to_html()}"

    def save(self, path: str | Path) -> Path:
        """Write the record as JSON, atomically; return its path.

        A record of the same network, settings, trials and numbers is replaced; only ``versions``
        may differ. Any other file of that name is kept, and this record is written as
        ``name-2.json``, ``name-3.json`` and so on, also if several processes save at once.
        """
        text = json.dumps(self.record, indent=2)
        path = Path(path).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"(-\d+)+$", "", path.stem) + path.suffix  # r.json also for r-2.json
        with FileLock(path.with_name(f".{name}.lock")):
            path = self._free_path(path)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return path

    def _free_path(self, path: Path) -> Path:
        """Return the first of `path`, ``path-2`` ... that does not exist or has this record."""
        for number in itertools.count(1):
            candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
            if not os.path.lexists(candidate):
                return candidate
            with contextlib.suppress(ValueError, OSError):  # keep files that are no records
                if candidate.is_file() and Result.load(candidate)._identity() == self._identity():
                    return candidate
        raise AssertionError("unreachable")

    def _identity(self) -> Any:
        """The record without versions, as JSON values."""
        header = {key: value for key, value in self.header.items() if key != "versions"}
        numbers = self.trials.round(6).to_dict()  # distinguish networks of the same name
        return json.loads(json.dumps([header, list(self.trials.index), numbers]))

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read a record written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a record of a result, or the record is incomplete.
        """
        text = Path(path).expanduser().read_bytes()
        try:
            record = json.loads(text.decode("utf-8"))
            trials = pd.DataFrame(record.pop("trials")).T.astype(float)
            del record["mean"], record["std"]
            result = cls(record, trials)
            if trials[list(METRICS)].isna().to_numpy().any() or trials.empty:
                raise ValueError("a number is missing")
            str(result)  # reads all fields of the title
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as e:
            raise ValueError(
                f"{path} is not a result saved by dakd ({e!r}); evaluate again, or restore the file"
            ) from e
        return result

    @classmethod
    def join(cls, results: Sequence["Result"]) -> "Result":
        """Return one result with the trials of several, such as those of RegDB's ten splits.

        Raises:
            ValueError: there is no result, their settings differ, or a trial is repeated.
        """
        if not results:
            raise ValueError("no result to join")
        header = dict(results[0].header)
        for key in dict.fromkeys(key for result in results for key in result.header):
            values = [result.header.get(key) for result in results]
            if all(value == values[0] for value in values):
                continue
            if key not in PER_TRIAL:
                raise ValueError(f"results of different {key} cannot be joined: {values}")
            lists = (value if isinstance(value, list) else [value] for value in values)
            header[key] = [item for items in lists for item in items]
        trials = pd.concat([result.trials for result in results])
        if repeated := trials.index[trials.index.duplicated()].tolist():
            raise ValueError(f"{repeated[0]} is repeated; join each trial's result once")
        return cls(header, trials)


def _largest(value: int | list[int | None] | None) -> int:
    """Return a count, or the largest of several; 0 if it was not counted."""
    counts = value if isinstance(value, list) else [value]
    return max(count or 0 for count in counts)


def _span(value: int | Sequence[int]) -> str:
    """Return a count as text, or the range of several.

    >>> _span(301), _span([12, 10, 11])
    ('301', '10 to 12')
    """
    if isinstance(value, int):
        return str(value)
    least, most = int(min(value)), int(max(value))
    return f"{least} to {most}" if least < most else str(least)
