"""AlexNet: torchvision's counts and outputs for "owt", the paper's two towers for "2012", its norm by hand."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from zoo import AlexNet
from zoo.alexnet import VARIANTS
from zoo.layers.alexnet_parts import local_norm

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 227 px ("2012") and 224 px
# ("owt"). Counted on torchvision 0.29 ("owt") and on a network written apart from this one; the paper says 60 million.
COUNTS = {"2012": (60_965_224, 0.7244), "owt": (61_100_840, 0.7142)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(AlexNet, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS[variant]


def test_multiply_adds_per_layer_of_the_2014_form(count):
    """At 227 px, padding 2: the table of the course notes (56 x 56 maps first), 716.8 million in all."""
    layers = (72_855_552, 223_948_800, 112_140_288, 149_520_384, 99_680_256, 37_748_736, 16_777_216, 4_096_000)
    assert count(partial(AlexNet, "owt", image_size=227))[1] == sum(layers)


def test_same_logits_as_torchvision(agree, images, he_weights):
    torch.manual_seed(0)
    ours = he_weights(AlexNet("owt", num_classes=10))
    theirs = torchvision.models.alexnet(num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(96))
    ours.load_state_dict(theirs.state_dict())


# ---- the paper read a second time: two GPUs, which see each other's maps in conv 3 and in the hidden layers only


def normalised(towers: list[torch.Tensor]) -> list[torch.Tensor]:
    """Section 3.3, sum by sum, over all kernels of the layer."""
    a = torch.cat(towers, 1)
    b = torch.empty_like(a)
    for i in range(a.shape[1]):
        near = a[:, max(0, i - 2) : i + 3]
        b[:, i] = a[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    return list(b.chunk(2, 1))


def by_the_paper(w: dict, x: torch.Tensor) -> torch.Tensor:
    def towers(inputs: list[torch.Tensor], key: str, **how) -> list[torch.Tensor]:
        weights, biases = w[f"features.{key}.weight"].chunk(2), w[f"features.{key}.bias"].chunk(2)
        return [F.conv2d(x, k, b, **how).relu() for x, k, b in zip(inputs, weights, biases, strict=True)]

    def pooled(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return [F.max_pool2d(x, 3, 2) for x in inputs]

    t = pooled(normalised(towers([x, x], "0", stride=4)))
    t = pooled(normalised(towers(t, "3", padding=2)))
    both = torch.cat(t, 1)
    t = towers([both, both], "6", padding=1)
    t = towers(towers(t, "8", padding=1), "10", padding=1)
    x = torch.cat(pooled(t), 1).flatten(1)
    for key in ("1", "4"):
        x = (x @ w[f"classifier.{key}.weight"].T + w[f"classifier.{key}.bias"]).relu()
    return x @ w["classifier.6.weight"].T + w["classifier.6.bias"]


def test_2012_is_the_paper(agree, images, he_weights):
    torch.manual_seed(0)
    ours = he_weights(AlexNet("2012", num_classes=10))
    agree(ours, partial(by_the_paper, ours.state_dict()), 30 * images(227))  # large, so that the norm divides by 2 to 9


def test_norm_by_hand():
    """One pixel of seven channels: each sees the two on either side, where there are two."""
    a = torch.tensor([100.0, 0, 0, 100, 0, 50, 200]).reshape(1, 7, 1, 1)
    sums = torch.tensor([1e4, 1e4 + 1e4, 1e4 + 1e4, 1e4 + 2500, 1e4 + 4e4 + 2500, 1e4 + 4e4 + 2500, 4e4 + 2500])
    expected = a.flatten() / (2 + 1e-4 * sums) ** 0.75
    torch.testing.assert_close(local_norm()(a).flatten(), expected)


def test_only_2012_normalises():
    norms = {v: sum(isinstance(m, nn.LocalResponseNorm) for m in AlexNet(v, image_size=32).modules()) for v in VARIANTS}
    assert norms == {"2012": 2, "owt": 0}


def test_initial_weights_of_the_paper():
    torch.manual_seed(0)
    model = AlexNet("2012", num_classes=10, image_size=32)
    biases = {name: b.unique().tolist() for name, b in model.named_parameters() if name.endswith("bias")}
    ones = ("features.3", "features.8", "features.10", "classifier.1", "classifier.4")
    assert biases == {name: [1.0 if name.startswith(ones) else 0.0] for name in biases}
    for name, w in model.named_parameters():
        assert name.endswith("bias") or w.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(("variant", "where"), [("2012", ("3", "drop")), ("owt", ("0", "3"))])
def test_where_dropout_acts(variant, where):
    layers = AlexNet(variant, image_size=32).classifier.named_children()
    assert tuple(name for name, layer in layers if isinstance(layer, nn.Dropout)) == where


@pytest.mark.parametrize(
    ("pixels", "sizes"),
    [(227, (55, 27, 13, 13, 13)), (224, (55, 27, 13, 13, 13)), (64, (64, 31, 15, 15, 15)), (32, (32, 15, 7, 7, 7))],
)
def test_map_sizes(pixels, sizes, map_sizes):
    channels = VARIANTS["2012"].channels
    assert map_sizes(partial(AlexNet, "2012", image_size=pixels), pixels) == list(zip(channels, sizes, strict=True))


@pytest.mark.parametrize("pixels", [14, 1])
def test_refuses_images_that_shrink_to_nothing(pixels):
    with pytest.raises(ValueError, match="at least 15 px"):
        AlexNet(image_size=pixels)
