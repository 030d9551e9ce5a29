"""InitialLoss: entropy by hand, weights that start too large, trained networks, targets of every form."""

import math

import pytest
import torch
import torch.nn.functional as F

from callbacks import InitialLoss
from callbacks.diagnostics.initial_loss import entropy
from tests.callbacks.diagnostics.fits import found
from tests.conftest import tiny_classifier
from zoo import Step


def test_entropy_by_hand():
    assert entropy(torch.tensor([0.2, 0.8])).item() == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8))
    assert entropy(torch.tensor([1.0, 0.0])).item() == 0


@pytest.mark.parametrize(("scale", "well"), [(0.0, True), (100.0, False)])
def test_initial_loss_of_weights_that_start_too_large(scale, well, tiny_data, trainer):
    model = tiny_classifier()
    model.network.head.weight.data.mul_(scale)
    model.network.head.bias.data.zero_()
    (finding,) = found(InitialLoss(), trainer, tiny_data, model)
    assert finding.well == well
    if scale == 0:
        assert "cross-entropy of the first batch is 2.303; ln K is 2.303" in finding.text


def test_the_first_loss_is_in_float32_and_keeps_no_graph():
    logits = torch.randn(64, 10).bfloat16().requires_grad_()
    targets, trick = torch.arange(64) % 10, InitialLoss()
    trick._untrained = True
    trick.on_loss(None, Step(None, targets, logits, None))
    assert trick._seen.dtype == torch.float32 and not trick._seen.requires_grad
    assert trick._seen[0].item() == F.cross_entropy(logits.float(), targets).item()


def test_initial_loss_leaves_trained_networks_alone(tiny_data, trainer):
    model = tiny_classifier()
    trainer().fit(model, tiny_data)
    assert found(InitialLoss(), trainer, tiny_data, model) == ()


def test_initial_loss_notices_targets_that_show(tiny_data, trainer):
    model = tiny_classifier()
    model.network.head.weight.data.zero_()
    model.network.head.bias.data = torch.tensor([30.0] + [0.0] * 9)
    for i in range(len(tiny_data.dataset)):
        tiny_data.dataset[i] = (tiny_data.dataset[i][0], torch.tensor(0))
    trick = InitialLoss()
    trick._judge(loss=0.1, prior=2.0, chance=2.3)
    assert not trick.findings[0].well and "better than chance" in trick.findings[0].text
    trick._judge(loss=0.0, prior=0.0, chance=2.3)  # the batch has one class, and the bias predicts it
    assert trick.findings[1].well


def see(targets, logits):
    """Return the cross-entropy of a first batch and the entropy of its classes, as `InitialLoss` computes them."""
    trick = InitialLoss()
    trick._untrained = True
    trick.on_loss(None, Step(None, targets, logits, None, {}))
    return trick._seen


def test_the_entropy_is_that_of_the_batchs_classes():
    """Three images of five classes, of unequal frequencies: class 1 twice, class 4 once."""
    torch.manual_seed(3)
    logits, targets = torch.randn(3, 5), torch.tensor([1, 4, 1])
    expected = [F.cross_entropy(logits, targets).item(), -(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)]
    assert see(targets, logits).tolist() == pytest.approx(expected)
    soft = torch.tensor([[0.5, 0.5, 0, 0, 0], [0, 0.5, 0, 0, 0.5], [0, 0.5, 0.5, 0, 0]])
    p = torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6])
    assert see(soft, logits)[1].item() == pytest.approx(-(p * p.log()).sum().item())


def test_the_entropy_of_masks_counts_pixels():
    """Two masks of 1 x 3 px: classes 0, 0, 1 and 1, 1, 2."""
    masks = torch.tensor([[[0, 0, 1]], [[1, 1, 2]]])
    p = torch.tensor([2.0, 3, 1]) / 6
    assert see(masks, torch.zeros(2, 4, 1, 3)).tolist() == pytest.approx([math.log(4), -(p * p.log()).sum().item()])
