"""Findings: kept in order, with a warning unless quiet."""

import pytest

from callbacks import GradientFlow
from callbacks.frame.diagnostic import Diagnostic


def test_a_warning_unless_quiet(monkeypatch):
    trick = GradientFlow()
    trick.say(False, "without_hooks")
    monkeypatch.setattr(Diagnostic, "quiet", False)
    with pytest.warns(UserWarning, match="GradientFlow: heard"):
        trick.say(False, "heard")
    assert [finding.text for finding in trick.findings] == ["without_hooks", "heard"]
