"""Identity lists, lists of images with labels, and what messages say about them."""

import os
import sys

import pytest

from dakd.data.lists import disagreements, read_ids, read_index, some


@pytest.mark.parametrize(
    "text", ["6,10,17", " 6, 10 ,17,\r\n", "6\n10\n17\n\n", "\ufeff6 10\t17", "0006,0010,0017,6"]
)
def test_ids(tmp_path, text):
    (tmp_path / "id.txt").write_bytes(text.encode())
    assert read_ids(tmp_path / "id.txt") == {6, 10, 17}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"6,{10**18}", "is not an identity"),
        ("٣", "is not an identity"),
        ("6,x1", "'x1' is not an identity"),
        ("-6", "'-6' is no"),
        ("6.0", "'6.0'"),
        (" ,", "lists no"),
    ],
)
def test_wrong_ids(tmp_path, text, message):
    (tmp_path / "id.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"id\.txt.*{message}"):
        read_ids(tmp_path / "id.txt")


def index(root, text):
    (root / "idx.txt").write_bytes(text.encode())
    found = read_index(root / "idx.txt", root)
    return [(file.relative_to(root).parts, label) for file, label in found]


def test_index_takes_spaces_either_slash_and_any_line_end(tmp_path):
    text = (
        "\ufeffvis/0001/b.jpg 3\r\n"
        "\n"
        "./vis/0001/a.jpg\t0\r\n"
        "  vis\\0002\\fußgänger 12 v.jpg   7  \n"
        "vis/0002/\u2028.jpg 7"  # a line separator to Python, but no end of a line
    )
    assert index(tmp_path, text) == [
        (("vis", "0001", "b.jpg"), 3),
        (("vis", "0001", "a.jpg"), 0),
        (("vis", "0002", "fußgänger 12 v.jpg"), 7),
        (("vis", "0002", "\u2028.jpg"), 7),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg", "line 2: 'a.jpg' is not '<path"),
        ("12", "line 2: '12' is not"),
        ("a.jpg x", "line 2: 'a.jpg x' is not"),
        ("a.jpg -1", "line 2: 'a.jpg -1' is not"),
        (f"a.jpg {10**18}", "line 2: 'a.jpg 10*' is not"),
        (". 1", r"line 2: '\. 1' is not"),
        ("/etc/a.jpg 1", "line 2: '/etc/a.jpg 1' is not"),
        ("C:/a.jpg 1", "line 2: 'C:/a.jpg 1' is not"),
        ("vis/../../a.jpg 1", r"line 2: 'vis/\.\./\.\./a.jpg 1' is not"),
        (r".\vis\1.jpg 4", "line 2: .*listed twice; remove one"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        index(tmp_path, f"vis/1.jpg 0\n{line}\n")


def test_an_index_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="lists no image"):
        index(tmp_path, "\n \n")
    for read in (read_ids, lambda path: read_index(path, tmp_path)):
        with pytest.raises(FileNotFoundError, match=r"none\.txt; it is part of the dataset"):
            read(tmp_path / "none.txt")


def test_names_that_are_not_utf8_are_those_of_the_files(tmp_path):
    (tmp_path / "idx.txt").write_bytes(b"vis/1/n\xe9.jpg 4\n")
    ((file, label),) = read_index(tmp_path / "idx.txt", tmp_path)
    assert (file.name, label) == ("n\udce9.jpg", 4)
    if os.name == "posix" and sys.getfilesystemencoding() == "utf-8":
        assert os.fsencode(file.name) == b"n\xe9.jpg"


def test_disagreements_go_both_ways():
    assert disagreements([("4", 0), ("4", 0), ("7", 1)]) == []
    assert disagreements([("4", 0), ("7", 1), ("7", 0)]) == [
        "label 0 belongs to the folders 4, 7",
        "folder 7 has the labels 0, 1",
    ]


def test_some():
    assert some([]) == ""
    assert some(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert some("abc", limit=1) == "a and 2 more"
