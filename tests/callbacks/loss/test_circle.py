"""Circle loss: by hand and against a literal form, vanishing gradients, mixed targets, its hook, and in a run."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from callbacks import CircleLoss, MixUp
from callbacks.loss.circle import class_form, pair_form, sum_of_others
from tests.callbacks.conftest import At, SeenSteps, hooks
from tests.conftest import collate
from zoo import Classifier, DeiT, LVViT


def literal(alike, unlike, m, g):
    """Compute equation 6 for one image, pair by pair."""
    p = sum(math.exp(-g * max(1 + m - s, 0) * (s - (1 - m))) for s in alike)
    n = sum(math.exp(g * max(s + m, 0) * (s - m)) for s in unlike)
    return math.log(1 + p * n)


def test_by_hand():
    s = torch.tensor([[0.5, 0.0]], dtype=torch.double)  # g = 4, m = 1/4: exponents -4 * .75 * -.25, 4 * .25 * -.25
    expected = math.log(1 + math.exp(0.75) * math.exp(-0.25))
    assert class_form(s, torch.tensor([[1.0, 0.0]]), 0.25, 4.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("m, g", [(0.25, 4.0), (0.4, 10.0)])
def test_class_form_number_by_number(m, g):
    torch.manual_seed(0)
    s, targets = 2 * torch.rand(6, 5, dtype=torch.double) - 1, torch.tensor([0, 1, 2, 3, 4, 0])
    rows = [(row[t].item(), row[torch.arange(5) != t].tolist()) for row, t in zip(s, targets, strict=True)]
    expected = sum(literal([own], others, m, g) for own, others in rows) / 6
    assert class_form(s, F.one_hot(targets), m, g).item() == pytest.approx(expected, rel=1e-9)


def test_pair_form_number_by_number():
    torch.manual_seed(0)
    x = F.normalize(torch.randn(7, 4, dtype=torch.double))
    s, targets = x @ x.T, torch.tensor([0, 1, 0, 1, 2, 0, 1])  # the class 2 has no second image
    losses = []
    for i in range(7):
        alike = [s[i, j].item() for j in range(7) if j != i and targets[j] == targets[i]]
        if alike:
            losses.append(literal(alike, [s[i, j].item() for j in range(7) if targets[j] != targets[i]], 0.3, 5.0))
    assert len(losses) == 6
    assert pair_form(s, targets, 0.3, 5.0).item() == pytest.approx(sum(losses) / 6, rel=1e-9)


def test_sum_of_others_and_its_slope():
    torch.manual_seed(0)
    for scale in (1.0, 300.0):  # a range in which exp overflows
        e = (scale * torch.randn(8, 6, dtype=torch.double)).requires_grad_()
        rest = [torch.cat([e[:, :k], e[:, k + 1 :]], 1).logsumexp(1) for k in range(6)]
        slow, fast = torch.stack(rest, 1), sum_of_others(e)
        torch.testing.assert_close(fast, slow)
        torch.testing.assert_close(*(torch.autograd.grad(f.square().sum(), e)[0] for f in (fast, slow)))


def test_the_boundary_is_a_circle():
    """Where both exponents cancel, s_n^2 + (1 - s_p)^2 = 2 m^2, and the loss is log 2."""
    m, y = 0.25, torch.tensor([[1.0, 0.0]])
    angles = torch.linspace(-1.5, 1.5, 9, dtype=torch.double)
    s = torch.stack([1 - 2**0.5 * m * angles.cos(), 2**0.5 * m * angles.sin()], 1)
    s = s[s[:, 1] > -m]  # beyond, the dissimilar one has no gradient
    assert len(s) >= 7
    for row in s:
        assert class_form(row[None], y, m, 64.0).item() == pytest.approx(math.log(2), rel=1e-6)


def test_what_is_where_it_should_be_is_let_alone():
    s = torch.tensor([[1.0, -0.3, 0.4]], requires_grad=True)
    slope = torch.autograd.grad(class_form(s, torch.tensor([[1.0, 0.0, 0.0]]), 0.25, 10.0), s)[0][0]
    assert slope[1] == 0 and slope[2] > 0 > slope[0]


def test_mixed_targets_mix_the_losses():
    torch.manual_seed(0)
    s, a, b = 2 * torch.rand(4, 5) - 1, torch.eye(5)[[0, 1, 2, 3]], torch.eye(5)[[4, 2, 0, 1]]
    mixed = class_form(s, 0.3 * a + 0.7 * b, 0.25, 16.0)
    torch.testing.assert_close(mixed, 0.3 * class_form(s, a, 0.25, 16.0) + 0.7 * class_form(s, b, 0.25, 16.0))


def test_at_the_papers_scale_slopes_are_finite():
    torch.manual_seed(0)
    for form, targets in ((class_form, torch.eye(4)), (pair_form, torch.tensor([0, 0, 1, 2]))):
        s = torch.tensor([-1.0, 1.0])[torch.randint(2, (4, 4))].requires_grad_()
        loss = form(s, targets, 0.25, 256.0)
        loss.backward()
        assert loss.isfinite() and s.grad.isfinite().all()
    alone = torch.rand(3, 3).requires_grad_()
    loss = pair_form(alone, torch.arange(3), 0.25, 256.0)
    loss.backward()
    assert loss == 0 and (alone.grad == 0).all()


@pytest.mark.parametrize("form, mixed", [("class", False), ("class", True), ("pair", False)])
def test_reaches_the_run(tiny_model, tiny_data, trainer, form, mixed):
    features, expected, seen = [], [], SeenSteps()

    def look(model, step):
        x, W = F.normalize(features.pop()), F.normalize(model.network.head.weight.detach())
        y = step.targets if mixed else F.one_hot(step.targets, 10)
        pairs = form == "pair"
        term = pair_form(x @ x.T, step.targets, 0.3, 20.0) if pairs else class_form(x @ W.T, y, 0.3, 20.0)
        expected.append(F.cross_entropy(step.logits, step.targets) + 0.1 * term)
        seen.steps.append(step)

    seen.on_loss = look
    handle = tiny_model.network.head.register_forward_pre_hook(lambda m, inputs: features.append(inputs[0].detach()))
    tricks = [*([MixUp(1.0)] if mixed else []), CircleLoss(0.1, 0.3, 20.0, form), seen]
    trainer(callbacks=tricks, max_epochs=1).fit(tiny_model, tiny_data)
    handle.remove()
    assert len(expected) == 3 and hooks(tiny_model) == 0
    for step, loss in zip(seen.steps, expected, strict=True):
        torch.testing.assert_close(step.loss, loss)


@pytest.mark.parametrize(("kind", "variant"), [(LVViT, "T"), (DeiT, "Ti")])
def test_the_head_of_the_class_is_compared(kind, variant, tiny_data, trainer, monkeypatch):
    """These models have another linear layer with K outputs after the head, for tokens or for a teacher."""
    monkeypatch.setitem(kind.variants, variant, replace(kind.variants[variant], width=240, depth=4, heads=4))
    model, trick, heads = kind(variant, num_classes=10, image_size=16), CircleLoss(), []
    data = DataLoader([(F.interpolate(x[None], 16)[0], y) for x, y in tiny_data.dataset], 4, collate_fn=collate)
    look = At("on_before_backward", lambda *_: heads.append(trick._head))
    trainer(callbacks=[trick, look], max_epochs=1).fit(model, data)
    assert len(heads) == 3 and all(head is model.head for head in heads)


def test_refusals(tiny_model, tiny_data, trainer):
    for arguments, words in (
        ({"weight": 0}, "weight must be"),
        ({"m": 0}, "m must be"),
        ({"gamma": 0}, "gamma must be"),
        ({"form": "pairs"}, "did you mean 'pair'"),
    ):
        with pytest.raises(ValueError, match=words):
            CircleLoss(**arguments)
    with pytest.raises(ValueError, match="targets are mixed"):
        trainer(callbacks=[MixUp(), CircleLoss(form="pair")]).fit(tiny_model, tiny_data)
    assert hooks(tiny_model) == 0
    conv = Classifier(nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten()), num_classes=10)
    with pytest.raises(TypeError, match="take a model that ends in such a layer"):
        trainer(callbacks=[CircleLoss()]).fit(conv, tiny_data)
