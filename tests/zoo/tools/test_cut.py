"""Cutting to a width: the same logits as the whole network under the mask, fewer parameters, files that remember."""

import pytest
import torch
from torch import nn

import zoo
from callbacks import StructuralDropout
from tests.zoo.tools.test_prune import parameters, randomised
from zoo import Classifier
from zoo.tools.complexity import total_macs
from zoo.tools.cut import cut

BEFORE = "classifier"


def equal(model, where, width, size=None):
    """Asserts that the cut network is the masked one; -> the cut network."""
    trick, size = StructuralDropout(where=where), size or model.image_size
    smaller = trick.cut(model, width, size)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad(), trick.at_width(model, width):
        expected = model(images)
    with torch.no_grad():
        whole, found = model(images), smaller(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))
    assert (whole - expected).abs().max() > 1e-2  # the mask does something
    assert parameters(smaller) < parameters(model)
    assert total_macs(smaller, size) < total_macs(model, size)
    return smaller


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("ResNet-20", BEFORE),
        ("NIN", ("stage1",)),
        pytest.param("ResNet-20-B", ("stage1", "stage2"), marks=pytest.mark.slow),
        pytest.param("MobileNetV1", BEFORE, marks=pytest.mark.slow),
        pytest.param("NIN", None, marks=pytest.mark.slow),
        pytest.param("VGG-11-BN", ("stage1", "stage3"), marks=pytest.mark.slow),
        pytest.param("VGG-11", BEFORE, marks=pytest.mark.slow),
        pytest.param("ResNet-50-D", BEFORE, marks=pytest.mark.slow),
        pytest.param("DenseNet", BEFORE, marks=pytest.mark.slow),
        pytest.param("SENet", BEFORE, marks=pytest.mark.slow),
        pytest.param("WideResNet", BEFORE, marks=pytest.mark.slow),
        pytest.param("PreActResNet", BEFORE, marks=pytest.mark.slow),
    ],
)
def test_the_cut_network_is_the_masked_one(name, where):
    equal(randomised(name), where, 9)


@torch.no_grad()
def test_a_tokens_classifier_is_cut():
    torch.manual_seed(0)
    model = zoo.ViT("Ti/16", num_classes=10, image_size=32).eval()
    nn.init.normal_(model.head.weight)
    assert parameters(model) - parameters(equal(model, BEFORE, 50)) == (192 - 50) * 10


def layers():
    """conv 6 -> norm -> ReLU -> pool -> linear 8 -> ReLU -> linear 10, on images of 4 px."""
    torch.manual_seed(0)
    maps = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    network = nn.Sequential(*maps, nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 10))
    return Classifier(network, num_classes=10).eval()


def test_shapes_and_scale_by_hand():
    model = layers()
    smaller = equal(model, ("network.2",), 2, size=4).network  # behind the ReLU: 2 of 6 maps of 2 x 2 after the pool
    assert smaller[0].weight.shape == (2, 3, 3, 3) and smaller[1].running_var.shape == (2,)
    assert torch.equal(smaller[5].weight, model.network[5].weight[:, :8] * 3) and smaller[7].weight.shape == (10, 8)
    assert (smaller[0].out_channels, smaller[1].num_features, smaller[5].in_features) == (2, 2, 8)
    assert smaller[:4](torch.randn(1, 3, 4, 4)).shape == (1, 2, 2, 2)  # nobody counts on zeros: there are none
    both = equal(model, ("network.2", "network.5"), 2, size=4).network
    assert both[5].weight.shape == (2, 8) and torch.equal(both[7].weight, model.network[7].weight[:, :2] * 4)
    flat = equal(model, ("network.4",), 7, size=4).network  # 4 of the first map, 3 of the second
    assert flat[0].weight.shape[0] == 2 and flat[5].weight.shape == (8, 7)
    assert model.network[0].weight.shape == (6, 3, 3, 3)  # stays as it is


def test_a_width_that_all_have_changes_nothing():
    model = layers()
    smaller = StructuralDropout().cut(model, 8, 4)
    images = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(smaller(images), model(images)) and parameters(smaller) == parameters(model)


class Residual(nn.Module):
    """y = x + conv(x), whose sum is read by a linear layer: the first convolution feeds both."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.relu = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.relu(x + self.conv(x)).mean((2, 3)))


def test_what_a_shortcut_needs_stays():
    torch.manual_seed(0)
    model = Classifier(Residual(), num_classes=10).eval()
    smaller = equal(model, BEFORE, 4, size=4).network
    assert smaller.stem.weight.shape[0] == 6 and smaller.conv.weight.shape == (4, 6, 3, 3)
    assert smaller.conv(torch.randn(1, 6, 4, 4)).shape[1] == 6  # with zeros, for the sum


@pytest.mark.parametrize(
    ("where", "said"),
    [(("network.0",), "native_batch_norm"), (("network.stem",), "add"), ("input", "no width"), ("sigmoid", "sigmoid")],
)
def test_what_zeros_do_not_leave_alone_is_refused(where, said):
    model = Classifier(Residual(), num_classes=10) if where == ("network.stem",) else layers()
    if where == "sigmoid":
        model.network[2], where = nn.Sigmoid(), ("network.1",)
    with pytest.raises((TypeError, ValueError), match=said):
        StructuralDropout(where=where).cut(model, 2, 4)


def test_other_refusals():
    model = layers()
    with pytest.raises(ValueError, match="at least 1"):
        cut(model, ["network.2"], 0, image_size=4)
    with pytest.raises(ValueError, match="how large"):
        cut(Classifier(nn.Flatten(), num_classes=3), [""], 1)
    with pytest.raises(ValueError, match="cut the whole one"):
        cut(cut(model, ["network.2"], 3, image_size=4), ["network.2"], 2, image_size=4)


def test_files_hold_the_smaller_network(tmp_path, trainer):
    smaller = StructuralDropout().cut(randomised("ResNet-20"), 7)
    run = trainer()
    run.strategy.connect(smaller)
    run.save_checkpoint(tmp_path / "small.ckpt", weights_only=True)
    again = zoo.load(tmp_path / "small.ckpt").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), smaller(images))
    smaller.train()(images).sum().backward()  # it can be tuned again
    assert all(p.grad is not None for p in smaller.parameters())
