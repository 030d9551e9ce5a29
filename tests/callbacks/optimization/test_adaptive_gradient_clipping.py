"""Adaptive gradient clipping: timm's numbers, its limits, and the gradients that it clips."""

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from timm.utils import adaptive_clip_grad
from torch import nn

from callbacks import AdaptiveGradientClipping, GradualUnfreezing, Linear
from callbacks.frame import rows
from callbacks.optimization.adaptive_gradient_clipping import clip
from tests.callbacks.conftest import Foreign, assert_equal, weights
from tests.conftest import tiny_classifier

SHAPES = [(4, 3, 3, 3), (4,), (6, 4, 3, 3), (2, 27), (6, 36), (), (1, 5, 8), (7, 27)]


def parameters():
    torch.manual_seed(0)
    made = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for p in made:
        p.grad = torch.randn(p.shape)
        if p.ndim > 1:  # some rows small, some large
            p.grad *= torch.logspace(-4, 1, len(p)).view(-1, *[1] * (p.ndim - 1))
    return made


def clipped(made, factor=0.01, eps=1e-3):
    clip([p.detach() for p in made], [p.grad for p in made], factor, eps)
    return [p.grad for p in made]


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("factor, eps", [(0.01, 1e-3), (0.16, 1e-3), (0.01, 10.0)])
def test_same_as_timm(monkeypatch, factor, eps, joined):
    monkeypatch.setattr(rows, "_joins", lambda tensor: joined)
    ours, theirs = parameters(), parameters()
    before = [p.grad.clone() for p in ours]
    adaptive_clip_grad(theirs, factor, eps)
    found = clipped(ours, factor, eps)
    for mine, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(mine, other.grad, rtol=1e-6, atol=0)
    changed = [not torch.equal(old, new) for old, new in zip(before, found, strict=True)]
    assert any(changed) and any((old == new).any() for old, new in zip(before, found, strict=True))


def test_by_hand():
    """For rows of norm 5 and 0, the bounds are .1 times 5, and .1 times eps."""
    p = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 4.0]]))
    p.grad = torch.tensor([[0.0, 2.0], [6.0, 8.0], [0.3, 0.4]])
    expected = torch.tensor([[0.0, 0.5], [0.006, 0.008], [0.3, 0.4]])
    torch.testing.assert_close(clipped([p], 0.1, 0.1)[0], expected)


def test_a_broken_gradient_is_not_hidden():
    p = nn.Parameter(torch.ones(2, 2))
    p.grad = torch.tensor([[float("nan"), 1.0], [float("inf"), 1.0]])
    assert clipped([p])[0].isnan().any(1).tolist() == [True, True]


# ---- in a run


class Seen(L.Callback):
    """Record the gradients of each step; two of these, around the trick, see them before and after it."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, model, optimizer):
        grads = {name: p.grad for name, p in model.named_parameters()}
        self.steps.append({name: None if g is None else g.clone() for name, g in grads.items()})


@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
def test_all_but_the_head_is_clipped_once_a_step(trainer, tiny_data, make):
    torch.manual_seed(0)
    model, before, after = make(), Seen(), Seen()
    start = {name: nn.Parameter(p.detach().clone()) for name, p in model.named_parameters()}
    run = trainer(callbacks=[before, AdaptiveGradientClipping(0.01), after], accumulate_grad_batches=2)
    run.fit(model, tiny_data)
    assert len(before.steps) == len(after.steps) == 4
    old, new = before.steps[0], after.steps[0]
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert same == {"network.head.weight", "network.head.bias"}
    for name in {*old} - same:
        start[name].grad = old[name].clone()
        adaptive_clip_grad([start[name]], 0.01)
        torch.testing.assert_close(new[name], start[name].grad)


def test_follows_a_schedule(trainer, tiny_data):
    before, after = Seen(), Seen()
    trick = AdaptiveGradientClipping(Linear(0.001, 1e9, until="3st"))
    trainer(callbacks=[before, trick, after]).fit(tiny_classifier(), tiny_data)
    name = "network.block1.conv1.weight"
    same = [torch.equal(a[name], b[name]) for a, b in zip(before.steps, after.steps, strict=True)]
    assert same == [False] + [True] * 5


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_the_scale_of_16_bit_training_is_off(trainer, tiny_data, scale):
    """The clipped gradients do not depend on the loss scale."""
    torch.manual_seed(0)
    model, after = tiny_classifier(), Seen()
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
    trainer(callbacks=[AdaptiveGradientClipping(), after], plugins=[half], max_steps=1, max_epochs=-1).fit(
        model, tiny_data
    )
    torch.manual_seed(0)
    start = tiny_classifier()
    for name, p in start.named_parameters():
        if "head" not in name and p.ndim > 1:
            norms = after.steps[0][name].flatten(1).norm(dim=1)
            assert (norms <= 0.0101 * p.flatten(1).norm(dim=1)).all()
            assert norms.max() > 1e-3


def test_refuses_a_fused_optimizer_under_that_scale(trainer, tiny_data):
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    model = tiny_classifier(optimizer="adamw", optimizer_options={"fused": True})
    with pytest.raises(TypeError, match="set fused=False"):
        trainer(callbacks=[AdaptiveGradientClipping()], plugins=[half]).fit(model, tiny_data)


def test_with_frozen_parts(trainer, tiny_data):
    """Only the head has gradients at first, and it is not clipped."""
    run = trainer(callbacks=[AdaptiveGradientClipping(), GradualUnfreezing()], max_epochs=3)
    run.fit(tiny_classifier(), tiny_data)
    assert run.global_step == 9


def test_a_large_factor_changes_nothing(trainer, tiny_data):
    ends = []
    for tricks in ([], [AdaptiveGradientClipping(1e9)]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=tricks).fit(model, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


@pytest.mark.parametrize("arguments", [{"factor": 0}, {"factor": Linear(0.1, -1)}, {"eps": 0}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be in"):
        AdaptiveGradientClipping(**arguments)
