"""The complexity table: counts by hand, published sums, and a network that is left as it was."""

import pytest
import torch
from torch import nn

import zoo
from zoo import AlexNet, Classifier, ResNet
from zoo.tools.complexity import costs, stage_costs, table, total_macs


def test_counts_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    conv, relu, _, linear = costs(network, image_size=8)
    assert (conv.shape, conv.memory, conv.parameters, conv.macs) == ((8, 4, 4), 4 * 128, 8 * 27 + 8, 128 * 27)
    assert (relu.parameters, relu.macs) == (0, 0)
    assert (linear.shape, linear.parameters, linear.macs) == ((5,), 128 * 5 + 5, 128 * 5)
    assert total_macs(network, 8) == 128 * 27 + 128 * 5


def test_grouped_convolution_counts_its_groups():
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3))
    assert total_macs(network, 4) == 16 * 6 * 9  # each output channel sees one input channel


@pytest.mark.parametrize(("variant", "gmacs"), [("50-v1", 3.858), ("50", 4.089), ("50-D", 4.329)])
def test_resnet_50_has_the_multiply_adds_of_the_literature(variant, gmacs):
    assert total_macs(ResNet(variant), 224) / 1e9 == pytest.approx(gmacs, abs=5e-4)


def test_stages_add_up_to_the_whole():
    model = ResNet("20", num_classes=10)
    parts = costs(model, 32, ["conv1", "layer1", "layer2", "layer3", "fc"])
    assert sum(part.macs for part in parts) == total_macs(model, 32)
    bn1 = sum(p.numel() for p in model.bn1.parameters())
    assert sum(part.parameters for part in parts) + bn1 == sum(p.numel() for p in model.parameters())
    assert [part.shape for part in parts[1:4]] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_leaves_the_network_as_it_was():
    model = ResNet("20", num_classes=10)
    model.layer2.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs(model, 32)
    assert model.training and model.layer1.training and not model.layer2.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_table_has_a_row_a_layer():
    rows = costs(ResNet("20", num_classes=10), 32)
    assert table(rows, "ResNet-20").row_count == len(rows)


# The table of the notes (cs231n, EECS 498), at 227 px and padding 2: output, KB, parameters, multiply-adds.
ALEXNET = {
    "features.0": ((64, 56, 56), 784, 23_296, 72_855_552),
    "features.2": ((64, 27, 27), 182.25, 0, 0),
    "features.3": ((192, 27, 27), 546.75, 307_392, 223_948_800),
    "features.5": ((192, 13, 13), 126.75, 0, 0),
    "features.6": ((384, 13, 13), 253.5, 663_936, 112_140_288),
    "features.8": ((256, 13, 13), 169, 884_992, 149_520_384),
    "features.10": ((256, 13, 13), 169, 590_080, 99_680_256),
    "features.12": ((256, 6, 6), 36, 0, 0),
    "classifier.1": ((4096,), 16, 37_752_832, 37_748_736),  # 9216 * 4096 + 4096; the lecture prints 37,725,832
    "classifier.4": ((4096,), 16, 16_781_312, 16_777_216),
    "classifier.6": ((1000,), 3.90625, 4_097_000, 4_096_000),
}


def test_alexnet_layer_by_layer():
    with torch.device("meta"):
        model = AlexNet("owt", image_size=227)
    rows = {c.name: (c.shape, c.memory / 1024, c.parameters, c.macs) for c in costs(model, 227)}
    assert {name: rows[name] for name in ALEXNET} == ALEXNET
    assert sum(c.macs for c in stage_costs(model, 227)) == 716_767_232


def test_a_layer_that_is_run_again_gives_what_it_gives_then():
    """The ReLU of a bottleneck sees maps of w channels, then of 4w."""
    rows = {c.name: c for c in costs(ResNet("50"), 224)}
    assert rows["layer1.0.relu"].shape == (64, 56, 56) and rows["layer1.0.conv3"].shape == (256, 56, 56)


@pytest.mark.parametrize("name", ["AlexNet", "ConvNeXt", "DenseNet", "GoogLeNet", "MobileNetV2", "ShuffleNetV2"])
def test_stages_share_the_network_out(name):
    with torch.device("meta"):
        model = getattr(zoo, name)()
    rows = stage_costs(model, 224)
    assert [row.name for row in rows][: len(model.stages)] == [*model.stages.keys()]
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.macs for row in rows) == total_macs(model, 224)
    assert all(row.memory > 0 and row.shape for row in rows[: len(model.stages)])


def test_stages_by_hand():
    """A stem, a stage that runs its ReLU twice, a head, and a layer for training only."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 2, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 1, bias=False))
            self.scale = nn.Parameter(torch.ones(7))
            self.head, self.aux = nn.Linear(4, 5), nn.Linear(4, 9)

        def forward(self, x):
            return self.head(self.body(self.body[0](self.stem(x))).mean((2, 3)))

    model = Classifier(Net(), 5, stages={"stage1": "body"})
    stage, head, unused = stage_costs(model, 8)
    assert (stage.shape, stage.parameters, stage.macs) == ((4, 8, 8), 8 + 8 + 7, 64 * 6 + 64 * 8)
    assert stage.memory == 4 * 64 * (2 + 2 + 2 + 4)
    assert (head.name, head.parameters, head.macs, head.memory) == ("head", 25, 20, 20)
    assert (unused.name, unused.parameters, unused.macs) == ("in training only", 45, 0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
