import math
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

from callbacks import KnowledgeDistillation
from callbacks.distillation.knowledge import hard_loss
from zoo import DeiT, ResNet, Step
from zoo.deit import VARIANTS
from zoo.tools.complexity import total_macs

# Parameters and multiply-adds of timm's networks, 1000 classes (the paper: 5M, 22M, 86M without the token).
COUNTS = {
    ("Ti", 224): (5_910_800, 1_261_003_776),
    ("S", 224): (22_436_432, 4_624_140_288),
    ("B", 224): (87_338_192, 17_656_811_520),
    ("B", 384): (87_630_032, 55_591_342_080),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return DeiT("Ti", num_classes=10, image_size=32)


@pytest.mark.parametrize(("variant", "pixels"), COUNTS)
def test_counts(variant, pixels):
    with torch.device("meta"):
        model = DeiT(variant, image_size=pixels)
    assert {variant for variant, _ in COUNTS} == {*VARIANTS}
    assert (sum(p.numel() for p in model.parameters()), total_macs(model, pixels)) == COUNTS[variant, pixels]


@pytest.mark.parametrize(
    "variant", ["Ti", pytest.param("S", marks=pytest.mark.slow), pytest.param("B", marks=pytest.mark.slow)]
)
def test_logits_and_weights_equal_timms(variant):
    name = DeiT.timm_names[variant]
    theirs = timm.create_model(name if isinstance(name, str) else name[0], num_classes=10).eval()
    for key, p in theirs.named_parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1 and key.endswith("weight")), std=0.05)
    ours, images = DeiT(variant, num_classes=10), torch.randn(1, 3, 224, 224)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_positions_of_another_size_are_interpolated_but_not_those_of_the_two_tokens(tmp_path):
    large, path = DeiT("Ti", num_classes=10), tmp_path / "large.safetensors"
    nn.init.normal_(large.pos_embed)
    large.export(path)
    small = DeiT("Ti", num_classes=10, image_size=112, weights=str(path))
    expected = resample_abs_pos_embed(large.pos_embed.data, (7, 7), (14, 14), num_prefix_tokens=2)
    torch.testing.assert_close(small.pos_embed.data, expected)
    assert torch.equal(small.pos_embed[:, :2], large.pos_embed[:, :2])


def test_training_gives_both_heads_and_evaluation_their_mean(model):
    images = torch.randn(2, 3, 32, 32)
    nn.init.zeros_(model.head_dist.weight)
    nn.init.constant_(model.head_dist.bias, 4.0)
    for block in model.blocks:
        block.drop_path.p = 0
    logits, extras = model.train()(images)
    torch.testing.assert_close(extras["distilled"], torch.full((2, 10), 4.0))
    torch.testing.assert_close(model.eval()(images), (logits + 4) / 2)
    assert logits.std() > 0


def test_the_teachers_head_hears_the_teacher_alone(model):
    """With all of the weight on the teacher, the class head has no gradient; with none of it, the other one."""
    teacher = ResNet("20", num_classes=10, image_size=32).eval()
    images, targets = torch.randn(4, 3, 32, 32), torch.arange(4)
    v = teacher(images)
    for kind in ("soft", "hard"):
        trick = KnowledgeDistillation(teacher, weight=1.0, kind=kind)
        step = step_of(model, images, targets)
        trick._teacher.logits = lambda step: v
        model.zero_grad()
        trick.on_loss(holder(model), step)
        step.loss.backward()
        assert model.head_dist.weight.grad.any() and not model.head.weight.grad.any()


def step_of(model, images, targets):
    logits, extras = model.train()(images)
    return Step(images, targets, logits, nn.functional.cross_entropy(logits, targets), extras)


def holder(model):
    """`rate_now` reads a number without asking its trainer."""
    return SimpleNamespace(trainer=None)


def test_hard_distillation_by_hand():
    """CE against the teacher's decision: logits (0, log 3) and the teacher for the second: -log(3/4)."""
    z, v = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[1.0, 2.0]])
    assert hard_loss(z, v).item() == pytest.approx(-math.log(3 / 4))


def test_every_parameter_has_a_gradient_without_a_teacher():
    """DDP raises for those that have none; the head without a teacher has one of 0."""
    model = DeiT("Ti", num_classes=10, image_size=32)
    step_of(model, torch.randn(2, 3, 32, 32), torch.tensor([1, 2])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not model.head_dist.weight.grad.any()
