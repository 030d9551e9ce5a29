"""Zero last conv: the layers that end a branch, blocks that start as the identity, and nothing else changed."""

import pytest
import torch
from torch import nn

import zoo
from callbacks import Kaiming, ZeroLastConv
from callbacks.network.zero_last_conv import last_layers
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import TinyTransformer, tiny_classifier
from zoo import Classifier, PreActResNet, ResNet, WideResNet


def zeros(network):
    return [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and (m.weight == 0).all()]


@pytest.mark.parametrize(
    "make, count, last",
    [
        (lambda: PreActResNet("18", num_classes=10, image_size=32), 8, "conv2"),
        (lambda: PreActResNet("50", num_classes=10, image_size=32), 16, "conv3"),
        (lambda: WideResNet("16-1", num_classes=10), 6, "conv1"),
        (lambda: zoo.ConvNeXt("T", num_classes=10, image_size=32), 18, "fc2"),
        (lambda: zoo.Swin("T"), 24, ("proj", "fc2")),
        (lambda: zoo.ViT("Ti/16"), 24, ("proj", "fc2")),
    ],
)
def test_one_layer_a_branch(make, count, last):
    with torch.device("meta"):
        model = make()
    found = last_layers(model, model.image_size or 32)
    assert len(found) == count
    assert all(name.endswith(last) for name in found)


@pytest.mark.parametrize("refused", [lambda: ResNet("20", num_classes=10), lambda: zoo.VGG("11", 10, 32)])
def test_refuses_networks_without_such_a_branch(refused, trainer):
    with pytest.raises(TypeError, match="take ZeroLastConv out"):
        ZeroLastConv().setup(trainer(), refused(), "fit")


def test_two_sums_of_heads_are_no_residual_branch():
    """The tiny transformer adds two networks' logits: neither is a shortcut of the other."""
    assert last_layers(TinyTransformer(), 8) == [f"blocks.{i}.{n}" for i in range(4) for n in ("attn.proj", "mlp.fc2")]


def test_blocks_start_as_the_identity(trainer):
    model = WideResNet("16-1", num_classes=10)
    ZeroLastConv().setup(trainer(), model, "fit")
    assert len(zeros(model)) == 6
    x = torch.randn(2, 16, 8, 8)
    for block in model.group0:
        assert torch.equal(block(x), x)
    first = model.group1.block0  # changes width: its projection alone
    assert torch.equal(first(x), first.convdim(first.relu(first.bn0(x))))


def test_variance_stays_where_hes_draw_doubles_it(trainer):
    """With He's weights, each residual block doubles the variance of signals of variance 1; with zeros it stays."""
    ratios = []
    for tricks in ([], [ZeroLastConv()]):
        torch.manual_seed(0)
        model = PreActResNet("18", num_classes=10, image_size=32).train()
        for trick in [Kaiming(), *tricks]:
            trick.setup(trainer(), model, "fit")
        x = torch.randn(4, 64, 16, 16)
        block = model.stages["stage1"].blocks[1]
        ratios.append((block(x).var() / x.var()).item())
    assert ratios[0] > 1.5 and ratios[1] == 1


def test_biases_are_zeroed_too(trainer):
    model = tiny_classifier(network=TinyTransformer)
    nn.init.ones_(model.network.blocks[0].mlp.fc2.bias)
    ZeroLastConv(8).setup(trainer(), model, "fit")
    assert (model.network.blocks[0].mlp.fc2.bias == 0).all()
    assert model.network.blocks[0].mlp.fc1.weight.abs().max() > 0


def test_order_beside_an_initialisation_does_not_matter(trainer, tiny_data):
    for tricks in ([ZeroLastConv(), Kaiming()], [Kaiming(), ZeroLastConv()]):
        seen = []
        look = At("on_train_start", lambda trainer, model, seen=seen: seen.extend(zeros(model)))
        model = tiny_classifier(network=TinyTransformer)
        trainer(callbacks=[*tricks, look], max_epochs=1).fit(model, tiny_data)
        assert len(seen) == 8
        assert zeros(model) == []  # they learn


@pytest.mark.parametrize("make", [lambda: tiny_classifier(network=TinyTransformer), lambda: Foreign(TinyTransformer)])
def test_a_trained_network_stays(make, tiny_data, trainer):
    model, seen = make(), {}
    trainer(callbacks=[ZeroLastConv()], max_epochs=1).fit(model, tiny_data)
    trained = weights(model)
    look = At("on_train_start", lambda trainer, model: seen.update(weights(model)))
    trainer(callbacks=[ZeroLastConv(), look], max_epochs=1).fit(model, tiny_data)
    assert_equal(seen, trained)


def test_evaluation_zeroes_nothing(trainer, tiny_data):
    model = tiny_classifier(network=TinyTransformer)
    trainer(callbacks=[ZeroLastConv()]).validate(model, tiny_data, verbose=False)
    assert zeros(model) == []


def test_of_two_parallel_layers_none_is_the_branch():
    assert not [name for name in last_layers(TinyTransformer(), 8) if "downsample" in name]


def test_a_scaled_branch_counts():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
            self.gamma = nn.Parameter(torch.ones(3, 1, 1))

        def forward(self, x):
            return x + self.gamma * self.conv2(self.conv1(x).relu())

    assert last_layers(Classifier(Scaled(), num_classes=3), 8) == ["network.conv2"]
