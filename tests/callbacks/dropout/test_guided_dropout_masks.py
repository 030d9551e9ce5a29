"""Masks that look at the features: the numbers that the papers' formulas give, by slow loops, draws given."""

import json
from math import sqrt
from pathlib import Path

import pytest
import torch

import callbacks
from callbacks.dropout import adl, biased_dropout, channel_drop_block, corr_drop, crossmap_dropout, focused_dropout
from callbacks.dropout import weighted_channel_dropout as wcd

DATA = Path(__file__).parents[2] / "data/dropout"


def oracle(name):
    sheet = json.loads((DATA / f"{name}.json").read_text())
    return sheet, sheet["expected"], sheet["params"]


def close(ours, theirs):
    torch.testing.assert_close(ours.squeeze(), torch.tensor(theirs, dtype=ours.dtype).squeeze(), rtol=1e-6, atol=1e-6)


# ---- WeightedChannelDropout


def test_weighted_channels_by_hand():
    sheet, expected, params = oracle("wcd")
    x = torch.tensor(sheet["input"])[None]
    scores = x.mean((2, 3))
    close(scores, expected["score"])
    r, u = (torch.tensor(sheet["random"][name])[None] for name in ("r", "u_for_rng"))
    scales = wcd.channel_scales(scores, r, u, params["M"], params["q"])
    close(scales, expected["channel_multiplier"])
    close(x * scales[:, :, None, None], expected["output"])
    drawn = wcd.channel_scales(scores, r, u * 0, params["M"], 1.0, "none")
    close(drawn, expected["selected"])
    close(wcd.channel_scales(scores, r, u, 3, 0.9, "inverse"), [0, 0, 0, 1 / 0.9, 0])


def test_chance_of_a_channel_is_that_of_drawing_without_replacement():
    sheet = oracle("wcd")[0]["inclusion_probability"]
    torch.manual_seed(0)
    n = 40_000
    scores = torch.tensor(sheet["weights"]).expand(n, -1)
    drawn = wcd.channel_scales(scores, torch.rand(n, 4), torch.zeros(n, 4), sheet["M"], 1.0, "none")
    assert drawn.mean(0).tolist() == pytest.approx(sheet["p"], abs=5 * 0.5 / sqrt(n))


@pytest.mark.parametrize(("p", "m"), [(0.2, 8), (0.4, 6), (0.95, 1), (0.99, 1)])
def test_how_many_weighted_channels_stay(p, m):
    torch.manual_seed(0)
    y = callbacks.WeightedChannelDropout(p, q=1.0).drop(torch.rand(5, 10, 4, 4) + 0.1, p)
    assert (y.amax((2, 3)) > 0).sum(1).tolist() == [m] * 5


# ---- ChannelDropBlock


@pytest.mark.parametrize("metric", ["peak", "cosine"])
def test_channels_that_are_alike(metric):
    sheet, expected, params = oracle("cdb")
    x = torch.tensor(sheet["input"])[None]
    rows = expected["max_activation_rows" if metric == "peak" else "bilinear_rows"]
    for row in rows:
        like = channel_drop_block.nearness(x, torch.tensor([row["row"]]), metric)
        table = expected["distance" if metric == "peak" else "cosine"][row["row"]]
        close((-like).sqrt() if metric == "peak" else like, table)
        close(channel_drop_block.channel_mask(like, params["topk"]), row["mask_exactly_topk"])
    like = channel_drop_block.nearness(x, torch.tensor([sheet["random"]["selected_row"]]), metric)
    y = x * channel_drop_block.channel_mask(like, 2)[:, :, None, None] / (1 - params["gamma"])
    close(y, expected["output_max_activation" if metric == "peak" else "output_bilinear"])


@pytest.mark.parametrize("metric", ["peak", "cosine"])
def test_how_many_alike_go_and_every_channel_may(metric):
    torch.manual_seed(0)
    y = callbacks.ChannelDropBlock(0.3, metric).drop(torch.rand(50, 10, 4, 4) + 0.1, 0.3)
    gone = y.amax((2, 3)) == 0
    assert gone.sum(1).tolist() == [3] * 50 and gone.any(0).all()
    assert callbacks.ChannelDropBlock(0.05, metric).drop(torch.ones(1, 4, 3, 3), 0.05).amax((2, 3)).eq(0).sum() == 1


# ---- FocusedDropout


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


# ---- CorrDrop


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
    """Cells that are cut at the edge make equation 10 drop less; a map of one cell stays."""
    torch.manual_seed(0)
    y = callbacks.CorrDrop(0.3, kind, block).drop(torch.rand(1500, 9, size, size) + 0.5, 0.3)
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=0.03)


def test_temperature_makes_correlation_matter():
    """Two channels alike, two apart: at T = 1 nearly the same chance to go, at a small T not."""
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


# ---- ADL


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


# ---- BiasedDropout, CrossmapDropout


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
    """Exact up to 8,191 features; behind that but for the error of a median, of equal ones exact again."""
    torch.manual_seed(0)
    x = torch.randn(8, width)
    strong = biased_dropout.stronger(x)
    assert strong.float().mean(1).tolist() == pytest.approx([0.5] * 8, abs=1 / width if width < 8192 else 0.03)
    assert all(size[s].min() > size[~s].max() for size, s in zip(x.abs(), strong, strict=True))
    assert torch.equal(biased_dropout.stronger(x * 0 + 3).sum(1), torch.full((8,), (width + 1) // 2))
    assert biased_dropout.stronger(x.relu())[x > 0].float().mean() > 0.95  # before those that are zero


def test_crossmap_by_hand():
    sheet, expected, params = oracle("biased_crossmap")
    x, u = torch.tensor(sheet["input"]["crossmap"])[None], torch.tensor(sheet["random"]["u_crossmap"])[None, None]
    scale = crossmap_dropout.pixels(u, params["crossmap_p"])
    close((scale > 0).float(), expected["crossmap_mask"])
    close(x * scale, expected["output_crossmap"])


def test_expectation_of_biased_and_crossmap():
    torch.manual_seed(0)
    x = torch.linspace(1, 2, 10).repeat(40_000, 1)
    y = callbacks.BiasedDropout().drop(x, 0.5)
    torch.testing.assert_close(y.mean(0), x[0], rtol=0.05, atol=0)
    assert (y == 0).float().mean(0).tolist() == pytest.approx([0.7] * 5 + [0.3] * 5, abs=0.015)
    y = callbacks.CrossmapDropout(0.3).drop(torch.ones(400, 5, 8, 8), 0.3)
    assert torch.equal(y, y[:, :1].expand_as(y)) and (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    with pytest.raises(ValueError, match="p - d and p . d must be"):
        callbacks.BiasedDropout(0.9, 0.2)
