"""CmBN: the last mini-batch has the statistics of all, one alone is batch norm, averages by hand, new steps."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from callbacks import CrossMiniBatchNorm
from callbacks.frame.past_norms import moments
from tests.callbacks.conftest import At, assert_equal, weights
from tests.callbacks.network.test_cross_iteration_batch_norm import data
from tests.conftest import tiny_classifier
from zoo import Classifier


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3, affine=False), nn.Linear(3, 10)

    def forward(self, x):
        return self.head(self.norm(x).relu().mean((2, 3)))


def test_a_run_by_hand(trainer):
    """Five batches in steps of two, two and one, twice."""
    model, seen, averages = Classifier(Net()), [], []

    def look(norm, inputs, y):
        if norm.training:
            seen.append((inputs[0].clone(), y.detach()))
            averages.append((norm.running_mean.clone(), norm.running_var.clone()))

    last = At("on_train_start", lambda t, m: m.network.norm.register_forward_hook(look))
    trick = CrossMiniBatchNorm()
    trainer(callbacks=[trick, last], accumulate_grad_batches=2, limit_val_batches=0).fit(model, data())
    assert len(seen) == 10
    mean, var = torch.zeros(3), torch.ones(3)
    for t, (x, y) in enumerate(seen):
        j = t % 5 % 2
        both = torch.cat([seen[t - 1][0], x]) if j else x
        all_var, all_mean = torch.var_mean(both, (0, 2, 3), correction=0)
        expected = (x - all_mean[:, None, None]) / (all_var + 1e-5).sqrt()[:, None, None]
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        count = x.numel() // 3
        mean, var = torch.lerp(mean, all_mean, 0.1), torch.lerp(var, all_var * count / (count - 1), 0.1)
        torch.testing.assert_close(averages[t], (mean, var), rtol=1e-5, atol=1e-6)


def test_without_accumulation_it_is_batch_norm_bit_for_bit(trainer, tiny_data):
    ends = []
    for tricks in ([], [CrossMiniBatchNorm()]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=tricks).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


def test_eight_parts_of_64_images():
    """They are normalised over 8, 16, ... 64 images; the last has the moments of all."""
    torch.manual_seed(1)
    trick, norm, x = CrossMiniBatchNorm(), nn.BatchNorm2d(2), torch.randn(64, 2, 4, 3) * 3 + 1
    trick.on_fit_start(None, nn.Sequential(norm))
    for j, part in enumerate(x.chunk(8)):
        trick._acts, trick._j = True, j + 1
        y = norm(part)
        over = moments(x[: 8 * (j + 1)])
        expected = (part - over[0][:, None, None]) / (over[1] - over[0] ** 2 + 1e-5).sqrt()[:, None, None]
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        trick.on_train_batch_end(SimpleNamespace(accumulate_grad_batches=8, world_size=1), norm)


def test_earlier_parts_are_constants_with_a_share_of_the_moments():
    trick, norm, x = CrossMiniBatchNorm(), nn.BatchNorm2d(3), torch.randn(2, 3, 4, 5, requires_grad=True)
    trick._sums, trick._j = {"norm": moments(torch.randn(2, 3, 4, 5))}, 2
    m, v = trick.statistics("norm", norm, x, x)
    slope = torch.autograd.grad((m + v).sum(), x)[0]
    torch.testing.assert_close(slope, torch.autograd.grad(sum(s.sum() for s in moments(x)), x)[0] / 2)


def test_a_network_without_batch_norms_is_refused(trainer, tiny_data):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)))
    with pytest.raises(TypeError, match="has no batch norms over maps: take CrossMiniBatchNorm out"):
        trainer(callbacks=[CrossMiniBatchNorm()]).fit(model, tiny_data)
