"""Convolutions that take in the norms after them: the same logits for every model, and no pair that must stay apart."""

import copy

import pytest
import torch
from torch import nn

import zoo
from tests.zoo.test_every_model import ROWS, loader, smallest
from zoo import Classifier, ResNet, fuse
from zoo.tools.fuse import FusedNorm

# norms that stay: before their convolutions, in auxiliary heads that evaluation does not run, or of RepVGG's identities
STAY = {"DenseNet": 51, "GoogLeNet": 2, "InceptionV3": 2, "PreActResNet": 9, "RepVGG": 18, "WideResNet": 7}
QUICK = {"AlexNet", "ConvNet", "MobileNetV2", "ResNet", "RepVGG", "ViT"}


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in zoo.__all__])
@pytest.mark.one_in(6)
def test_every_model_gives_the_same(name, randomise, images, agree):
    torch.manual_seed(0)
    row = "A0" if name == "RepVGG" else ROWS.get(name) or smallest(name, 32)
    model = randomise_at_32(getattr(zoo, name)(row, num_classes=10, image_size=32), images)
    if norms(model) == 0:
        with pytest.raises(ValueError, match="no convolution whose output a batch norm alone reads"):
            fuse(model)
        return
    fused, batch = fuse(model), images(32)
    assert norms(fused) == STAY.get(name, 0) < norms(model)
    torch.testing.assert_close(fused(batch), model(batch), rtol=1e-5, atol=1e-4)
    assert (model(batch) - model(batch.flip(0))).abs().max() > 1e-3  # it tells images apart


@torch.no_grad()
def randomise_at_32(model: nn.Module, images) -> nn.Module:
    found = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in found:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.6, 1.2)
        nn.init.normal_(norm.bias, std=0.2)
    model.train()(images(32, 8))
    for norm in found:
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.5)
    return model.eval()


def test_by_hand():
    """W = 2, b = 1, mean 3, variance 15 + eps of 1, gamma 8, beta 5: W' = 2 * 8 / 4, b' = (1 - 3) * 8 / 4 + 5."""
    conv, norm = nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1, eps=1.0)
    for tensor, value in zip((conv.weight, conv.bias, norm.weight, norm.bias), (2, 1, 8, 5), strict=True):
        nn.init.constant_(tensor, value)
    norm.running_mean.fill_(3)
    norm.running_var.fill_(15)
    fused = fuse(nn.Sequential(conv, norm), image_size=4)
    assert fused[0].weight.flatten().tolist() == [4, 4, 4] and fused[0].bias.tolist() == [1]
    assert isinstance(fused[1], FusedNorm)


class Readers(nn.Module):
    """A convolution and a norm, and what else becomes of the convolution's output."""

    def __init__(self, kind: str):
        super().__init__()
        self.conv, self.norm, self.kind = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), kind
        self.other, self.norm2 = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        if kind == "tied":
            self.other.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
            self.conv.weight = self.other.weight

    def forward(self, x):
        z = self.conv(x)
        y = self.norm(z)
        if self.kind == "sum":
            return y + z
        if self.kind == "returned":
            return y, z
        if self.kind == "view":
            return y + z.view(z.shape)
        if self.kind == "between":
            return self.norm2(self.other(y).relu())
        if self.kind == "twice":
            return y + self.norm(self.conv(2 * x))
        if self.kind == "two norms":
            return y + self.norm2(z)
        return y + self.other(x) if self.kind == "tied" else y


@pytest.mark.parametrize("kind", ["sum", "returned", "view", "twice", "two norms", "tied"])
def test_what_others_read_is_left_alone(kind):
    with pytest.raises(ValueError, match="no convolution"):
        fuse(Readers(kind), image_size=4)


def test_only_the_pair_that_meets():
    fused = fuse(Readers("between"), image_size=4)
    assert isinstance(fused.norm, FusedNorm) and isinstance(fused.norm2, nn.BatchNorm2d)


def test_listeners_and_stages_see_what_they_saw():
    model = Readers("alone")
    fuse(model, image_size=4)
    with pytest.raises(ValueError, match="no convolution"):
        fuse(Classifier(model, 4, stages={"stage1": "conv"}), image_size=4)
    model.conv.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="no convolution"):
        fuse(model, image_size=4)
    with pytest.raises(ValueError, match="no convolution"):
        fuse(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)), image_size=4)


def test_is_a_copy_in_eval_mode_that_will_not_train(trainer):
    model = ResNet("20", num_classes=10).train()
    before = copy.deepcopy(model.state_dict())
    fused = fuse(model)
    assert model.training and not any(module.training for module in fused.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in [*model.modules(), *fused.modules()])
    assert fused.eval() is fused and type(fused) is ResNet
    data = loader("ResNet", pixels=32)
    with pytest.raises(RuntimeError, match="fused for inference: train the one that zoo.fuse was given"):
        trainer().fit(fused, data)
    assert not any(p.requires_grad for p in fused.parameters())
    scores = [trainer().validate(each, data, verbose=False) for each in (model.eval(), fused)]
    assert scores[0][0]["val/loss"] == pytest.approx(scores[1][0]["val/loss"], rel=1e-5)


def test_keeps_the_kind_of_number_and_other_sizes(images):
    model = ResNet("20", num_classes=10).double().eval()
    fused = fuse(model)
    assert {p.dtype for p in fused.parameters()} == {torch.float64}
    batch = images(48).double()
    torch.testing.assert_close(fused(batch), model(batch), rtol=1e-10, atol=1e-12)


def test_needs_to_know_the_images():
    with pytest.raises(ValueError, match="image_size="):
        fuse(nn.Conv2d(3, 3, 1))
