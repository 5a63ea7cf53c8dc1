"""From an executed course to a folder of pages that lead to each other."""

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from dakd.runtime import atomic_path
from dakd.site.stills import with_stills
from dakd.site.text import CODE, listing_html, markdown_html

HERE = Path(__file__).parent
INDEX = "notebooks/README.md"
PICTURES = (".png", ".svg", ".jpg", ".gif")
NOT_RUN = '<p class="note">This copy was not run: it shows the code without its results.</p>'


def address(path: str) -> str:
    """Return where the page of a repository's file lies in the site.

    >>> [address(path) for path in (INDEX, "notebooks/02_cutswap.ipynb", "docs/method.md")]
    ['index.html', '02_cutswap.html', 'docs/method.html']
    >>> [address(path) for path in ("dakd/config/settings.py", "figures/cutswap.png")]
    ['dakd/config/settings.py.html', 'figures/cutswap.png']
    """
    if path == INDEX:
        return "index.html"
    stem, suffix = os.path.splitext(path.removeprefix("notebooks/"))
    if suffix in PICTURES:
        return stem + suffix
    return f"{stem}.html" if suffix in (".ipynb", ".md") else f"{stem}{suffix}.html"


def build_site(executed: Path, out: Path, root: Path = Path()) -> Path:
    """Write the course, and every file of the repository it leads to, as HTML.

    Args:
        executed: folder of executed notebooks; one that it lacks is shown without results.
        out: folder of the site.
        root: the repository.

    Returns:
        The page to open.

    Raises:
        FileNotFoundError: there is no course below `root`, or a link leads nowhere.
        ValueError: a formula cannot be shown.
    """
    site = _Site(executed, out, root, sorted(p.name for p in root.glob("notebooks/0*.ipynb")))
    if not site.course:
        raise FileNotFoundError(f"{root / 'notebooks'} holds no course; run from the repository")
    waiting = [INDEX, *(f"notebooks/{name}" for name in site.course)]
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path not in done:
            done.add(path)
            waiting += site.write(path)
    with atomic_path(out / "style.css") as file:
        style = (HERE / "style.css").read_text(encoding="utf-8")
        file.write_text(f"{CODE.get_style_defs('.highlight')}\n{style}", encoding="utf-8")
    return out / address(INDEX)


@dataclass(frozen=True)
class _Site:
    """Where everything lies. A path is a file's place in the repository, with forward slashes."""

    executed: Path
    out: Path
    root: Path
    course: list[str]

    def write(self, path: str) -> list[str]:
        """Write the page of one file and return the files that it leads to."""
        target = self.out / address(path)
        if path.endswith(PICTURES):
            with atomic_path(target) as file:
                shutil.copyfile(self.root / path, file)
            return []
        body = BeautifulSoup(self.body(path), "html.parser")
        name_headings(body)
        found = self.relink(body, path)
        title = body.h1.get_text() if body.h1 else path
        page = Template((HERE / "page.html").read_text(encoding="utf-8")).substitute(
            title=escape(title),
            up=os.path.relpath(".", os.path.dirname(address(path)) or "."),
            steps=self.steps(path),
            body=body,
        )
        with atomic_path(target) as file:
            file.write_text(page, encoding="utf-8")
        return found

    def body(self, path: str) -> str:
        """Return the content of one page."""
        if path.endswith(".ipynb"):
            copy = self.executed / Path(path).name
            source = copy if copy.exists() else self.root / path
            html = notebook_html(nbformat.read(source, as_version=4))
            return html if copy.exists() else NOT_RUN + html
        text = (self.root / path).read_text(encoding="utf-8")
        return markdown_html(text) if path.endswith(".md") else listing_html(path, text)

    def relink(self, body: BeautifulSoup, path: str) -> list[str]:
        """Point the links and pictures of a page into the site; return the files they mean."""
        found = []
        for element in body.select("a[href], img[src]"):
            key = "href" if element.name == "a" else "src"
            url = urlsplit(str(element[key]))
            if url.scheme or url.netloc or not url.path:
                continue  # somewhere else, or on this page
            file = os.path.normpath(os.path.join(os.path.dirname(path), unquote(url.path)))
            if not (self.root / file).is_file():
                raise FileNotFoundError(f"{path} leads to {element[key]}, which is no file")
            found.append(file)
            link = os.path.relpath(address(file), os.path.dirname(address(path)) or ".")
            element[key] = url._replace(path=link).geturl()
        return found

    def steps(self, path: str) -> str:
        """Return the links to the notebooks before and after this one."""
        name = Path(path).name
        if name not in self.course:
            return ""
        at = self.course.index(name)
        before, after = self.course[:at][-1:], self.course[at + 1 :][:1]
        steps = [(before, "prev", "← {}"), (after, "next", "{} →")]
        return "".join(
            f'<a rel="{rel}" href="{address(other)}">{text.format(spoken(other))}</a>'
            for others, rel, text in steps
            for other in others
        )


def spoken(name: str) -> str:
    """Return the file name of a notebook as words.

    >>> spoken("01_how_we_measure.ipynb")
    '01 how we measure'
    """
    return name.removesuffix(".ipynb").replace("_", " ")


def notebook_html(notebook: NotebookNode) -> str:
    """Return the cells of a notebook and their outputs as HTML."""
    notebook = with_stills(notebook)
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        cell.metadata["alt"] = f"Figure of the section: {heading}"
    exporter = HTMLExporter(
        template_name="basic",
        filters={"markdown2html": markdown_html},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def name_headings(body: BeautifulSoup) -> None:
    """Give every heading of `body`, in place, the name by which repositories link to it.

    >>> body = BeautifulSoup("<h2>Paper, and release</h2>", "html.parser")
    >>> name_headings(body); body
    <h2 id="paper-and-release">Paper, and release</h2>
    """
    seen: Counter[str] = Counter()
    for heading in body.select("h1, h2, h3, h4"):
        name = re.sub(r"[^\w\- ]", "", heading.get_text().strip().lower()).replace(" ", "-")
        heading["id"] = f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1
