"""Any dataset by a table: what is read, that the order of rows means nothing, and every fault."""

import os
import warnings

import pandas as pd
import pytest
import torch
from PIL import Image

from dakd.data import load_dataset
from dakd.data.custom import COLUMNS, load_custom

SIZE = {"height": 8, "width": 4}
# path, pid, cam, modality, split; the colour of each file is its place here, from 10
ROWS = [
    ("photos of A/z.png", 3, 1, "visible", "train"),
    ("photos of A/ünï, 2.png", 3, 1, "visible", "train"),
    ("a.png", 3, 1, "infrared", "train"),
    ("b.png", 12, 0, "infrared", "test"),
    ("c.png", 12, 2, "visible", "test"),
    ("d.png", 0, 7, "visible", "train"),
]
SORTED = [  # pid, cam, modality, number, colour
    [[0, 7, "visible", 1, 15],
     [3, 1, "visible", 1, 10],
     [3, 1, "visible", 2, 11],
     [3, 1, "infrared", 1, 12]],
    [[12, 0, "infrared", 1, 13],
     [12, 2, "visible", 1, 14]],
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """The files of `ROWS`, in a folder whose name has a space and an accent."""
    folder = tmp_path / "my données"
    for colour, row in enumerate(ROWS, start=10):
        path = folder / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (colour, 0, 0)).save(path)
    return folder


def write(folder, rows=ROWS, **options):
    """Write the table of some rows and return its path."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.to_csv(folder / "table.csv", index=False, **options)
    return folder / "table.csv"


def change(row, column, value):
    """`ROWS` with one cell changed; rows count from 1, as in the messages."""
    rows = [list(r) for r in ROWS]
    rows[row - 1][COLUMNS.index(column)] = value
    return rows


def content(data):
    """Records and colours of both splits, as `SORTED`."""
    return [
        [[r.pid, r.cam, r.modality, r.number, int(split.images([i])[0, 0, 0, 0])]
         for i, r in enumerate(split.records)]
        for split in (data.train, data.test)
    ]  # fmt: skip


def test_rows_are_sorted_and_numbered(folder):
    data = load_dataset("custom", write(folder), **SIZE)
    assert content(data) == SORTED
    assert (data.name, data.root) == ("custom", folder)


def test_the_filter_and_the_pipeline(tmp_path, folder):
    named = set()
    for name in ("lanczos", "bicubic", "bilinear"):
        data = load_dataset("custom", write(folder), **SIZE, filter=name)
        cached = load_dataset(
            "custom", write(folder), **SIZE, filter=name, cache=tmp_path / "cache", show=False
        )
        named |= {data.fingerprint, cached.fingerprint, cached.train.source.path}
        for split, fast in ((data.train, cached.train), (data.test, cached.test)):
            assert split.source.filter == name
            assert split.pipeline == fast.pipeline == "sysu"
            assert torch.equal(split.images(), fast.images())
    assert len(named) == 6
    default = load_dataset("custom", write(folder), **SIZE)
    assert default.train.source.filter == default.filter == "lanczos"


def test_neither_order_nor_other_columns_nor_the_system_matter(folder):
    before = load_custom(write(folder), **SIZE).fingerprint
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS)).sample(frac=1, random_state=3)
    frame.insert(0, "note", "read, but not used")
    frame[list(reversed(frame.columns))].to_csv(
        folder / "other.CSV", index=False, encoding="utf-8-sig", lineterminator="\r\n"
    )
    data = load_custom(str(folder / "other.CSV"), **SIZE)
    assert content(data) == SORTED
    assert data.fingerprint == before


def test_labels_of_files_of_one_size_change_the_fingerprint(folder):
    data = load_custom(write(folder), **SIZE)
    rows = [list(row) for row in ROWS]
    rows[0][0], rows[5][0] = rows[5][0], rows[0][0]  # two people exchanged, files of 73 bytes
    other = load_custom(write(folder, rows), **SIZE)
    assert data.train.table.drop(columns="path").equals(other.train.table.drop(columns="path"))
    assert data.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    "spelling",
    ["./{}", "{folder}/{}", "../my données/{}", "photos of A/.././{}", "{link}/{}", "{real}/{}"],
)
def test_how_paths_are_spelled_changes_nothing(folder, monkeypatch, spelling):
    before = load_custom(write(folder), **SIZE).fingerprint
    link = folder.parent / "link"
    link.symlink_to(folder, target_is_directory=True)
    places = {"folder": folder, "link": link, "real": folder.resolve()}
    rows = [list(row) for row in ROWS]
    for row in rows[1::2]:  # some only: neither may their order depend on it
        row[0] = spelling.format(row[0], **places)
    monkeypatch.chdir(folder.parent)
    write(folder, rows)
    for table in (folder / "table.csv", f"{folder.name}/table.csv", "link/table.csv"):
        data = load_custom(table, **SIZE)
        assert content(data) == SORTED
        assert data.fingerprint == before


def test_files_outside_of_the_folder_of_the_table(folder, monkeypatch):
    (folder / "tables").mkdir()
    (folder.parent / "link").symlink_to(folder / "tables", target_is_directory=True)
    tables = folder / "tables" / "table.csv", folder.parent / "link" / "table.csv"
    named = set()
    for spelling in ("..", "../tables/..", str(folder)):
        write(folder / "tables", [(f"{spelling}/{path}", *row) for path, *row in ROWS])
        for table in tables:
            data = load_custom(table, **SIZE)
            assert content(data) == SORTED
            named.add(data.fingerprint)
    assert len(named) == 1


def test_spaces_after_commas_and_numbers_of_spreadsheets(folder):
    table = write(folder, [(f'"{path}"', f"{pid}.0", f" {cam} ", f"{modality} ", split)
                           for path, pid, cam, modality, split in ROWS], quoting=3,
                  sep=",", escapechar="\\")  # fmt: skip
    table.write_text(table.read_text("utf-8").replace("\\", "").replace('",', '", '), "utf-8")
    assert content(load_custom(table, **SIZE)) == SORTED


def test_a_comma_at_the_end_of_each_row_moves_no_column(folder):
    table = write(folder)
    head, *rows = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([head, *(row + "," for row in rows)]), "utf-8")
    with warnings.catch_warnings(action="error"):
        data = load_custom(table, **SIZE)
    assert content(data) == SORTED
    table.write_text("\n".join([head, *rows[:3], "b, c.png,12,0,infrared,test"]), "utf-8")
    with pytest.raises(ValueError, match=r"row 4 .* has 6 cells, the header 5; put a path"):
        load_custom(table, **SIZE)


def test_absolute_paths_and_backslashes(folder):
    rows = change(1, "path", "photos of A\\z.png")
    rows[3][0] = str(folder / "b.png")
    assert content(load_custom(write(folder, rows), **SIZE)) == SORTED
    if os.name == "nt":
        return
    (folder / "photos of A\\z.png").write_bytes((folder / "d.png").read_bytes())
    data = load_custom(write(folder, rows), **SIZE)
    assert data.train.images([2])[0, 0, 0, 0] == 15  # a name that really holds a backslash


def as_parquet(monkeypatch, folder, frame):
    (folder / "table.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda path: frame)
    return folder / "table.parquet"


def test_parquet(folder, monkeypatch):
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS)).astype({"pid": float, "split": "category"})
    frame = frame.set_index(pd.Index(range(9, 3, -1)))
    assert content(load_custom(as_parquet(monkeypatch, folder, frame), **SIZE)) == SORTED
    frame.loc[7, "pid"] = None
    with pytest.raises(ValueError, match=r"row 3 .*column 'pid': the cell is empty"):
        load_custom(as_parquet(monkeypatch, folder, frame), **SIZE)


def test_parquet_from_disk(folder):
    pytest.importorskip("pyarrow")
    pd.DataFrame(ROWS, columns=list(COLUMNS)).to_parquet(folder / "table.parquet")
    assert content(load_custom(folder / "table.parquet", **SIZE)) == SORTED


def test_parquet_that_nothing_reads(folder, monkeypatch):
    def absent(path):
        raise ImportError("Unable to find a usable engine")

    table = as_parquet(monkeypatch, folder, None)
    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(ImportError, match=r"pyarrow or fastparquet.*pip install pyarrow.*as CSV"):
        load_custom(table, **SIZE)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (change(2, "pid", "x"), ValueError, "row 2 below the header, column 'pid': 'x' is not a"),
        (change(2, "pid", 2.5), ValueError, "row 2 .*'pid': '2.5' is not a whole number"),
        (change(2, "pid", -1), ValueError, "row 2 .*'-1' is not a whole number from 0 up"),
        (change(2, "pid", "1" * 19), ValueError, "row 2 .*is not a whole number"),
        (change(6, "cam", ""), ValueError, "row 6 .*'cam': the cell is empty, and must be a"),
        (change(4, "modality", "thermal"), ValueError, "row 4 .*'thermal' is not visible or infra"),
        (change(5, "split", "query"), ValueError, "row 5 .*'split': 'query' is not train or test"),
        (change(5, "path", " "), ValueError, "row 5 .*'path': the cell is empty"),
        ([(r[0], "x", *r[2:]) for r in ROWS], ValueError, r"row 1 .*\(and 5 more rows\); correct"),
        (change(5, "path", "./photos of A/../b.png"), ValueError, "rows 4 and 5 .*both are './ph"),
        (change(3, "path", "A.gif"), FileNotFoundError, r"1 of 6 .* 'A.gif' of row 3 \(rows"),
        ([("no/" + r[0], *r[1:]) for r in ROWS], FileNotFoundError,
            "6 of 6 .*'no/a.png' of row 3 and 3 more .*; a path starts from .*donn"),
        (change(4, "pid", 3), ValueError, "identities 3 are in both splits.*column 'pid'"),
        ([*ROWS[:4], ROWS[5]], ValueError, "no visible image in the split 'test'"),
        ([*ROWS[:3], *ROWS[4:]], ValueError, "no infrared image in the split 'test'"),
        ([], ValueError, "has a header and no row; add a row for each image"),
    ],
)  # fmt: skip
def test_faults_are_named(folder, rows, error, message):
    with pytest.raises(error, match=r"table\.csv.*" + message):
        load_custom(write(folder, rows), **SIZE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"path;pid;cam;modality;split\n",
            "lacks the columns path, pid, .* its header is path;pid",
        ),
        (b"path,id,cam,modality,split\n", "lacks the columns pid; its header is path, id, cam"),
        (b"path,pid,cam,pid,modality,split\n", "more than one column 'pid'; its header is path"),
        (b"", "is empty; its first line must be path,pid,cam,modality,split"),
        (b"\n \n", "is empty"),
        (b'path,pid,cam,modality,split\n"a,1', "cannot read the table .*line 2: unexpected end"),
        (b'path,pid,cam,modality,split\n"a"b,1', "line 2: .*; correct the quotes there, or save"),
        (
            "path,pid,cam,modality,split\na.png,3,1,visible,train\né.png".encode("latin-1"),
            r"row 2 .*'path': '.udce9.png' is not in UTF-8, nor .*save it in UTF-8",
        ),
        ("path,pid,caméra,modality,split\n".encode("latin-1"), r"columns cam; .*cam\\xe9ra"),
        ("path,pid,cam,modality,split\n".encode("utf-16"), "no text in UTF-8; save it as CSV in"),
        (b"PK\x03\x04\0\0", "no text in UTF-8"),
        (b"path,pid,cam,modality,split\na.png,1\n", "row 1 .*column 'cam': the cell is empty"),
        (b"path,pid,cam,modality,split\n,,,,\n", "row 1 .*column 'path': the cell is empty"),
    ],
)
def test_what_is_no_such_table(folder, text, message):
    (folder / "table.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        load_custom(folder / "table.csv", **SIZE)


@pytest.mark.parametrize("mixed", [["1", "2", 3.0], [1, None, "x"], [True, 2, 3]])
def test_mistyped_columns_of_parquet(folder, monkeypatch, mixed):
    frame = pd.DataFrame(ROWS[:3], columns=list(COLUMNS)).assign(pid=pd.Series(mixed, dtype=object))
    table = as_parquet(monkeypatch, folder, frame)
    if isinstance(mixed[-1], float):
        frame["cam"] = frame["cam"].astype("Int64")
        assert load_custom(table, **SIZE).train.pids.tolist() == [1, 2, 3]
        return
    wrong = (
        r"row 2 .*the cell is empty.*\(and 1 more rows\)" if mixed[1] is None else "row 1 .*'True'"
    )
    with pytest.raises(ValueError, match=wrong):
        load_custom(table, **SIZE)


def test_damaged_parquet_names_its_file(folder, monkeypatch):
    def damaged(path):
        raise KeyError("magic")

    table = as_parquet(monkeypatch, folder, None)
    monkeypatch.setattr(pd, "read_parquet", damaged)
    with pytest.raises(ValueError, match=r"cannot read the table .*table\.parquet: 'magic'; save"):
        load_custom(table, **SIZE)


@pytest.mark.parametrize(("rows", "train", "test"), [(ROWS[3:5], 0, 2), (ROWS[:3], 3, 0)])
def test_a_table_of_one_split(folder, rows, train, test):
    with warnings.catch_warnings(action="error"):
        data = load_dataset("custom", write(folder, rows), **SIZE)
        assert (len(data.train), len(data.test)) == (train, test)
        assert data.summary["images"].sum() == train + test
        assert len(data.fingerprint) == 10
        assert data.train.images().shape == (train, 3, 8, 4)
        assert data.test.images().shape == (test, 3, 8, 4)


def test_names_that_are_not_utf8(tmp_path):
    """As an archive of an old Windows gives them; the table names them byte by byte."""
    Image.new("RGB", (4, 8), (9, 0, 0)).save(tmp_path / "a.png")
    try:
        os.rename(os.fsencode(tmp_path / "a.png"), os.fsencode(tmp_path) + b"/\xe9.png")
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    table = tmp_path / "table.csv"
    table.write_bytes(b"path,pid,cam,modality,split\n\xe9.png,1,1,visible,train\n")
    data = load_custom(table, **SIZE)
    assert data.train.images()[0, 0, 0, 0] == 9
    assert len(data.fingerprint) == 10


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    table = write(folder, change(3, "path", f"~/{folder.name}/a.png"))
    assert content(load_custom(f"~/{folder.name}/{table.name}", **SIZE)) == SORTED
    with pytest.raises(FileNotFoundError, match="no file ~nobody-of-this-name/t"):
        load_custom("~nobody-of-this-name/t.csv", **SIZE)


def test_a_name_that_no_system_takes_is_missing(folder):
    with pytest.raises(FileNotFoundError, match="1 of 6 images .* do not exist"):
        load_custom(write(folder, change(3, "path", "x" * 5000)), **SIZE)


def test_a_folder_instead_of_its_table(folder):
    write(folder)
    with pytest.raises(FileNotFoundError, match=r"no file .*columns path.*mean .*table\.csv"):
        load_custom(folder, **SIZE)
