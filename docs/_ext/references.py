"""Links to the package's own objects, by every name and file under which a text meets them."""

import inspect
import os
import pkgutil
import re
from typing import Any, TypeVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

HISTORY = "CHANGELOG"  # may name what is gone
LINKS = nodes.reference | addnodes.pending_xref | addnodes.download_reference


class PackageLinks(SphinxTransform):
    """Makes a link of `dakd.x.y` in a text; a link to `dakd/x.py` leads to the module's page."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        """Change the document in place."""
        here = os.path.dirname(self.env.docname)
        texts = [] if self.env.docname == HISTORY else list(self.document.findall(nodes.literal))
        for name in texts:
            if re.fullmatch(r"dakd(\.\w+)+", name.astext()) and not isinstance(name.parent, LINKS):
                name.replace_self(_to(name.astext(), name.deepcopy()))
        for file in list(self.document.findall(lambda node: isinstance(node, LINKS))):
            path = os.path.normpath(os.path.join(here, file.get("reftarget", "")))
            if found := re.fullmatch(r"(dakd/\w[\w/]*?)(/__init__)?(\.py)?", path):
                file.replace_self(_to(found[1].replace("/", "."), *file.children))


def _to(target: str, *text: nodes.Node) -> nodes.Node:
    return addnodes.pending_xref("", *text, refdomain="py", reftype="obj", reftarget=target)


def _resolve(app: Sphinx, env: BuildEnvironment, node: Any, text: nodes.Element) -> Any:
    """Find an object by a name under which it was imported; a constant is on its module's page."""
    python = env.domains.python_domain
    for name in (node["reftarget"], f"{node.get('py:module')}.{node['reftarget']}"):
        try:
            thing = pkgutil.resolve_name(name)
        except (AttributeError, ImportError, ValueError):
            continue
        if isinstance(thing, TypeVar):
            return text
        target = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
        if target not in python.objects and node["reftype"] == "obj":
            target = name.rpartition(".")[0]
        if target in python.objects:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)
    return None


def _list_imports(_: Sphinx, what: str, name: str, thing: Any, __: Any, lines: list[str]) -> None:
    """List below the docstring of a package what it imports for its users."""
    exported = {key: getattr(thing, key) for key in getattr(thing, "__all__", ())}
    names = [
        key
        for key, value in exported.items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ != name
    ]
    if what == "module" and names:
        lines += ["", ".. autosummary::", "", *(f"   {key}" for key in names), ""]


def _skip_fields(_: Sphinx, __: str, ___: str, thing: Any, *____: Any) -> bool | None:
    """Leave the fields of a NamedTuple to the docstring of their class."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Add them to the build."""
    app.add_transform(PackageLinks)
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _list_imports)
    app.connect("autodoc-skip-member", _skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
