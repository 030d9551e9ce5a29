"""The table of stages: ResNet-18's by hand, networks without a rule, and what a notebook shows."""

import pytest
import torch
from torch import nn

import zoo
from zoo.tools.complexity import total_macs
from zoo.tools.receptive import Field
from zoo.tools.stage_table import HEADS, stage_html, stage_table


def resnet(**options) -> zoo.ResNet:
    with torch.device("meta"):
        return zoo.ResNet("18", **options)


def test_stages_of_resnet_18_by_hand():
    """11 px after the stem; each 3x3 adds twice its input's stride."""
    rows = stage_table(resnet())
    assert [row.name for row in rows] == ["stage1", "stage2", "stage3", "stage4", "head"]
    assert [row.shape for row in rows[:4]] == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    sees, strides = [], [4, 8, 16, 32]
    size = 7 + 2 * 2  # of the pool's units
    for stride in strides:
        for conv in range(4):
            size += 2 * (stride // 2 if conv == 0 and stride > 4 else stride)
        sees.append(size)
    assert [row.field for row in rows[:4]] == [Field((a, a), (b, b)) for a, b in zip(sees, strides, strict=True)]
    assert sees == [43, 99, 211, 435]  # 435: Araujo, Norris, Sim, Computing Receptive Fields (Distill 2019)


def test_sums_are_the_whole_network():
    model = resnet(num_classes=10, image_size=32)
    rows = stage_table(model)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    assert sum(row.macs for row in rows) == total_macs(model, 32) and all(row.memory > 0 for row in rows[:4])


def test_without_a_rule_the_fields_are_empty():
    with torch.device("meta"):
        rows = stage_table(zoo.EViT("Ti"))
    assert rows[0].shape == (197, 192) and all(row.words[2:] == ("", "") for row in rows)
    assert stage_table(zoo.MLP("100"))[0].words == ("stage1", "100", "", "")  # no maps


def test_a_network_without_stages_is_refused():
    with pytest.raises(TypeError, match="names no stages"):
        stage_table(nn.Sequential(nn.Conv2d(3, 4, 1)), 8)


def test_notebooks_show_the_table():
    model = resnet(num_classes=10, image_size=32)
    page = model._repr_html_()
    assert page.startswith("<p>ResNet('18'), 32 × 32 px, 10 classes</p><table>") and stage_html(model) in page
    assert page.count("<tr>") == 6 and all(f"<th>{head}</th>" in page for head in HEADS)
    assert "<td>stage1</td><td>64 x 32 x 32</td><td>1</td>" in page


def test_networks_without_stages_show_as_text():
    assert zoo.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), num_classes=2)._repr_html_() is None


def test_a_network_that_does_not_take_the_meta_device_shows_as_text():
    model = resnet(num_classes=10, image_size=32)
    model.layer1.register_forward_hook(lambda module, args, out: out + torch.ones(64, 1, 1))
    assert model._repr_html_() is None
