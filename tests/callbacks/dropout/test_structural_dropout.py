"""StructuralDropout: the position and frequency of cuts, and the scale."""

import pytest
import torch
from torch.utils.data import DataLoader

import callbacks
from callbacks.dropout.structural_dropout import prefix
from tests.callbacks.conftest import hooks
from zoo import Classifier


def test_widths_by_hand():
    """D = 8, widths 2, 4, 6."""
    u = torch.tensor(0.2)
    for v, c in ((0.0, 2), (0.3, 2), (0.34, 4), (0.7, 6), (0.9999999, 6)):
        expected = torch.tensor([8 / c] * c + [0.0] * (8 - c))
        assert torch.equal(prefix(u, torch.tensor(v), 0.5, 8, 2, 2), expected)
    assert torch.equal(prefix(torch.tensor(0.5), torch.tensor(0.1), 0.5, 8, 2, 2), torch.ones(8))  # u >= p: no cut
    assert torch.equal(prefix(u, u, 0.5, 3, 5), torch.ones(3))  # nothing narrower than 5


def test_mean_factors_of_features_sum_to_their_number():
    """With D = 8, c in {2, 4, 6}, p = .5: from 1.72 for the first to .5 for the last."""
    torch.manual_seed(0)
    mean = sum(prefix(torch.rand(()), torch.rand(()), 0.5, 8, 2, 2) for _ in range(1500)) / 1500
    assert mean.sum().item() == pytest.approx(8, rel=1e-4)
    assert mean[0].item() == pytest.approx(1.7222, abs=0.17) and mean[-1].item() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("shape", [(5, 8), (5, 3, 8), (5, 8, 4, 4)])
def test_one_cut_for_the_batch_along_the_channels(shape):
    torch.manual_seed(2)
    y = callbacks.StructuralDropout(0.99).drop(torch.ones(shape), 0.99)
    channels = y if y.ndim == 2 else y[:, 0] if y.ndim == 3 else y[:, :, 0, 0]
    kept = (channels[0] > 0).sum().item()
    assert 0 < kept < 8 and torch.equal(channels, channels[:1].expand(5, 8))
    assert channels[0].sum().item() == pytest.approx(8) and (channels[0, :kept] > 0).all()
    with pytest.raises(ValueError, match=r"low must be in \[1, inf\], not 0"):
        callbacks.StructuralDropout(low=0)


def test_accuracy_of_each_width():
    """Class k has feature k alone, so that a network of c features predicts c classes correctly."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5, bias=False), torch.nn.Linear(5, 4))
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(5, 12))
        network[2].weight.copy_(torch.eye(4, 5))
        network[2].bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.5]))
    model = Classifier(network, num_classes=4)
    images = torch.eye(4, 12).view(4, 3, 2, 2)
    data = DataLoader([(images[i % 4], i % 4) for i in range(8)], batch_size=4)
    trick = callbacks.StructuralDropout()
    accuracies = trick.curve(model, data, (1, 2, 3, 4, 5), accelerator="cpu")
    assert accuracies == {1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 5: 1.0}
    assert hooks(model) == 0
    small = trick.cut(model, 2, image_size=2)
    assert small.network[1].weight.shape == (2, 12) and torch.equal(small(images).argmax(1), torch.tensor([0, 1, 3, 3]))
