"""ADL: the slow loop's numbers, and one draw for a batch."""

import pytest
import torch

import callbacks
from callbacks.dropout import adl
from tests.callbacks.dropout.sheets import close, oracle


def test_hidden_part_by_hand():
    sheet, expected, params = oracle("adl")
    x = torch.tensor(sheet["input"])[None]
    a = x.mean(1, keepdim=True)
    close(a, expected["attention"])
    mask = adl.hiding_mask(a, params["threshold"])
    close(mask, expected["drop_mask"])
    close(x * mask, expected["output_if_drop_mask"])
    close(x * a.sigmoid(), expected["output_if_importance"])


def test_one_draw_a_batch_decides():
    torch.manual_seed(0)
    trick, x = callbacks.ADL(0.75), torch.rand(4, 3, 5, 5) + 0.1
    hides = [(trick.drop(x, 0.75) == 0).flatten(1).any(1) for _ in range(400)]
    assert all(row.all() or not row.any() for row in hides)
    assert sum(row.all().item() for row in hides) / 400 == pytest.approx(0.75, abs=0.08)
