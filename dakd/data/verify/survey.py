"""A survey of a copy of a dataset: what is there, what is not, and what is odd.

`dakd.data.verify.layouts` fills it by the rules of each layout, `dakd.data.verify.report` judges
it. Only names are looked at here. Every fault is noted, and the survey goes on.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple, TypeVar

from dakd.data.lists import is_image, some
from dakd.data.verify.expected import Key

Kind = Literal["missing", "extra", "unreadable", "wrong"]
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One fault of a copy.

    Attributes:
        kind: ``"missing"``, ``"extra"``, ``"unreadable"`` or ``"wrong"``.
        where: file or folder, relative to the dataset's root.
        what: what is the matter with it.
    """

    kind: Kind
    where: str
    what: str


class Item(NamedTuple):
    """One image, or (without a path) one line of a list that names an image."""

    split: str
    modality: str
    camera: int
    pid: int | str
    path: str | None = None


@dataclass
class Survey:
    """What was found, by path below `root` with forward slashes.

    Attributes:
        root: the dataset's folder.
        images: every image in the folders of the layout, whether a list names it or not.
        empty: folders that hold neither an image nor a folder.
        found: images, and lines of lists, that count.
        missing: images that the copy's own lists, or a gap in the numbers, tell to be absent.
        extra: those of `found` that the lists do not have.
        problems, notes: what is to be reported.
        settled: counts that a reported problem accounts for.
    """

    root: Path
    images: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    found: list[Item] = field(default_factory=list)
    missing: list[Item] = field(default_factory=list)
    extra: list[Item] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settled: list[Key] = field(default_factory=list)

    def fault(self, kind: Kind, where: str, what: str, *settled: Key) -> None:
        """Add a problem, and the counts that it accounts for."""
        self.problems.append(Problem(kind, where, what))
        self.settled += settled

    def note(self, items: Iterable[object], what: str) -> None:
        """Note how many of something there are and the first few, if there are any."""
        if items := sorted(items, key=str):
            self.notes.append(f"{len(items):,} {what}: {some(items, 3)}")

    def attempt(self, read: Callable[[], T], where: str, *settled: Key) -> T | None:
        """Return what `read` gets from a list; where it cannot, add the problem and return None."""
        try:
            return read()
        except (OSError, ValueError, ImportError) as error:
            text = str(error).replace(f"{self.root}{os.sep}", "").removeprefix(where)
            kind: Kind = "missing" if isinstance(error, FileNotFoundError) else "wrong"
            self.fault(kind, where, text.lstrip(":, "), *settled)
        return None

    def walk(self, folders: Iterable[str]) -> None:
        """List the images in the layout's folders, and note what lies there besides.

        Links are followed, each folder is listed once: links to one that was listed already, or
        that holds the link itself, are passed over.
        """
        folders, others = set(folders), []
        for where, inner, names in self._folders(sorted(folders)):
            files = {f"{where}/{name}": is_image(PurePosixPath(name)) for name in names}
            self.images.update(name for name, image in files.items() if image)
            others += [name for name, image in files.items() if not image]
            if not inner and not any(files.values()):
                self.empty.append(where)
            for name in inner:
                if is_image(PurePosixPath(name)):
                    self.fault("wrong", f"{where}/{name}", "is a folder, but is named as an image")
        tops = {path.name for path in self.root.iterdir() if path.is_dir()}
        self.note(others, "files that are no images, passed over")
        self.note(tops - folders - {"exp", "idx"}, "folders outside of the layout, passed over")

    def _folders(self, tops: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder below some, with the folders and the files in it; links come last."""
        listed: set[str] = set()
        again = []
        paths = [str(self.root / top) for top in tops]
        parts = [path for path in paths if not os.path.islink(path)]
        links = [path for path in paths if os.path.islink(path)]
        while parts:
            for top in parts:
                for folder, inner, names in os.walk(top, onerror=self._closed):
                    real = os.path.realpath(folder)
                    if real in listed or self._holds(real, folder):
                        again.append(self._below(folder))
                        inner.clear()
                        continue
                    listed.add(real)
                    links += filter(os.path.islink, (os.path.join(folder, n) for n in inner))
                    yield self._below(folder), list(inner), names
            parts, links = sorted(links), []
        self.note(again, "links to folders that hold them or were listed before, passed over")

    def _holds(self, real: str, link: str) -> bool:
        """Return whether a folder holds the dataset, or the link by which it was reached."""
        inside = self.root, os.path.dirname(link)
        return any(PurePath(os.path.realpath(path)).is_relative_to(real) for path in inside)

    def _below(self, path: str) -> str:
        return Path(path).relative_to(self.root).as_posix()

    def report_files(self, source: str) -> None:
        """Report missing and extra images; a folder of which nothing is there is reported once."""
        occupied = {str(folder) for image in self.images for folder in PurePosixPath(image).parents}
        occupied.add(".")
        absent: Counter[str] = Counter()
        for item in self.missing:
            where = str(item.path)
            outside = PurePosixPath(where).is_absolute()  # of the dataset's folder
            while not outside and (parent := str(PurePosixPath(where).parent)) not in occupied:
                where = parent
            absent[where] += 1
        files = {item.path for item in self.missing}
        for where, number in sorted(absent.items()):
            what = "is not there" if where in files else f"none of its {number:,} images is there"
            self.fault("missing", where, f"{what} (by {source})")
        for item in self.extra:
            self.fault("extra", str(item.path), f"does not belong there (by {source})")

    def _closed(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            where = self._below(str(error.filename))
            self.fault("unreadable", where, f"the folder cannot be listed: {error.strerror}")
