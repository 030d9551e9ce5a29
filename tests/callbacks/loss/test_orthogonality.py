"""Orthogonality: by hand, both sides of the Gram matrix, the spectral norm, groups of one shape, and in a run."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import Orthogonality
from callbacks.loss.orthogonality import deviation, kernels_of, soft_orthogonality, srip
from tests.callbacks.conftest import SeenSteps
from zoo import ViT


def test_by_hand():
    W = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])  # W W^T - I = [[1, 2], [2, 3]]
    assert soft_orthogonality(W) == 1 + 4 + 4 + 9


@pytest.mark.parametrize("a, b", [(3, 7), (7, 3), (4, 4)])
def test_the_smaller_side_has_the_slope_of_the_larger(a, b):
    torch.manual_seed(0)
    W = torch.randn(1, a, b, dtype=torch.double, requires_grad=True)
    larger = (W.mT @ W - torch.eye(b)).square().sum()
    ours = soft_orthogonality(W)
    assert (larger - ours).item() == pytest.approx(b - min(a, b))
    torch.testing.assert_close(*(torch.autograd.grad(term, W)[0] for term in (ours, larger)))


@pytest.mark.parametrize("a, b", [(3, 7), (7, 3)])
def test_orthogonal_weights_pay_nothing(a, b):
    W = torch.nn.init.orthogonal_(torch.empty(a, b)).double()[None]
    assert deviation(W).abs().max() < 1e-6
    v = torch.randn(1, 3, 1, dtype=torch.double)
    assert soft_orthogonality(W) < 1e-12 and srip(W, v) < 1e-6


def test_srip_is_at_most_the_spectral_norm_and_it_from_its_own_direction():
    torch.manual_seed(0)
    W = torch.randn(5, 4, 6)
    exact = torch.linalg.matrix_norm(deviation(W), ord=2).sum()
    estimates = torch.stack([srip(W, torch.randn(5, 4, 1)) for _ in range(200)])
    assert estimates.max() <= exact * (1 + 1e-5)
    assert estimates.mean() > 0.8 * exact
    values, vectors = torch.linalg.eigh(deviation(W))
    first = values.abs().argmax(1)
    own = vectors[torch.arange(5), :, first][:, :, None]
    torch.testing.assert_close(srip(W, own), exact)


def test_kernels_and_not_positions():
    model = ViT("Ti/16", num_classes=10, image_size=32)
    model.head.requires_grad_(False)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(W)] for W in kernels_of(model)}
    assert {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= found
    assert all(name.endswith("weight") for name in found)
    assert not found & {"cls_token", "pos_embed", "norm.weight", "head.weight"}


def literal(model):
    """Sum the terms layer by layer."""
    total = 0
    for p in model.parameters():
        if p.ndim > 1:
            W = p.detach().flatten(1)
            W = W if W.shape[0] <= W.shape[1] else W.T
            total += (W @ W.T - torch.eye(len(W))).pow(2).sum()
    return total


def test_reaches_the_run(tiny_model, tiny_data, trainer):
    seen, terms = SeenSteps(), []
    seen.on_loss = lambda model, step: (seen.steps.append(step), terms.append(literal(model)))
    trainer(callbacks=[Orthogonality(0.01), seen], max_epochs=1).fit(tiny_model, tiny_data)
    for step, term in zip(seen.steps, terms, strict=True):
        torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets) + 0.01 * term)


@pytest.mark.parametrize("kind", ["so", "srip"])
def test_going_down_its_slope_makes_weights_orthogonal(kind):
    torch.manual_seed(0)
    W = (0.5 * torch.randn(1, 4, 6)).requires_grad_()
    for _ in range(300):
        term = soft_orthogonality(W) if kind == "so" else srip(W, torch.randn(1, 4, 1))
        W.data -= 0.02 * torch.autograd.grad(term, W)[0]
    assert deviation(W).abs().max() < 0.1


def test_srip_reaches_the_run(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[Orthogonality(0.01, "srip"), steps], max_epochs=1).fit(tiny_model, tiny_data)
    for step in steps.steps:
        assert 0.01 < step.loss - F.cross_entropy(step.logits, step.targets) < 0.5


def test_refusals():
    with pytest.raises(ValueError, match="weight must be"):
        Orthogonality(0)
    with pytest.raises(ValueError, match="did you mean 'srip'"):
        Orthogonality(kind="rip")
