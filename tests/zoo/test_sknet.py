"""SKNet: timm's counts and logits, the authors' file read a second time for 101, and the selection by hand."""

import copy
import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from recipes.frame.processor import has_bfloat16
from tests.zoo.checks import stages_halve
from zoo import SKNet
from zoo.sknet import VARIANTS, Selection, SelectiveKernel, branch

# At 1000 classes and 224 px: parameters, 1e9 multiply-adds; then the parameters of a network written apart from this
# one, which had biases in A1 and A2 where timm and the authors' file (`B_fc2`: `bias_term: false`) have none. The
# authors print 27.5 and 48.9 million, 4.47 and 8.46.
COUNTS = {"50": (27_479_784, 4.4627, 27_494_888), "101": (48_736_040, 8.4487, 48_768_552)}


@pytest.mark.parametrize("variant", COUNTS)
def test_counts(variant, count):
    assert {*COUNTS} == {*VARIANTS}
    parameters, multiply_adds = count(partial(SKNet, variant))
    with torch.device("meta"):
        biases = sum(m.fc_select.out_channels for m in SKNet(variant).modules() if isinstance(m, Selection))
    assert (parameters, round(multiply_adds / 1e9, 4), parameters + biases) == COUNTS[variant]


def test_same_logits_as_timm(randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(SKNet("50", num_classes=10))
    nn.init.normal_(ours.fc.weight, std=0.1)  # at 0.01, all images would look alike
    theirs = timm.create_model(SKNet.timm_names["50"], num_classes=10).eval()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    agree(ours, theirs, images(72))  # odd maps in stages 2 to 4


# ---- the authors' prototxt read a second time, on a dictionary of weights


def norm(w: dict, key: str, x: torch.Tensor) -> torch.Tensor:
    mean, var, gamma, beta = (w[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return gamma * (x - mean) / (var + 1e-5).sqrt() + beta


def select(w: dict, key: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    branches = []
    for i in range(2):
        y = F.conv2d(x, w[f"{key}.paths.{i}.conv.weight"], None, stride, i + 1, i + 1, groups=32)
        branches.append(norm(w, f"{key}.paths.{i}.bn", y).relu())
    z = F.conv2d(sum(branches).mean((2, 3), keepdim=True), w[f"{key}.attn.fc_reduce.weight"])
    z = norm(w, f"{key}.attn.bn", z).relu()
    one, two = F.conv2d(z, w[f"{key}.attn.fc_select.weight"]).chunk(2, 1)
    return branches[0] * (one - two).sigmoid() + branches[1] * (two - one).sigmoid()  # a softmax of two


def block(w: dict, key: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    y = norm(w, f"{key}.conv1.bn", F.conv2d(x, w[f"{key}.conv1.conv.weight"])).relu()
    y = norm(w, f"{key}.conv3.bn", F.conv2d(select(w, f"{key}.conv2", y, stride), w[f"{key}.conv3.conv.weight"]))
    if f"{key}.downsample.0.weight" in w:
        x = norm(w, f"{key}.downsample.1", F.conv2d(x, w[f"{key}.downsample.0.weight"], stride=stride))
    return (x + y).relu()


def by_the_paper(w: dict, x: torch.Tensor, blocks: tuple[int, ...]) -> torch.Tensor:
    x = F.max_pool2d(norm(w, "bn1", F.conv2d(x, w["conv1.weight"], stride=2, padding=3)).relu(), 3, 2, 1)
    for i, depth in enumerate(blocks, 1):
        for j in range(depth):
            x = block(w, f"layer{i}.{j}", x, 2 if i > 1 and j == 0 else 1)
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize("variant", ["50", pytest.param("101", marks=pytest.mark.slow)])
def test_rows_are_the_authors_file(variant, randomise, agree, images):
    torch.manual_seed(0)
    ours = randomise(SKNet(variant, num_classes=10))
    nn.init.normal_(ours.fc.weight, std=0.1)
    agree(ours, partial(by_the_paper, ours.state_dict(), blocks=VARIANTS[variant].depths), images(72))


# ---- by hand


def test_selection_by_hand():
    """Where A1 z = 2 and A2 z = 2 - log 3, the first branch gets 3/4; where both are equal, each gets half."""
    select = Selection(2).eval()
    with torch.no_grad():
        select.fc_reduce.weight.fill_(0.5)  # z = 1 in all 32, from means of 1 and 1
        select.fc_select.weight.zero_()
        select.fc_select.weight[[0, 1, 2, 3], 0, 0, 0] = torch.tensor([2.0, 1.0, 2.0 - math.log(3), 1.0])
        a = select(torch.ones(1, 2, 3, 3))
    torch.testing.assert_close(a.flatten(), torch.tensor([0.75, 0.5, 0.25, 0.5]), rtol=1e-4, atol=1e-4)


def test_branches_see_three_and_five_pixels():
    kernel = SelectiveKernel(32, stride=1).eval()
    for path, side in zip(kernel.paths, (3, 5), strict=True):
        x = torch.zeros(1, 32, 9, 9, requires_grad=True)
        path.conv(x)[0, :, 4, 4].sum().backward()
        rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        assert rows.max() - rows.min() + 1 == side


def test_narrow_selections_have_32_numbers():
    """d = max(2w / 16, 32)."""
    with torch.device("meta"):
        model = SKNet("50")
    widths = [model.get_submodule(f"layer{i}.0.conv2.attn.fc_reduce").out_channels for i in (1, 2, 3, 4)]
    assert widths == [32, 32, 32, 64]


test_map_sizes = stages_halve(SKNet, (256, 512, 1024, 2048), "50")


def test_starts_with_the_authors_weights():
    torch.manual_seed(0)
    model = SKNet("50", num_classes=10, image_size=32)
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            he = math.sqrt(2 / layer.weight[0].numel())
            std = 0.01 if name == "fc" or ".fc_" in name else he
            assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * layer.weight.numel()))
    assert not model.fc.bias.any()


def test_bad_arguments_say_what_to_do():
    with pytest.raises(ValueError, match="SKNet has no '18'; there are: 50, 101"):
        SKNet(18)
    assert SKNet(50, num_classes=10).hparams.variant == "50"  # a number will do


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("mode", ["mixed", "true"])
def test_gradients_of_the_dilated_path_in_bfloat16(mode, memory_format):
    """As in float32, in either layout of memory; torch's own are wrong by any factor in channels_last."""
    conv = branch(128, stride=1, dilation=2).conv
    x, g = torch.randn(2, 16, 128, 32, 32).relu()
    (expected,) = torch.autograd.grad(conv(x), conv.weight, g)
    layer = copy.deepcopy(conv).to(torch.bfloat16 if mode == "true" else torch.float32).to(memory_format=memory_format)
    images = x.bfloat16().contiguous(memory_format=memory_format)
    with torch.autocast("cpu", torch.bfloat16, enabled=mode == "mixed"):
        y = layer(images)
    assert y.is_contiguous(memory_format=memory_format) and y.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(y, layer.weight, g.bfloat16().contiguous(memory_format=memory_format))
    most = 0.02 if has_bfloat16() else 0.06  # one that emulates it rounds partial sums too: 3.1 % were seen
    assert (found.float() - expected).abs().max() < most * expected.abs().max()
