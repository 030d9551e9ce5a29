"""GaussianDropout: by hand, and the moments of dropout."""

import pytest
import torch

import callbacks
from callbacks.dropout import gaussian_dropout
from callbacks.dropout.gaussian_dropout import noise
from tests.callbacks.dropout.sheets import CLASSICS, assert_moments_of_dropout, close


@pytest.mark.parametrize(("p", "sigma"), [(0.1, 1 / 3), (0.2, 0.5), (0.5, 1)])  # the sheet of classics
def test_gaussian_by_hand(p, sigma):
    n = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(gaussian_dropout.noise(n, p), torch.tensor([1 - sigma, 1.0, 1 + 2 * sigma]))


@pytest.mark.parametrize("p", [0.1, 0.4])
def test_expectation_and_variance_are_those_of_dropout(p):
    torch.manual_seed(0)
    assert_moments_of_dropout(callbacks.GaussianDropout(p).drop(torch.ones(400, 200), p), p)


@pytest.mark.parametrize("row", CLASSICS["gaussian_dropout"], ids=lambda row: str(row["p"]))
def test_the_slow_loops_numbers(row):
    close(noise(torch.ones(1, dtype=torch.float64), row["p"]) - 1, [row["sigma"]])
    close((noise(torch.ones(1, dtype=torch.float64), row["p"]) - 1) ** 2, [row["alpha"]])
