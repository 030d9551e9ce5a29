"""CorrDrop: the slow loop's numbers, the number of dropped units, and the temperature."""

import pytest
import torch

import callbacks
from callbacks.dropout import corr_drop
from tests.callbacks.dropout.sheets import close, oracle


def test_correlated_cells_by_hand():
    sheet, expected, params = oracle("corrdrop_scd")
    x = torch.tensor(sheet["input"])[None]
    cells = torch.nn.functional.avg_pool2d(x, 2)
    close(cells, expected["pooled"])
    f = corr_drop.correlation(cells.flatten(2).mT)
    close(f, expected["F"])
    u_m, u_b = (torch.tensor(sheet["random"][name])[None] for name in ("u_M", "u_B"))
    small = corr_drop.unit_mask(f, u_m, u_b, params["p_prime"])
    close(small, expected["S_small"])
    full = corr_drop.spread(small.view(1, 1, 3, 3), (2, 2), (6, 6))
    close(full, expected["S_full"])
    close(x * full / full.mean(), expected["output"])


def slow_correlation(a):
    n = len(a)
    unit = [row / max(row.norm().item(), 1e-8) for row in a]
    return torch.tensor([sum(abs((unit[i] @ unit[j]).item() - (i == j)) for j in range(n)) / n for i in range(n)])


def test_correlation_as_a_slow_loop_has_it():
    torch.manual_seed(0)
    a = torch.randn(3, 5, 7)
    a[1, 2] = 0
    torch.testing.assert_close(corr_drop.correlation(a), torch.stack([slow_correlation(row) for row in a]))


@pytest.mark.parametrize(
    ("kind", "size", "block", "share"),
    [("spatial", 10, 5, 0.3), ("spatial", 7, 3, 0.3 * 49 / 81), ("spatial", 4, 5, 0), ("channel", 4, 5, 0.3)],
)
def test_share_of_units_that_go(kind, size, block, share):
    """With cells that are cut at the border, equation 10 drops less; a map of one cell is kept."""
    torch.manual_seed(0)
    y = callbacks.CorrDrop(0.3, kind, block).drop(torch.rand(1500, 9, size, size) + 0.5, 0.3)
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.03)


def test_temperature_makes_correlation_matter():
    """Two channels are alike, two differ: at T = 1 they are dropped nearly as often, at a small T they are not."""
    torch.manual_seed(0)
    base = torch.rand(1, 1, 6, 6)
    x = torch.cat([base, base, base * 0 + torch.eye(6), base * 0 + torch.eye(6).flip(0)], 1).repeat(4000, 1, 1, 1)
    gaps = []
    for temperature in (1.0, 0.05):
        gone = callbacks.CorrDrop(0.3, "channel", temperature=temperature).drop(x, 0.3).amax((2, 3)) == 0
        gaps.append((gone[:, 2:].float().mean() - gone[:, :2].float().mean()).item())
    assert 0 < gaps[0] < 0.15 and gaps[1] > gaps[0] + 0.05
    with pytest.raises(ValueError, match="temperature"):
        callbacks.CorrDrop(temperature=0)
    with pytest.raises(ValueError, match="block_size"):
        callbacks.CorrDrop(block_size=0)
