"""Any dataset, described by a table with one row per image.

The table is a CSV file (UTF-8, commas) or a parquet file with the columns

* ``path``: the image file, relative to the table's folder, or absolute;
* ``pid``: the identity, a whole number;
* ``cam``: the camera, a whole number;
* ``modality``: ``visible`` or ``infrared``;
* ``split``: ``train`` or ``test``.

Other columns are ignored, and the order of the rows does not matter. A table may have only one
split: without training rows nothing can be trained, without test rows nothing can be evaluated. The
table is checked when it is loaded; images are decoded on request.
"""

import csv
import functools
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pandas as pd

from dakd.config import fingerprint
from dakd.data.lists import printable, some
from dakd.data.records import Dataset, FileSource, Filter, ImageSet, Record
from dakd.protocols import Modality

COLUMNS = ("path", "pid", "cam", "modality", "split")
CHOICES = {"modality": get_args(Modality), "split": ("train", "test")}
WHOLE = r"\s*([0-9]{1,18})(?:\.0*)?\s*"  # also 3.0, as spreadsheets write it; fits 64 bits


def load_custom(
    table: str | os.PathLike[str],
    *,
    height: int,
    width: int,
    keep: bool = True,
    filter: Filter = "lanczos",
) -> Dataset:
    """Read a dataset by its table; see the module for the columns.

    An image's number is its position by path among the images of the same identity, camera and
    modality, from 1. Rows are sorted by identity, camera, modality (visible first) and number. A
    camera may be used by both modalities.

    Args:
        table: the file; ``.parquet`` needs pyarrow or fastparquet, anything else is read as CSV.
        height, width: image size in pixels.
        keep: keep decoded images in memory.
        filter: resampling filter with which files are resized.

    Raises:
        FileNotFoundError: the table or images that it names are missing.
        ImportError: it is a parquet file, and no parquet reader is installed.
        ValueError: a column or a cell is wrong, an image is listed twice, an identity
            is in both splits, there is no row, or the test split lacks a modality.
    """
    table = Path(os.path.expanduser(table))
    rows = read_table(table)
    check_splits(table, rows)
    places = _places(table.parent, rows["file"])
    rows = rows.assign(place=pd.Series(places, dtype=object))  # with pyarrow, text must be UTF-8
    _check_files(table, rows)
    rows = _numbered(rows)

    def split(name: str) -> ImageSet:
        part = rows[rows["split"] == name]
        columns = (part[c] for c in ("pid", "cam", "modality", "number", "file"))
        records = [Record(*row) for row in zip(*columns, strict=True)]
        source = FileSource(part["file"].tolist(), height=height, width=width, filter=filter)
        return ImageSet(records, source, keep=keep)

    content = fingerprint(rows.assign(path=rows["place"])[list(COLUMNS)].to_csv(index=False))
    train, test = map(split, CHOICES["split"])
    return Dataset(
        name="custom", train=train, test=test, root=table.parent, content=content, filter=filter
    )


def read_table(table: Path) -> pd.DataFrame:
    """Return a table's rows: path, pid, cam, modality, split, and file, each image's path.

    Raises:
        FileNotFoundError, ImportError, ValueError: see `load_custom`; files are not checked.
    """
    if not table.is_file():
        inside = sorted(table.glob("*.csv")) + sorted(table.glob("*.parquet"))
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise FileNotFoundError(
            f"no file {table}; root must be a CSV or parquet table with the columns "
            f"{', '.join(COLUMNS)}{hint}"
        )
    rows = (_read_parquet if table.suffix.lower() == ".parquet" else _read_csv)(table)
    header = [printable(str(name)) for name in rows.columns]
    if missing := [column for column in COLUMNS if column not in header]:
        raise ValueError(
            f"{table} lacks the columns {', '.join(missing)}; its header is {', '.join(header)}. "
            "Rename its columns, separated by commas"
        )
    if repeated := [column for column in COLUMNS if header.count(column) > 1]:
        raise ValueError(
            f"{table} has more than one column {repeated[0]!r}; its header is {', '.join(header)}. "
            "Remove or rename all but one"
        )
    if rows.empty:
        raise ValueError(f"{table} has a header and no row; add a row for each image")
    rows = rows[list(COLUMNS)].reset_index(drop=True)
    rows = rows.assign(**{column: rows[column].str.strip() for column in CHOICES})
    files = pd.Series([_locate(table.parent, name) for name in rows["path"]], dtype=object)
    _check_cells(table, rows, files)
    numbers = {c: rows[c].str.extract(WHOLE, expand=False).astype("int64") for c in ("pid", "cam")}
    return rows.assign(**numbers, file=files)


def _read_csv(table: Path) -> pd.DataFrame:
    """Return all cells as text; bytes that are not UTF-8 are kept, as in file names.

    Pandas would shift, drop or rename columns where rows and header differ, often silently.
    """
    content = table.read_bytes()
    if b"\0" in content:
        raise ValueError(f"{table} is no text in UTF-8; save it as CSV in UTF-8, or as .parquet")
    text = io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline="")
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    try:
        header, *rows = [row for row in reader if row not in ([], [""])] or [[]]
    except csv.Error as error:
        raise ValueError(
            f"cannot read the table {table}, line {reader.line_num}: {error}; correct the quotes "
            "there, or save it as CSV in UTF-8 again"
        ) from error
    if not header:
        raise ValueError(f"{table} is empty; its first line must be {','.join(COLUMNS)}")
    width = len(header)
    for number, row in enumerate(rows, start=1):
        if any(cell.strip() for cell in row[width:]):
            raise ValueError(
                f"{table}, row {number} below the header has {len(row)} cells, the header {width}; "
                'put a path that holds a comma in quotes, as "a, b.png"'
            )
        row[:] = (row + [""] * width)[:width]
    names = pd.Index([name.strip() for name in header], dtype=object)
    return pd.DataFrame(rows, columns=names, dtype=object)


def _read_parquet(table: Path) -> pd.DataFrame:
    """Return all cells as text; a missing cell is empty."""
    try:
        rows = pd.read_parquet(table)
    except ImportError as error:
        raise ImportError(
            f"{table} is parquet, which pandas reads with pyarrow or fastparquet, and neither is "
            "there; `pip install pyarrow`, or save the table as CSV"
        ) from error
    except Exception as error:  # the readers raise many kinds on damaged files
        raise ValueError(
            f"cannot read the table {table}: {error}; save it as parquet again, or as CSV in UTF-8"
        ) from error
    cells = rows.astype(object)
    return cells.where(cells.notna(), "").map(str)


def _check_cells(table: Path, rows: pd.DataFrame, files: pd.Series) -> None:
    pairs = zip(rows["path"], files, strict=True)
    encoded = pd.Series([name == printable(name) or os.path.isfile(file) for name, file in pairs])
    checks = [
        ("path", rows["path"].str.strip() != "", "the path of an image"),
        ("path", encoded, "in UTF-8, nor as it is the name of a file"),
        ("pid", rows["pid"].str.fullmatch(WHOLE), "a whole number from 0 up"),
        ("cam", rows["cam"].str.fullmatch(WHOLE), "a whole number from 0 up"),
        *((name, rows[name].isin(words), " or ".join(words)) for name, words in CHOICES.items()),
    ]
    for column, fine, wanted in checks:
        if not fine.all():
            row = int(fine.argmin())
            cell = rows[column][row]
            more = f" (and {(~fine).sum() - 1} more rows)" if (~fine).sum() > 1 else ""
            what = f"{cell!r} is not" if cell.strip() else "the cell is empty, and must be"
            raise ValueError(
                f"{table}, row {row + 1} below the header, column {column!r}: {what} {wanted}"
                f"{more}; correct the table, and save it in UTF-8"
            )


def check_splits(table: Path, rows: pd.DataFrame) -> None:
    """Refuse splits on which a network cannot be trained and tested.

    Raises:
        ValueError: the splits share identities, or the test split lacks a modality.
    """
    train, test = (rows[rows["split"] == split] for split in CHOICES["split"])
    if shared := sorted(set(train["pid"]) & set(test["pid"])):
        raise ValueError(
            f"{table}: identities {some(shared)} are in both splits, which must not share any; "
            "give all images of an identity (column 'pid') the same 'split'"
        )
    for modality in CHOICES["modality"] if len(test) else ():
        if modality not in set(test["modality"]):
            raise ValueError(
                f"{table} has no {modality} image in the split 'test', where one modality is "
                "searched by the other; add such rows, or correct the column 'modality'"
            )


def _locate(folder: Path, name: str) -> Path:
    """Return the file of a path in the table, with either kind of slash."""
    path = folder / name
    if name.startswith("~") or "\\" in name:  # outside Windows, a name may contain either
        other = folder / os.path.expanduser(name.replace("\\", "/"))
        path = path if os.path.isfile(path) else other
    return path


def _places(folder: Path, files: Iterable[Path]) -> list[str]:
    """Return each file's path from the table's folder, however the table spells it."""
    real = functools.cache(os.path.realpath)
    homes = [os.path.abspath(folder), real(folder)]

    def place(file: Path) -> str:
        path = Path(os.path.abspath(file))
        for home in homes:
            if path.is_relative_to(home):
                return path.relative_to(home).as_posix()
        try:
            outside = os.path.join(real(file.parent), file.name)
            return Path(os.path.relpath(outside, homes[1])).as_posix()
        except ValueError:  # on another drive, or an impossible name
            return path.as_posix()

    return [place(file) for file in files]


def _check_files(table: Path, rows: pd.DataFrame) -> None:
    places = rows["place"]
    if places.duplicated().any():
        second = int(places.duplicated().argmax())
        first = int((places == places[second]).argmax())
        raise ValueError(
            f"{table}, rows {first + 1} and {second + 1} below the header, column 'path': both are "
            f"{rows['path'][second]!r}; remove one"
        )
    if missing := [row for row, file in enumerate(rows["file"]) if not os.path.isfile(file)]:
        examples = some((f"{rows['path'][row]!r} of row {row + 1}" for row in missing), limit=3)
        raise FileNotFoundError(
            f"{table}: {len(missing)} of {len(rows)} images in the column 'path' do not exist, as "
            f"{examples} (rows counted below the header); a path starts from {table.parent} "
            "unless it is absolute"
        )


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows, and number the files of each identity, camera and modality by path."""
    keys = ["pid", "cam", "modality"]
    rank = {place: i for i, place in enumerate(sorted(rows["place"]))}  # pandas may need UTF-8
    rows = rows.assign(rank=[rank[place] for place in rows["place"]])
    rows = rows.sort_values([*keys, "rank"], ascending=[True, True, False, True])
    return rows.assign(number=rows.groupby(keys).cumcount() + 1)
