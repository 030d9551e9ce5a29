"""FocusedDropout: the slow loop's numbers, maps without a peak, and the draw of gamma."""

import pytest
import torch

import callbacks
from callbacks.dropout import focused_dropout
from tests.callbacks.dropout.sheets import close, oracle


def test_focus_by_hand():
    sheet, expected, _ = oracle("focused_dropout")
    x, gamma = torch.tensor(sheet["input"]), torch.tensor(sheet["random"]["gamma"])
    mask = focused_dropout.focus(x, gamma)
    for ours, theirs in zip(mask, expected["per_image"], strict=True):
        close(ours, theirs["mask"])
    close(x * mask, expected["output"])


def test_focus_on_nothing_keeps_all():
    for x in (torch.zeros(2, 3, 4, 4), -torch.rand(2, 3, 4, 4)):
        assert focused_dropout.focus(x, torch.full((2,), 0.5)).all()


def test_gamma_is_drawn_between_its_bounds_for_each_image():
    torch.manual_seed(0)
    x = torch.linspace(0, 1, 101).view(1, 1, 1, 101).repeat(3000, 1, 1, 1)
    lowest = (callbacks.FocusedDropout(0.3, 0.6).drop(x, 0.5) > 0).float().argmax(3) / 100
    assert 0.3 < lowest.min() < 0.32 and 0.59 < lowest.max() < 0.62
    assert lowest.mean().item() == pytest.approx(0.455, abs=0.01)
    for low, high in ((0.6, 0.3), (0, 0.5), (0.5, 1)):
        with pytest.raises(ValueError, match="FocusedDropout"):
            callbacks.FocusedDropout(low, high)
