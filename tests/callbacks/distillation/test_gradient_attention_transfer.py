"""Input gradients: J by hand and by differences, the second derivative, and the run's settings for it."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import GradientAttentionTransfer, Linear, SymmetryAttention
from callbacks.frame.input_gradient import gradient_distance, input_gradient, loss_scale
from tests.callbacks.conftest import SeenSteps
from tests.callbacks.distillation.input_gradients import by_hand, one_step, start
from tests.conftest import tiny_classifier


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6)


@pytest.fixture
def smooth():
    """A smooth network in double precision, so that differences approximate its derivatives."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)).double()


# ---- the equation


def test_gradient_of_a_linear_network_by_hand(images):
    """dL/dx = W^T (softmax(z) - y), whatever the size of the batch; also for soft targets."""
    x, _ = images
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    x = x.requires_grad_()
    targets = torch.tensor([0, 1, 2, 3, 4, 0])
    for y in (targets, F.one_hot(targets, 5).float() * 0.7 + 0.06):
        z = network(x)
        J = input_gradient(z, y, x)
        soft = y if y.is_floating_point() else F.one_hot(y, 5).float()
        torch.testing.assert_close(J.flatten(1), (z.softmax(1) - soft) @ network[1].weight)
        torch.testing.assert_close(input_gradient(network(x[:2]), y[:2], x)[:2], J[:2])


def test_distance_by_hand():
    J = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    other = torch.tensor([[4.0, 2.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    assert gradient_distance(J, other).item() == pytest.approx((9 / 2 + 1 / 2) / 2)
    assert gradient_distance(J, J).item() == 0


def test_second_derivative_is_that_of_differences(smooth):
    x, y = torch.randn(4, 3, 2, 2).double().requires_grad_(), torch.tensor([0, 1, 2, 0])
    J_T = torch.randn(4, 3, 2, 2).double()

    def distance():
        return ((input_gradient_double(smooth(x), y, x) - J_T).flatten(1).square().sum(1) / 2).mean()

    def input_gradient_double(z, y, x):
        return torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), x, create_graph=True)[0]

    weight, epsilon = smooth[1].weight, 1e-5
    ours = gradient_distance(input_gradient(smooth(x), y, x), J_T)
    torch.testing.assert_close(ours.double(), distance(), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(ours, weight)
    differences = torch.zeros_like(weight)
    for i in range(6):
        for j in range(12):
            with torch.no_grad():
                weight[i, j] += epsilon
            up = distance().item()
            with torch.no_grad():
                weight[i, j] -= 2 * epsilon
            down = distance().item()
            with torch.no_grad():
                weight[i, j] += epsilon
            differences[i, j] = (up - down) / (2 * epsilon)
    torch.testing.assert_close(gradient, differences, rtol=1e-4, atol=1e-5)


def test_transfer_adds_the_distance_to_the_teachers_gradient(tiny_data, trainer, teacher):
    step = one_step(trainer, start(), tiny_data, GradientAttentionTransfer(teacher, beta=3.0))
    student = start()
    student.network.dropout.p = 0.0
    J_S, J_T = (by_hand(network, step.images, step.targets) for network in (student.network, teacher.network.eval()))
    expected = F.cross_entropy(step.logits, step.targets) + 3 * (J_S - J_T).flatten(1).square().sum(1).mean() / 2
    torch.testing.assert_close(step.loss, expected)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("kind", ["transfer", "symmetry"])
def test_it_is_what_training_makes_smaller(tiny_data, trainer, teacher, kind):
    """Train on the term alone."""
    trick = GradientAttentionTransfer(teacher) if kind == "transfer" else SymmetryAttention()
    terms = []

    class Only(SeenSteps):
        def on_loss(self, model, step):
            step.loss = step.loss - F.cross_entropy(step.logits, step.targets)
            terms.append(step.loss.item())

    torch.manual_seed(0)
    model = tiny_classifier(lr=0.5, weight_decay=0.0)
    model.network.dropout.p = 0.0
    trainer(callbacks=[trick, Only()], max_epochs=8).fit(model, tiny_data)
    assert sum(terms[-3:]) < 0.5 * sum(terms[:3])


@pytest.mark.parametrize("beta", [0, -1.0, Linear(1, -1)])
def test_refuses_wrong_arguments(teacher, beta):
    for build in (lambda: GradientAttentionTransfer(teacher, beta), lambda: SymmetryAttention(beta)):
        with pytest.raises(ValueError, match="must be in"):
            build()


def test_two_of_them_leave_the_kernels_as_they_were(tiny_model, tiny_data, trainer):
    teacher = tiny_classifier(width=6)
    tricks = [SymmetryAttention(), GradientAttentionTransfer(teacher)]
    trainer(callbacks=tricks, max_epochs=1).fit(tiny_model, tiny_data)
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()


# ---- 16 bits


def test_a_gradient_too_small_for_16_bits_is_found_at_the_scale_of_the_run(images):
    """J is about 1e-7, where float16 underflows: with a loss scale it is right to 5 %, without one it is 0."""
    x, y = images
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    run = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    scale = loss_scale(SimpleNamespace(device=torch.device("cpu"), trainer=run))
    torch.manual_seed(0)
    w = torch.randn(192, 5) * 1e-3

    def J(kind, scale=1.0):
        images = x.clone().requires_grad_()
        return input_gradient((images.flatten(1).to(kind) * 1e-4) @ w.to(kind), y, images, scale)

    right = J(torch.float32)
    assert scale == 2.0**12 and right.abs().max() < 1e-6
    assert (J(torch.float16, scale) - right).norm() < 0.05 * right.norm() < (J(torch.float16) - right).norm()
