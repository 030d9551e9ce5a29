"""SpectralDropout: scipy's basis, and the fraction of weak coefficients that is dropped."""

import pytest
import torch
from scipy.fft import dctn

import callbacks
from callbacks.dropout.spectral_dropout import AXES, basis, dropped_part, transform


@pytest.mark.parametrize("dims", AXES)
def test_the_basis_is_scipys_and_goes_back(dims):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    theirs = dctn(x.numpy(), axes=AXES[dims], norm="ortho")
    torch.testing.assert_close(transform(x, dims), torch.tensor(theirs), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(transform(transform(x, dims), dims, back=True), x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(basis(7) @ basis(7).T, torch.eye(7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dims", AXES)
def test_weak_coefficients_go_at_their_rate_and_strong_ones_stay(dims):
    torch.manual_seed(0)
    x = torch.randn(20, 4, 10, 10)
    before = transform(x, dims)
    after = transform(callbacks.SpectralDropout(0.3, tau=0.5, dims=dims).drop(x, 0.3), dims)
    strong, gone = before.abs() > 0.5001, (after.abs() < 1e-5) & (before.abs() > 1e-4)
    torch.testing.assert_close(after[strong], before[strong], rtol=1e-4, atol=1e-5)
    weak = before.abs() < 0.4999
    assert gone[weak].float().mean().item() == pytest.approx(0.3, abs=0.03) and not gone[strong].any()
    kept = weak & ~gone
    torch.testing.assert_close(after[kept], before[kept], rtol=1e-4, atol=1e-4)


def test_by_hand():
    """A map of its mean and one frequency, both sqrt(2): the draws decide which weak coefficients are dropped."""
    x = torch.tensor([[[[2.0, 0.0]]]])  # coefficients 2 / sqrt(2) each
    at, over = 2**0.5 + 1e-3, 2**0.5 - 1e-3
    for u, tau, gone in (([0.1, 0.9], at, [1, 1]), ([0.9, 0.1], at, [1, -1]), ([0.1, 0.1], over, [0, 0])):
        got = dropped_part(x, torch.tensor(u).view(1, 1, 1, 2), 0.5, tau, "spatial")
        assert got.flatten().tolist() == pytest.approx(gone, abs=1e-6)


def test_gradient_goes_through_what_is_kept():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 4, 4, requires_grad=True)
    y = callbacks.SpectralDropout(0.5, tau=1.0).drop(x, 0.5)
    probe = torch.randn_like(y)
    y.backward(probe)
    kept = transform(y.detach(), "spatial").abs() > 1e-5
    torch.testing.assert_close(transform(x.grad, "spatial"), transform(probe, "spatial") * kept, rtol=1e-4, atol=1e-5)


def test_tau_of_zero_is_dropout_of_nothing():
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(callbacks.SpectralDropout(0.9, tau=0.0).drop(x, 0.9), x, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="tau"):
        callbacks.SpectralDropout(tau=-1)
