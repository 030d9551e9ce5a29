"""Maxout: the largest piece, against a slow form; the layers that change; the network afterwards."""

import pytest
import torch
from torch import nn

import callbacks
import zoo
from callbacks.dropout.maxout import MaxoutConv2d, MaxoutLinear, maxout, sequences, to_maxout
from tests.callbacks.conftest import hooks
from tests.callbacks.dropout.sheets import CLASSICS, close
from tests.conftest import tiny_classifier
from zoo import VGG


def test_by_hand():
    """Compare with reference values, and along channels."""
    z = torch.tensor([1.2, -0.65, -0.4, -0.6])
    assert maxout(z, 2, 0).tolist() == pytest.approx([1.2, -0.4])
    assert maxout(z.view(1, 4, 1, 1), 2, 1).flatten().tolist() == pytest.approx([1.2, -0.4])


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "no bias": (lambda: nn.Linear(6, 4, bias=False), (3, 6)),
    "tokens": (lambda: nn.Linear(6, 4), (3, 5, 6)),
    "convolution": (lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1), (3, 6, 7, 7)),
    "groups": (lambda: nn.Conv2d(6, 4, 3, groups=2, bias=False), (3, 6, 5, 4)),
    "pixel": (lambda: nn.Conv2d(1, 1, 1, padding_mode="circular"), (3, 1, 1, 1)),
}


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", LAYERS)
def test_as_the_largest_of_so_many_layers(kind, k):
    torch.manual_seed(0)
    build, shape = LAYERS[kind]
    layer, reference, x = build(), build(), torch.randn(shape)
    reference.load_state_dict(layer.state_dict())
    to_maxout(nn.Sequential(layer), k, ["0"])
    pieces = []
    for j in range(k):
        rows = {name: value[j::k] for name, value in layer.state_dict().items()}
        pieces.append(torch.func.functional_call(reference, rows, x))
    assert torch.equal(pieces[0], reference(x))  # one of them is the layer's output
    torch.testing.assert_close(layer(x), torch.stack(pieces).amax(0))
    for given in (x * 0, x * 0 + 1):
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(given).isfinite().all()


def test_pieces_are_drawn_at_the_scale_of_the_layer():
    torch.manual_seed(0)
    layer = nn.Linear(200, 100)
    with torch.no_grad():
        layer.weight.mul_(3)
    rms = layer.weight.square().mean().sqrt().item()
    to_maxout(nn.Sequential(layer), 3, ["0"])
    for j in (1, 2):
        assert layer.weight[j::3].mean().item() == pytest.approx(0, abs=0.01 * rms)
        assert layer.weight[j::3].std().item() == pytest.approx(rms, rel=0.02)
    assert not torch.equal(layer.weight[1::3], layer.weight[2::3])


def test_gradient_goes_to_the_largest_piece():
    layer, x = nn.Linear(1, 1, bias=False), torch.tensor([[2.0], [-1.0]])
    to_maxout(nn.Sequential(layer), 2, ["0"])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0], [-3.0]]))
    layer(x).sum().backward()
    assert layer(x).tolist() == [[2], [3]] and layer.weight.grad.tolist() == [[2], [-1]]


def test_activations_that_follow_in_a_sequence_are_taken_out():
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.GELU(),
        nn.Linear(8, 2),
    )
    assert sequences(network) == ["0.0", "2"]
    to_maxout(network, 2, ["0.0", "0.3", "2"])
    kinds = [type(m) for m in network[0]] + [type(m) for m in network[1:]]
    pool = [MaxoutConv2d, nn.MaxPool2d, nn.ReLU]
    expected = [MaxoutConv2d, nn.BatchNorm2d, nn.Identity, *pool, nn.Flatten, MaxoutLinear, nn.Identity, nn.Linear]
    assert kinds == expected
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 2)


def test_every_hidden_layer_of_a_network_of_sequences(trainer):
    with torch.device("meta"):
        model, plain = (VGG("11", num_classes=10, image_size=32) for _ in range(2))
    found = sequences(model)
    assert len(found) >= 8
    trick = callbacks.Maxout()
    trick.setup(trainer(callbacks=[trick]), model, "fit")
    trick.setup(trainer(callbacks=[trick]), model, "fit")  # once
    assert model.surgery == [("Maxout", {"pieces": 2, "where": found})]
    assert not sequences(model)
    assert model(torch.randn(2, 3, 32, 32, device="meta")).shape == (2, 10)
    twice = sum(p.numel() for n, p in plain.named_parameters() if n.rpartition(".")[0] in found)
    count = [sum(p.numel() for p in m.parameters()) for m in (model, plain)]
    assert count[0] - count[1] == twice


def test_it_trains_and_comes_back_from_a_file(trainer, tiny_data, tmp_path):
    model, file = zoo.ResNet("20", num_classes=10, image_size=8), tmp_path / "file.ckpt"
    where = ("conv1", "layer1.0.conv2")
    run = trainer(callbacks=[callbacks.Maxout(3, where)], max_epochs=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(file)
    assert hooks(model) == 0 and model.conv1.weight.shape[0] == 3 * model.conv1.out_channels
    loaded, images = zoo.load(file), torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(images), model.eval()(images)) and isinstance(loaded.conv1, MaxoutConv2d)


def test_what_it_refuses(trainer, tiny_data):
    with pytest.raises(ValueError, match="k must be in"):
        callbacks.Maxout(1)
    for where, error, match in (
        (None, TypeError, "name the layers, where="),
        ("network.conv9", ValueError, "has no 'network.conv9'"),
        ("network.block1", TypeError, "'network.block1' is a TinyBlock"),
    ):
        with pytest.raises(error, match=match):
            trainer(callbacks=[callbacks.Maxout(where=where)]).fit(tiny_classifier(), tiny_data)
    with pytest.raises(ValueError, match="both choose the activations"):
        trainer(callbacks=[callbacks.Maxout(), callbacks.Activation()]).fit(tiny_classifier(), tiny_data)


def test_the_slow_loops_numbers():
    z = torch.tensor(CLASSICS["maxout"]["z"])
    close(maxout(z.flatten(), z.shape[1], 0), CLASSICS["maxout"]["output"])
