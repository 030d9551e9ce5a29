"""DropConnect: the layer with masked weights, against a slow form; its draws; weights that do not change."""

from math import sqrt

import pytest
import torch
from torch import nn

import callbacks
from callbacks.dropout.drop_connect import masked_layer
from callbacks.dropout.guided_dropout import add_strengths
from tests.callbacks.conftest import At, hooks
from tests.conftest import tiny_classifier

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "no bias": (lambda: nn.Linear(6, 4, bias=False), (3, 6)),
    "tokens": (lambda: nn.Linear(6, 4), (3, 5, 6)),
    "convolution": (lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1), (3, 6, 7, 7)),
    "pixels": (lambda: nn.Conv2d(6, 4, 1), (3, 6, 1, 1)),
    "groups": (lambda: nn.Conv2d(6, 4, (3, 1), padding=(1, 0), dilation=1, groups=2, bias=False), (3, 6, 5, 4)),
    "one channel": (lambda: nn.Conv2d(1, 1, 3, padding="same"), (3, 1, 4, 4)),
}
each = pytest.mark.parametrize("kind", LAYERS)


def layer_and_input(kind):
    torch.manual_seed(0)
    build, shape = LAYERS[kind]
    return build().train(), torch.randn(shape)


def acting(p=0.5, **arguments):
    """Return a trick as in the middle of a run."""
    trick = callbacks.DropConnect(p, **arguments)
    trick._acts, trick._now = True, p
    return trick


def test_by_hand():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.copy_(torch.tensor([0.5, -0.5]))
    scale = torch.tensor([[[2.0, 0.0], [0.0, 2.0]], [[2.0, 2.0], [0.0, 0.0]]])
    y = masked_layer(layer, torch.tensor([[1.0, 10.0], [1.0, 10.0]]), scale)
    assert y.tolist() == [[2.5, 79.5], [42.5, -0.5]]
    assert masked_layer(layer, torch.tensor([[1.0, 10.0]]), scale[1]).tolist() == [[42.5, -0.5]]


@each
def test_each_example_by_a_layer_of_its_own(kind):
    layer, x = layer_and_input(kind)
    scale = (torch.rand(3, *layer.weight.shape) >= 0.5) / 0.5
    y = masked_layer(layer, x, scale)
    for i, s in enumerate(scale):
        torch.testing.assert_close(
            y[i], torch.func.functional_call(layer, {"weight": layer.weight * s}, x[i : i + 1])[0]
        )
        torch.testing.assert_close(masked_layer(layer, x[i : i + 1], s)[0], y[i])


@pytest.mark.parametrize("per", ["sample", "batch"])
@each
def test_finite_in_bf16_and_on_zeros(kind, per):
    layer, x = layer_and_input(kind)
    for given in (x, x * 0):
        with torch.autocast("cpu", torch.bfloat16):
            y = acting(per=per)._connect("spot", 1.0, layer, (given,), layer(given))
        assert y.dtype == torch.bfloat16 and y.isfinite().all() and y.shape == layer(given).shape
    torch.testing.assert_close(y, layer(x * 0).bfloat16(), rtol=0.01, atol=0.01)  # biases stay


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_share_of_the_weights_and_mean_of_the_output(p):
    """With unit vectors as inputs, the outputs are single weights."""
    torch.manual_seed(0)
    layer, n = nn.Linear(8, 50, bias=False), 400
    x = torch.eye(8).repeat(n, 1)
    y = acting(p)._connect("spot", 1.0, layer, (x,), layer(x)).detach()
    full = layer(x).detach()
    gone = (y == 0).float()
    assert gone.mean().item() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / y.numel()))
    torch.testing.assert_close(y[gone == 0], (full / (1 - p))[gone == 0])
    torch.testing.assert_close(y.view(n, 8, 50).mean(0), full[:8], rtol=0.4, atol=0.01)
    assert len(gone.view(n, -1).unique(dim=0)) == n  # each example has its own
    one = acting(p, per="batch")._connect("spot", 1.0, layer, (x,), full)
    assert torch.equal(one.view(n, 8, 50), one[:8].expand(n, 8, 50)) and (one == 0).any()


def test_gradient_goes_to_kept_weights_only():
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 3), torch.ones(1, 5)
    y = acting()._connect("spot", 1.0, layer, (x,), layer(x))
    y.sum().backward()
    assert {*layer.weight.grad.flatten().tolist()} == {0.0, 2.0}
    torch.testing.assert_close(y, (layer.weight * layer.weight.grad).sum(1)[None] + layer.bias)


def test_weights_are_never_touched_and_validation_is_plain(trainer, tiny_data):
    model, seen = tiny_classifier(), []
    model.network.dropout.p = 0.0

    def look(module, inputs, y):
        plain = nn.functional.linear(inputs[0], module.weight, module.bias)
        seen.append((module.training, torch.equal(plain, y)))

    watch = At("on_train_start", lambda t, m: m.network.head.register_forward_hook(look))
    head = model.network.head
    own, keys = head.weight, model.state_dict().keys()
    run = trainer(callbacks=[callbacks.DropConnect(0.5, participation=0.5), watch], max_epochs=4)
    run.fit(model, tiny_data, tiny_data)
    assert head.weight is own and model.state_dict().keys() == keys and type(head) is nn.Linear
    assert hooks(model) == 1  # ours
    assert {same for training, same in seen if not training} == {True}
    assert {same for training, same in seen if training} == {True, False}  # a fraction of the steps


def test_a_layer_whose_units_have_strengths():
    layer, x = layer_and_input("linear")
    add_strengths(nn.Sequential(layer), ["0"])
    torch.testing.assert_close(masked_layer(layer, x, torch.ones(3, 4, 6)), layer(x))


def test_what_it_refuses(trainer, tiny_data):
    for bad in ({"where": None}, {"where": "input"}, {"per": "layer"}, {"p": 1}, {"p": 0}, {"participation": 0}):
        with pytest.raises(ValueError, match="DropConnect"):
            callbacks.DropConnect(**bad)
    with pytest.raises(TypeError, match="'stage1' is a TinyBlock"):
        trainer(callbacks=[callbacks.DropConnect(where="stage1")]).fit(tiny_classifier(), tiny_data)
    model = tiny_classifier()
    model.network.block1.conv1.padding_mode = "circular"
    with pytest.raises(TypeError, match="zero-padded"):
        callbacks.DropConnect(where="network.block1.conv1").named_modules(model)
