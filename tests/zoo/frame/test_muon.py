"""FilterMuon: torch's Muon and SGD from equal states, singular values, batches of filters, and a resume."""

import copy

import pytest
import torch
from torch import nn

import zoo.frame.muon
from tests.conftest import tiny_classifier
from zoo.frame.muon import FilterMuon, orthogonal, orthogonal_all


def parameters(*shapes, seed=3):
    torch.manual_seed(seed)
    found = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in found:
        p.grad = torch.randn_like(p)
    return found


def test_filters_move_as_by_torchs_muon():
    """Which averages the gradient, m B + (1 - m) g: half of ours. Sums in bfloat16 differ by their order."""
    [filters] = parameters((8, 3, 2, 2))
    matrix = nn.Parameter(filters.detach().flatten(1) * 8**0.5 / filters.detach().norm())
    matrix.grad = filters.grad.flatten(1)
    before = matrix.detach().clone()
    FilterMuon([filters], lr=0.1, filter_momentum=0.5).step()
    torch.optim.Muon([matrix], lr=0.1, momentum=0.5, weight_decay=0, ns_steps=3).step()
    moved, theirs = filters.detach().flatten(1) - before, matrix.detach() - before
    assert (moved - theirs).norm() < 0.05 * theirs.norm()


def test_the_rest_moves_as_by_torchs_sgd():
    ours, theirs = (parameters((4, 3), (5,)) for _ in range(2))
    first = FilterMuon(ours, weight_decay=0.02, matrix_lr=0.5, vector_lr=0.05, sgd_momentum=0.8)
    groups = [
        {"params": theirs[:1], "lr": 0.5, "weight_decay": 0.02 / 0.5},
        {"params": theirs[1:], "lr": 0.05, "weight_decay": 0.02 / 0.05},
    ]
    second = torch.optim.SGD(groups, lr=1.0, momentum=0.8, nesterov=True)
    for _ in range(3):
        first.step()
        second.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(2, 24, 100), (2, 100, 24)])
def test_singular_values_go_through_a_polynomial_to_one(shape, monkeypatch):
    monkeypatch.setattr(zoo.frame.muon, "PRECISION", torch.float64)
    torch.manual_seed(4)
    d = torch.randn(shape, dtype=torch.float64)
    u, s, v = torch.linalg.svd(d, full_matrices=False)
    s /= s.norm(dim=1, keepdim=True)
    for _ in range(3):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    assert s.min() > 0.6 and s.max() < 1.3
    torch.testing.assert_close(orthogonal(d), u @ s.diag_embed() @ v, rtol=0, atol=1e-5)  # 1e-7 beside the norm


def test_filters_of_one_shape_are_alike_alone(monkeypatch):
    monkeypatch.setattr(zoo.frame.muon, "PRECISION", torch.float64)
    torch.manual_seed(5)
    d = [torch.randn(shape, dtype=torch.float64) for shape in ((4, 3, 2, 2), (4, 6, 2, 2), (4, 3, 2, 2))]
    for x, alone in zip(orthogonal_all(d), (orthogonal_all([one])[0] for one in d), strict=True):
        torch.testing.assert_close(x, alone)


def test_a_parameter_without_gradient_stays():
    ps = parameters((4, 3, 2, 2), (4, 3), (5,))
    before = copy.deepcopy(ps)
    for p in ps:
        p.grad = None
    FilterMuon(ps, weight_decay=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(ps, before, strict=True))


def test_a_classifier_takes_it_by_name_and_resumes(tiny_data, trainer, tmp_path):
    def model():
        torch.manual_seed(6)
        return tiny_classifier(optimizer="filtermuon", lr=0.1, optimizer_options={"vector_lr": 0.1})

    whole, half, rest = model(), model(), model()
    trainer(max_epochs=2).fit(whole, tiny_data)
    run = trainer(max_epochs=1)
    run.fit(half, tiny_data)
    run.save_checkpoint(tmp_path / "half.ckpt")
    trainer(max_epochs=2).fit(rest, tiny_data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"matrix_lr": -1}, {"weight_decay": -1}])
def test_rates_out_of_range(wrong):
    with pytest.raises(ValueError, match="learning rates must be > 0 and weight_decay >= 0"):
        FilterMuon(parameters((2, 2)), **wrong)


def test_momenta_out_of_range():
    with pytest.raises(ValueError, match="both momenta must be in"):
        FilterMuon(parameters((2, 2)), filter_momentum=1.0)
