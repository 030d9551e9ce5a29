"""GuidedDropout: the reference's masks, the strengths in the network, their gradients, and the network afterwards."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import callbacks
import zoo
from callbacks.dropout.guided_dropout import Guided, add_strengths, mask_of_active, mask_of_strongest
from tests.callbacks.conftest import At, hooks, weights
from tests.conftest import tiny_classifier
from zoo import ResNet

SHEET = json.loads((Path(__file__).parents[2] / "data/dropout/guided_dropout.json").read_text())
X, T = (torch.tensor(SHEET["input"][name]) for name in ("x", "strength"))


def scale_by_strength(layer, strength=None):
    network = nn.Sequential(layer)
    add_strengths(network, ["0"])
    if strength is not None:
        layer.strength.data = torch.as_tensor(strength)
    return layer.train()


def acting(layer, p=0.5, kind="dr", active=0.2):
    """Return a trick as in the middle of a run, with its hook on the layer."""
    trick = callbacks.GuidedDropout(p, kind, active)
    trick._layers, trick._acts, trick._now = {"spot": layer}, True, p
    trick.keep_hooks(trick.register_hook("spot", layer, 1.0))
    return trick


def test_by_hand():
    expected, u = SHEET["expected"], torch.tensor(SHEET["random"]["u"])
    top, dr = mask_of_strongest(T, SHEET["params"]["K"]), mask_of_active(T, u, SHEET["params"]["drop_rate"], 0.2)
    assert top.tolist() == expected["mask_topk"]
    # the sheet drops where u >= 1 - p, as Bernoulli(1 - p) by u < 1 - p; here where u < p: the same of 1 - u
    dr = mask_of_active(T, 1 - u, SHEET["params"]["drop_rate"], 0.2)
    assert dr.tolist() == expected["mask_dr"]
    assert mask_of_active(T, u * 0, 0.2, 0.2).tolist() == expected["inactive"]
    for mask, name in ((top, "output_topk"), (dr, "output_dr")):
        torch.testing.assert_close(X * T * mask, torch.tensor(expected[name]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["top-k", "dr"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.Linear(10, 3), (4, 10)),
        (lambda: nn.Linear(10, 3), (4, 5, 10)),
        (lambda: nn.Conv2d(10, 3, 3), (4, 10, 5, 5)),
        (lambda: nn.Conv2d(10, 3, 1), (4, 10, 1, 1)),
        (lambda: nn.Conv2d(1, 3, 1), (4, 1, 2, 2)),
    ],
)
def test_layer_with_and_without_the_mask(layer, shape, kind):
    torch.manual_seed(0)
    layer, x = scale_by_strength(layer()), torch.rand(shape) + 0.1
    plain = type(layer).__mro__[2].forward
    scale = layer.strength[:, None, None] if len(shape) == 4 else layer.strength
    assert torch.equal(layer(x), plain(layer, x * scale))
    trick = acting(layer, 0.3, kind)
    seen = []
    layer.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    for given in (x, x * 0):
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(given).isfinite().all()
    assert not seen.pop().any()
    kept = (seen[0] / x).round()
    assert torch.equal(kept, kept[:1].expand_as(kept))  # one mask for the batch
    assert torch.equal(layer.eval()(x), plain(layer, x * scale))
    trick.remove_hooks()


def test_top_k_takes_the_strongest_and_dr_a_share_of_the_active():
    t = torch.cat([torch.full((50,), 0.01), torch.linspace(0.5, -1, 50)])
    layer, x = scale_by_strength(nn.Linear(100, 2), t), torch.ones(1, 100)
    trick = acting(layer, 0.3, "top-k")
    order = t.abs().argsort(descending=True)
    assert (trick._at("spot", x, 1.0)[0, order] == 0).tolist() == [True] * 30 + [False] * 70
    torch.manual_seed(0)
    trick = acting(layer, 0.3, "dr", active=0.3)
    gone = torch.cat([trick._at("spot", x, 1.0) for _ in range(2000)]) == 0
    active = t.abs() >= 0.3
    assert not gone[:, ~active].any() and active.sum() == 30
    assert gone[:, active].float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_gradient_goes_to_kept_units_and_their_strengths():
    layer, x = scale_by_strength(nn.Linear(4, 1), [0.9, 0.1, 0.5, 0.2]), torch.ones(2, 4, requires_grad=True)
    acting(layer, 0.5, "top-k")
    layer(x).sum().backward()
    assert (x.grad != 0).tolist() == [[False, True, False, True]] * 2
    assert (layer.strength.grad != 0).tolist() == [False, True, False, True]


def test_strengths_learn_stay_with_the_network_and_come_back_from_a_file(trainer, tiny_data, tmp_path):
    model, start = tiny_classifier(), {}
    look = At("on_train_start", lambda t, m: start.update(weights(m)))
    run = trainer(callbacks=[callbacks.GuidedDropout(0.5), look])
    run.fit(model, tiny_data, tiny_data)
    head = model.network.head
    assert isinstance(head, Guided) and isinstance(head, nn.Linear) and hooks(model) == 0
    t = start["network.head.strength"]
    assert t.shape == (16,) and 0 <= t.min() < 0.3 and 0.7 < t.max() <= 1
    assert not torch.equal(head.strength, t)
    trainer(callbacks=[callbacks.GuidedDropout(0.5)], max_epochs=1).fit(model, tiny_data)  # strengths are kept
    assert model.surgery == [("GuidedDropout", {"where": ["network.head"]})]
    model, file = ResNet("20", num_classes=10, image_size=8), tmp_path / "file.ckpt"
    run = trainer(callbacks=[callbacks.GuidedDropout()], max_epochs=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(file)
    loaded, images = zoo.load(file), torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded(images), model.eval()(images))


def test_before_layers_that_are_named(trainer, tiny_data):
    model = tiny_classifier()
    where = ("network.block2.conv1", "network.head")
    trainer(callbacks=[callbacks.GuidedDropout(0.5, "top-k", where=where)]).fit(model, tiny_data, tiny_data)
    assert [m.strength.shape for m in model.modules() if isinstance(m, Guided)] == [(8,), (16,)]


def test_strengths_that_are_there_stay():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    add_strengths(network, ["0"])
    first = network[0].strength
    add_strengths(network, ["0", "1"])
    assert network[0].strength is first and network[1].strength.shape == (2,)


def test_what_it_refuses():
    for bad in ({"where": None}, {"where": "input"}, {"kind": "topk"}, {"active": 2}, {"p": 1}, {"participation": 0}):
        with pytest.raises(ValueError, match="GuidedDropout"):
            callbacks.GuidedDropout(**bad)
    with pytest.raises(TypeError, match="'stage1' is a TinyBlock"):
        callbacks.GuidedDropout(where="stage1").named_modules(tiny_classifier())
