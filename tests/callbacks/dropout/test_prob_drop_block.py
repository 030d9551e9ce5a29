"""ProbDropBlock: reference rates, squares by a slow loop, the dropped fraction on maps of any size."""

import json
from pathlib import Path

import pytest
import torch

import callbacks
from callbacks.dropout.prob_drop_block import centre_rates, mean_length, squares

SHEET = json.loads((Path(__file__).parents[2] / "data/dropout/probdropblock.json").read_text())


def test_rates_by_hand():
    x = torch.tensor(SHEET["input"])[None, None]
    for rates, name in ((centre_rates(x, 0.2), "drop_probability"), (centre_rates(x, 0.01) / 0.01, "ratio")):
        torch.testing.assert_close(rates[0, 0], torch.tensor(SHEET["expected"][name]), rtol=1e-5, atol=1e-6)
    assert centre_rates(x, 10.0).amax() == 1  # never more
    assert not centre_rates(x * 0, 0.2).any() and (centre_rates(x * 0 + 3, 0.2) == 0.2).all()


@pytest.mark.parametrize("block", [(1, 1), (2, 3), (3, 2), (5, 5)])
def test_squares_as_a_slow_loop_has_them(block):
    torch.manual_seed(sum(block))
    centres = (torch.rand(2, 3, 6, 7) < 0.08).float()
    expected = torch.ones_like(centres)
    for n, c, i, j in centres.nonzero().tolist():
        top, left = max(0, i - block[0] // 2), max(0, j - block[1] // 2)
        expected[n, c, top : i - block[0] // 2 + block[0], left : j - block[1] // 2 + block[1]] = 0
    assert torch.equal(squares(centres, block), expected)


@pytest.mark.parametrize(("side", "block"), [(1, 1), (4, 4), (7, 7), (9, 2), (14, 7)])
def test_mean_length_by_counting(side, block):
    covered = [[i - block // 2 <= j < i - block // 2 + block for j in range(side)] for i in range(side)]
    assert mean_length(side, block) == pytest.approx(sum(map(sum, covered)) / side)


@pytest.mark.parametrize(("size", "block"), [(28, 7), (14, 7), (7, 7), (4, 7), (1, 7), (8, 2)])
def test_share_that_goes_on_maps_of_any_size(size, block):
    torch.manual_seed(0)
    x = torch.rand(80, 200 if size < 20 else 40, size, size) + 0.1
    gone = (callbacks.ProbDropBlock(0.1, block).drop(x, 0.1) == 0).float().mean().item()
    assert 0.084 < gone < 0.104


def test_goes_where_features_are_strong():
    """The left half has four times the values of the right one."""
    torch.manual_seed(0)
    x = torch.ones(400, 4, 8, 8)
    x[..., :4] = 4
    for shared in (False, True):
        y = callbacks.ProbDropBlock(0.2, 1, shared).drop(x, 0.2)
        gone = (y == 0).float().mean((0, 1, 2))
        assert gone[:4].mean().item() == pytest.approx(0.32, abs=0.02)
        assert gone[4:].mean().item() == pytest.approx(0.08, abs=0.02)
        assert torch.equal(y == 0, (y == 0)[:, :1].expand_as(y)) == shared
        assert (y / x).mean().item() == pytest.approx(1, abs=1e-4)  # numel / sum
    assert callbacks.ProbDropBlock().factors(2) == [0.25, 1]
