"""The body of a pyramid: what its head does not read is gone, so that every parameter that is left learns."""

import pytest
import torch

import zoo
from zoo.frame.detector import Detector
from zoo.frame.stage_segmenter import StageSegmenter


@pytest.mark.parametrize(("name", "aux"), [("GoogLeNet", ("aux1", "aux2")), ("InceptionV3", ("AuxLogits",))])
def test_a_detector_drops_auxiliary_heads(name, aux):
    torch.manual_seed(3)
    model = Detector(getattr(zoo, name)(num_classes=10), "fcos", num_classes=3, width=32, image_size=128).train()
    targets = [{"boxes": torch.tensor([[5.0, 5, 60, 90]]), "labels": torch.tensor([1])}] * 2
    sum(model(torch.rand(2, 3, 128, 128), targets).values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert not any([*getattr(model.network.backbone.body, path).parameters()] for path in aux)


def test_so_does_a_segmenter():
    torch.manual_seed(3)
    model = StageSegmenter(zoo.GoogLeNet(num_classes=10), num_classes=3, image_size=64).train()
    outputs = model(torch.rand(2, 3, 64, 64))
    (outputs[0] if isinstance(outputs, tuple) else outputs).sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
