"""The equations of the tricks' pages: none is missing, and KaTeX reads all of them."""

import pytest
from builder.katex import typeset
from equations import EQUATIONS
from py_mini_racer import JSEvalException

import callbacks


def test_every_trick_has_one_and_nothing_else_does():
    every = {*callbacks.__all__, *callbacks.OF_BOXES}
    missing, too_many = every - {*EQUATIONS}, {*EQUATIONS} - every
    assert not missing, f"docs/equations.py lacks {', '.join(missing)}"
    assert not too_many, f"docs/equations.py has {', '.join(too_many)}, which callbacks/__init__.py has not"


@pytest.mark.parametrize("trick", EQUATIONS)
def test_it_parses(trick):
    html = typeset(EQUATIONS[trick], block=True)
    assert 'class="katex-display"' in html and "<math" in html


@pytest.mark.parametrize("wrong", [r"\frac{1}", r"\quadw", r"\begin{cases} 1", "a $ b"])
def test_a_wrong_formula_is_refused(wrong):
    with pytest.raises(JSEvalException, match="KaTeX parse error"):
        typeset(wrong, block=True)
