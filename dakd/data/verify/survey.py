"""What is on the disk, and the problems and notes of a report; only names are read here."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NamedTuple, TypeVar

from dakd.data.lists import is_image, some
from dakd.data.verify.expected import Key, overlap

Kind = Literal["missing", "extra", "unreadable", "wrong"]
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One problem of a copy."""

    kind: Kind
    where: str  # file or folder, relative to the dataset's folder
    what: str


class Entry(NamedTuple):
    """One image, or (without a path) one line of a list that names an image."""

    split: str
    modality: str
    camera: int
    pid: int
    path: str | None = None


@dataclass
class Survey:
    """What was found, by path below `root` with forward slashes.

    Attributes:
        root: the dataset's folder.
        images: every image in the folders of the layout, whether a list names it or not.
        empty: folders without images and subfolders.
        found: images, and lines of lists, that count.
        missing: images that a list, or a gap in the image numbers, shows to be absent.
        extra: paths of images that the lists do not name.
        listed: the images that lists name, by path; None where a path does not fit the layout.
        problems, notes: what is to be reported.
        explained: counts that a reported problem affects, which are therefore not compared.
    """

    root: Path
    images: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    found: list[Entry] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    extra: set[str] = field(default_factory=set)
    listed: dict[str, Entry | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    explained: list[Key] = field(default_factory=list)

    @property
    def unreadable(self) -> set[str]:
        """Paths of the files and folders that cannot be read."""
        return {problem.where for problem in self.problems if problem.kind == "unreadable"}

    def add(self, kind: Kind, where: str, what: str, *explained: Key) -> None:
        """Add a problem, and the counts that it affects."""
        self.problems.append(Problem(kind, where, what))
        self.explained += explained

    def note(self, items: Iterable[object], what: str) -> None:
        """Note how many items there are and the first few, if there are any."""
        if items := sorted(items, key=str):
            self.notes.append(f"{len(items):,} {what}: {some(items, 3)}")

    def attempt(self, read: Callable[[], T], where: str, *explained: Key) -> T | None:
        """Return what `read` returns; where it fails, add the problem and return None."""
        try:
            return read()
        except (OSError, ValueError, ImportError) as error:
            text = str(error).replace(f"{self.root}{os.sep}", "").removeprefix(where)
            kind: Kind = "missing" if isinstance(error, FileNotFoundError) else "wrong"
            self.add(kind, where, text.lstrip(":, "), *explained)
        return None

    def is_explained(self, key: Key) -> bool:
        """Return whether a problem affects images that this count includes."""
        return any(overlap(key, other) for other in self.explained)

    def walk(self, folders: Iterable[str]) -> None:
        """List the images in the layout's folders, and note all other files and folders.

        Links are followed. Each folder is listed once: a link to one that was listed before, or to
        one that holds the link itself, is skipped.
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
                    self.add("wrong", f"{where}/{name}", "is a folder, but is named like an image")
        top = {path.name for path in self.root.iterdir() if path.is_dir()}
        self.note(others, "files that are not images, skipped")
        self.note(top - folders - {"exp", "idx"}, "folders outside the layout, skipped")

    def _folders(self, tops: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield every folder with the names of its subfolders and files; links come last."""
        listed, repeated = set(), []
        queue = sorted((str(self.root / top) for top in tops), key=os.path.islink)
        for top in queue:  # which grows
            for folder, inner, names in os.walk(top, onerror=self._cannot_list):
                real = os.path.realpath(folder)
                around = (os.path.realpath(path) for path in (self.root, os.path.dirname(folder)))
                if real in listed or any(PurePath(path).is_relative_to(real) for path in around):
                    repeated.append(below(Path(folder), self.root))
                    inner.clear()
                    continue
                listed.add(real)
                queue += sorted(filter(os.path.islink, (os.path.join(folder, n) for n in inner)))
                yield below(Path(folder), self.root), list(inner), names
        self.note(repeated, "links to folders that hold them or were listed before, skipped")

    def _cannot_list(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            where = below(Path(error.filename), self.root)
            self.add("unreadable", where, f"the folder cannot be listed: {error.strerror}")

    def report_files(self, source: str) -> None:
        """Report missing and extra images; a folder without any of its images is reported once."""
        occupied = folders_of(self.images)
        absent = Counter(topmost(str(entry.path), occupied) for entry in self.missing)
        files = {entry.path for entry in self.missing}
        for where, number in sorted(absent.items()):
            what = "is missing" if where in files else f"all of its {number:,} images are missing"
            self.add("missing", where, f"{what} (according to {source})")
        for path in sorted(self.extra):
            self.add("extra", path, f"does not belong there (according to {source})")


def below(path: Path, root: Path) -> str:
    """Return a path from `root` with forward slashes, or the path itself if it is elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def folders_of(paths: Iterable[str]) -> set[str]:
    """Return all folders around some files, ``"."`` included."""
    return {".", *(str(folder) for path in paths for folder in PurePosixPath(path).parents)}


def topmost(path: str, occupied: set[str]) -> str:
    """Return the path itself, or the highest folder around it that is not `occupied`.

    >>> topmost("cam1/0002/0001.jpg", folders_of(["cam1/0001/0001.jpg"]))
    'cam1/0002'
    """
    while not PurePosixPath(path).is_absolute():  # which is outside the dataset's folder
        parent = str(PurePosixPath(path).parent)
        if parent in occupied:
            break
        path = parent
    return path
