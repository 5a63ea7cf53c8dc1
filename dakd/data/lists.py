"""Reads the text files of datasets: lists of identities, and lists of images with labels."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PureWindowsPath

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
_INDEX_LINE = re.compile(r"(\S|\S.*\S)\s+([0-9]{1,18})")  # a path with or without spaces, a label


def read_ids(path: Path) -> set[int]:
    """Return the identities of a text file, separated by commas or white space.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a word is not an identity number, or there is none.
    """
    words = [word for word in re.split(r"[\s,]+", _text(path)) if word]
    if wrong := [word for word in words if not is_number(word)]:
        raise ValueError(
            f"{path}: {wrong[0]!r} is not an identity number; restore the original file"
        )
    if not words:
        raise ValueError(f"{path} lists no identity; restore the original file")
    return {int(word) for word in words}


def read_index(path: Path, root: Path) -> list[tuple[Path, int]]:
    """Return the files and labels of lines ``<path below root> <label>``, in the file's order.

    The path may contain spaces and either kind of slash; the label is the last word of the line.

    Args:
        path: the list.
        root: the folder that the paths start from; the files need not exist.

    Raises:
        FileNotFoundError: the list does not exist.
        ValueError: a line has another form, a file is listed twice, or there is no line.
    """
    entries: dict[Path, int] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        match = _INDEX_LINE.fullmatch(line.strip())
        relative = PureWindowsPath(match[1] if match else "")  # splits at / and \
        if not match or not relative.parts or relative.anchor or ".." in relative.parts:
            raise ValueError(
                f"{path}, line {number}: {line.strip()!r} is not '<path below the dataset's "
                "folder> <label>'; restore the original file"
            )
        file = root.joinpath(*relative.parts)
        if file in entries:
            raise ValueError(f"{path}, line {number}: {match[1]} is listed twice; remove one line")
        entries[file] = int(match[2])
    if not entries:
        raise ValueError(f"{path} lists no image; restore the original file")
    return list(entries.items())


def is_image(path: PurePath) -> bool:
    """Return whether a name is that of an image, unlike ``Thumbs.db`` or ``._1.jpg``.

    >>> [is_image(PurePath(name)) for name in ("0001.jpg", "1.BMP", "._0001.jpg", "Thumbs.db")]
    [True, True, False, False]
    """
    return path.suffix.lower() in IMAGES and not path.name.startswith(".")


def is_number(text: str) -> bool:
    """Return whether a text is a whole number from 0 that fits 64 bits.

    >>> [is_number(text) for text in ("0012", "-1", "1.0", "9" * 19)]
    [True, False, False, False]
    """
    return re.fullmatch("[0-9]{1,18}", text) is not None


def disagreements(pairs: Iterable[tuple[str, int]]) -> list[str]:
    """Return messages on folders and labels that do not correspond one to one.

    >>> disagreements([("0003", 0), ("0007", 1), ("0009", 1)])
    ['label 1 belongs to the folders 0007, 0009']
    """
    folders: dict[int, set[str]] = defaultdict(set)
    labels: dict[str, set[int]] = defaultdict(set)
    for folder, label in pairs:
        folders[label].add(folder)
        labels[folder].add(label)
    return [
        f"label {label} belongs to the folders {some(sorted(names))}"
        for label, names in sorted(folders.items())
        if len(names) > 1
    ] + [
        f"folder {folder} has the labels {some(sorted(numbers))}"
        for folder, numbers in sorted(labels.items())
        if len(numbers) > 1
    ]


def check_layout(
    root: Path, folders: Sequence[str], dataset: str, *, probe: str, what: str = ""
) -> None:
    """Refuse a folder without a dataset's layout.

    Args:
        root: the dataset's folder.
        folders: the folders that must be in it.
        dataset: its name, for the message.
        probe: the one of them that shows that a folder inside `root` was meant.
        what: the folders in short, for the message; by default their names.

    Raises:
        FileNotFoundError: `root` or a folder in it does not exist.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root}; root must be the folder that holds {what or ', '.join(folders)}"
        )
    if missing := [name for name in folders if not (root / name).is_dir()]:
        inner = next((p for p in sorted(root.iterdir()) if (p / probe).is_dir()), None)
        hint = f"did you mean {inner}?" if inner else f"unpack the whole {dataset} download there"
        raise FileNotFoundError(f"{root} lacks the folders {', '.join(missing)}; {hint}")


def some(items: Iterable[object], limit: int = 8) -> str:
    """Return the first items for a message, and the number of the others.

    >>> some([3, 5, 8], limit=2)
    '3, 5 and 1 more'
    """
    items = list(items)
    rest = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(map(str, items[:limit])) + rest


def printable(text: str) -> str:
    """Return a text in which bytes of names that are not UTF-8 are escaped.

    >>> print(printable("caf\\udce9.png"))
    caf\\xe9.png
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return re.sub("[\ud800-\udfff]", escape, text)


def _text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; it is part of the dataset's download")
    return path.read_text("utf-8-sig", errors="surrogateescape")  # as in file names
