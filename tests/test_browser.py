"""The course as a reader meets it: in JupyterLab and as pages, in a real (headless) Chromium.

Skipped where there is no Chromium; with DAKD_BROWSER=required its absence is a failure.
"""

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / "runs" / "browser"
PROGRAMS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next(filter(None, PROGRAMS), None)
SECONDS = 120  # how long a condition may take on a busy machine
NEAR = ("http://127.0.0.1", "file:", "data:", "blob:")

WIDGET = r"^widgets\.(?!render_)\w+\("  # a cell that shows controls
NOTEBOOK = "jupyterapp.shell.currentWidget.content"
KERNEL = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
CELLS = f"""[...{NOTEBOOK}.model.cells].map((cell, number) => ({{cell, number}}))
    .filter(({{cell}}) => cell.type == "code").map(({{cell, number}}) => ({{
        number, ran: cell.executionCount !== null, source: cell.sharedModel.source,
        errors: cell.outputs.toJSON().filter(output => output.output_type == "error"),
    }}))"""
# An error in a control's own answer reaches the log of JupyterLab and no cell.
LISTEN = f"""window.raised = [];
{KERNEL}.iopubMessage.connect((_, {{ header, content }}) => {{
    if (header.msg_type == "error") window.raised.push(content);
}})"""
# What is seen, as one number; its address tells nothing. Null while the picture is being loaded.
PIXELS = """picture => {
    if (!picture.complete || !picture.naturalWidth) return null;
    const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0);
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    return String(data.reduce((sum, value) => (31 * sum + value) | 0, 0));
}"""


@pytest.fixture(scope="module")
def chromium():
    missing = [] if CHROMIUM else ["Chromium (apt-get install chromium)"]
    if importlib.util.find_spec("playwright") is None:
        missing.append("Playwright (pip install playwright)")
    if missing:
        stop = pytest.fail if os.environ.get("DAKD_BROWSER") == "required" else pytest.skip
        stop(f"the browser tests need {' and '.join(missing)}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page that reaches nothing but this machine. Any error of its console fails the test."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(SECONDS * 1000)
    errors, left = [], []
    context.route(lambda url: not url.startswith(NEAR), lambda route: route.abort())
    context.on("request", lambda r: None if r.url.startswith(NEAR) else left.append(r.url))
    page = context.new_page()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not left, "the page asked for something on another machine"
    assert not errors, "the page's console shows errors"


@pytest.fixture(scope="module")
def jupyter(chromium, tmp_path_factory):
    """The address of notebooks in a JupyterLab of its own; all that it writes is thrown away."""
    room = tmp_path_factory.mktemp("jupyter")
    for name in ("notebooks", "figures"):
        shutil.copytree(ROOT / name, room / name)
    homes = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
    homes += ["JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "DAKD_RUNS"]
    quiet = room / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    asks_nothing = '{"fetchNews": "false", "checkForUpdates": false}'  # and covers no control
    (quiet / "notification.jupyterlab-settings").write_text(asks_nothing)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    options = [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    options += ["--no-browser", "--ip=127.0.0.1", "--allow-root", f"--ServerApp.root_dir={room}"]
    options += ["--expose-app-in-browser", "--LabApp.extension_manager=readonly"]
    with (room / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", *options],
            env={
                **os.environ,
                "DAKD_PROFILE": "smoke",
                **{name: str(room / name) for name in homes},
            },
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is for us; we end it
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/api/status?token={token}", room / "log")
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/{{}}.ipynb?reset&token={token}"
    finally:
        stop(server)


def wait_for(server, url, log):
    """Return when the server answers."""
    end = time.monotonic() + SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            return urlopen(url, timeout=SECONDS).close()
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def stop(server):
    """End a server and its kernels: politely, then surely."""
    if server.poll() is not None:
        return
    kernels = psutil.Process(server.pid).children(recursive=True)
    server.terminate()
    _, alive = psutil.wait_procs([*kernels, psutil.Process(server.pid)], timeout=20)
    for process in alive:
        process.kill()
    server.wait()


def run_all(page, address):
    """Open a notebook, run its cells by the menu, and return its code cells when it is over."""
    page.goto(address)
    page.wait_for_function(f"window.jupyterapp && {KERNEL}?.status == 'idle'")
    page.evaluate(LISTEN)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    over = "cells => cells.every(cell => cell.ran) || cells.some(cell => cell.errors.length)"
    page.wait_for_function(f"({over})({CELLS})")
    return page.evaluate(CELLS)


def errors(page):
    """What went wrong in any cell, or in the kernel when a control was moved."""
    page.wait_for_function(f"{KERNEL}.status == 'idle'")
    shown = [error for cell in page.evaluate(CELLS) for error in cell["errors"]]
    return shown + page.evaluate("window.raised")


def show(page, number):
    """Scroll to a cell, since JupyterLab keeps only those in sight on the page, and return it."""
    page.evaluate(f"{NOTEBOOK}.scrollToItem({number}, 'center')")
    return page.locator(f".jp-Cell[data-windowed-list-index='{number}']")


@pytest.mark.parametrize("name", ["02_cutswap", "04_confidence_masks"])
def test_a_slider_changes_the_picture_in_jupyterlab(page, jupyter, name):
    cells = run_all(page, jupyter.format(name))
    assert not errors(page)
    controlled = [cell["number"] for cell in cells if re.search(WIDGET, cell["source"], re.M)]
    assert controlled
    for number in controlled:
        cell = show(page, number)
        picture = cell.locator("img.widget-image").element_handle()
        before = page.wait_for_function(PIXELS, arg=picture).json_value()
        cell.locator(".noUi-handle").first.press("ArrowLeft")
        changed = f"([picture, before]) => ![null, before].includes(({PIXELS})(picture))"
        page.wait_for_function(changed, arg=[picture, before])
        page.screenshot(path=SCREENSHOTS / f"{name}_{number}.png")
    assert not errors(page)


@pytest.mark.parametrize("width", [360, 1200])
def test_documentation_opens_from_the_disk_without_a_network(page, pages, width):
    page.set_viewport_size({"width": width, "height": 900})
    paths = [pages / "README.html", pages / "genindex.html", *pages.glob("docs/*.html")]
    paths += [*pages.glob("notebooks/*.html"), *pages.glob("docs/api/dakd.[ces]*.html")]
    formulas = 0
    for path in paths:
        page.goto(path.as_uri())
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        sizes = page.evaluate(
            "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().width)"
        )
        formulas += sum(size > 0 for size in sizes)
    assert len(paths) > 40
    assert formulas > 40


def test_documentation_shows_results_hints_and_the_way_on(page, pages):
    page.goto((pages / "index.html").as_uri())
    page.wait_for_url("**/docs/index.html")
    page.get_by_role("link", name="Small").first.click()
    assert page.locator(".cell_output img").count() == 2  # the figure, and the widget's still
    assert page.locator(".cell_output td").count() == 3
    assert page.get_by_text("Controls need a running kernel").is_visible()
    assert not page.locator("details math").is_visible()
    page.get_by_text("Hint").click()
    assert page.locator("details math").is_visible()
    page.screenshot(path=SCREENSHOTS / "page.png", full_page=True)
    page.locator("a.right-next").click()
    page.wait_for_url("**/01_how_we_measure.html")


def test_documentation_is_searched_from_the_disk(page, pages):
    page.goto(f"{(pages / 'search.html').as_uri()}?q=DAKDLoss")
    found = page.locator("#search-results a", has_text="dakd.distill")
    found.first.wait_for()
    found.first.click()
    page.wait_for_url("**/docs/api/dakd.distill.html**")
