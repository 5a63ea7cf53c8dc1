"""Markdown to HTML as the notebooks show it, with formulas that need no script."""

import re

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

_SIGN = re.compile(r"<mi>(&#x000B1;|&#x029F5;|~|:)</mi>")  # ± and others, to the converter names
CODE = HtmlFormatter(style="friendly", cssclass="highlight")


def formula(latex: str, display: str = "inline") -> str:
    r"""Return the MathML of a formula, which browsers draw themselves.

    Args:
        latex: without its dollars.
        display: ``"inline"``, or ``"block"`` for a formula on a line of its own.

    Raises:
        ValueError: the formula is broken, or uses a command that has no MathML.

    >>> formula(r"\tau").removeprefix('<math xmlns="http://www.w3.org/1998/Math/MathML" ')
    'display="inline"><mrow><mi>&#x003C4;</mi></mrow></math>'
    """
    try:
        mathml = convert(latex, display=display)
    except Exception as error:  # the converter's errors share no other base
        raise ValueError(f"formula {latex!r} is not LaTeX: {type(error).__name__}") from error
    unknown = re.findall(r"\\\w+", mathml)
    if unknown:
        raise ValueError(f"formula {latex!r} uses {unknown}, which has no MathML; write it plainly")
    return _SIGN.sub(r"<mo>\1</mo>", mathml)


class _Renderer(IPythonRenderer):
    """nbconvert's renderer, with MathML where it would leave the dollars to a script."""

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{formula(body, "block")}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def markdown_html(source: str) -> str:
    """Return Markdown text as HTML.

    >>> markdown_html("*three* per cent")
    '<p><em>three</em> per cent</p>\\n'
    """
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)


def listing_html(name: str, source: str) -> str:
    """Return any other text file as HTML, coloured by the language that its name tells."""
    try:
        lexer = get_lexer_for_filename(name)
    except ClassNotFound:
        lexer = TextLexer()
    return f"<h1>{name}</h1>{highlight(source, lexer, CODE)}"
