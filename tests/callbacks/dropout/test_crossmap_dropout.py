"""CrossmapDropout: the slow loop's numbers, and whole pixels."""

import pytest
import torch

import callbacks
from callbacks.dropout import crossmap_dropout
from tests.callbacks.dropout.sheets import close, oracle


def test_crossmap_by_hand():
    sheet, expected, params = oracle("biased_crossmap")
    x, u = torch.tensor(sheet["input"]["crossmap"])[None], torch.tensor(sheet["random"]["u_crossmap"])[None, None]
    scale = crossmap_dropout.pixels(u, params["crossmap_p"])
    close((scale > 0).float(), expected["crossmap_mask"])
    close(x * scale, expected["output_crossmap"])


def test_whole_pixels_go():
    torch.manual_seed(0)
    y = callbacks.CrossmapDropout(0.3).drop(torch.ones(400, 5, 8, 8), 0.3)
    assert torch.equal(y, y[:, :1].expand_as(y)) and (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
