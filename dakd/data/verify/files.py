"""Image files that cannot be read, and images that a copy holds more than once."""

import os
import re
import stat
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from dakd.data.decoding import ImageError, read_image
from dakd.data.duplicates import same_files
from dakd.data.lists import some
from dakd.data.verify.survey import Entry, Survey
from dakd.runtime import progress

_BATCH = 512  # files given to the threads at a time; each thread holds one decoded image


def check_files(survey: Survey, decode: bool, show: bool) -> int:
    """Report every file that cannot be read; return how many images were decoded."""
    paths = sorted({entry.path for entry in survey.found if entry.path})
    check = partial(_fault, survey.root, decode=decode)
    bar = progress(None, total=len(paths), title="checking images", show=show)
    faults = 0
    with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), _BATCH):
            batch = paths[start : start + _BATCH]
            for path, fault in zip(batch, pool.map(check, batch), strict=True):
                if fault:
                    survey.add("unreadable", path, fault)
                    faults += 1
                bar.update()
    return len(paths) - faults if decode else 0


def _fault(root: Path, name: str, *, decode: bool) -> str:
    """Return why an image file cannot be read; empty if it can."""
    path = root / name
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return "it is not a regular file"
        if about.st_size == 0:
            return "the file is empty"
        if decode:
            read_image(path)
    except (ImageError, OSError) as error:
        text = str(error.__cause__ or error).replace(f" {str(path)!r}", "")
        return re.sub(r" <_io\.\w+ name=.*>", "", text, flags=re.DOTALL) or type(error).__name__
    return ""


def report_repeated(survey: Survey) -> None:
    """Report repeated images whose labels contradict each other; note the others.

    Files that cannot be read are left out: they are reported already.
    """
    damaged = survey.unreadable
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in survey.found:
        if entry.path and entry.path not in damaged:
            entries[entry.path].append(entry)
    paths = sorted(entries)
    agreeing = []
    for rows in same_files([survey.root / path for path in paths]):
        first, *others = (paths[row] for row in rows)
        if contradiction := _contradiction([e for row in rows for e in entries[paths[row]]]):
            what = f"is the same image as {some(others, 2)}, but {contradiction}; remove wrong ones"
            survey.add("wrong", first, what)
        else:
            agreeing.append(f"{first} = {some(others, 2)}")
    survey.note(agreeing, "images are there more than once, and each copy counts")


def _contradiction(entries: list[Entry]) -> str:
    """Return which labels of one image contradict each other, the worst contradiction first.

    >>> _contradiction([Entry("train", "visible", 1, 9, "a.png"), Entry("test", "visible", 1, 12)])
    'of the splits train and test'
    """
    for column, what in (("split", "splits"), ("modality", "modalities"), ("pid", "identities")):
        labels = {str(getattr(entry, column)) for entry in entries}
        if len(labels) > 1:
            order = sorted(labels, key=lambda label: (label == "test", len(label), label))
            return f"of the {what} {' and '.join(order)}"
    return ""
