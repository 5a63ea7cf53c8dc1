"""The documentation: a page for every module, no dead link, nothing from the network."""

import base64
import os
import pkgutil
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import ipywidgets
import pytest
import yaml
from bs4 import BeautifulSoup
from documentation import ROOT, executed
from executed import NOT_RUN
from mathml import mathml
from sphinx.errors import SphinxError
from stills import STATE, VIEW, with_stills
from test_project import LAYERS

import dakd
from dakd import widgets

MODULES = [
    module.name
    for module in pkgutil.walk_packages(dakd.__path__, "dakd.")
    if not module.name.endswith("__main__")
]
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def texts(pages):
    """The HTML of every page by its path; templates of the theme are none."""
    paths = [path for path in pages.rglob("*.html") if "_static" not in path.parts]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_every_module_has_a_page(texts):
    described = {
        name for text in texts.values() for name in re.findall(r'id="module-([^"]+)"', text)
    }
    assert described == set(MODULES)


def test_objects_lead_to_their_source(pages):
    page = soup(pages / "docs/api/dakd.distill.html")
    assert page.select('a[href="../../_modules/dakd/distill.html#DAKDLoss"]')


def test_every_link_leads_somewhere(texts):
    names = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    broken, links = [], 0
    for path, text in texts.items():
        for found in re.findall(r'\b(?:href|src)="([^"]*)"', text):
            link, _, name = found.partition("#")
            if ":" in link:
                continue  # another site, or data
            links += 1
            target = (
                Path(os.path.normpath(path.parent / unquote(link.partition("?")[0])))
                if link
                else path
            )
            if not target.is_file() or (name and name not in names.get(target, {name})):
                broken.append((str(path), found))
    assert links > 10_000
    assert not broken


def test_pages_ask_nothing_of_the_network(texts):
    loads = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//')
    for path, text in texts.items():
        assert not loads.search(text), path
        assert not re.search(r"mathjax\S*\.js", text, re.I), path


def test_every_formula_is_mathml(pages):
    drawn = 0
    for path in [
        *pages.glob("notebooks/*.html"),
        *pages.glob("*.html"),
        *pages.glob("docs/*.html"),
    ]:
        article = soup(path).article
        if article is None:
            continue
        for verbatim in article.select("pre, code"):
            verbatim.extract()
        drawn += len(article.select("math"))
        assert not re.search(r"[$\\]", article.get_text()), path
    assert drawn > 40


@pytest.mark.parametrize("display", ["inline", "block"])
def test_formulas_of_both_forms(display):
    math = BeautifulSoup(mathml("x^2", display), "html.parser").math
    assert math["display"] == display
    assert math.msup.get_text() == "x2"


def test_a_sign_between_two_numbers_keeps_its_distance():
    math = BeautifulSoup(mathml(r"a \pm b"), "html.parser")
    assert [sign.get_text() for sign in math.select("mo")] == ["±"]


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", "x_{"])
def test_a_formula_that_cannot_be_drawn_is_an_error(latex):
    with pytest.raises(SphinxError, match="formula"):
        mathml(latex)


def test_names_and_files_of_the_package_lead_to_its_pages(pages):
    method, readme = soup(pages / "docs/method.html"), soup(pages / "README.html")
    assert method.select('a[href^="api/dakd.distill.html#dakd.distill.DAKDLoss"]')
    assert readme.select('a[href^="docs/api/dakd.config"]')
    package = soup(pages / "docs/api/dakd.train.html")
    assert package.select('a[href^="dakd.train.teacher.html#dakd.train.teacher.train_teacher"]')


def test_shows_the_executed_copy_where_there_is_one(pages):
    run, not_run = (
        soup(pages / "notebooks/00_data_inspection.html"),
        soup(pages / "notebooks/02_cutswap.html"),
    )
    assert NOT_RUN.strip("*") not in run.get_text()
    assert NOT_RUN.strip("*") in not_run.get_text()
    changed_since = soup(pages / "notebooks/01_how_we_measure.html").get_text()
    assert NOT_RUN.strip("*") in changed_since
    assert "camera rule" in changed_since
    assert len(run.select(".cell_output img")) == 2  # the figure, and the widget's still
    assert run.select_one(".cell_output img")["alt"] == "Figure of the section: Small"
    assert len(run.select(".cell_output td")) == 3


def test_a_widget_becomes_its_picture_and_a_list_of_its_controls():
    panel = widgets.ranking_playground(length=6, right=(2, 3))
    notebook = executed(panel)
    page = BeautifulSoup(with_stills(notebook).cells[0].outputs[0].data["text/html"], "html.parser")
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
    del notebook.metadata["widgets"][STATE]
    assert "A widget stands here" in with_stills(notebook).cells[0].outputs[0].data["text/html"]


def test_architecture_shows_the_layers():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {int(n): set(names.split()) for n, names in re.findall(r"^(\d)   (.+)$", text, re.M)}
    assert drawn == dict(enumerate(LAYERS))


def test_make_docs_fails_on_warnings():
    (command,) = re.findall(r"\$\(RUN\) sphinx (.+)", MAKEFILE)
    assert shlex.split(command)[0] == "-W"


def test_pre_commit_runs_what_make_lint_runs():
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", MAKEFILE, re.M)[1]
    lint = [line.strip().removesuffix(" $(COURSE)") for line in recipe.splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].replace(".venv/bin/python -m", "$(RUN)") for hook in repository["hooks"]]
    assert hooks == lint
