"""ConvNet: the words of a line, parameters of published networks, and refusals."""

import pytest
import torch
from torch import nn

from zoo import ConvNet


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [
        ("LeNet", 431080),  # 431k: Han et al. 2015
        ("stride2", 30154),
        ("2@3+1 4@3+1 max2 8@3+1 16@3+1 max2 32@3+1 64@3+1 max2 gmp 32", 27106),
    ],
)
def test_parameters(variant, parameters):
    model = ConvNet(variant, 10, in_chans=1)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.randn(2, 1, 28, 28)).shape == (2, 10)


def test_lenet_is_caffes():
    model, x = ConvNet("LeNet", 10, in_chans=1, linear_convolutions=True), torch.randn(3, 1, 28, 28)
    one, _, two, _, three = model.layers
    pool = nn.MaxPool2d(2, 2)
    h = pool(two.conv(pool(one.conv(x)))).flatten(1)
    torch.testing.assert_close(model(x), model.head(three.linear(h).relu()))


def test_words():
    model = ConvNet("4@5/2+1 avg2 6@1x3+1 lp1x2 drop0.25 gap 7", 10, image_size=32)
    conv, pool, signal, lp, dropout, mean, linear = model.layers
    assert (conv.conv.kernel_size, conv.conv.stride, conv.conv.padding) == ((5, 5), (2, 2), (1, 1))
    assert isinstance(pool, nn.AvgPool2d) and pool.kernel_size == (2, 2)
    assert (signal.conv.kernel_size, signal.conv.stride, signal.conv.padding) == ((1, 3), (1, 1), (0, 1))
    assert isinstance(lp, nn.LPPool2d) and lp.kernel_size == (1, 2) and lp.norm_type == 2
    assert dropout.p == 0.25 and isinstance(mean, nn.AdaptiveAvgPool2d)
    assert linear.linear.weight.shape == (7, 6) and model.head.weight.shape == (10, 7)


def test_the_last_convolution_may_give_the_classes():
    model, x = ConvNet("4@3/2+1 K@3/2+1", 10, image_size=8), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(x), model.layers(x).mean((2, 3)))
    assert not any(isinstance(m, nn.Linear) for m in model.modules())


@pytest.mark.parametrize(("norm", "order"), [("before", ["conv", "bn", "act"]), ("after", ["conv", "act", "bn"])])
def test_the_norm_is_where_it_is_asked_for(norm, order):
    model = ConvNet("stride2", 10, norm=norm)
    assert [name for name, _ in model.layers.layer1.named_children()] == order
    assert [name for name, _ in model.layers.layer5.named_children()] == ["conv"]


def test_signals_have_a_height_of_their_own():
    model = ConvNet("20@1x3+1 max1x2 20@1x3+1 max1x2", 10, image_size=40, height=1, in_chans=1)
    assert model(torch.randn(2, 1, 1, 40)).shape == (2, 10) and model.head.in_features == 200


def test_what_is_no_word_is_refused():
    with pytest.raises(ValueError, match="'20@' is not a layer"):
        ConvNet("20@ max2", 10)


def test_images_of_which_nothing_is_left_are_refused():
    with pytest.raises(ValueError, match="nothing is left of images of 8 px at '50@5'"):
        ConvNet("LeNet", 10, image_size=8)
