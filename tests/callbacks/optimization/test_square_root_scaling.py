"""Square root scaling: the root of the images per optimizer step over the base, and equal covariances of a step."""

import pytest
import torch

from callbacks import SquareRootScaling
from tests.callbacks.conftest import SeenRates
from tests.conftest import tiny_classifier


@pytest.mark.parametrize("base, accumulate, k", [(256, 1, 1 / 8), (1, 1, 2), (4, 3, 3**0.5)])
def test_rate_is_scaled_by_the_root(trainer, tiny_data, base, accumulate, k):
    seen = SeenRates()
    run = trainer(callbacks=[SquareRootScaling(base), seen], accumulate_grad_batches=accumulate)
    run.fit(tiny_classifier(lr=0.1), tiny_data)
    assert all(rate == [pytest.approx(0.1 * k)] for rate in seen.rates)


def test_a_step_of_a_larger_batch_has_the_same_variance():
    """Var(eta' mean of b gradients) = eta'^2 / b = eta^2 / base."""
    trick, k = SquareRootScaling(256), 16
    gradients = torch.randn(2000, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    large = (trick.factor(k) * gradients.mean(1)).var()
    assert large.item() == pytest.approx(gradients[:, 0].var().item(), rel=0.1)
