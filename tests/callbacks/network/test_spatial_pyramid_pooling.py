"""Spatial pyramid pooling: bins by hand, heads of several networks, refusals."""

import pytest
import torch
from torch import nn

import zoo
from callbacks import SpatialPyramidPooling
from callbacks.network.spatial_pyramid_pooling import PyramidPool2d, pyramid, widen_head
from tests.zoo.test_every_model import loader, smallest
from zoo import ConvNeXt, HierarchicalMixture, ResNet


def test_bins_by_hand():
    """In a map 0 to 15, the maxima of the quarters are 5, 7, 13, 15."""
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert pyramid(x, (2, 1)).tolist() == [[5, 7, 13, 15, 15]]
    assert pyramid(x, (4,)).tolist() == [list(range(16))]


def test_bins_overlap_where_the_level_does_not_divide():
    """Rows 0-1, 1-3, 3-4 of five: floor(5i / 3) to ceil(5(i + 1) / 3)."""
    x = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 1, 5, 5)
    assert pyramid(x, (3,)).view(3, 3)[:, 0].tolist() == [1, 3, 4]


def test_the_width_is_the_same_at_every_size():
    assert {pyramid(torch.rand(2, 8, h, w), (4, 2, 1)).shape for h, w in ((1, 1), (3, 7), (13, 13))} == {(2, 8 * 21)}


@pytest.mark.parametrize(
    "name", ["AlexNet", "BNInception", "GoogLeNet", "InceptionV3", "ResNeXt", "ResNet", "VGG", "Xception", "ZFNet"]
)
def test_heads_of_the_zoo(name):
    with torch.device("meta"):
        model = getattr(zoo, name)(smallest(name, 32), num_classes=10, image_size=32)
    before = sum(p.numel() for p in model.parameters())
    widen_head(model, (4, 2, 1), 32)
    (pool,) = (m for m in model.modules() if isinstance(m, PyramidPool2d))
    assert pool.training and model.training and not any(m._forward_hooks for m in model.modules())
    assert sum(p.numel() for p in model.parameters()) > before
    with torch.no_grad():
        assert model.eval()(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_by_hand_on_resnet(trainer, tmp_path):
    """64 channels and 21 bins; the rest of the network does not change, and the file loads."""
    model = ResNet("20", num_classes=10, image_size=32, lr=0.01)
    first = model.conv1.weight.clone()
    widen_head(model, (4, 2, 1), 32)
    assert model.fc.weight.shape == (10, 64 * 21) and torch.equal(model.conv1.weight, first)
    maps, images = [], torch.randn(2, 3, 32, 32)
    model.layer3.register_forward_hook(lambda m, a, out: maps.append(out))
    out = model.eval()(images)
    expected = model.fc(torch.cat([nn.AdaptiveMaxPool2d(n)(maps[0]).flatten(1) for n in (4, 2, 1)], 1))
    assert torch.equal(out, expected)


def test_trains_and_loads(trainer, tmp_path):
    model, run = (
        ResNet("20", num_classes=10, image_size=32, lr=0.01),
        trainer(callbacks=[SpatialPyramidPooling((2, 1))], max_epochs=1),
    )
    run.fit(model, loader("ResNet", pixels=32))
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded, images = zoo.load(tmp_path / "model.ckpt"), torch.randn(2, 3, 32, 32)
    assert loaded.fc.in_features == 64 * 5
    assert torch.equal(loaded(images), model.eval()(images))


def test_refusals():
    with pytest.raises(ValueError, match="levels must be one or more numbers from 1 on"):
        SpatialPyramidPooling((2, 0))
    with pytest.raises(ValueError, match="levels must be"):
        SpatialPyramidPooling(())
    with pytest.raises(TypeError, match="ConvNeXt has no nn.AdaptiveAvgPool2d that one linear layer reads"):
        widen_head(ConvNeXt("T", num_classes=10, image_size=32), (2, 1), 32)
    with pytest.raises(TypeError, match="HierarchicalMixture has no nn.AdaptiveAvgPool2d that one linear layer reads"):
        widen_head(HierarchicalMixture("20-2", num_classes=10, image_size=32), (2, 1), 32)
