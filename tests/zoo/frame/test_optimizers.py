"""AdaBound: a literal reading of its equations, its limits, and its name in a Classifier."""

import math

import pytest
import torch
from timm.optim import list_optimizers
from torch import nn

from callbacks import CosineDecay, GradualUnfreezing, LayerDecay, NoBiasDecay
from tests.callbacks.conftest import At, assert_equal, weights
from tests.conftest import tiny_classifier
from zoo.frame.optimizers import AdaBound, bounds


def literally(theta, gradients, lr, b1, b2, final, gamma, eps, decay, factors):
    """One number, in Python's own arithmetic; `factors`: of a schedule, one a step."""
    m = v = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors, strict=True), 1):
        g = g + decay * theta
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        low = final * factor * (1 - 1 / (gamma * t + 1))
        high = final * factor * (1 + 1 / (gamma * t))
        eta = lr * factor * math.sqrt(1 - b2**t) / (1 - b1**t) / (math.sqrt(v) + eps)
        theta -= min(max(eta, low), high) * m
    return theta


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"gamma": 0.5, "final_lr": 0.02},  # the bounds hold
        {"betas": (0.5, 0.8), "eps": 1e-3, "lr": 0.05},
    ],
)
def test_as_read_literally(options):
    torch.manual_seed(0)
    steps, shapes = 12, [(3, 2), (4,), ()]
    start = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    gradients = [[torch.randn(shape, dtype=torch.float64) for shape in shapes] for _ in range(steps)]
    factors = [1.0] * 6 + [0.3] * 6
    given = {"lr": 1e-3, "betas": (0.9, 0.999), "final_lr": 0.1, "gamma": 1e-3, "eps": 1e-8, "weight_decay": 0.0}
    given |= options
    params = [nn.Parameter(p.clone()) for p in start]
    optimizer = AdaBound(params, **given)
    for grads, factor in zip(gradients, factors, strict=True):
        optimizer.param_groups[0]["lr"] = given["lr"] * factor
        for p, g in zip(params, grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
    for i, p in enumerate(params):
        for place in range(p.numel()):
            numbers = [grads[i].flatten()[place].item() for grads in gradients]
            expected = literally(
                start[i].flatten()[place].item(),
                numbers,
                given["lr"],
                *given["betas"],
                given["final_lr"],
                given["gamma"],
                given["eps"],
                given["weight_decay"],
                factors,
            )
            assert p.flatten()[place].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_bounds_go_from_anything_to_the_final_rate():
    assert bounds(1, 0.1, 1e-3) == pytest.approx((0.1 * (1 - 1 / 1.001), 100.1))
    assert bounds(10**9, 0.1, 1e-3) == pytest.approx((0.1, 0.1), rel=1e-5)


@pytest.mark.parametrize("limit", ["adam", "sgd"])
def test_is_adam_at_first_and_sgd_at_last(limit):
    """Bounds that never hold: Adam. Bounds that are one: SGD with momentum that is a running mean."""
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    if limit == "adam":
        optimizer = AdaBound([ours], lr=1e-3, gamma=1e-12, final_lr=1.0)
        other = torch.optim.Adam([theirs], lr=1e-3, eps=1e-8)
    else:
        optimizer = AdaBound([ours], lr=1e-9, gamma=1 - 1e-12, final_lr=0.1)
        optimizer.state[ours].update(step=10**12, exp_avg=torch.zeros_like(ours), exp_avg_sq=torch.zeros_like(ours))
        other = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, dampening=0.9)
    for t in range(8):
        g = torch.randn(5, dtype=torch.float64)
        ours.grad, theirs.grad = g.clone(), g.clone()
        optimizer.step()
        other.step()
        if limit == "sgd" and t == 0:  # torch's first momentum is the gradient itself, undamped
            other.state[theirs]["momentum_buffer"].mul_(0.1)
            theirs.data = 1 - 0.1 * 0.1 * g
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


# ---- in a Classifier


def test_by_name(trainer, tiny_data):
    assert "adabound" in list_optimizers()
    options = {"final_lr": 0.05, "betas": (0.8, 0.9)}
    model = tiny_classifier(optimizer="adabound", lr=2e-3, weight_decay=1e-3, optimizer_options=options)
    run = trainer()
    run.fit(model, tiny_data, tiny_data)
    (group,) = run.optimizers[0].param_groups
    assert type(run.optimizers[0]) is AdaBound
    expected = {"lr": 2e-3, "base_lr": 2e-3, "weight_decay": 1e-3, "gamma": 1e-3, **options}
    assert expected.items() <= group.items()


def test_with_split_groups_and_a_resume(trainer, tiny_data, tmp_path):
    def tricks():
        return [LayerDecay(0.5), NoBiasDecay(), CosineDecay()]

    def make():
        torch.manual_seed(0)
        return tiny_classifier(optimizer="adabound", lr=1e-3)

    straight, resumed = make(), make()
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "file.ckpt"))
    trainer(callbacks=[*tricks(), save]).fit(straight, tiny_data)
    trainer(callbacks=tricks()).fit(resumed, tiny_data, ckpt_path=tmp_path / "file.ckpt", weights_only=True)
    assert_equal(weights(resumed), weights(straight))


def test_a_parameter_that_was_frozen_starts_at_step_one(trainer, tiny_data):
    run = trainer(callbacks=[GradualUnfreezing()])
    run.fit(model := tiny_classifier(optimizer="adabound", lr=1e-3), tiny_data)
    state = run.optimizers[0].state
    assert state[model.network.head.weight]["step"] == 6
    assert state[model.network.block2.conv1.weight]["step"] == 3
    assert model.network.block1.conv1.weight not in state


def test_closure_is_called_with_gradients():
    p = nn.Parameter(torch.ones(2))
    optimizer = AdaBound([p])

    def closure():
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    assert (p < 1).all()


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0}, {"final_lr": 0}, {"gamma": 0}, {"gamma": 1}, {"eps": -1}, {"weight_decay": -1}, {"betas": (0.9, 1)}],
)
def test_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="must be"):
        AdaBound([nn.Parameter(torch.ones(2))], **wrong)
