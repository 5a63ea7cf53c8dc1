"""Whether a copy of a dataset is complete and readable; nothing of it is kept in memory.

A copy that lacks images without anybody's notice is a known cause of results that cannot be
reproduced. The counts that a copy is compared with are in `dakd.data.verify.expected`.
"""

import html
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import pandas as pd

from dakd.data.decoding import ImageError, read_image
from dakd.data.lists import printable
from dakd.data.records import MARKER
from dakd.data.verify.copies import report_copies
from dakd.data.verify.expected import ALL, NAMES, Count, Expected, Key, expected, tally
from dakd.data.verify.layouts import LAYOUTS, place, survey_custom
from dakd.data.verify.readiness import Readiness, readiness
from dakd.data.verify.survey import Kind, Problem, Survey
from dakd.runtime import progress

COUNTED = ("identities", "images")
_AT_ONCE = 512  # files handed to the threads; each thread holds one decoded picture at a time
_SHOWN = 20  # problems of a kind that are printed
_ROWS = 24  # longer tables are printed without the rows that agree


@dataclass(frozen=True, eq=False)
class Report:
    """What `verify` found.

    Attributes:
        name: the dataset.
        root: its folder; for ``"custom"`` its table.
        title: what the copy is; says so where the people in it are drawn.
        counts: one row for each split, modality and camera, and for sums (``"all"``): identities
            and images found, and those of a complete copy (missing where that is not known).
        problems: every fault.
        notes: what is worth knowing and no fault.
        decoded: the number of pictures that were decoded.
        ready: whether `train` and `evaluate` can work with the copy as it is.
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
        """One line that says whether the copy is good."""
        looked = f"{self.decoded:,} images decoded" if self.decoded else "no image decoded"
        if self.ok:
            known = self.counts[[f"known {column}" for column in COUNTED]].notna().to_numpy().all()
            state = "complete" if known else "complete as far as its counts are known"
        else:
            numbers = Counter(problem.kind for problem in self.problems)
            state = ", ".join(f"{numbers[k]:,} {k}" for k in get_args(Kind) if numbers[k])
        return printable(f"{self.title}: {state}; {looked} ({self.root})")

    def _of(self, kind: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.kind == kind]

    def _table(self) -> tuple[pd.DataFrame, str]:
        """Return the rows to print, and a line about those that are left out."""
        counts, hidden = self.counts, pd.Series(False, index=self.counts.index)
        if len(counts) > _ROWS:
            agree = [counts[f"known {c}"].eq(counts[c]).fillna(False) for c in COUNTED]
            hidden = agree[0] & agree[1] & (counts["camera"] != ALL)
        rows = counts[~hidden].astype(object)
        more = f"{hidden.sum()} more rows agree with what is known" if hidden.any() else ""
        return rows.where(rows.notna(), "not known"), more

    def _sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the problems of each kind, and the notes, with their headings."""
        for kind in get_args(Kind):
            if problems := self._of(kind):
                lines = [f"{problem.where}: {problem.what}" for problem in problems[:_SHOWN]]
                rest = len(problems) - _SHOWN
                yield f"{kind} ({len(problems):,})", lines + [f"... and {rest:,} more"] * (rest > 0)
        if self.notes:
            yield "notes", list(self.notes)

    def __str__(self) -> str:
        table, more = self._table()
        lines = [
            self.verdict,
            *map(str, self.ready),
            "",
            table.to_string(index=False),
            *([more] if more else []),
        ]
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


def verify(
    name: str, root: str | os.PathLike[str], *, decode: bool = True, show: bool = True
) -> Report:
    """Compare a copy of a dataset with the known counts, and find out which images are damaged.

    Nothing stops at a fault: all are collected. Images are decoded as loading decodes them. One
    that is there more than once is a problem where its labels contradict each other (training and
    test, visible and infrared, two identities), and a note otherwise. A copy on which training or
    evaluation must fail, because a split or a modality shows nobody, is not complete.

    What was written by `dakd.data.export.export_dataset` is compared with what its configuration
    asks for, and the report says that its people are drawn.

    Args:
        name: ``"sysu"``, ``"regdb"``, ``"llcm"`` or ``"custom"``.
        root: the dataset's folder; for ``"custom"`` the table, which is compared with the files.
        decode: decode every picture in full, and look for copies; otherwise only empty files are
            found.
        show: a progress bar.

    Raises:
        ValueError: there is no such dataset.
        NotADirectoryError: `root` is no folder.
        FileNotFoundError: the table of ``"custom"`` does not exist.
    """
    if name not in NAMES:
        raise ValueError(f"dataset {name!r} cannot be verified; use one of {', '.join(NAMES)}")
    root = Path(os.path.expanduser(root))
    if name == "custom" and not root.is_file():
        raise FileNotFoundError(f"no file {root}; root must be the table of the dataset")
    if name != "custom" and not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder; root must be the dataset's folder")
    survey, known = _compare(name, root)
    decoded = _look(survey, decode, show)
    if decode:
        report_copies(survey)
    counts = _judge(name, survey, known)
    ready = readiness(name, root, {p.where for p in survey.problems if p.kind == "unreadable"})
    faults = {one.fault: one for one in ready if one.fault and not survey.problems}
    for fault, one in faults.items():
        who = " and ".join(other.command for other in ready if other.fault == fault)
        survey.fault("missing", one.where, f"{who} must fail: {fault}")
    problems, notes = tuple(survey.problems), tuple(survey.notes)
    return Report(name, root, known.title, counts, problems, notes, decoded, tuple(ready))


def _compare(name: str, root: Path) -> tuple[Survey, Expected]:
    """Take stock of the copy; an export whose marker is of no use is compared with nothing."""
    if name == "custom":
        survey = Survey(root.parent)
        return survey, survey_custom(survey, root)
    survey = Survey(root)
    unknown = Expected(f"Drawn people, NOT {NAMES[name]}")
    known = survey.attempt(lambda: expected(name, root), MARKER) or unknown
    LAYOUTS[name](survey, known)
    return survey, known


def _look(survey: Survey, decode: bool, show: bool) -> int:
    """Look at every file, add those that cannot be read; return how many were decoded."""
    paths = sorted({item.path for item in survey.found if item.path})
    look = partial(_fault, survey.root, decode=decode)
    good = 0
    bar = progress(None, total=len(paths), title="checking images", show=show)
    with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _AT_ONCE):
            part = paths[start : start + _AT_ONCE]
            for path, fault in zip(part, pool.map(look, part), strict=True):
                good += fault is None
                if fault:
                    survey.fault("unreadable", path, fault)
                bar.update()
    return good if decode else 0


def _fault(root: Path, name: str, *, decode: bool) -> str | None:
    """Return what is the matter with an image file, or None."""
    path = root / name
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return "it is no file"
        if about.st_size == 0:
            return "the file is empty"
        if decode:
            read_image(path)
    except (ImageError, OSError) as error:
        text = str(error.__cause__ or error).replace(f" {str(path)!r}", "")
        return re.sub(r" <_io\.\w+ name=.*>", "", text, flags=re.DOTALL) or type(error).__name__
    return None


def _judge(name: str, survey: Survey, known: Expected) -> pd.DataFrame:
    """Add the counts that are wrong for a reason not reported yet; return the table of counts."""
    extra = set(survey.extra)
    images = [item for item in (*survey.found, *survey.missing) if item not in extra]
    whole = tally(item[:4] for item in images)  # as if what is reported had been put right
    found = tally(item[:4] for item in survey.found)
    for split in sorted({key[0] for key in survey.settled if key[1:] == (ALL, ALL)}):
        survey.notes.append(
            f"counts of {'all splits' if split == ALL else split} are not judged before what is "
            "wrong with the lists is put right; then verify again"
        )
    for key in sorted(known.counts, key=lambda key: key.count(ALL)):  # the finest first
        reported = any(_overlap(key, other) for other in survey.settled)
        if not reported and (kind := _difference(whole.get(key, (0, 0)), known.counts[key])):
            what = f"{_words(key)}: {_number(found.get(key, (0, 0)))}"
            if known.counts[key] != (None, None):
                what += f", a complete copy has {_number(known.counts[key])}"
            survey.fault(kind, place(name, key), what, key)
    return _counts(found, known.counts)


def _overlap(one: Key, other: Key) -> bool:
    """Return whether two counts have images in common."""
    return all(a == b or ALL in (a, b) for a, b in zip(one, other, strict=True))


def _difference(have: Count, want: Count) -> Kind | None:
    """Return what a count is evidence of; where nothing is known, an empty place lacks images."""
    if want == (None, None):
        return None if have[1] else "missing"
    pairs = [(h, w) for h, w in zip(have, want, strict=True) if h is not None and w is not None]
    fewer, more = any(h < w for h, w in pairs), any(h > w for h, w in pairs)
    if fewer and more:
        return "wrong"
    return "missing" if fewer else "extra" if more else None


def _number(count: Count) -> str:
    identities = f"{count[0]:,} identities"
    return identities if count[1] is None else f"{count[1]:,} images of {identities}"


def _words(key: Key) -> str:
    """Return what a count is of.

    >>> _words(("train", "infrared", 3)), _words(("all", "all", "all"))
    ('train, infrared, camera 3', 'all')
    """
    words = [str(part) for part in key[:2] if part != ALL]
    words += [f"camera {key[2]}"] if key[2] != ALL else []
    return ", ".join(words) or ALL


def _counts(found: dict[Key, tuple[int, int]], known: dict[Key, Count]) -> pd.DataFrame:
    """Return a table of all cameras, and of the sums of which something is known."""
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
