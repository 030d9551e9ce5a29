"""HeuristicDropout: entropy and variance by hand and by slow loops, the chosen channels, the filter."""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

import callbacks
from callbacks.dropout.heuristic_dropout import edges, entropy, metric


def slow_entropy(channel):
    values = [round(10 * math.tanh(v)) for v in channel.flatten().tolist()]  # half to even, as torch
    counts = Counter(v for v in values if v >= 0)
    total = sum(counts.values())
    return -sum(c / total * math.log(c / total) for c in counts.values())


def test_entropy_as_a_slow_loop_has_it():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 5)
    expected = [[slow_entropy(channel) for channel in image] for image in x]
    torch.testing.assert_close(entropy(x), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_constant_negative_and_single_channels():
    x = torch.stack([torch.full((4, 4), 0.3), torch.full((4, 4), -1.0), torch.zeros(4, 4)])[None]
    assert torch.equal(entropy(x), torch.zeros(1, 3))
    torch.testing.assert_close(metric(x, 2.0), torch.full((1, 3), 2e7))
    assert metric(torch.ones(1, 2, 1, 1), 2.0).isfinite().all()


def test_metric_by_hand():
    x = torch.tensor([0.0, 0.0, 5.0, 5.0]).view(1, 1, 2, 2)  # values 0 and 10, half each; variance 25 / 3
    assert metric(x, 2.0).item() == pytest.approx(math.log(2) + 6 / 25, rel=1e-6)


def test_edges_are_the_filter():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5)
    laplace = torch.full((3, 3), -1.0)
    laplace[1, 1] = 8
    torch.testing.assert_close(edges(x), F.conv2d(x, laplace.expand(3, 1, 3, 3), padding=1, groups=3))


@pytest.mark.parametrize("laplace", [True, False])
def test_the_flattest_channels_are_replaced(laplace):
    torch.manual_seed(0)
    x = torch.rand(2, 10, 6, 6)
    x[:, [3, 7]] = 0.4 + 1e-3 * torch.rand(2, 2, 6, 6)  # hardly any variance
    y = callbacks.HeuristicDropout(0.2, laplace=laplace).drop(x, 0.2)
    rest = [c for c in range(10) if c not in (3, 7)]
    assert torch.equal(y[:, rest], x[:, rest])
    torch.testing.assert_close(y[:, [3, 7]], edges(x[:, [3, 7]]) if laplace else torch.zeros(2, 2, 6, 6))
    assert torch.equal(callbacks.HeuristicDropout(0.04).drop(x, 0.04), x)  # round(.4) = 0 channels


def test_of_equal_channels_the_first_go():
    """On a GPU, where only a stable sort keeps their order, as on a CPU."""
    x = torch.full((1, 64, 4, 4), 0.3)
    with Sorts() as seen:
        y = callbacks.HeuristicDropout(0.25, laplace=False).drop(x, 0.25)
    assert not y[:, :16].any() and torch.equal(y[:, 16:], x[:, 16:])
    assert seen.stable == [True]


class Sorts(TorchFunctionMode):
    """Writes down whether sorts are stable."""

    def __init__(self):
        super().__init__()
        self.stable = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.sort:
            self.stable.append((kwargs or {}).get("stable", False))
        return func(*args, **(kwargs or {}))


def test_nothing_is_random():
    x = torch.rand(2, 10, 6, 6)
    assert torch.equal(callbacks.HeuristicDropout().drop(x, 0.1), callbacks.HeuristicDropout().drop(x, 0.1))
