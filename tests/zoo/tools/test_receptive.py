"""Receptive fields against hand-worked values, a published table, and gradients of a real forward pass."""

import pytest
import timm
import torch
from torch import nn

import zoo
from zoo import Classifier, ResNet, receptive_fields
from zoo.tools.receptive import Field


def on_meta(name: str, *arguments, **options) -> Classifier:
    with torch.device("meta"):
        return getattr(zoo, name)(*arguments, **options)


def sizes(model: nn.Module) -> list[int | None]:
    return [field.size and field.size[0] for field in receptive_fields(model).values()]


def strides(model: nn.Module) -> list[int | None]:
    return [field.stride and field.stride[0] for field in receptive_fields(model).values()]


def chain(*layers: nn.Module) -> Field:
    """The field of the last of some layers."""
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    model = Classifier(network, stages={"stage1": str(len(layers) - 1)}, image_size=64)
    return receptive_fields(model)["stage1"]


# ---- by hand: r_l = r_{l-1} + (k_l - 1) * (product of the strides before)


def test_alexnet():
    """11, + 2 * 4 + 4 * 8 = 51, + 2 * 8 + 2 * 16 = 99, + 2 * 16 twice."""
    model = on_meta("AlexNet", "owt")
    assert sizes(model) == [11, 51, 99, 131, 163]
    assert strides(model) == [4, 8, 16, 16, 16]


def test_vgg_16():
    """Before its pool: two or three times 2 * stride; the pool before adds half a stride. After pool 5: 196 + 16."""
    model = on_meta("VGG", "16")
    assert sizes(model) == [1 + 4, 5 + 1 + 8, 14 + 2 + 24, 40 + 4 + 48, 92 + 8 + 96]
    assert strides(model) == [1, 2, 4, 8, 16]


def test_resnet_50_and_v1():
    """v1 has the stride in the first 1x1, so the 3x3 of a stage's first block already steps by the new stride."""
    stem = 7 + 2 * 2  # 7x7 of stride 2, then the pool's 3x3
    v1 = [stem + 8 * 3]
    for depth, stride in ((4, 8), (6, 16), (3, 32)):
        v1.append(v1[-1] + 2 * stride * depth)
    assert sizes(on_meta("ResNet", "50-v1")) == v1 == [35, 99, 291, 483]
    b = [stem + 8 * 3]
    for depth, stride in ((4, 8), (6, 16), (3, 32)):
        b.append(b[-1] + 2 * stride * (depth - 1) + stride)
    assert sizes(on_meta("ResNet", "50")) == b == [35, 91, 267, 427]


def test_googlenet():
    """A module sees what its 5x5 does: 4 strides more. Stage 5: pool 4 is 3x3 of stride 2, then 5a and 5b."""
    model = on_meta("GoogLeNet")
    stage2 = 7 + 2 * 2 + 2 * 4
    stage3 = stage2 + 2 * 4 + 2 * 4 * 8
    stage4 = stage3 + 2 * 8 + 5 * 4 * 16
    assert sizes(model) == [7, stage2, stage3, stage4, stage4 + 2 * 16 + 2 * 4 * 32] == [7, 19, 91, 427, 715]


def test_isotropic_convnext_sees_patches():
    """Patches of 16 px; each of 18 blocks adds 6 of them."""
    assert sizes(on_meta("ConvNeXt", "S-iso")) == [16 + 6 * 16 * n for n in (6, 12, 18)]


def test_dilation_strides_and_one_sided_kernels():
    assert chain(nn.Conv2d(3, 2, 3, dilation=2), nn.Conv2d(2, 2, 3, dilation=5)) == Field((15, 15), (1, 1))
    assert chain(nn.Conv2d(3, 2, (1, 7)), nn.Conv2d(2, 2, (3, 1), stride=(2, 1))) == Field((3, 7), (2, 1))
    assert chain(nn.Conv2d(3, 2, 1, stride=2), nn.AvgPool2d(2)) == Field((3, 3), (4, 4))  # every second pixel of three
    assert chain(nn.Conv2d(3, 2, 5, padding=4), nn.MaxPool2d(3, 2, 1)) == Field((7, 7), (2, 2))


def test_a_branch_counts_where_it_meets_the_others():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.narrow, self.wide = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 9, padding=4)

        def forward(self, x):
            return torch.cat([self.narrow(x), self.wide(x)], 1)

    assert chain(Two()).size == (9, 9)
    grouped = nn.Conv2d(2, 2, 3, padding=1, groups=2)
    first = nn.Conv2d(2, 1, 1)
    with_shuffle = [Two(), nn.ChannelShuffle(2), grouped]
    assert chain(*with_shuffle).size == (11, 11)
    assert chain(Two(), Pick(0), first).size == (1, 1) and chain(Two(), Pick(1), first).size == (9, 9)


class Pick(nn.Module):
    """One channel, twice."""

    def __init__(self, channel: int):
        super().__init__()
        self.channel = channel

    def forward(self, x):
        return x[:, [self.channel]].repeat(1, 2, 1, 1)


# ---- published: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks" (Distill)


@pytest.mark.parametrize(
    ("name", "variant", "published"),
    [
        ("MobileNetV1", "1.0", 315),
        ("BNInception", "BN", 699),
        ("ResNet", "101-v1", 1027),
        ("ResNet", "152-v1", 1507),
        pytest.param("InceptionV3", "v3", 1311, marks=pytest.mark.slow),
        pytest.param("InceptionV4", "v4", 2071, marks=pytest.mark.slow),
        pytest.param("InceptionResNetV2", "v2", 3039, marks=pytest.mark.slow),
    ],
)
def test_last_stage_as_published(name, variant, published):
    assert sizes(on_meta(name, variant))[-1] == published


# ---- measured: which pixels have a gradient, with weights that cancel nothing


def by_gradient(model: Classifier, stage: str, pixels: int) -> tuple[int, int]:
    """Rows and columns of the image on which the stage's middle unit depends."""
    model = model.double().eval()
    for p in model.parameters():
        nn.init.constant_(p, 1.0) if p.ndim == 1 else nn.init.constant_(p, 1.0 / p[0].numel())
    maps = []
    model.stages[stage].register_forward_hook(lambda m, a, out: maps.append(out))
    images = torch.rand(1, 3, pixels, pixels, dtype=torch.float64, requires_grad=True)
    model(images)
    maps[0][0, :, maps[0].shape[2] // 2, maps[0].shape[3] // 2].sum().backward()
    touched = images.grad[0].abs().sum(0) > 0
    rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
    return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)


@pytest.mark.parametrize(
    ("name", "variant", "stage", "pixels"),
    [
        ("ResNet", "20", "stage3", 128),
        ("WideResNet", "16-1", "stage3", 128),
        ("ShuffleNetV2", "0.5x", "stage2", 128),
        ("MobileNetV2", "1.0", "stage2", 128),
        ("DenseNet", "121", "stage1", 128),
        ("ConvNeXt", "T", "stage1", 128),
    ],
)
def test_as_gradients_have_it(name, variant, stage, pixels):
    small = {"image_size": 32} if name in ("ResNet", "WideResNet") else {}
    model = getattr(zoo, name)(variant, num_classes=10, **small)
    for module in model.modules():  # the largest of a window would have all of the gradient, and above 6 there is none
        for child, layer in module.named_children():
            if isinstance(layer, nn.ReLU6):
                setattr(module, child, nn.ReLU())
            if isinstance(layer, nn.MaxPool2d):
                setattr(module, child, nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode))
    assert receptive_fields(model)[stage].size == by_gradient(model, stage, pixels)


# ---- its limits


def test_gates_and_attention_see_the_whole_image():
    assert set(sizes(on_meta("SENet", "50"))) == {None}
    assert sizes(on_meta("MobileNetV3", "large")) == [19, None, None, None]
    with torch.device("meta"):
        vit = Classifier(
            timm.create_model("vit_tiny_patch16_224"), stages={"patches": "patch_embed", "stage1": "blocks.0"}
        )
    fields = receptive_fields(vit, image_size=224)
    assert fields["patches"] == Field((16, 16), (16, 16))
    assert fields["stage1"] == Field(None, None)


def test_leaves_the_network_as_it_was():
    model = ResNet("20", num_classes=10)
    model.layer2.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    receptive_fields(model)
    assert model.training and model.layer1.training and not model.layer2.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_it_does_not_know_it_says():
    with pytest.raises(TypeError, match="names no stages"):
        receptive_fields(nn.Conv2d(3, 3, 3), 32)
    with pytest.raises(NotImplementedError, match="transposed"):
        chain(nn.ConvTranspose2d(3, 2, 2))

    class Sorted(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 2)[:, :2]

    with pytest.raises(NotImplementedError, match="torch.cumsum"):
        chain(Sorted())
