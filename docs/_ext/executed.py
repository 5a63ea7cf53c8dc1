"""Notebooks with the results of `make notebooks`, or without any if they have changed since."""

import re

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from sphinx.application import Sphinx
from stills import with_stills

NOT_RUN = "*This copy was not run: it shows the code without its results.*"


def shown(notebook: NotebookNode, executed: bool) -> NotebookNode:
    """Return what the page shows: stills for widgets, and the section as each figure's text."""
    notebook = with_stills(notebook)
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        alt = f"Figure of the section: {heading}"
        cell.metadata.setdefault("mystnb", {})["image"] = {"alt": alt}
    if not executed:
        notebook.cells.insert(1, new_markdown_cell(NOT_RUN))
    return notebook


def same_cells(one: NotebookNode, other: NotebookNode) -> bool:
    """Tell whether two notebooks have the same sources, whatever their outputs.

    >>> from nbformat.v4 import new_code_cell, new_notebook
    >>> old, new = (new_notebook(cells=[new_code_cell(text)]) for text in ("1", "2"))
    >>> same_cells(old, old), same_cells(old, new)
    (True, False)
    """
    return [cell.source for cell in one.cells] == [cell.source for cell in other.cells]


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    path = app.env.doc2path(docname)
    if path.suffix != ".ipynb":
        return
    copy = app.srcdir / app.config.executed_notebooks / path.name
    app.env.note_dependency(copy)
    notebook = nbformat.reads(source[0], as_version=4)
    executed = copy.exists() and same_cells(nbformat.read(copy, as_version=4), notebook)
    if executed:
        notebook = nbformat.read(copy, as_version=4)
    source[0] = nbformat.writes(shown(notebook, executed))


def setup(app: Sphinx) -> dict[str, bool]:
    """Read notebooks from the folder `executed_notebooks` where it holds them."""
    app.add_config_value("executed_notebooks", "", "env")
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
