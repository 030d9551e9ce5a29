"""Stochastic pooling: values and frequencies by hand, the shapes of torch's max pooling, refusals."""

from math import sqrt

import pytest
import torch
from torch import nn

from callbacks.network.stochastic_pooling import StochasticPool2d, draw, swap_max_pools
from tests.callbacks.dropout.sheets import CLASSICS, close
from zoo import ConvNeXt, GoogLeNet


def swapped(**arguments) -> StochasticPool2d:
    network = nn.Sequential(nn.MaxPool2d(**arguments))
    swap_max_pools(network)
    return network[0]


WINDOW = torch.tensor([[1.0, 2.0], [5.0, 0.0]]).view(1, 1, 2, 2)


def test_evaluation_by_hand():
    """The expectation of 1, 2 and 5 is (1 + 4 + 25) / 8."""
    assert swapped(kernel_size=2).eval()(WINDOW).item() == pytest.approx(30 / 8)


def test_draws_in_proportion():
    """Probabilities 1/8, 2/8, 5/8 and 0: frequencies of 8000 draws, within four standard deviations."""
    torch.manual_seed(0)
    got = swapped(kernel_size=2).train()(WINDOW.expand(80, 100, 2, 2)).flatten()
    for value, chance in ((1, 1 / 8), (2, 2 / 8), (5, 5 / 8), (0, 0)):
        assert abs((got == value).float().mean().item() - chance) <= 4 * (chance * (1 - chance) / 8000) ** 0.5


def test_the_draw_by_hand():
    """1 is drawn, because 1 / 0.1 is larger than 5 / 1 and 2 / 1."""
    assert draw(torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[0.1, 1.0, 1.0]])).tolist() == [1]


def test_evaluation_is_the_mean_of_training():
    torch.manual_seed(0)
    x = torch.rand(1, 2, 7, 7)
    pool = swapped(kernel_size=3, stride=2, padding=1)
    draws = torch.cat([pool.train()(x) for _ in range(3000)])
    torch.testing.assert_close(draws.mean(0, keepdim=True), pool.eval()(x), atol=0.03, rtol=0)


def test_without_positive_activations_it_is_zero_and_finite():
    x = torch.tensor([[-1.0, -2.0], [0.0, -3.0]]).view(1, 1, 2, 2).requires_grad_()
    for mode in (True, False):
        out = swapped(kernel_size=2).train(mode)(x)
        out.sum().backward()
        assert out.item() == 0 and x.grad.isfinite().all()


def test_in_half_precision_large_activations_stay_finite():
    """Their squares are above 65,504, float16's largest number."""
    pool = swapped(kernel_size=2).eval()
    for kind in (torch.float16, torch.bfloat16):
        out = pool((200 * WINDOW).to(kind))
        assert out.dtype == kind and out.item() == pytest.approx(200 * 30 / 8, rel=4e-3)


def test_one_activation_takes_the_gradient():
    x = WINDOW.clone().requires_grad_()
    out = swapped(kernel_size=2).train()(x)
    out.sum().backward()
    assert x.grad.sum() == 1 and x.grad[x == out].item() == 1


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("size", [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (5, 3, 2)])
def test_shapes_and_values_lie_where_max_pooling_has_them(size, ceil_mode):
    kernel, stride, padding = size
    arguments = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    pool, largest = swapped(**arguments), nn.MaxPool2d(**arguments)
    for side in range(5, 12):
        x = torch.rand(2, 3, side, side + 1) + 0.1
        top = largest(x)
        for mode in (True, False):
            out = pool.train(mode)(x)
            assert out.shape == top.shape and (out <= top + 1e-6).all() and (out > 0).all()
        single = torch.zeros_like(x)  # an activation that is alone in its window is drawn
        single[:, :, side // 2, side // 2] = 1
        torch.testing.assert_close(pool.eval()(single), largest(single))
        assert torch.equal(pool.train()(single), largest(single))


def test_bf16():
    assert swapped(kernel_size=2).train()(WINDOW.bfloat16()).dtype == torch.bfloat16


def test_every_max_pooling_of_a_network():
    model = GoogLeNet(num_classes=10)
    count = sum(isinstance(m, nn.MaxPool2d) for m in model.modules())
    swap_max_pools(model)
    assert not any(isinstance(m, nn.MaxPool2d) for m in model.modules())
    assert sum(isinstance(m, StochasticPool2d) for m in model.modules()) == count == 13
    assert all(m.training for m in model.modules())


def test_refusals():
    with pytest.raises(TypeError, match="ConvNeXt has no nn.MaxPool2d to change: take StochasticPooling out"):
        swap_max_pools(ConvNeXt("T", num_classes=10, image_size=32))
    with pytest.raises(TypeError, match="dilated"):
        swap_max_pools(nn.Sequential(nn.MaxPool2d(2, dilation=2)))


def test_the_slow_loops_numbers():
    sheet = CLASSICS["stochastic_pooling"]
    pool, x = StochasticPool2d((2, 2), (2, 2), (0, 0), False), torch.tensor(sheet["region"]).view(1, 1, 2, 2)
    close(pool.eval()(x).item(), sheet["test_output"])
    torch.manual_seed(0)
    drawn = pool.train()(x.expand(80, 100, 2, 2)).flatten()
    close(drawn.unique(), sheet["train_support"])
    for value, chance in zip(sheet["region"], sheet["probability"], strict=True):
        assert (drawn == value).float().mean().item() == pytest.approx(chance, abs=4 * sqrt(0.24 / 8000))
    assert pool(x * 0).item() == pool.eval()(x * 0).item() == 0
