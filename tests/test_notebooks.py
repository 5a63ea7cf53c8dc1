"""Structure of the notebooks; `pytest --nbmake` executes them."""

import ast
import re
import statistics
from pathlib import Path
from unittest.mock import MagicMock

import nbformat
import pytest

from dakd import exercises

FOLDER = Path(__file__).parents[1] / "notebooks"
COURSE = [
    "00_data_inspection",
    "01_how_we_measure",
    "02_cutswap",
    "03_training",
    "04_confidence_masks",
    "05_modality_gap",
    "06_benchmark",
]
CELLS = {
    name: nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    for name in COURSE
    if (FOLDER / f"{name}.ipynb").exists()
}
each_notebook = pytest.mark.parametrize("name", COURSE)


def code_of(name):
    return [cell for cell in CELLS[name] if cell.cell_type == "code"]


def text_of(name):
    return [cell.source for cell in CELLS[name] if cell.cell_type == "markdown"]


def lines_of(cell):
    """Return lines of code without empty lines, comments and imports."""
    lines = (line.strip() for line in cell.source.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "import ", "from "))]


def check_of(cell):
    """The call of an exercise that a cell shows, or None."""
    last = ast.parse(cell.source).body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("exercises."):
        return call
    return None


def exercises_of(name):
    """The cell of answers, the cell that checks them, and its call, for every exercise."""
    cells = code_of(name)
    return [(cells[i - 1], cell, call) for i, cell in enumerate(cells) if (call := check_of(cell))]


def nothing_given(cell):
    """Names that a cell sets to None."""
    found = set()
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Assign):
            values = getattr(node.value, "elts", [node.value])
            if all(isinstance(v, ast.Constant) and v.value is None for v in values):
                target = node.targets[0]
                found |= {name.id for name in getattr(target, "elts", [target])}
    return found


class AnythingElse(dict):
    """The names of a notebook, whose data must not be used."""

    def __missing__(self, name):
        return MagicMock(name=name)


def test_the_course_is_complete():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == COURSE


@each_notebook
def test_is_a_valid_python_notebook(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


@each_notebook
def test_is_committed_without_outputs(name):
    assert not [cell for cell in code_of(name) if cell.outputs or cell.execution_count]


@each_notebook
def test_begins_with_parameters_then_settings(name):
    parameters, settings = code_of(name)[:2]
    assert parameters.metadata.get("tags") == ["parameters"]
    assert ast.unparse(ast.parse(parameters.source)) == "profile = None"
    assert "load_profile(profile)" in settings.source


@each_notebook
def test_calls_the_library_and_defines_nothing(name):
    for cell in code_of(name):
        nodes = list(ast.walk(ast.parse(cell.source)))  # magics and shell lines do not parse
        assert not [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)]


@each_notebook
def test_says_something_before_every_cell_of_code(name):
    kinds = [cell.cell_type for cell in CELLS[name]]
    assert kinds[0] == "markdown"
    assert ("code", "code") not in list(zip(kinds, kinds[1:], strict=False))


@each_notebook
def test_cells_are_small(name):
    sizes = [len(lines_of(cell)) for cell in code_of(name)]
    assert max(sizes) <= 10
    assert statistics.median(sizes) < 8


@each_notebook
def test_checks_its_own_results_at_the_end(name):
    nodes = list(ast.walk(ast.parse(code_of(name)[-1].source)))
    assert 1 <= len([node for node in nodes if isinstance(node, ast.Assert)]) <= 3


@each_notebook
def test_opens_with_question_needs_and_minutes(name):
    opening = text_of(name)[0]
    assert re.match(r"# .+\n", opening)
    assert all(word in opening for word in ("**Question", "**You need", "**Time"))
    assert "minute" in opening


@each_notebook
def test_closes_with_exercises_lessons_and_the_next(name):
    rest = "\n".join(text_of(name)[1:])
    assert rest.count("<details>") >= 1
    assert rest.count("<details>") == rest.count("</details>")
    assert "Exercise" in rest
    assert "learned" in rest
    following = COURSE[COURSE.index(name) + 1 :]
    assert not following or f"({following[0]}.ipynb)" in text_of(name)[-1]


@each_notebook
def test_asks_for_a_prediction_before_it_runs(name):
    cells = CELLS[name]
    asking = [
        i for i, cell in enumerate(cells)
        if cell.cell_type == "markdown" and "**Predict" in cell.source
    ]  # fmt: skip
    assert len(asking) >= 2
    assert all(cells[i + 1].cell_type == "code" for i in asking)


@each_notebook
def test_has_two_or_three_exercises_with_hint_and_check(name):
    checks = [call.func.attr for _, _, call in exercises_of(name)]
    assert len(set(checks)) == len(checks) in (2, 3)
    assert set(checks) <= set(exercises.__all__)
    rest = "\n".join(text_of(name))
    numbers = [int(n) for n in re.findall(r"\*\*Exercise (\d)\.\*\*", rest)]
    assert numbers == [*range(1, len(checks) + 1)]
    assert rest.count("<details>") >= len(checks)


@each_notebook
def test_checks_look_at_the_answers_of_the_cell_above(name):
    for answers, _, call in exercises_of(name):
        assert {argument.id for argument in call.args} <= nothing_given(answers)
        assert call.args, "answers are positional, the notebook's data are keywords"


@each_notebook
def test_an_exercise_without_an_answer_says_so_and_computes_nothing(name):
    """The data's keywords are those of the check, else it is a TypeError."""
    for answers, check, call in exercises_of(name):
        names = AnythingElse(exercises=exercises)
        exec(answers.source, {}, names)
        *before, _ = ast.parse(check.source).body
        exec(ast.unparse(ast.Module(before, [])), {}, names)
        assert eval(ast.unparse(call), {}, names) is exercises.NO_ANSWER


@each_notebook
def test_relative_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)\s#]+)", "\n".join(text_of(name)))
    assert not [link for link in links if "://" not in link and not (FOLDER / link).exists()]
