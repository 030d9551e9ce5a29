"""Channel pruning: dead channels leave without a trace, costs fall as counted by hand, and files hold what is left."""

import copy

import pytest
import torch
from torch import nn

import zoo
from callbacks import EMA
from tests.zoo.test_every_model import loader
from zoo import Classifier, ResNet, prune_channels
from zoo.tools.channels import NORMS, Channels
from zoo.tools.complexity import total_macs
from zoo.tools.prune import choose

MODELS = {
    "ResNet-20": lambda: ResNet("20", num_classes=10),
    "ResNet-20-B": lambda: ResNet("20-B", num_classes=10),
    "ResNet-18": lambda: ResNet("18", num_classes=10, image_size=32),
    "ResNet-18-224": lambda: ResNet("18", num_classes=10, image_size=224),
    "ResNet-50-D": lambda: ResNet("50-D", num_classes=10, image_size=32),
    "VGG-11-BN": lambda: zoo.VGG("11-BN", 10, 32),
    "VGG-11": lambda: zoo.VGG("11", 10, 64),
    "MobileNetV1": lambda: zoo.MobileNetV1("0.25", 10, 32),
    "MobileNetV2": lambda: zoo.MobileNetV2("0.35", 10, 32),
    "WideResNet": lambda: zoo.WideResNet("16-1", 10),
    "PreActResNet": lambda: zoo.PreActResNet("18", 10, 32),
    "SENet": lambda: zoo.SENet("18", 10, 32),
    "DenseNet": lambda: zoo.DenseNet("40-12", 10, 32),
    "ShuffleNetV2": lambda: zoo.ShuffleNetV2("0.5x", 10, 32),
    "ResNeXt": lambda: zoo.ResNeXt("50-32x4d", 10, 32),
    "NIN": lambda: zoo.NIN("thin", 10, 32),
}
QUICK = {"ResNet-20", "ResNet-20-B", "MobileNetV1", "WideResNet", "NIN"}
some = [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MODELS]


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def randomised(name):
    """In eval mode, with norms that do something and statistics of what they see, so that images are told apart."""
    torch.manual_seed(0)
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, NORMS):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.6, 1.2)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    model.train()(torch.randn(4, 3, model.image_size, model.image_size))
    return model.eval()


@torch.no_grad()
def kill(model, removed):
    """Zeroes what makes these channels, and every norm that they pass."""
    channels, weights = Channels(model, model.image_size), model.state_dict()
    gone = {channels.find(channels.places[f"{path}.weight", 0][i]) for path, places in removed.items() for i in places}
    for (name, dim), numbers in channels.places.items():
        if dim == 0 and not name.endswith(("running_mean", "running_var")):
            weights[name][[channels.find(number) in gone for number in numbers]] = 0


@pytest.mark.parametrize("name", some)
@pytest.mark.one_in(2)
def test_dead_channels_leave_without_a_trace(name):
    model = randomised(name)
    removed = choose(model, Channels(model, model.image_size), 0.4, "l1")
    kill(model, removed)
    images = torch.randn(3, 3, model.image_size, model.image_size)
    smaller = prune_channels(model, 0.4, "l1")
    assert smaller.surgery[0][1]["removed"] == removed  # those with the smallest filters: 0
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(smaller(images), expected, rtol=1e-5, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-2  # it tells images apart
    assert parameters(smaller) < 0.9 * parameters(model)
    assert smaller.train()(images[:2]).shape == (2, 10)


@torch.no_grad()
def test_channels_whose_gamma_and_beta_are_zero_are_those_that_leave():
    model = randomised("VGG-11-BN")
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    counts = (5, 9, 0, 30, 100, 1, 7, 60)
    dead = [torch.randperm(norm.num_features)[:count] for norm, count in zip(norms, counts, strict=True)]
    for norm, places in zip(norms, dead, strict=True):
        norm.weight[places], norm.bias[places] = 0, 0
    images = torch.randn(3, 3, 32, 32)
    total = sum(norm.num_features for norm in norms)
    smaller = prune_channels(model, (sum(counts) + 0.5) / total, "gamma")
    torch.testing.assert_close(smaller(images), model(images), rtol=1e-5, atol=1e-5)
    left = [m.num_features for m in smaller.modules() if isinstance(m, nn.BatchNorm2d)]
    assert left == [norm.num_features - len(places) for norm, places in zip(norms, dead, strict=True)]
    assert [m.out_channels for m in smaller.modules() if isinstance(m, nn.Conv2d)] == left


@torch.no_grad()
def test_gamma_scores_a_tied_channel_by_all_its_norms():
    """MobileNetV1: a 1x1 and the depthwise one behind it; dead in one of the two norms only is not dead."""
    model = randomised("MobileNetV1")
    block = model.blocks[1][0]
    first, second = block.bn2, model.blocks[1][1].bn1
    first.weight[[2, 5]] = 0
    second.weight[[5, 7]] = 0
    removed = choose(model, Channels(model, 32), 1.5 / sum(map(len, Channels(model, 32).groups(model))), "gamma")
    assert removed == {"blocks.1.0.conv_pw": [5]}


@torch.no_grad()
@pytest.mark.parametrize("head", ["fcos", "faster-rcnn"])
def test_a_detector_loses_channels_before_the_maps_of_its_head(head):
    torch.manual_seed(3)
    model = zoo.Detector(ResNet("20", image_size=32), head, 3, 32)
    removed = choose(model, Channels(model, 32), 0.4, "l1")
    assert removed and all(path.startswith("network.backbone.") for path in removed)
    kill(model, removed)
    smaller, images = prune_channels(model, 0.4), torch.randn(2, 3, 32, 40)
    assert parameters(smaller.network.backbone.body) < 0.8 * parameters(model.network.backbone.body)
    maps = [one.eval().network.backbone(images) for one in (model, smaller)]
    assert len(maps[0]) > 1 and all((x.std((2, 3)) > 1e-3).any() for x in maps[0].values())
    for one, two in zip(*(each.values() for each in maps), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-5)
    assert prune_channels(model, 0.4, "gamma").network.backbone.body.layer1[0].conv1.out_channels > 0


def test_the_smallest_filters_of_each_layer_leave():
    model = randomised("ResNet-20")
    removed = choose(model, Channels(model, 32), 0.25, "l1")
    assert set(removed) == {f"layer{i}.{b}.conv1" for i in (1, 2, 3) for b in range(3)}  # padded shortcuts tie the rest
    for path, places in removed.items():
        norms = model.get_submodule(path).weight.detach().abs().sum((1, 2, 3))
        assert len(places) == len(norms) // 4
        assert set(places) == set(norms.argsort()[: len(places)].tolist())


def test_costs_of_resnet_20_as_counted_by_hand():
    model = ResNet("20", num_classes=10)
    smaller = prune_channels(model, 0.5)
    lost = lost_macs = 0
    for i, w in enumerate((16, 32, 64)):
        pixels = (32 // 2**i) ** 2
        for b in range(3):
            c_in = w // 2 if i and b == 0 else w
            gone = 9 * c_in * w // 2 + 9 * w // 2 * w  # half of the rows of conv1, half of the columns of conv2
            lost += gone + w  # gamma and beta of half a norm
            lost_macs += pixels * gone
    assert parameters(model) - parameters(smaller) == lost
    assert total_macs(model, 32) - total_macs(smaller, 32) == lost_macs


def test_costs_of_mobilenet_v1_as_counted_by_hand():
    model = zoo.MobileNetV1("0.25", 10, 32)
    smaller = prune_channels(model, 0.5)
    widths = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    half = [w // 2 for w in widths]

    def count(widths):
        stem, pairs = 27 * widths[0] + 2 * widths[0], zip(widths, widths[1:], strict=False)
        return stem + sum(9 * a + 2 * a + a * b + 2 * b for a, b in pairs) + 10 * widths[-1] + 10

    assert parameters(model) == count(widths) and parameters(smaller) == count(half)
    depthwise = [m for m in smaller.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert [m.groups for m in depthwise] == half[:-1]


def test_the_model_stays_as_it_is_and_every_layer_keeps_a_channel():
    model = randomised("ResNet-20-B")
    before = copy.deepcopy(model.state_dict())
    smaller = prune_channels(model, 0.999, "gamma")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.surgery == [] and not smaller.training
    assert min(m.out_channels for m in smaller.modules() if isinstance(m, nn.Conv2d)) == 1
    assert smaller(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def tuned(trainer, tmp_path, model):
    """Trained for an epoch, with an average, and written."""
    file = tmp_path / "model.ckpt"
    run = trainer(callbacks=[EMA(0.5)], max_epochs=1)
    run.fit(model, loader("ResNet"))
    run.save_checkpoint(file)
    return file


def test_trains_on_and_its_checkpoint_loads_as_the_smaller_network(trainer, tmp_path):
    torch.manual_seed(0)
    smaller = prune_channels(ResNet("20", num_classes=10, image_size=8, lr=0.01), 0.5)
    before = copy.deepcopy(smaller.state_dict())
    file = tuned(trainer, tmp_path, smaller)
    assert not torch.equal(before["layer1.0.conv1.weight"], smaller.layer1[0].conv1.weight)
    torch.load(file, weights_only=True)
    images = torch.randn(2, 3, 8, 8)
    expected = smaller.eval()(images)
    for loaded in (zoo.load(file), ResNet.load_from_checkpoint(file).eval()):
        assert torch.equal(loaded(images), expected)
        assert loaded.layer1[0].conv1.out_channels == 8 and loaded.surgery == smaller.surgery
    assert not torch.equal(zoo.load(file, average="EMA(0.5)")(images), expected)


def test_twice(trainer, tmp_path):
    model = ResNet("20", num_classes=10, image_size=8, lr=0.01)
    twice = prune_channels(prune_channels(model, 0.5), 0.5)
    assert twice.layer3[0].conv1.out_channels == 16 and len(twice.surgery) == 2
    assert zoo.load(tuned(trainer, tmp_path, twice)).layer3[0].conv1.out_channels == 16


def test_exports_its_own_keys(tmp_path):
    smaller = prune_channels(ResNet("20", num_classes=10), 0.5)
    smaller.export(tmp_path / "weights.safetensors")
    state = zoo.frame.weight_files.read(tmp_path / "weights.safetensors").state
    assert state["layer3.0.conv2.weight"].shape == (64, 32, 3, 3)


@pytest.mark.slow
def test_exports_a_graph_and_fuses(tmp_path):
    smaller = prune_channels(randomised("MobileNetV2"), 0.3)
    images = torch.randn(2, 3, 32, 32)
    smaller.export(tmp_path / "model.pt2")
    with torch.no_grad():
        expected = smaller(images)
        torch.testing.assert_close(torch.export.load(tmp_path / "model.pt2").module()(images), expected)
    torch.testing.assert_close(zoo.fuse(smaller)(images), expected, rtol=1e-4, atol=1e-4)


def test_a_foreign_network_of_timm():
    model = Classifier("resnet10t", num_classes=10).eval()
    with pytest.raises(ValueError, match="how large are the images"):
        prune_channels(model)
    smaller = prune_channels(model, 0.5, image_size=64)
    assert parameters(smaller) < 0.3 * parameters(model)
    assert smaller(torch.randn(2, 3, 64, 64)).shape == (2, 10)


class Reads(nn.Module):
    """A convolution, then what a case does to its output, then a head."""

    def __init__(self, between, width=4):
        super().__init__()
        self.conv, self.bn, self.between = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), between
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.between(self.bn(self.conv(x))).mean((2, 3)))


class Own(nn.Module):
    """Somebody's own layer: what else it does with its weight, and what it knows of its size, nobody can tell."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, 1, 1))

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight)


@pytest.mark.parametrize(
    "between",
    [
        Own(),
        nn.GroupNorm(2, 4),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.ConvTranspose2d(4, 4, 2),
        nn.PReLU(4),
        nn.ChannelShuffle(2),
    ],
)
def test_layers_that_mix_channels_in_groups_are_left_whole(between):
    with pytest.raises(TypeError, match="no channels that prune_channels"):
        prune_channels(Reads(between), 0.5, image_size=8)


def test_refusals():
    with torch.device("meta"):
        tokens, auxiliary, without_norms = zoo.ViT("Ti/16", 10), zoo.GoogLeNet("BN", 10, 32), zoo.VGG("11", 10, 32)
    with pytest.raises(TypeError, match="ViT has no channels that prune_channels"):
        prune_channels(tokens, 0.5)
    with pytest.raises(TypeError, match="evaluation does not run"):
        prune_channels(auxiliary, 0.5)
    with pytest.raises(TypeError, match="each with a batch norm behind it"):
        prune_channels(without_norms, 0.5, "gamma")
    with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\)"):
        prune_channels(ResNet("20"), 1.0)
    with pytest.raises(ValueError, match="gamma"):
        prune_channels(ResNet("20"), 0.5, "taylor")


def test_another_network_is_refused_by_a_file(trainer, tmp_path):
    smaller = prune_channels(ResNet("20", num_classes=10, image_size=8), 0.5)
    file = tuned(trainer, tmp_path, smaller)
    with pytest.raises(ValueError, match="give it the same arguments"):
        trainer().fit(ResNet("32", num_classes=10, image_size=8), loader("ResNet"), ckpt_path=file, weights_only=True)
