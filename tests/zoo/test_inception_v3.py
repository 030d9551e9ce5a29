"""Inception-v3: torchvision's counts, outputs and auxiliary outputs, and the sizes that it can take."""

import pytest
import torch
import torchvision
from torch import nn

from zoo import InceptionV3

# At 1000 classes and 299 px: parameters without and with the auxiliary head, and 1e9 multiply-adds of convolutions and
# linear layers without it, counted on timm 1.0 and torchvision 0.29. The paper says "less than 25 million".
COUNTS = (23_834_568, 27_161_264, 5.7132)


def test_counts(count):
    with_head, multiply_adds = count(InceptionV3)
    with torch.device("meta"):
        head = sum(p.numel() for p in InceptionV3().AuxLogits.parameters())
    assert (with_head - head, with_head, round(multiply_adds / 1e9, 4)) == COUNTS


def test_same_logits_as_torchvision(randomise, agree, images):
    torch.manual_seed(0)
    ours = InceptionV3(num_classes=10)
    for head in (ours.fc, ours.AuxLogits.fc):
        nn.init.normal_(head.weight, std=0.1)
        nn.init.normal_(head.bias)
    ours.dropout.p = 0.0
    randomise(ours, 299, 2)
    theirs = torchvision.models.inception_v3(num_classes=10, init_weights=False, dropout=0.0).eval()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(115))
    ours.load_state_dict(theirs.state_dict())

    x = images(299)[:2]
    with torch.no_grad():
        logits, extras = ours.train()(x)
        other = theirs.train()(x)
    ((weight, aux),) = extras["aux"]
    assert weight == 0.4
    torch.testing.assert_close((logits, aux), (other.logits, other.aux_logits), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("pixels", "sides"), [(299, (147, 71, 35, 17, 8)), (64, (64, 64, 32, 15, 7)), (32, (32, 32, 16, 7, 3))]
)
def test_map_sizes(pixels, sides, map_sizes):
    found = map_sizes(lambda: InceptionV3(image_size=pixels), pixels)
    assert found == list(zip((64, 192, 288, 768, 2048), sides, strict=True))


@pytest.mark.parametrize("pixels", [13, 75])
def test_smallest_images(pixels, map_sizes):
    assert map_sizes(lambda: InceptionV3(image_size=pixels), pixels)[-1] == (2048, 1)
    with pytest.raises(ValueError, match=f"at least {pixels} px"):
        InceptionV3(image_size=pixels - 1)


def test_initial_weights_and_dropout():
    torch.manual_seed(0)
    model = InceptionV3(num_classes=10, image_size=32)
    for name, w in model.named_parameters():
        std = 0.001 if "fc" in name else 0.01 if name.startswith("AuxLogits.conv1") else 0.1
        if w.ndim > 1 and w.numel() > 5000:
            assert w.std().item() == pytest.approx(std, rel=0.08), name
    assert model.dropout.p == 0.5
