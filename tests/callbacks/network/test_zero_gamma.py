"""Zero gamma: the norms that the references zero, and blocks that start as the identity."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import zoo
from callbacks import Kaiming, Xavier, ZeroGamma
from callbacks.network.zero_gamma import last_norms
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import TinyBlock, TinyNetwork, tiny_classifier
from zoo import Classifier, PreActResNet, ResNet

REFERENCES = {
    "torchvision": {
        name: (lambda name=name: torchvision.models.get_model(name, zero_init_residual=True))
        for name in ("resnet18", "resnet50", "resnext50_32x4d")
    },
    "timm": {
        name: (lambda name=name: timm.create_model(name, zero_init_last=True))
        for name in ("resnet18", "resnet50d", "seresnet18", "resnetaa50")
    },
}


def zeros(network: nn.Module) -> set[str]:
    """Return the names of the norm weights that are all zero."""
    return {name for name, p in network.named_parameters() if p.ndim == 1 and name.endswith("weight") and not p.any()}


@pytest.mark.parametrize("library, name", [(lib, name) for lib, table in REFERENCES.items() for name in table])
def test_zeroes_what_the_reference_zeroes(trainer, library, name):
    reference = REFERENCES[library][name]()
    expected = zeros(reference)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    ZeroGamma().setup(trainer(), Classifier(reference, num_classes=1000), "fit")
    assert zeros(reference) == expected and len(expected) >= 8


@pytest.mark.parametrize("variant, norms", [("18", 8), ("50", 16), ("50-D", 16), ("20", 7), ("20-B", 9)])
def test_ours_are_one_norm_a_block(trainer, variant, norms):
    model = ResNet(variant, num_classes=10, image_size=32)
    ZeroGamma().setup(trainer(), model, "fit")
    last = "bn3" if variant.startswith("50") else "bn2"
    assert len(zeros(model)) == norms
    assert all(name.startswith("layer") and name.endswith(f"{last}.weight") for name in zeros(model))


def test_blocks_start_as_the_identity(trainer):
    model = ResNet("18", num_classes=10, image_size=32)
    ZeroGamma().setup(trainer(), model, "fit")
    x = torch.rand(4, 64, 6, 6)  # after a ReLU
    for block in model.layer1:
        assert torch.equal(block(x), x)
    first = model.layer2[0]  # changes size: its shortcut alone
    assert torch.equal(first(x), first.downsample(x).relu())


def test_gammas_and_what_is_behind_them_learn(tiny_model, tiny_data, trainer):
    trainer(callbacks=[ZeroGamma()]).fit(tiny_model, tiny_data)
    assert tiny_model.network.block1.bn1.weight.abs().min() > 0
    assert tiny_model.network.block1.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("variant", ["20", "20-B"])
def test_no_channel_is_dead_for_ever(variant, tiny_data, trainer):
    """After a shortcut that pads with zeros, a gamma of 0 has no gradient, and later blocks cannot change that."""
    torch.manual_seed(0)
    model = ResNet(variant, num_classes=10, image_size=8)
    trainer(callbacks=[ZeroGamma()]).fit(model, tiny_data)
    assert all(norm.weight.abs().min() > 0 for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))


@pytest.mark.parametrize("other", [Kaiming, Xavier])
def test_order_beside_an_initialisation_does_not_matter(tiny_data, trainer, other):
    for tricks in ([ZeroGamma(), other()], [other(), ZeroGamma()]):
        seen = []
        look = At("on_train_start", lambda trainer, model, seen=seen: seen.extend(zeros(model)))
        trainer(callbacks=[*tricks, look], max_epochs=1).fit(tiny_classifier(), tiny_data)
        assert sorted(seen) == ["network.block1.bn1.weight", "network.block2.bn1.weight"]


@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
def test_a_trained_network_stays(tiny_data, trainer, make):
    model, seen = make(), {}
    trainer(callbacks=[ZeroGamma()], max_epochs=1).fit(model, tiny_data)
    trained = weights(model)
    look = At("on_train_start", lambda trainer, model: seen.update(weights(model)))
    trainer(callbacks=[ZeroGamma(), look], max_epochs=1).fit(model, tiny_data)
    assert_equal(seen, trained)


def test_loaded_weights_stay(trainer, tmp_path):
    ResNet("20", num_classes=10).export(tmp_path / "weights.safetensors")
    model = ResNet("20", num_classes=10, weights=tmp_path / "weights.safetensors")
    ZeroGamma().setup(trainer(), model, "fit")
    assert not zeros(model)


def test_a_message_says_that_it_left_the_network_alone(tiny_model, trainer, caplog):
    tiny_model.untrained = False
    with caplog.at_level("INFO"):
        ZeroGamma().setup(trainer(), tiny_model, "fit")
    assert "ZeroGamma leaves the network alone" in caplog.text


def test_evaluation_zeroes_nothing(tiny_model, tiny_data, trainer):
    trainer(callbacks=[ZeroGamma()]).validate(tiny_model, tiny_data, verbose=False)
    assert not zeros(tiny_model)


@pytest.mark.parametrize(
    ("name", "variant", "blocks", "last"),
    [
        ("RegNet", "X-200MF", 13, "conv3.bn"),
        ("SKNet", "50", 16, "conv3.bn"),
        ("SENet", "50", 16, "bn3"),  # followed by the gate, then the sum
        ("CBAMResNet", "18", 8, "bn2"),
        ("MobileNetV2", "1.0", 10, "conv.3"),
        ("MobileNetV3", "large", 10, ".1"),
        ("ShuffleNetV1", "1.0x-g3", 13, "branch_main_2.1"),
        ("ConvNeXtRoadmap", "50-resnet", 16, "branch.7"),
        ("Xception", "ImageNet", 9, "rep.8"),  # in the others, a pooling comes before the sum
    ],
)
def test_a_norm_of_every_block_of_other_families(name, variant, blocks, last):
    with torch.device("meta"):
        model = getattr(zoo, name)(variant, num_classes=10, image_size=32)
    found = last_norms(model, 32)
    assert len(found) == blocks and all(path.endswith(last) for path in found[1:])
    assert all(isinstance(model.get_submodule(path), nn.BatchNorm2d) for path in found)


def test_shortcuts_norm_is_not_the_last_one():
    """Branch and shortcut have equally many layers, and a norm each: neither is the residual branch."""
    block = TinyBlock(3, 4)
    assert last_norms(block, 8) == ["bn1"]
    block.downsample = nn.Sequential(block.downsample, nn.BatchNorm2d(4))
    with pytest.raises(TypeError, match="take ZeroGamma out"):
        last_norms(block, 8)


REFUSED = {
    "a block that ends in a convolution": lambda: PreActResNet("110", num_classes=10),
    "a ReLU behind the norm, which has no slope at 0": lambda: zoo.SENet("18", num_classes=10, image_size=32),
    "branches of which none is a shortcut": lambda: zoo.RepVGG("A0", num_classes=10, image_size=32),
    "no norms": lambda: Classifier(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4096, 2)), image_size=32),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refuses_networks_without_such_blocks(trainer, why):
    with pytest.raises(TypeError, match="take ZeroGamma out"):
        ZeroGamma().setup(trainer(), REFUSED[why](), "fit")


def test_finds_blocks_of_a_plain_network():
    assert last_norms(TinyNetwork(), 8) == ["block1.bn1", "block2.bn1"]
