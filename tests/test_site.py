"""The pages of the course: every link alive, every formula drawn, nothing from the network."""

import base64
import os
import shutil
from pathlib import Path

import ipywidgets
import nbformat
import pytest
from bs4 import BeautifulSoup
from ipywidgets.embed import dependency_state
from nbformat import v4

from dakd import widgets
from dakd.site import build_site
from dakd.site.pages import notebook_html
from dakd.site.stills import STATE, VIEW, with_stills
from dakd.site.text import formula, markdown_html

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Every page of the course by its place in the site; none of the notebooks has been run."""
    out = tmp_path_factory.mktemp("site")
    assert build_site(out / "nothing", out, ROOT) == out / "index.html"
    found = sorted(path for path in out.rglob("*.html"))
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in found}


@pytest.fixture
def small(tmp_path):
    """A repository with one notebook."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "README.md").write_text("# Map\n[first](00_first.ipynb)")
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# First"), v4.new_code_cell("6 * 7")])
    nbformat.write(notebook, tmp_path / "notebooks" / "00_first.ipynb")
    return tmp_path


def executed(*shown):
    """A notebook whose cells show these widgets, as a kernel's client saves it."""
    state, cells = {}, []
    for widget in shown:
        state |= dependency_state(widget, drop_defaults=False)
        output = v4.new_output("display_data", {VIEW: {"model_id": widget.model_id}})
        cells.append(v4.new_code_cell("widget", outputs=[output]))
    return v4.new_notebook(cells=cells, metadata={"widgets": {STATE: {"state": state}}})


def test_every_notebook_has_a_page(pages):
    names = {path.name for path in pages}
    assert names >= {f"{path.stem}.html" for path in (ROOT / "notebooks").glob("0*.ipynb")}
    assert {"index.html", "evidence.html", "config.py.html"} <= names


def test_every_link_leads_somewhere(pages):
    broken, links = [], 0
    for path, page in pages.items():
        for element in page.select("[href], [src]"):
            link, _, name = str(element.get("href") or element.get("src")).partition("#")
            if ":" in link:
                continue  # another site, or data
            links += 1
            target = Path(os.path.normpath(path.parent / link)) if link else path
            if not target.is_file() or (name and not pages[target].find(id=name)):
                broken.append((path.name, link, name))
    assert links > 100
    assert not broken


def test_pages_ask_nothing_of_the_network(pages):
    for page in pages.values():
        assert not page.select("script, iframe, [src^=http], link[href^=http], [style*='url(']")


def test_every_formula_of_the_course_is_mathml(pages):
    drawn = 0
    for page in pages.values():
        for verbatim in page.select("pre, code"):
            verbatim.extract()
        drawn += len(page.select("math"))
        assert "$" not in page.get_text()
        assert "\\" not in page.get_text()
    assert drawn > 40


@pytest.mark.parametrize(
    ("source", "display"),
    [("a $x^2$ b", "inline"), ("$$x^2$$", "block"), ("\\begin{align}x^2\\end{align}", "block")],
)
def test_formulas_of_every_form(source, display):
    (math,) = BeautifulSoup(markdown_html(source), "html.parser").select("math")
    assert math["display"] == display
    assert math.msup.get_text() == "x2"


def test_a_sign_between_two_numbers_keeps_its_distance():
    math = BeautifulSoup(formula(r"a \pm b"), "html.parser")
    assert [sign.get_text() for sign in math.select("mo")] == ["±"]


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", "x_{"])
def test_a_formula_that_cannot_be_drawn_is_an_error(latex):
    with pytest.raises(ValueError, match="formula"):
        formula(latex)


def test_a_widget_becomes_its_picture_and_a_list_of_its_controls():
    panel = widgets.ranking_playground(length=6, right=(2, 3))
    notebook = executed(panel)
    page = BeautifulSoup(notebook_html(notebook), "html.parser")
    data = page.img["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == bytes(panel.image.value)
    assert "need a running kernel: right image 1 2, right image 2 3." in page.get_text()
    assert VIEW in notebook.cells[0].outputs[0].data  # the notebook itself is as it was


def test_a_picture_not_yet_drawn_leaves_no_broken_image():
    assert with_stills(executed(ipywidgets.Image(value=b""))).cells[0].outputs == []


def test_a_finished_progress_bar_disappears():
    bar = ipywidgets.HBox([ipywidgets.HTML("100%")], layout={"visibility": "hidden"})
    assert with_stills(executed(bar)).cells[0].outputs == []


def test_a_widget_without_a_saved_state_is_named():
    notebook = executed(ipywidgets.HTML("kept"))
    assert "kept" in with_stills(notebook).cells[0].outputs[0].data["text/html"]
    del notebook.metadata["widgets"]
    assert "A widget stands here" in with_stills(notebook).cells[0].outputs[0].data["text/html"]


def test_shows_the_executed_copy_where_there_is_one(small, tmp_path):
    build_site(tmp_path / "executed", tmp_path / "site", small)
    page = tmp_path / "site" / "00_first.html"
    assert "was not run" in page.read_text(encoding="utf-8")
    notebook = nbformat.read(small / "notebooks" / "00_first.ipynb", as_version=4)
    notebook.cells[1].outputs = [v4.new_output("stream", text="forty-two")]
    (tmp_path / "executed").mkdir()
    nbformat.write(notebook, tmp_path / "executed" / "00_first.ipynb")
    build_site(tmp_path / "executed", tmp_path / "site", small)
    assert "was not run" not in page.read_text(encoding="utf-8")
    assert "forty-two" in page.read_text(encoding="utf-8")


def test_a_dead_link_stops_the_building(small, tmp_path):
    (small / "notebooks" / "README.md").write_text("[gone](../docs/gone.md)")
    with pytest.raises(FileNotFoundError, match=r"notebooks/README.md leads to \.\./docs/gone.md"):
        build_site(tmp_path, tmp_path / "site", small)


def test_another_folder_is_no_repository(small, tmp_path):
    shutil.rmtree(small / "notebooks")
    with pytest.raises(FileNotFoundError, match="run from the repository"):
        build_site(tmp_path, tmp_path / "site", small)
