"""The equations of the tricks' pages: none is missing, and KaTeX reads all of them."""

import pytest
from builder.katex import typeset
from equations import EQUATIONS
from py_mini_racer import JSEvalException

import callbacks


def test_every_trick_has_one_and_nothing_else_does():
    assert sorted(EQUATIONS) == sorted(callbacks.__all__)


@pytest.mark.parametrize("trick", EQUATIONS)
def test_it_parses(trick):
    html = typeset(EQUATIONS[trick], block=True)
    assert 'class="katex-display"' in html and "<math" in html


@pytest.mark.parametrize("wrong", [r"\frac{1}", r"\quadw", r"\begin{cases} 1", "a $ b"])
def test_a_wrong_formula_is_refused(wrong):
    with pytest.raises(JSEvalException, match="KaTeX parse error"):
        typeset(wrong, block=True)
