"""Inception-ResNet-v2: timm's counts, outputs and keys, map sizes, the scales, and the small-image stem."""

import pytest
import timm
import torch

from zoo import InceptionResNetV2

# At 1000 classes and 299 px: parameters, and 1e9 multiply-adds of convolutions and linear layers, counted on timm 1.0.
COUNTS = (55_843_464, 13.1558)
#        channels and sides of the stages at 299 px
STAGES = ((64, 192, 320, 1088, 1536), (147, 71, 35, 17, 8))


def test_counts(count):
    parameters, multiply_adds = count(InceptionResNetV2)
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS


@pytest.mark.slow
def test_same_logits_as_timm(randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(InceptionResNetV2(num_classes=10), 115, 3)
    theirs = timm.create_model("inception_resnet_v2", num_classes=10).eval()
    theirs.load_state_dict(ours.plain_state_dict())
    agree(ours, theirs, 3 * images(115))


def test_same_keys_as_timm():
    with torch.device("meta"):
        ours, theirs = InceptionResNetV2(num_classes=10), timm.create_model("inception_resnet_v2", num_classes=10)
    mine, other = ours.plain_state_dict(), theirs.state_dict()
    assert {k: w.shape for k, w in mine.items()} == {k: w.shape for k, w in other.items()}


def test_map_sizes(map_sizes):
    channels, large = STAGES
    for pixels, sides in ((299, large), (64, (64, 64, 32, 15, 7)), (32, (32, 32, 16, 7, 3))):
        found = map_sizes(lambda pixels=pixels: InceptionResNetV2(image_size=pixels), pixels)
        assert found == list(zip(channels, sides, strict=True))


@pytest.mark.parametrize("pixels", [13, 75])
def test_smallest_images(pixels, map_sizes):
    assert map_sizes(lambda: InceptionResNetV2(image_size=pixels), pixels)[-1] == (1536, 1)
    with pytest.raises(ValueError, match=f"at least {pixels} px"):
        InceptionResNetV2(image_size=pixels - 1)


def test_drops_a_fifth():
    with torch.device("meta"):
        network = InceptionResNetV2(image_size=32).network
    assert network.head_drop.p == 0.2


def test_residual_scales():
    """Of the branches' outputs, before they are added; the last block adds all of it, and has no ReLU."""
    with torch.device("meta"):
        network = InceptionResNetV2(image_size=32).network
    stages = (network.repeat, network.repeat_1, network.repeat_2)
    assert [(len(stage), {block.scale for block in stage}) for stage in stages] == [
        (10, {0.17}),
        (20, {0.1}),
        (9, {0.2}),
    ]
    assert (network.block8.scale, network.block8.relu) == (1.0, None)
