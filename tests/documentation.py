"""The documentation, built from a copy of the repository with one executed notebook."""

import os
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import nbformat
import pandas as pd
from ipywidgets.embed import dependency_state
from nbformat import v4
from stills import STATE, VIEW

from dakd import widgets
from dakd.figures.style import png

ROOT = Path(__file__).parents[1]
FOLDERS = ["benchmarks", "dakd", "docs", "figures", "notebooks"]
FILES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "pyproject.toml",
]
METADATA = {"language_info": {"name": "python"}}
HINT = "# Small\n\n<details><summary>Hint</summary>\n\n$x^2$\n\n</details>"


def executed(*shown, cells=()):
    """A notebook that shows these widgets after other cells, as the client of a kernel saves it."""
    cells, state = list(cells), {}
    for widget in shown:
        state |= dependency_state(widget, drop_defaults=False)
        output = v4.new_output("display_data", {VIEW: {"model_id": widget.model_id}})
        cells.append(v4.new_code_cell("widget", outputs=[output]))
    return v4.new_notebook(cells=cells, metadata=METADATA | {"widgets": {STATE: {"state": state}}})


def output(**data):
    """A code cell with this output."""
    data = {kind.replace("_", "/"): value for kind, value in data.items()}
    return v4.new_code_cell("shown", outputs=[v4.new_output("display_data", data)])


def build_docs(room: Path) -> Path:
    """Return the folder of the pages; notebook 00 shows a hint, a figure, a table and a widget."""
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, room / name, ignore=shutil.ignore_patterns("__pycache__", "api")
        )
    for name in FILES:
        shutil.copy(ROOT / name, room)
    figure = output(image_png=b64encode(png(widgets.render_ranking([1, 3]))).decode())
    table = output(text_html=pd.DataFrame({"rank": range(3)}).to_html())
    cells = [v4.new_markdown_cell(HINT), figure, table]
    run = room / "runs" / "smoke" / "notebooks"
    run.mkdir(parents=True)
    small = executed(widgets.ranking_playground(length=6, right=(2, 3)), cells=cells)
    nbformat.write(small, run / "00_data_inspection.ipynb")
    nbformat.write(small, run / "01_how_we_measure.ipynb")  # of other cells than the committed one
    for cell in small.cells[1:]:
        cell.outputs = []
    nbformat.write(small, room / "notebooks" / "00_data_inspection.ipynb")
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs"]
    smoke = {**os.environ, "DAKD_PROFILE": "smoke"}
    built = subprocess.run(
        [*sphinx, ".", "pages"], cwd=room, env=smoke, text=True, stderr=subprocess.PIPE, check=False
    )
    assert built.returncode == 0, built.stderr
    return room / "pages"
