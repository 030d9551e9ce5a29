"""MLP: parameters of published networks, the equation by hand, and refusals."""

import pytest
import torch
import torch.nn.functional as F

from zoo import MLP


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [("300-100", 266610), ("800-800", 1276810), ("1200-1200", 2395210), ("75-45", 62755)],  # 266k: Han et al. 2015
)
def test_parameters(variant, parameters):
    assert sum(p.numel() for p in MLP(variant, 10, in_chans=1).parameters()) == parameters


def test_is_the_equation():
    model, x = MLP("20-30", 10, image_size=4, in_chans=2), torch.randn(5, 2, 4, 4)
    h = x.reshape(5, 32)
    for layer in (model.hidden1.linear, model.hidden2.linear):
        h = F.relu(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(model(x), h @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize(("norm", "order"), [("before", ["linear", "bn", "act"]), ("after", ["linear", "act", "bn"])])
def test_the_norm_is_where_it_is_asked_for(norm, order):
    model = MLP("20", 10, norm=norm)
    assert [name for name, _ in model.hidden1.named_children()] == order
    assert isinstance(model.hidden1.bn, torch.nn.BatchNorm1d)


@pytest.mark.parametrize("variant", ["20-", "twenty", "20-0", ""])
def test_what_is_no_list_of_widths_is_refused(variant):
    with pytest.raises(ValueError, match="give the units of its hidden layers"):
        MLP(variant, 10)


def test_another_place_of_the_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be"):
        MLP("20", 10, norm="behind")
