"""Signatures as they read in the source, where Sphinx prints values that are no Python."""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

PLAIN = {
    r"<factory>|<function .+?>>": "...",
    r"[~\w.]*Annotated\[(.+?), (?:~tyro[\w.]+\(.*?\)|Positional)\]": r"\1",
    re.escape(stringify_annotation(ArrayLike, "smart")): "~numpy.typing.ArrayLike",
}


def _readable(_: Sphinx, *about: Any) -> tuple[str, str] | None:
    signature, returned = about[-2:]
    if signature is None:
        return None
    for pattern, plain in PLAIN.items():
        signature = re.sub(pattern, plain, signature)
    return signature, returned


def setup(app: Sphinx) -> dict[str, bool]:
    """Change signatures on their way to the page."""
    app.connect("autodoc-process-signature", _readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
