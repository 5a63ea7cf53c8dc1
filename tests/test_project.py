"""The project keeps its own promises: layers, dependencies, links, commands and README snippets."""

import ast
import graphlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dakd.cli import parse
from dakd.studies.tables import benchmark_table, difference_table, gap_summary, trust_summary

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dakd"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
TEXTS = sorted(
    path for pattern in ("*.md", "docs/*.md", "notebooks/*.md", "figures/*.md")
    for path in ROOT.glob(pattern)
)  # fmt: skip
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXTRAS = [
    "matplotlib",
    "seaborn",
    "ipywidgets",
    "umap",
    "pytorch_grad_cam",
    "IPython",
    "jupyterlab",
    "nbconvert",
]
LAYERS = [  # from the ground up; a name imports names of lower layers only
    {"runtime"},
    {"config", "batchnorm", "memory", "protocols", "augment", "corruption"},
    {"model", "losses", "metrics"},
    {"distill", "data"},
    {"analysis", "evaluate"},
    {"train", "figures"},
    {"released", "widgets"},
    {"experiment"},
    {"studies"},
    {"exercises", "cli"},
]


def module_name(path: Path) -> str:
    """`dakd/data/sysu.py` is `dakd.data.sysu`; a package is called by its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(source: str, name: str, modules: set[str]) -> set[str]:
    """The modules of this package that `source` imports, at any depth of the syntax tree."""
    found = set()
    package = name if MODULES.get(name, Path()).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in modules else base)
    return {target for target in found if target.split(".")[0] == "dakd"} - {name}


def wing(module: str) -> str:
    """The first name of a module below `dakd`; empty for `dakd` itself."""
    first = (module.split(".") + [""])[1]
    return "cli" if first == "__main__" else first


def layer_of(module: str) -> int:
    """The layer of a module by its wing; `dakd` itself lies below all."""
    return next((level for level, names in enumerate(LAYERS) if wing(module) in names), -1)


IMPORTS = {name: imports_of(path.read_text(), name, set(MODULES)) for name, path in MODULES.items()}


def test_import_reader_sees_every_form():
    source = (
        "def f():\n from .data import sysu\nimport dakd.model, os\nfrom dakd import runtime as r"
    )
    modules = {"dakd.data.sysu", "dakd.runtime"}
    assert imports_of(source, "dakd.experiment", modules) == {
        "dakd.data.sysu", "dakd.model", "dakd.runtime"
    }  # fmt: skip


def test_every_module_has_a_layer():
    there = {wing(name) for name in MODULES} - {""}
    assert there == set().union(*LAYERS)
    assert len(there) <= 24
    assert len(LAYERS) <= 10


def test_contributing_shows_the_layers():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, flags=re.MULTILINE)
    shown = {int(level): set(re.findall(r"`(\w+)`", names)) for level, names in rows}
    assert len(rows) == len(shown)
    assert shown == dict(enumerate(LAYERS))


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downwards(name):
    others = {target for target in IMPORTS[name] if wing(target) != wing(name)}
    above = {target for target in others if layer_of(target) >= layer_of(name)}
    assert not above, f"{name} imports {above}, which is not below it"


def test_imports_have_no_cycle():
    order = list(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError on a cycle
    assert set(MODULES) <= set(order)


def test_core_imports_without_the_notebook_extras():
    drawn = {
        "figures",
        "widgets",
        "figures_of_results",
        "figures_of_networks",
        "write_figures",
    }
    core = [name for name in MODULES if not drawn & set(name.split("."))]
    code = (
        f"import sys, importlib\nsys.modules.update(dict.fromkeys({EXTRAS!r}))\n"  # None: not there
        f"for name in {core!r}: importlib.import_module(name)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_module_is_a_catch_all():
    assert not {"utils", "helpers", "misc", "common"} & {path.stem for path in MODULES.values()}


def test_environment_equals_pyproject():
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    expected = [*PYPROJECT["dependencies"]]
    for extra in PYPROJECT["optional-dependencies"].values():
        expected += extra
    assert sorted(pip) == sorted([*expected, "--editable ."])
    assert [entry for entry in packages if isinstance(entry, str)] == [
        f"python{PYPROJECT['requires-python']}",
        "pip",
    ]


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"]) == (PYPROJECT["name"], PYPROJECT["version"])
    assert citation["license"] == PYPROJECT["license"]
    assert citation["preferred-citation"]["doi"] == "10.1016/j.knosys.2025.114525"


def test_commands_of_the_texts_are_make_targets():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = set()
    for path in TEXTS:
        used |= set(re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), flags=re.MULTILINE))
    assert {"notebooks", "test"} <= used <= targets


def test_readme_command_lines_parse():
    lines = re.findall(r"^(?:\.venv/bin/)?dakd (.+)$", README, flags=re.MULTILINE)
    parsed = [type(parse(shlex.split(line, comments=True))).__name__ for line in lines]
    assert {"Train", "Evaluate"} <= set(parsed)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"(?:\]\(|src=\")([^)\s\"#]+)", path.read_text())
    relative = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in relative if not (path.parent / link).exists()]


def test_numbers_of_the_readme_are_those_of_the_committed_table():
    table = pd.read_csv(ROOT / "figures" / "ablation_demo.csv")
    assert benchmark_table(table) in README
    assert table["seed"].nunique() == 3


def test_numbers_of_the_evidence_are_those_of_the_committed_tables():
    text = (ROOT / "docs" / "evidence.md").read_text()
    figures = ROOT / "figures"
    table = pd.read_csv(figures / "ablation_demo.csv")
    for baseline in ("teacher", "continued", "identity_from_teacher"):
        assert difference_table(table, baseline) in text
    assert trust_summary(pd.read_csv(figures / "trust_demo.csv")) in text
    assert gap_summary(pd.read_csv(figures / "gap_demo.csv")) in text


@pytest.mark.parametrize("path", TEXTS + NOTEBOOKS, ids=lambda path: path.name)
def test_nothing_is_left_to_fill_in(path):
    assert not re.search("FILL|TODO|FIXME|XXX", path.read_text())


def test_readme_snippets_run(tmp_path):
    snippets = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert snippets
    small = {**os.environ, "DAKD_PROFILE": "smoke", "DAKD_RUNS": str(tmp_path)}
    code = "\n".join(snippets)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=small, check=False)
    assert ran.returncode == 0
