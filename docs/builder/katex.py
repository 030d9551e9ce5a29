"""Typeset formulas while the site is built: KaTeX runs inside Python, readers get HTML and MathML without a script.

A wrong formula is a warning with its place. KaTeX 0.16.22 lies beside this file; its sheet and fonts in _static/katex.
"""

from functools import cache
from pathlib import Path

from docutils import nodes
from py_mini_racer import MiniRacer
from sphinx.application import Sphinx
from sphinx.util import logging

KATEX = Path(__file__).with_name("katex.min.js")
log = logging.getLogger(__name__)


@cache
def engine() -> MiniRacer:
    """Start the interpreter, once."""
    v8 = MiniRacer()
    v8.eval(KATEX.read_text())
    return v8


def typeset(latex: str, block: bool) -> str:
    """Return a formula as HTML with MathML inside.

    Args:
        latex: without dollar signs.
        block: on a line of its own.

    Raises:
        py_mini_racer.JSEvalException: KaTeX cannot read it; the message says where.
    """
    options = {"displayMode": block, "throwOnError": True, "strict": "error", "output": "htmlAndMathml"}
    return engine().call("katex.renderToString", latex, options)


def visit(writer, node: nodes.Element, block: bool) -> None:
    """Write a formula of a page."""
    try:
        html = typeset(node.astext(), block)
    except Exception as error:  # the interpreter's own classes, none of which says more
        log.warning("formula: %s", error, location=node, type="zoo", subtype="math")
        html = writer.encode(node.astext())
    box = '<div class="math-block" tabindex="0" role="group" aria-label="formula">{}</div>'
    writer.body.append(box.format(html) if block else html)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer `katex_static`."""
    app.add_html_math_renderer(
        "katex_static", (lambda w, n: visit(w, n, False), None), (lambda w, n: visit(w, n, True), None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
