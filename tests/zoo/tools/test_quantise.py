"""Int8 networks: rounding as the equation says, logits near the float ones, and clear words for what cannot be."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import zoo
from tests.conftest import tiny_classifier
from zoo import Classifier, ResNet, prune_channels, quantise

ENGINES = [name for name in ("x86", "onednn") if name in torch.backends.quantized.supported_engines]


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(32, 3, 32, 32)


@torch.no_grad()
def with_statistics(model, images):
    """Batch norms that know these images, in eval mode."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    model.train()(images)
    return model.eval()


@torch.no_grad()
def error(model, network, images):
    """Root mean square difference of the logits, in deviations of the float ones."""
    a, b = model(images), network(images)
    return ((a - b).square().mean() / a.var()).sqrt().item()


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_are_rounded_to_one_scale_a_channel(engine):
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), num_classes=5)
    weight = model.network[1].weight.detach()
    network = quantise(model, [torch.randn(50, 3, 2, 2)], engine)
    (layer,) = (m for m in network.modules() if type(m).__name__ == "Linear")
    rounded = layer.weight()
    scales = rounded.q_per_channel_scales().float()
    torch.testing.assert_close(scales, weight.abs().amax(1) / 127.5, rtol=0.01, atol=0)
    assert ((rounded.dequantize() - weight).abs() <= scales[:, None] / 2 + 1e-7).all()
    assert rounded.int_repr().dtype == torch.int8


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_are_near_the_float_ones(engine, images):
    torch.manual_seed(0)
    model = with_statistics(ResNet("20", num_classes=10), images)
    network = quantise(model, [[images[:16], None], images[16:]], engine)
    assert error(model, network, images) < 0.1
    assert torch.backends.quantized.engine != "none"
    kinds = [type(m).__name__ for m in network.modules()]
    assert "Conv2d" in kinds and "BatchNorm2d" not in kinds and not [*network.parameters()]
    assert network.num_classes == 10 and network.image_size == 32


def test_sums_are_int8_too(images):
    network = quantise(ResNet("20", num_classes=10), [images])
    assert network.network.code.count("quantized.add_relu") == 9  # one a block


def test_the_engine_that_was_set_is_set_again(images):
    before = torch.backends.quantized.engine
    quantise(tiny_classifier(), [images[:, :, :8, :8]], ENGINES[-1])
    assert torch.backends.quantized.engine == before


def test_calibration_images_set_the_ranges(images):
    """Activations beyond what was seen are clipped: ten times as bright images have other logits than the float's."""
    model = with_statistics(tiny_classifier(), images[:, :, :8, :8])
    small = images[:, :, :8, :8]
    network = quantise(model, [small])
    assert error(model, network, small) < 0.1 < error(model, network, 10 * small)
    assert error(model, quantise(model, [10 * small]), 10 * small) < 0.1


def test_the_model_stays_as_it_is(images):
    model = tiny_classifier().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    quantise(model, [images])
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_is_tested_and_predicts_as_any_classifier(images, trainer):
    model = with_statistics(tiny_classifier(), images)
    network = quantise(model, [images])
    data = DataLoader([[images, torch.arange(32) % 10]], batch_size=None)
    scores = trainer().test(network, data, verbose=False)[0]
    accuracy = (network(images).argmax(1) == torch.arange(32) % 10).float().mean().item()
    assert scores["test/acc"] == pytest.approx(accuracy)
    torch.testing.assert_close(torch.cat(trainer().predict(network, data)), network(images).softmax(1))


def test_a_smaller_network_too(images):
    torch.manual_seed(0)
    smaller = with_statistics(prune_channels(ResNet("20", num_classes=10), 0.5), images)
    assert error(smaller, quantise(smaller, [images]), images) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, bound",
    [
        (lambda: zoo.VGG("11-BN", 10, 32), 0.2),
        (lambda: zoo.WideResNet("16-1", 10), 0.1),
        (lambda: zoo.SENet("18", 10, 32), 0.2),
        (lambda: zoo.NIN("thin", 10, 32), 0.1),
        (lambda: zoo.CBAMResNet("18", 10, 32), 0.2),  # concatenates int8 and float
        (lambda: zoo.ShuffleNetV2("0.5x", 10, 32), 0.7),  # shuffles channels; depthwise, new and random
        (lambda: zoo.MobileNetV2("0.35", 10, 32), 0.8),  # new and random: each of its 17 blocks adds its error
    ],
)
@pytest.mark.one_in(4)
def test_families(make, bound, images):
    torch.manual_seed(0)
    model = with_statistics(make(), images)
    assert error(model, quantise(model, [images]), images) < bound


def test_cannot_be_trained_or_exported(images, tiny_data, trainer, tmp_path):
    network = quantise(tiny_classifier(), [images])
    with pytest.raises(RuntimeError, match="train the one that zoo.quantise was given"):
        trainer().fit(network, tiny_data)
    with pytest.raises(NotImplementedError, match="has no export"):
        network.export(tmp_path / "model.onnx")


def test_refusals(images):
    with pytest.raises(ValueError, match="the batches are empty"):
        quantise(tiny_classifier(), [])
    with pytest.raises(ValueError, match="images must be float"):
        quantise(tiny_classifier(), [images.byte()])
    with pytest.raises(ValueError, match="quantise has no 'int4'"):
        quantise(tiny_classifier(), [images], "int4")
    with pytest.raises(TypeError, match="ViT cannot be quantised: its forward is more than a list of layers"):
        quantise(zoo.ViT("Ti/16", 10, image_size=32), [images])


class InPlace(nn.Sequential):
    """Adds to what its last layer gave, and goes on with that by itself, or with what comes back."""

    taken = False

    def forward(self, x):
        y = super().forward(x)
        z = y.add_(x)
        return (z if self.taken else y).relu_().mean((2, 3))


def test_sums_that_tracing_would_lose_are_refused(images):
    torch.manual_seed(0)
    network = InPlace(nn.Conv2d(3, 3, 1))
    model = Classifier(network, num_classes=3)
    with pytest.raises(TypeError, match=r"it changes tensors in place \(add_: write y \+= x"):
        quantise(model, [images])
    network.taken = True
    torch.testing.assert_close(quantise(model, [images])(images), model(images), atol=0.06, rtol=0)


def test_without_torchs_part_it_says_what_is_missing(images, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.ao.quantization", None)
    with pytest.raises(ImportError, match="quantise needs torch.ao.quantization"):
        quantise(tiny_classifier(), [images])
