"""Reference values of the papers' formulas, computed by slow loops, and comparisons with ours."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch

DATA = Path(__file__).parents[2] / "data/dropout"


def read(name):
    return json.loads((DATA / f"{name}.json").read_text())


CLASSICS = read("classics")


def oracle(name):
    sheet = read(name)
    return sheet, sheet["expected"], sheet["params"]


def close(ours, theirs):
    ours, theirs = torch.as_tensor(ours).double(), torch.tensor(theirs, dtype=torch.float64)
    torch.testing.assert_close(ours.squeeze(), theirs.squeeze(), rtol=1e-6, atol=1e-6)


def assert_moments_of_dropout(y, p):
    """Assert that the multipliers y have mean 1 and the variance of dropout at p."""
    assert y.mean().item() == pytest.approx(1, abs=5 * sqrt(p / (1 - p) / y.numel()))
    assert y.var().item() == pytest.approx(p / (1 - p), rel=0.04)
