"""Networks for one channel or four: exported, summed up, looked into and changed as those for three are."""

import pytest
import timm
import torch
from torch.utils.data import DataLoader

import zoo
from callbacks import ADCM, SpatialPyramidPooling, ZeroGamma
from tests.conftest import collate
from zoo import Classifier
from zoo.tools.complexity import costs

pytestmark = pytest.mark.parametrize("channels", [1, 4])


def model_of(channels):
    torch.manual_seed(0)
    return Classifier(timm.create_model("test_resnet", in_chans=channels, num_classes=10), 10, image_size=32)


def data_of(channels):
    items = list(zip(torch.randn(8, channels, 32, 32), torch.arange(8), strict=True))
    return DataLoader(items, batch_size=4, collate_fn=collate)


def test_costs_count_them(channels):
    model = model_of(channels)
    (first,) = costs(model, 32, ["network.conv1.0"])
    assert first.parameters == model.network.conv1[0].weight.numel() == 16 * channels * 9
    assert first.macs == first.parameters * first.shape[1] * first.shape[2]
    assert model.summary_table().row_count == zoo.summary(model).row_count > 10


def test_exported_graph_takes_them(channels, tmp_path):
    model, images = model_of(channels).eval(), torch.randn(3, channels, 32, 32)
    model.export(tmp_path / "x.pt2")
    exported = torch.export.load(tmp_path / "x.pt2").module()
    torch.testing.assert_close(exported(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("trick", [ZeroGamma, SpatialPyramidPooling, ADCM])
def test_tricks_look_at_them(channels, trick, trainer):
    run = trainer(callbacks=[trick()], max_epochs=1)
    run.fit(model_of(channels), data_of(channels))
    assert run.global_step == 2 and run.callback_metrics["train/loss"].isfinite()
