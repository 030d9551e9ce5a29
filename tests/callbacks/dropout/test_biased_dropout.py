"""BiasedDropout: the slow loop's numbers, the halves of wide maps, and expectations."""

import pytest
import torch

import callbacks
from callbacks.dropout import biased_dropout
from tests.callbacks.dropout.sheets import close, oracle


def test_biased_by_hand():
    sheet, expected, params = oracle("biased_crossmap")
    x, u = torch.tensor(sheet["input"]["biased"])[None], torch.tensor(sheet["random"]["u_biased"])[None]
    p = biased_dropout.rates(x, params["base"], params["spread"])
    close(p, expected["drop_probability"])
    close(x * (u < 1 - p) / (1 - p), expected["output_biased"])


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_biased_of_equal_ones_the_first_as_a_sort_has_them(width):
    torch.manual_seed(width)
    x = torch.randn(50, width).relu().mul(3).round()  # half of them 0, the others often equal
    order = x.sort(dim=1, descending=True, stable=True).indices[:, : (width + 1) // 2]
    slow = torch.full_like(x, 0.7).scatter(1, order, 0.3)
    torch.testing.assert_close(biased_dropout.rates(x, 0.5, 0.2), slow)


@pytest.mark.parametrize("width", [4097, 8191, 8192, 20_000])
def test_halves_of_wide_maps(width):
    """Exact up to 8,191 features; above that, up to the error of the sample's median; exact again for equal ones."""
    torch.manual_seed(0)
    x = torch.randn(8, width)
    strong = biased_dropout.is_in_larger_half(x)
    assert strong.float().mean(1).tolist() == pytest.approx([0.5] * 8, abs=1 / width if width < 8192 else 0.03)
    assert all(size[s].min() > size[~s].max() for size, s in zip(x.abs(), strong, strict=True))
    assert torch.equal(biased_dropout.is_in_larger_half(x * 0 + 3).sum(1), torch.full((8,), (width + 1) // 2))
    assert biased_dropout.is_in_larger_half(x.relu())[x > 0].float().mean() > 0.95  # ahead of the zeros


def test_expectation_stays():
    torch.manual_seed(0)
    x = torch.linspace(1, 2, 10).repeat(40_000, 1)
    y = callbacks.BiasedDropout().drop(x, 0.5)
    torch.testing.assert_close(y.mean(0), x[0], rtol=0.05, atol=0)
    assert (y == 0).float().mean(0).tolist() == pytest.approx([0.7] * 5 + [0.3] * 5, abs=0.015)


def test_refuses_a_difference_that_leaves_the_range():
    with pytest.raises(ValueError, match="p - d and p . d must be"):
        callbacks.BiasedDropout(0.9, 0.2)
