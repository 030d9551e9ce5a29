"""UniformDropout: by hand, and the moments of dropout."""

from math import sqrt

import pytest
import torch

import callbacks
from callbacks.dropout import uniform_dropout
from tests.callbacks.dropout.sheets import assert_moments_of_dropout


def test_uniform_by_hand():
    u = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(uniform_dropout.noise(u, 0.25), 2 * u)
    torch.testing.assert_close(uniform_dropout.noise(u, 0.1), 1 + (2 * u - 1) / sqrt(3))


@pytest.mark.parametrize("p", [0.1, 0.4])
def test_expectation_and_variance_are_those_of_dropout(p):
    torch.manual_seed(0)
    assert_moments_of_dropout(callbacks.UniformDropout(p).drop(torch.ones(400, 200), p), p)
