"""ConvNeXtRoadmap: the counts of every step, both ends against the references, and each step read a second time."""

import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from zoo import ConvNeXtRoadmap
from zoo.convnext_roadmap import STEPS, VARIANTS
from zoo.layers.drop_path import DropPath

# At 1000 classes: parameters, and 1e9 multiply-adds of convolutions and linear layers at 224 px, counted on networks
# written apart from this one; then what the paper prints, where we have it (Figure 2 and the tables behind it).
COUNTS = {
    "50-resnet": (25_557_032, 4.0892, 4.09),
    "50-stage-ratio": (28_628_520, 4.5259, 4.53),
    "50-patch-stem": (28_622_184, 4.4175, 4.42),
    "50-depthwise": (15_722_664, 2.3495, 2.35),
    "50-width": (33_761_032, 5.2680, 5.27),
    "50-inverted": (25_851_496, 4.6444, 4.64),
    "50-moved-up": (25_625_512, 4.0651, 4.07),
    "50-kernel-5": (25_720_744, 4.0973, 4.1),
    "50-kernel-7": (25_863_592, 4.1456, 4.15),
    "50-kernel-9": (26_054_056, 4.2100, 4.21),
    "50-kernel-11": (26_292_136, 4.2906, 4.29),
    "50-gelu": (25_863_592, 4.1456, 4.15),
    "50-fewer-activations": (25_863_592, 4.1456, 4.15),
    "50-fewer-norms": (25_797_352, 4.1456, 4.15),
    "50-layer-norm": (25_837_864, 4.1456, None),
    "50-separate-downsampling": (28_582_504, 4.4555, 4.49),
    "200-resnet": (64_673_832, 15.0075, 15.01),
    "200-stage-ratio": (83_066_332, 14.5184, 14.52),
    "200-patch-stem": (83_058_016, 14.3762, 14.38),
    "200-depthwise": (42_585_556, 7.2344, 7.23),
    "200-width": (96_526_696, 16.7639, 16.76),
    "200-inverted": (83_700_200, 15.6794, 15.68),
    "200-moved-up": (83_094_760, 14.6270, 14.63),
    "200-kernel-5": (83_369_192, 14.6989, 14.7),
    "200-kernel-7": (83_780_840, 14.8066, 14.81),
    "200-kernel-9": (84_329_704, 14.9503, 14.95),
    "200-kernel-11": (85_015_784, 15.1300, 15.13),
    "200-gelu": (83_780_840, 14.8066, 14.81),
    "200-fewer-activations": (83_780_840, 14.8066, 14.81),
    "200-fewer-norms": (83_600_360, 14.8066, 14.81),
    "200-layer-norm": (83_709_672, 14.8066, 14.81),
    "200-separate-downsampling": (88_573_416, 15.3547, 15.35),
}


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """Norms with statistics, gains and shifts away from their start; biases too."""
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=math.sqrt(2 / parameter[0].numel()))
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        else:
            nn.init.uniform_(parameter, 0.6, 1.4)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.3)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 1.5)
    return network.eval()


def test_every_step_is_counted():
    assert [*COUNTS] == [*VARIANTS] == [f"{road}-{step}" for road in ("50", "200") for step in STEPS]


@pytest.mark.parametrize("variant", [pytest.param(v, marks=[pytest.mark.slow] * v.startswith("200")) for v in COUNTS])
def test_counts(variant, count):
    parameters, multiply_adds = count(partial(ConvNeXtRoadmap, variant))
    assert (parameters, round(multiply_adds / 1e9, 4)) == COUNTS[variant][:2]


@pytest.mark.parametrize("variant", COUNTS)
def test_counts_are_the_papers(variant):
    """To two decimals, but where ConvNeXt-T ends at 4.46: the paper's figure says 4.49, its tables 4.5."""
    _, counted, printed = COUNTS[variant]
    if printed is not None and variant != "50-separate-downsampling":
        assert abs(counted - printed) <= 0.0051


# ---- the ends of the road


@torch.no_grad()
def same_order(ours: nn.Module, theirs: nn.Module) -> None:
    """Weights of theirs into ours, by order and size: the shapes of a linear layer and a 1x1 convolution differ."""
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    for mine, other in pairs:
        mine.copy_(other.view(mine.shape))


@pytest.mark.parametrize(
    ("variant", "blocks"),
    [
        ("50-resnet", [3, 4, 6, 3]),
        pytest.param("200-resnet", [3, 24, 36, 3], marks=[pytest.mark.slow, pytest.mark.whole]),
    ],
)
def test_starts_at_torchvisions_resnet(variant, blocks, images, agree):
    torch.manual_seed(0)
    Bottleneck = torchvision.models.resnet.Bottleneck
    theirs = randomised(torchvision.models.ResNet(Bottleneck, blocks, num_classes=10))
    ours = ConvNeXtRoadmap(variant, num_classes=10).eval()
    same_order(ours, theirs)
    agree(ours, theirs, images(72))


@pytest.mark.parametrize(
    ("road", "blocks", "width"),
    [("50", (3, 3, 9, 3), 96), pytest.param("200", (3, 3, 27, 3), 128, marks=pytest.mark.slow)],
)
def test_ends_at_timms_convnext_without_layer_scale(road, blocks, width, images, agree):
    torch.manual_seed(0)
    widths = [width * 2**i for i in range(4)]
    theirs = randomised(timm.models.ConvNeXt(num_classes=10, depths=blocks, dims=widths, ls_init_value=None))
    ours = ConvNeXtRoadmap(f"{road}-separate-downsampling", num_classes=10).eval()
    same_order(ours, theirs)
    agree(ours, theirs, images(72))


# ---- each step read a second time, on weights in the order in which they are used


class Reading:
    """The paper's section 2 as a program: what is already changed when `step` is done, done literally."""

    def __init__(self, state: dict, step: str, blocks: tuple[int, ...]):
        self.state, self.step, self.blocks = state, step, blocks

    def done(self, step: str) -> bool:
        return [*STEPS].index(step) <= [*STEPS].index(self.step)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.weights = iter(t for key, t in self.state.items() if "num_batches" not in key)
        x = self.stem(x)
        for i, depth in enumerate(self.blocks):
            if self.done("separate-downsampling") and i > 0:
                x = self.conv(self.norm(x), stride=2)
            for j in range(depth):
                strided = i > 0 and j == 0 and not self.done("separate-downsampling")
                x = self.block(x, 2 if strided else 1, reshaped=j == 0)
        x = x.mean((2, 3), keepdim=True)
        x = self.norm(x) if self.done("separate-downsampling") else x
        x = x.flatten(1) @ next(self.weights).T + next(self.weights)
        assert next(self.weights, None) is None
        return x

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        if self.done("patch-stem"):
            return self.norm(self.conv(x, stride=4))
        return F.max_pool2d(self.norm(self.conv(x, stride=2, padding=3)).relu(), 3, 2, 1)

    def block(self, x: torch.Tensor, stride: int, reshaped: bool) -> torch.Tensor:
        k = {"kernel-5": 5, "kernel-9": 9, "kernel-11": 11}.get(self.step, 7 if self.done("kernel-7") else 3)
        act = F.gelu if self.done("gelu") else F.relu
        first, second, third = act, act, act
        if self.done("fewer-activations"):
            first = third = lambda y: y
        norm = (lambda y: y) if self.done("fewer-norms") else self.norm
        y = x
        if self.done("moved-up"):
            y = first(self.norm(self.depthwise(y, stride, k)))
            y = second(norm(self.conv(y)))
        else:
            y = first(self.norm(self.conv(y)))
            spatial = self.depthwise if self.done("depthwise") else self.dense
            y = second(norm(spatial(y, stride, k)))
        y = norm(self.conv(y))
        if reshaped and y.shape != x.shape:
            x = self.norm(self.conv(x, stride=stride))
        return third(x + y)

    def dense(self, x: torch.Tensor, stride: int, k: int) -> torch.Tensor:
        return self.conv(x, stride=stride, padding=k // 2)

    def depthwise(self, x: torch.Tensor, stride: int, k: int) -> torch.Tensor:
        return self.conv(x, stride=stride, padding=k // 2, groups=x.shape[1])

    def conv(self, x: torch.Tensor, **options) -> torch.Tensor:
        return F.conv2d(x, next(self.weights), next(self.weights) if self.done("layer-norm") else None, **options)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        gamma, beta = (next(self.weights)[:, None, None] for _ in range(2))
        if self.done("layer-norm"):
            mean, var, eps = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True), 1e-6
        else:
            (mean, var), eps = (next(self.weights)[:, None, None] for _ in range(2)), 1e-5
        return gamma * (x - mean) / (var + eps).sqrt() + beta


@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_the_paper(step, images, agree, monkeypatch):
    """With few channels and two blocks a stage; the real sizes are held by the counts."""
    blocks = (2, 2, 2, 2)
    design = VARIANTS[f"50-{step}"]
    monkeypatch.setitem(VARIANTS, "50-tiny", type(design)(**{**vars(design), "blocks": blocks, "width": 8}))
    torch.manual_seed(0)
    ours = randomised(ConvNeXtRoadmap("50-tiny", num_classes=10))
    agree(ours, Reading(ours.state_dict(), step, blocks), images(96))


# ---- by hand


def test_steps_differ_in_what_they_change_only():
    """Steps that no count tells apart."""
    assert VARIANTS["50-kernel-7"].kernel == VARIANTS["50-gelu"].kernel == VARIANTS["200-layer-norm"].kernel == 7
    assert [VARIANTS[f"200-{step}"].width for step in STEPS] == [64] + 3 * [84] + 12 * [128]
    assert [VARIANTS[f"50-{step}"].width for step in STEPS] == 4 * [64] + 12 * [96]


@pytest.mark.parametrize(
    ("variant", "rate"), [("50-resnet", 0.1), ("50-gelu", 0.1), ("200-resnet", 0.5), ("200-width", 0.5)]
)
def test_drop_path_rises_to_the_recipes_rate(variant, rate):
    with torch.device("meta"):
        rates = [m.p for m in ConvNeXtRoadmap(variant).modules() if isinstance(m, DropPath)]
        own = [m.p for m in ConvNeXtRoadmap(variant, drop_path=0.3).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([rate * i / (len(rates) - 1) for i in range(sum(VARIANTS[variant].blocks))])
    assert own == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))])


@pytest.mark.parametrize("step", ["resnet", "patch-stem", "inverted", "separate-downsampling"])
def test_map_sizes(step, map_sizes):
    width = VARIANTS[f"50-{step}"].width * (4 if VARIANTS[f"50-{step}"].form == "bottleneck" else 1)
    for pixels, first in ((224, 56), (64, 32), (32, 32)):
        sizes = map_sizes(partial(ConvNeXtRoadmap, f"50-{step}", image_size=pixels), pixels)
        assert sizes == [(width * 2**i, first // 2**i) for i in range(4)]


@pytest.mark.parametrize("step", ["resnet", "separate-downsampling"])
def test_starts_with_small_weights(step):
    model = ConvNeXtRoadmap(f"50-{step}", num_classes=100)
    for layer in (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=5 / math.sqrt(2 * layer.weight.numel()))
        assert layer.bias is None or not layer.bias.any()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="ConvNeXtRoadmap has no '50-widths'; did you mean '50-width'"):
        ConvNeXtRoadmap("50-widths")
    with pytest.raises(ValueError, match="needs images of at least 8 px, got image_size=4"):
        ConvNeXtRoadmap("50-width", image_size=4)
