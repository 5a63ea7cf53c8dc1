"""Settings of `make docs`. The source folder is the repository, so that links work as on GitHub."""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

project = "dakd"
html_show_copyright = False
release = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["version"]

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/**"]
exclude_patterns = ["**/.*", "docs/_*", "runs"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "executed",  # notebooks as they were run, widgets as pictures
    "mathml",  # formulas without a script
    "references",  # names in backticks, and links to files of the package
    "signatures",  # without <factory> and the settings of tyro
]

# API reference. Only names of this package must be found: there is no network to ask for others.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!dakd\.).*")]
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "set"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Attributes", "params_style")]
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 80
templates_path = [str(DOCS / "_templates")]  # autosummary would look below the repository

# Texts and notebooks.
myst_enable_extensions = ["amsmath", "dollarmath", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "off"
executed_notebooks = f"runs/{os.environ.get('DAKD_PROFILE', 'demo')}/notebooks"
nb_ipywidgets_js = {}

# Pages that also open from the disk, where scripts may not fetch anything.
html_theme = "sphinx_book_theme"
html_title = "dakd"
html_static_path = ["_static"]
html_css_files = ["dakd.css"]
html_additional_pages = {"index": "start.html"}
html_context = {"default_mode": "light"}
html_show_search_summary = False
html_copy_source = False
html_sidebars = {"_modules/**": ["navbar-logo.html", "search-button-field.html"]}
html_theme_options = {
    "collapse_navigation": True,
    "max_navbar_depth": 3,
    "show_toc_level": 2,
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
}
