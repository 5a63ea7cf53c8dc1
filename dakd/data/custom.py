"""Any dataset, described by a table with one row an image.

The table is a CSV file (UTF-8, commas) or a parquet file with the columns

* ``path``: the image file, relative to the table's folder, or absolute;
* ``pid``: the identity, a whole number;
* ``cam``: the camera, a whole number;
* ``modality``: ``visible`` or ``infrared``;
* ``split``: ``train`` or ``test``.

Further columns are not looked at, and the order of the rows does not matter. Everything in the
table is checked when it is loaded; a picture is decoded only when it is asked for.
"""

import os
from pathlib import Path
from typing import get_args

import pandas as pd

from dakd.config import fingerprint
from dakd.data.lists import some
from dakd.data.records import Dataset, FileSource, Filter, ImageSet, Modality, Record

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

    An image's number is its place by path among the images of the same identity, camera and
    modality, from 1. Rows are sorted by identity, camera, modality (visible first) and number. A
    camera may be used by both modalities.

    Args:
        table: the file; ``.parquet`` needs pyarrow or fastparquet, anything else is read as CSV.
        height, width: size of the pictures, in pixels.
        keep: remember every picture once read.
        filter: resampling filter that brings files to that size.

    Raises:
        FileNotFoundError: the table or images that it names are missing.
        ImportError: it is parquet and nothing that reads parquet is installed.
        ValueError: a column or a cell is not as it must be, an image is listed twice, an identity
            is in both splits, a split is empty, or the test split lacks a modality.
    """
    table = Path(table).expanduser()
    rows = read_table(table)
    check_splits(table, rows)
    _check_files(table, rows)
    rows = _numbered(rows)

    def split(name: str) -> ImageSet:
        part = rows[rows["split"] == name]
        columns = (part[c] for c in ("pid", "cam", "modality", "number", "file"))
        records = [Record(*row) for row in zip(*columns, strict=True)]
        source = FileSource(part["file"].tolist(), height=height, width=width, filter=filter)
        return ImageSet(records, source, keep=keep)

    content = fingerprint(rows[list(COLUMNS)].to_csv(index=False))
    train, test = map(split, CHOICES["split"])
    return Dataset(
        name="custom", train=train, test=test, root=table.parent, pictures=content, filter=filter
    )


def read_table(table: Path) -> pd.DataFrame:
    """Return a table's rows: path, pid, cam, modality, split, and file, each image's path.

    Raises:
        FileNotFoundError, ImportError, ValueError: see `load_custom`; nothing is said of the files.
    """
    rows = _read(table)
    _check_cells(table, rows)
    numbers = {c: rows[c].str.extract(WHOLE, expand=False).astype("int64") for c in ("pid", "cam")}
    return rows.assign(**numbers, file=[_locate(table.parent, name) for name in rows["path"]])


def _read(table: Path) -> pd.DataFrame:
    if not table.is_file():
        inside = sorted(table.glob("*.csv")) + sorted(table.glob("*.parquet"))
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise FileNotFoundError(
            f"no file {table}; root must be a CSV or parquet table with the columns "
            f"{', '.join(COLUMNS)}{hint}"
        )
    try:
        if table.suffix.lower() == ".parquet":
            rows = pd.read_parquet(table)
        else:
            rows = pd.read_csv(
                table, dtype=str, encoding="utf-8-sig", index_col=False, na_filter=False,
                skipinitialspace=True,
            )  # fmt: skip
    except ImportError as error:
        raise ImportError(
            f"{table} is parquet, which pandas reads with pyarrow or fastparquet, and neither is "
            "there; `pip install pyarrow`, or save the table as CSV"
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(
            f"cannot read the table {table}: {error}; save it as CSV in UTF-8, with commas, or as "
            "parquet"
        ) from error
    if missing := [column for column in COLUMNS if column not in rows]:
        raise ValueError(
            f"{table} lacks the columns {', '.join(missing)}; its header is "
            f"{', '.join(map(str, rows.columns))}. Rename its columns, separated by commas"
        )
    rows = rows[list(COLUMNS)].astype(object).map(str).reset_index(drop=True)
    return rows.assign(**{column: rows[column].str.strip() for column in CHOICES})


def _check_cells(table: Path, rows: pd.DataFrame) -> None:
    checks = {
        "path": (rows["path"].str.strip() != "", "the path of an image"),
        "pid": (rows["pid"].str.fullmatch(WHOLE), "a whole number from 0 up"),
        "cam": (rows["cam"].str.fullmatch(WHOLE), "a whole number from 0 up"),
        **{name: (rows[name].isin(words), " or ".join(words)) for name, words in CHOICES.items()},
    }
    for column, (fine, wanted) in checks.items():
        if not fine.all():
            row = int(fine.argmin())
            more = f" (and {(~fine).sum() - 1} more rows)" if (~fine).sum() > 1 else ""
            raise ValueError(
                f"{table}, row {row + 1} below the header, column {column!r}: "
                f"{rows[column][row]!r} is not {wanted}{more}; correct the table"
            )


def check_splits(table: Path, rows: pd.DataFrame) -> None:
    """Refuse splits that nobody could be trained and tested on.

    Raises:
        ValueError: a split is empty, the splits share identities, or the test split lacks a
            modality.
    """
    train, test = (rows[rows["split"] == split] for split in CHOICES["split"])
    for split, part in (("train", train), ("test", test)):
        if part.empty:
            raise ValueError(f"{table} has no image in the split {split!r}; add its rows")
    if shared := sorted(set(train["pid"]) & set(test["pid"])):
        raise ValueError(
            f"{table}: identities {some(shared)} are in both splits, but nobody may be trained on "
            "who is tested; give all images of an identity (column 'pid') the same 'split'"
        )
    for modality in CHOICES["modality"]:
        if modality not in set(test["modality"]):
            raise ValueError(
                f"{table} has no {modality} image in the split 'test', where one modality is "
                "searched by the other; add such rows, or correct the column 'modality'"
            )


def _locate(folder: Path, name: str) -> Path:
    """Return the file of a path in the table, whichever system wrote its slashes."""
    path = folder / name
    if "\\" in name and not path.is_file():  # elsewhere than on Windows a name may hold one
        path = folder / name.replace("\\", "/")
    return path


def _check_files(table: Path, rows: pd.DataFrame) -> None:
    files = rows["file"].map(os.path.abspath)
    if files.duplicated().any():
        second = int(files.duplicated().argmax())
        first = int((files == files[second]).argmax())
        raise ValueError(
            f"{table}, rows {first + 1} and {second + 1} below the header, column 'path': both are "
            f"{rows['path'][second]!r}; remove one"
        )
    if missing := [row for row, file in enumerate(rows["file"]) if not file.is_file()]:
        examples = some((f"{rows['path'][row]!r} of row {row + 1}" for row in missing), limit=3)
        raise FileNotFoundError(
            f"{table}: {len(missing)} of {len(rows)} images in the column 'path' do not exist, as "
            f"{examples} (rows counted below the header); a path starts from {table.parent} "
            "unless it is absolute"
        )


def _numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows, and number the files of each identity, camera and modality by path."""
    keys = ["pid", "cam", "modality"]
    rows = rows.assign(place=[file.as_posix() for file in rows["file"]])
    rows = rows.sort_values([*keys, "place"], ascending=[True, True, False, True])
    return rows.assign(number=rows.groupby(keys).cumcount() + 1)
