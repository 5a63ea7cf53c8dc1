import functools
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from parity.__main__ import main
from parity.comparisons import FIRST_IN_FLOAT32, QUICK
from parity.kit import FILES, Kit, reduced, relative_error
from parity.losses import compare_student_loss
from parity.rows import as_line
from parity.steps import compare_student_steps, compare_teacher_steps

from dakd.augment import CutSwap

DOCS = Path(__file__).parents[1] / "docs" / "parity.md"
COMPARISONS = {  # `python -m tests.parity` takes all steps, and a student of one pass too
    **QUICK,
    "student": partial(compare_student_steps, passes=2, steps=2),
    "teacher": partial(compare_teacher_steps, steps=2),
    "student_float32": FIRST_IN_FLOAT32["student_2_passes"],
    "teacher_float32": FIRST_IN_FLOAT32["teacher"],
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Sum in the same order however many cores there are, and wait for no busy one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def rows_of(name):
    return list(COMPARISONS[name](Kit()))


@pytest.mark.parametrize("name", COMPARISONS)
def test_as_published(name):
    rows = rows_of(name)
    assert rows
    assert not [as_line(row) for row in rows if not row.agrees]


def test_table_in_the_docs_has_every_quantity():
    told = re.findall(r"^\| (.*?) \|", DOCS.read_text(), flags=re.MULTILINE)
    own = {row.what for name in COMPARISONS for row in rows_of(name)}
    assert {what for what in own if not what.endswith("steps 1 to 2")} <= {*told}


def test_one_wrong_number_is_found():
    kit = Kit()
    kit["student_loss_1"].arrays["full_mlkd/grad_infrared/digest"][31] *= 1 + 1e-6
    wrong = [row for row in compare_student_loss(kit) if not row.agrees]
    assert [row.what for row in wrong] == ["student's loss, full_mlkd: gradients"]
    assert wrong[0].worst["float64"] == "student_loss_1: full_mlkd/grad_infrared"
    assert "NO  worst:" in as_line(wrong[0])


def test_command_fails_where_something_does_not_agree_or_is_left(monkeypatch, capsys):
    kit = Kit()
    monkeypatch.setattr("parity.__main__.Kit", lambda folder: kit)
    monkeypatch.setattr("parity.__main__.all_rows", QUICK["cutswap"])
    assert main([]) == 1
    assert "teacher_steps: order" in capsys.readouterr().err
    for file in FILES:
        kit[file].unused.clear()
    assert main([]) == 0
    monkeypatch.setattr("parity.drawing.CutSwap", lambda variant: CutSwap(variant="paper"))
    assert main([]) == 1


def test_every_entry_of_a_long_row_counts():
    x = np.ones((2, 500))
    changed = x.copy()
    changed[1, 499] += 1e-3
    before, after = reduced(x), reduced(changed)
    assert (before["first"] == after["first"]).all()
    assert (before["digest"] != after["digest"]).tolist() == [False, True]


def test_relative_error_by_hand():
    published = np.array([2.0, -4.0])
    assert relative_error(published, np.array([2.5, -4.0])) == 0.125
    assert relative_error(published, np.array([2.0, np.nan])) == np.inf
    assert relative_error(published, np.array([2.0])) == np.inf
    assert relative_error(np.zeros(2), np.array([0.0, 1e-3])) == 1e-3
