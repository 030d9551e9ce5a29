"""Inception-v4: timm's counts, outputs and keys, the paper's map sizes, and the small-image stem."""

import pytest
import timm
import torch

from zoo import InceptionV4

# At 1000 classes and 299 px: parameters, and 1e9 multiply-adds of convolutions and linear layers, counted on timm 1.0.
COUNTS = (42_679_816, 12.2540)
#        channels and sides of the stages at 299 px: figures 3 and 9 of the paper
STAGES = ((64, 160, 384, 1024, 1536), (147, 73, 35, 17, 8))


def test_counts(count):
    parameters, multiply_adds = count(InceptionV4)
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS


@pytest.mark.slow
def test_same_logits_as_timm(randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(InceptionV4(num_classes=10), 115, 3)
    theirs = timm.create_model("inception_v4", num_classes=10).eval()
    theirs.load_state_dict(ours.plain_state_dict())
    agree(ours, theirs, 3 * images(115))


def test_same_keys_as_timm():
    with torch.device("meta"):
        ours, theirs = InceptionV4(num_classes=10), timm.create_model("inception_v4", num_classes=10)
    mine, other = ours.plain_state_dict(), theirs.state_dict()
    assert {k: w.shape for k, w in mine.items()} == {k: w.shape for k, w in other.items()}


def test_map_sizes(map_sizes):
    channels, large = STAGES
    for pixels, sides in ((299, large), (64, (64, 64, 32, 15, 7)), (32, (32, 32, 16, 7, 3))):
        found = map_sizes(lambda pixels=pixels: InceptionV4(image_size=pixels), pixels)
        assert found == list(zip(channels, sides, strict=True))


@pytest.mark.parametrize("pixels", [13, 75])
def test_smallest_images(pixels, map_sizes):
    assert map_sizes(lambda: InceptionV4(image_size=pixels), pixels)[-1] == (1536, 1)
    with pytest.raises(ValueError, match=f"at least {pixels} px"):
        InceptionV4(image_size=pixels - 1)


def test_drops_a_fifth():
    with torch.device("meta"):
        network = InceptionV4(image_size=32).network
    assert network.head_drop.p == 0.2
