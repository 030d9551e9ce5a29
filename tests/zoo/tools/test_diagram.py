"""Diagrams: the boxes of six blocks as the papers' figures have them, every model's, and the SVG of one."""

import shutil
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

import zoo
from zoo import diagram

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
NAMES = sorted([*zoo.__all__, *zoo.SEGMENTERS])
SLOW = ("InceptionV4",)  # 149 convolutions, exported


def boxes(model: nn.Module, path: str | None = None) -> list[tuple[str, ...]]:
    """Words of every box, and of the boxes that it reads."""
    graph = diagram(model, path).boxes
    return [(box.words, *(graph[source].words for source in box.sources)) for box in graph.values()]


def make(name: str, *arguments, **options) -> nn.Module:
    with torch.device("meta"):
        return getattr(zoo, name)(*arguments, **options)


# ---- as the papers have them


def test_bottleneck_of_resnet():
    """Figure 5, right: 1x1, 64; 3x3, 64; 1x1, 256; the shortcut; ReLU after the sum (section 3.3)."""
    assert boxes(make("ResNet", "50"), "layer1.1") == [
        ("256 × 56 × 56",),
        ("1×1 conv, 64, BN, ReLU", "256 × 56 × 56"),
        ("3×3 conv, 64, BN, ReLU", "1×1 conv, 64, BN, ReLU"),
        ("1×1 conv, 256, BN", "3×3 conv, 64, BN, ReLU"),
        ("+", "1×1 conv, 256, BN", "256 × 56 × 56"),
        ("ReLU", "+"),
        ("256 × 56 × 56", "ReLU"),
    ]


def test_bottleneck_that_shrinks():
    """The stride is in the 3x3 of "50" and in the first 1x1 of "50-v1"; the shortcut is a strided 1x1."""
    for variant, first, second in (("50", "", ", stride 2"), ("50-v1", ", stride 2", "")):
        words = diagram(make("ResNet", variant), "layer2.0").words
        assert words[1:3] == [f"1×1 conv, 128{first}, BN, ReLU", f"3×3 conv, 128{second}, BN, ReLU"]
        assert "1×1 conv, 512, stride 2, BN" in words


def test_convnext():
    """Figure 4, right: d7x7, 96; LN; 1x1, 384; GELU; 1x1, 96. The authors' scale is behind it."""
    assert boxes(make("ConvNeXt", "T")) == [
        ("96 × 56 × 56",),
        ("7×7 depthwise, 96, LN", "96 × 56 × 56"),
        ("linear 96 → 384, GELU", "7×7 depthwise, 96, LN"),
        ("linear 384 → 96, × γ", "linear 96 → 384, GELU"),
        ("+", "96 × 56 × 56", "linear 384 → 96, × γ"),
        ("96 × 56 × 56", "+"),
    ]


def test_squeeze_and_excitation():
    """Figure 3 with r = 16: global pooling, FC to C/r, ReLU, FC to C, sigmoid, scale; then the shortcut."""
    residual, scale = "1×1 conv, 512, BN", "1×1 conv, 512, sigmoid"
    assert boxes(make("SENet", "50"))[3:9] == [
        (residual, "3×3 conv, 128, BN, ReLU"),
        ("global average pool", residual),
        ("1×1 conv, 32, ReLU", "global average pool"),
        (scale, "1×1 conv, 32, ReLU"),
        ("×", residual, scale),
        ("+", "×", "512 × 28 × 28"),
    ]


def test_vit():
    """Figure 1, right: norm, multi-head attention, sum, norm, MLP, sum."""
    assert boxes(make("ViT", "S/16")) == [
        ("197 × 384",),
        ("LN", "197 × 384"),
        ("linear 384 → 1152", "LN"),
        ("softmax(QKᵀ/√d)V", "linear 384 → 1152"),
        ("linear 384 → 384", "softmax(QKᵀ/√d)V"),
        ("+", "197 × 384", "linear 384 → 384"),
        ("LN", "+"),
        ("linear 384 → 1536, GELU", "LN"),
        ("linear 1536 → 384", "linear 384 → 1536, GELU"),
        ("+", "+", "linear 1536 → 384"),
        ("197 × 384", "+"),
    ]


def test_attention_that_is_written_out_is_one_box_too():
    """Equation 4 of Swin, between the two cyclic shifts of figure 2."""
    words = diagram(make("Swin", "T")).words
    at = words.index("softmax(QKᵀ/√d + B)V")
    assert words[at - 2 : at + 3] == [
        "cyclic shift",
        "linear 96 → 288",
        "softmax(QKᵀ/√d + B)V",
        "linear 96 → 96",
        "cyclic shift",
    ]


def test_mobilenet_v2():
    """Figure 4 (d) and table 1 at t = 6, stride 1: the last 1x1 has no activation."""
    assert boxes(make("MobileNetV2", "1.0")) == [
        ("32 × 28 × 28",),
        ("1×1 conv, 192, BN, ReLU6", "32 × 28 × 28"),
        ("3×3 depthwise, 192, BN, ReLU6", "1×1 conv, 192, BN, ReLU6"),
        ("1×1 conv, 32, BN", "3×3 depthwise, 192, BN, ReLU6"),
        ("+", "32 × 28 × 28", "1×1 conv, 32, BN"),
        ("32 × 28 × 28", "+"),
    ]


def test_repvgg():
    """Figures 2 (b) and 4: 3x3, 1x1 and identity, each with its own norm; ReLU after the sum."""
    assert sorted(boxes(make("RepVGG", "A0"))) == sorted(
        [
            ("48 × 56 × 56",),
            ("3×3 conv, 48, BN", "48 × 56 × 56"),
            ("1×1 conv, 48, BN", "48 × 56 × 56"),
            ("BN", "48 × 56 × 56"),
            ("+", "3×3 conv, 48, BN", "1×1 conv, 48, BN", "BN"),
            ("ReLU", "+"),
            ("48 × 56 × 56", "ReLU"),
        ]
    )


def test_shuffles_and_splits():
    """ShuffleNet V2's figure 3 (c)."""
    assert boxes(make("ShuffleNetV2", "1.0x")) == [
        ("116 × 28 × 28",),
        ("channel split", "116 × 28 × 28"),
        ("1×1 conv, 58, BN, ReLU", "channel split"),
        ("3×3 depthwise, 58, BN", "1×1 conv, 58, BN, ReLU"),
        ("1×1 conv, 58, BN, ReLU", "3×3 depthwise, 58, BN"),
        ("concat", "channel split", "1×1 conv, 58, BN, ReLU"),
        ("channel shuffle", "concat"),
        ("116 × 28 × 28", "channel shuffle"),
    ]


def test_a_network_without_a_block_is_drawn_whole():
    """VGG's table 1, column D: equal layers that follow each other are one box."""
    assert diagram(make("VGG", "16")).words == [
        "3 × 224 × 224",
        *(
            words
            for channels, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
            for words in (f"3×3 conv, {channels}, ReLU, {times} times", "2×2 max pool, stride 2")
        ),
        "average pool to 7×7",
        "linear 25088 → 4096, ReLU, dropout",
        "linear 4096 → 4096, ReLU, dropout",
        "linear 4096 → 1000",
        "1000",
    ]


def test_blocks_are_one_box_in_a_whole_network():
    graph = boxes(make("UNet", "16", image_size=64))
    assert ("decoder, 16 × 64 × 64", "decoder, 32 × 32 × 32", "double conv, 16 × 64 × 64") in graph  # figure 1's arrows


# ---- every model


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_every_model_has_a_diagram(name):
    """From an input to an output, without a box that nothing reads, and with words for all that it does."""
    found = diagram(make(name))
    ends = [key for key, box in found.boxes.items() if box.kind == "end"]
    read = {source for box in found.boxes.values() for source in box.sources}
    assert read <= set(found.boxes) and all(key in read or key in ends for key in found.boxes)
    assert all(box.sources for key, box in found.boxes.items() if key not in ends)
    assert 3 < len(found.boxes) < 32 and all("_" not in box.words for box in found.boxes.values())
    assert found.source.startswith(f'digraph "{name}-')


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.one_in(3)
def test_every_variant_has_the_block(name):
    for variant in set(getattr(zoo, name).variants) - {"1001", "1202", "1202-B"}:  # as the shallower rows
        model = make(name, variant)
        assert model.get_submodule(model.block_path) is not None


def test_a_row_may_have_another_block():
    """Table 1 of Wide ResNet, and torchvision's wide bottleneck: 1x1 and 3x3 of twice the width."""
    assert diagram(make("WideResNet", "16-4")).words[1:3] == ["BN, ReLU", "3×3 conv, 128, BN, ReLU"]
    assert diagram(make("WideResNet", "50-2")).words[1:4] == [
        "1×1 conv, 256, BN, ReLU",
        "3×3 conv, 256, BN, ReLU",
        "1×1 conv, 512, BN",
    ]


# ---- the drawing


class Odd(nn.Module):
    """Has what no model of the zoo has: a sum of a parameter, a branch from an activation, a part without effect."""

    image_size = 8

    def __init__(self):
        super().__init__()
        self.conv, self.place = nn.Conv2d(3, 4, (3, 1), padding=(1, 0)), nn.Parameter(torch.zeros(4, 1, 1))
        self.unused = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        self.unused(x)
        y = (self.conv(x) + self.place).relu()
        return (y + y.sigmoid(), y * 0.5)


def test_branches_constants_and_what_is_left_out():
    assert boxes(Odd()) == [
        ("3 × 8 × 8",),
        ("3×1 conv, 4, + place, ReLU", "3 × 8 × 8"),
        ("sigmoid", "3×1 conv, 4, + place, ReLU"),
        ("+", "3×1 conv, 4, + place, ReLU", "sigmoid"),
        ("× 0.5", "3×1 conv, 4, + place, ReLU"),
        ("4 × 8 × 8", "+"),
        ("4 × 8 × 8", "× 0.5"),
    ]


def test_grounds_only_around_three_boxes_or_more():
    source = diagram(make("ViT", "S/16")).source
    assert source.count("subgraph") == 1 and 'label="attention"' in source  # the MLP has two


@needs_dot
def test_svg_for_light_and_dark_pages(tmp_path):
    found = diagram(make("ResNet", "20", num_classes=10))
    root = ET.fromstring(found.save(tmp_path / "block.svg").read_text())
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("3×3 conv, 32") == 2 and root.get("aria-label") == "ResNet-20, layer2.1"
    assert "#010203" not in found.svg and "#040506" not in found.svg
    assert found.svg.count("--ink") > 5 and "prefers-color-scheme:dark" in found.svg
    assert found._repr_svg_() == found.svg
    with pytest.raises(ValueError, match="saved as .svg, not as block.png"):
        found.save(tmp_path / "block.png")


def test_without_graphviz_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="dot was not found: apt-get install graphviz"):
        diagram(make("ResNet", "20")).save("block.svg")


def test_the_model_is_unchanged():
    torch.manual_seed(3)
    model = zoo.ResNet("20", num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    diagram(model)
    assert model.training and model.layer2[1].conv1.weight.device.type == "cpu"
    assert not model.layer2[1]._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("path", "message"), [("layer9", "ResNet has no module 'layer9'"), ("relu", None), ("unused", "does not call")]
)
def test_paths(path, message):
    model = make("ResNet", "20")
    model.unused = nn.ReLU()
    if message is None:
        assert diagram(model, path).boxes
    else:
        with pytest.raises(ValueError, match=message):
            diagram(model, path)
