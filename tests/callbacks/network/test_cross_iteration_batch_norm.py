"""CBN: derivatives against autograd, corrected moments against recomputed ones, a run by hand, and its limits."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks import CrossIterationBatchNorm, Norm
from callbacks.frame.past_norms import moments, normalise
from callbacks.network.cross_iteration_batch_norm import correct, look_back
from tests.callbacks.conftest import At
from tests.conftest import collate, tiny_classifier
from zoo import Classifier, ConvNeXt

GEOMETRIES = [{}, {"stride": 2, "padding": 1}, {"groups": 2, "padding": (1, 0)}, {"dilation": 2, "padding": 2}]


def made(seed=0, **geometry):
    torch.manual_seed(seed)
    conv = nn.Conv2d(4, 6, 3, bias=False, dtype=torch.float64, **geometry)
    return conv, torch.randn(3, 4, 9, 7, dtype=torch.float64) + 0.5


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_closed_derivatives_are_autograds(geometry):
    conv, x = made(**geometry)
    past = look_back(x, conv(x).detach(), conv)
    m, n = moments(conv(x))
    torch.testing.assert_close(past.m, m.detach())
    torch.testing.assert_close(past.n, n.detach())
    for j in range(6):  # the moments of filter j depend on W_j alone
        dm, dn = (torch.autograd.grad(v[j], conv.weight, retain_graph=True)[0] for v in (m, n))
        torch.testing.assert_close(past.dm[j // (6 // conv.groups)], dm[j])
        torch.testing.assert_close(past.dn[j], dn[j])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_corrected_moments_are_those_of_the_new_weights(geometry):
    """The mean is exact, since it is linear in W; the mean square is to first order."""
    conv, x = made(1, **geometry)
    past, change = look_back(x, conv(x).detach(), conv), torch.randn_like(conv.weight)
    errors = []
    for size in (0.01, 0.02):
        with torch.no_grad():
            y = torch.nn.functional.conv2d(x, past.weight + size * change, None, *geometry_of(conv))
        m, n = correct(past, past.weight + size * change)
        torch.testing.assert_close(m, moments(y)[0])
        errors.append((n - moments(y)[1]).abs().max())
    assert (errors[1] / errors[0]).item() == pytest.approx(4, rel=0.05)


def geometry_of(conv):
    return conv.stride, conv.padding, conv.dilation, conv.groups


def test_squares_are_never_below_squared_means():
    conv, x = made(2)
    past = look_back(x, conv(x).detach(), conv)
    m, n = correct(past, -40 * past.weight)
    assert (n >= m**2).all() and (n == m**2).any()


class Net(nn.Module):
    """One convolution with a norm after it, and a norm without."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.norm = nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 10)

    def forward(self, x):
        return self.head(self.norm(self.conv(self.first(x))).relu().mean((2, 3)))


def data():
    torch.manual_seed(6)
    return DataLoader(list(zip(torch.randn(10, 3, 7, 6), torch.arange(10), strict=True)), 2, collate_fn=collate)


def test_a_run_by_hand(trainer):
    """Five batches a pass, of which the first pass is burn-in: the window grows 1, 2, 3, 3, 3."""
    torch.manual_seed(0)
    model, seen = Classifier(Net(), lr=0.5), []

    def look(norm, inputs, y):
        if norm.training:
            seen.append((model.network.conv.weight.detach().clone(), inputs[0].detach(), y.detach()))

    trick = CrossIterationBatchNorm(window=3, burn_in=1)
    last = At("on_train_start", lambda t, m: m.network.norm.register_forward_hook(look))  # after the trick's own hook
    inputs = []
    model.network.conv.register_forward_pre_hook(lambda m, i: m.training and inputs.append(i[0].detach()))
    trainer(callbacks=[trick, last], limit_val_batches=0).fit(model, data())
    norm = nn.BatchNorm2d(5)
    for t, (weight, x, y) in enumerate(seen):
        window = range(t, max(t - 3, 4), -1) if t >= 5 else [t]
        m, n = torch.zeros(5), torch.zeros(5)
        for i in window:
            w = seen[i][0].clone().requires_grad_()
            m_i, n_i = moments(nn.functional.conv2d(inputs[i], w))
            dm, dn = (torch.autograd.grad(v.sum(), w, retain_graph=True)[0] for v in (m_i, n_i))
            m_i = (m_i + (dm * (weight - w)).sum((1, 2, 3))).detach()
            n_i = (n_i + (dn * (weight - w)).sum((1, 2, 3))).detach()
            m, n = m + m_i / len(window), n + torch.maximum(n_i, m_i**2) / len(window)
        expected = (x - m[:, None, None]) / (n - m**2 + norm.eps).sqrt()[:, None, None]
        gain, shift = seen_affine(y, expected)
        torch.testing.assert_close(y, expected * gain + shift, rtol=1e-3, atol=1e-4)
    assert [len(those) for those in trick._past.values()] == [2]  # the norm behind no convolution stays plain


def seen_affine(y, z):
    """Return gamma and beta of each channel, by least squares of y = gamma z + beta."""
    z_mean, y_mean = z.mean((0, 2, 3), keepdim=True), y.mean((0, 2, 3), keepdim=True)
    gain = ((z - z_mean) * (y - y_mean)).mean((0, 2, 3), keepdim=True) / (z - z_mean).pow(2).mean(
        (0, 2, 3), keepdim=True
    )
    return gain, y_mean - gain * z_mean


def test_normalise_is_batch_norm_in_values_and_gradients():
    torch.manual_seed(0)
    norm, x = nn.BatchNorm2d(4), torch.randn(3, 4, 5, 2, requires_grad=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    r = torch.randn(3, 4, 5, 2)
    for ours, theirs in zip(
        *(
            torch.autograd.grad((y * r).sum(), (x, *norm.parameters()))
            for y in (normalise(x, *moments(x), norm), norm(x))
        ),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_past_is_constant_so_a_window_of_two_halves_the_slope_of_the_moments(trainer):
    torch.manual_seed(0)
    model, trick = Classifier(Net()), CrossIterationBatchNorm(2, 0)
    conv, norm, images = model.network.conv, model.network.norm, torch.randn(2, 3, 7, 6)
    trick.prepare(None, model, "fit")
    trick.on_fit_start(None, model)
    trick._acts = True
    norm(conv(images))
    trick.on_train_batch_end(SimpleNamespace(world_size=1), model)
    trick._acts, x = True, torch.randn(2, 3, 7, 6)
    y = conv(x)
    m, n = trick_statistics(trick, conv, norm, x, y)
    slope = torch.autograd.grad(m.sum() + n.sum(), y, retain_graph=True)[0]
    torch.testing.assert_close(slope, torch.autograd.grad(sum(v.sum() for v in moments(y)), y)[0] / 2)


def trick_statistics(trick, conv, norm, x, y):
    trick._last = conv, x, y
    return trick.statistics("network.norm", norm, y, y)


def test_evaluation_and_averages_are_a_batch_norms(trainer):
    """The averages take the present batch alone: a network that does not learn has those of batch norm."""
    ends = []
    for tricks in ([], [CrossIterationBatchNorm(3, 0)]):
        torch.manual_seed(0)
        model = Classifier(Net(), lr=1e-12)
        trainer(callbacks=tricks, limit_val_batches=0).fit(model, data())
        ends.append(model.network.norm)
    torch.testing.assert_close(ends[0].running_var, ends[1].running_var)
    torch.testing.assert_close(ends[0].running_mean, ends[1].running_mean)


def test_refusals(trainer, tiny_data):
    with pytest.raises(TypeError, match="ConvNeXt has no batch norms over maps: take CrossIterationBatchNorm out"):
        trainer(callbacks=[CrossIterationBatchNorm()]).fit(ConvNeXt("T", num_classes=10, image_size=32), tiny_data)
    with pytest.raises(ValueError, match="both choose the norms"):
        trainer(callbacks=[CrossIterationBatchNorm(), Norm()]).fit(tiny_classifier(), tiny_data)
