"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

import re
from typing import Any, NoReturn

from docutils.nodes import Element, SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

_SIGN = re.compile(r"<mi>(&#x000B1;|&#x029F5;|~|:)</mi>")  # ± and others, to the converter names


def mathml(latex: str, display: str = "inline") -> str:
    """Return the MathML of a formula, given without its dollars, ``"inline"`` or ``"block"``."""
    try:
        found = convert(latex, display=display)
    except Exception as error:  # the converter's errors share no other base
        raise SphinxError(f"formula {latex!r} is not LaTeX: {type(error).__name__}") from error
    if unknown := re.findall(r"\\\w+", found):
        raise SphinxError(
            f"formula {latex!r} uses {unknown}, which has no MathML; write it plainly"
        )
    return _SIGN.sub(r"<mo>\1</mo>", found)


def _inline(page: Any, node: Element) -> NoReturn:
    page.body.append(mathml(node.astext()))
    raise SkipNode


def _block(page: Any, node: Element) -> NoReturn:
    page.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; as the only one beside MathJax it is the one that Sphinx takes."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
