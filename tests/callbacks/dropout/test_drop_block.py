"""DropBlock: the reference's map, the kept fraction on maps of any size, and torchvision's."""

import json
from pathlib import Path

import pytest
import torch
from torchvision.ops import DropBlock2d

import callbacks
from callbacks.dropout.drop_block import block_mask, gamma
from callbacks.frame.masks import scale_by_count

ORACLE = json.loads((Path(__file__).parents[2] / "data/dropout/dropblock.json").read_text())


def test_a_map_by_hand():
    x, expected = torch.tensor(ORACLE["input"]), ORACLE["expected"]
    centres = torch.tensor(ORACLE["random"]["seed_centres"]).float()
    kept = block_mask(centres[None, None, 1:-1, 1:-1], (3, 3))
    assert torch.equal(kept[0, 0], torch.tensor(expected["mask"]).float())
    torch.testing.assert_close(x * scale_by_count(kept)[0], torch.tensor(expected["output"]), rtol=1e-6, atol=1e-6)


def test_gamma_of_the_table():
    for row in ORACLE["gamma_table"]:
        side, block = row["feat_size"], row["block_size"]
        assert gamma(1 - row["keep_prob"], (side, side), (block, block)) == pytest.approx(row["gamma"], abs=1e-8)


def literal(corners, side):
    """Zero every square, cell by cell."""
    h, w = (n + side - 1 for n in corners.shape)
    kept = torch.ones(h, w)
    for i, j in corners.nonzero().tolist():
        kept[i : i + side, j : j + side] = 0
    return kept


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_blocks_as_a_slow_loop_has_them(side):
    torch.manual_seed(side)
    corners = (torch.rand(2, 3, 6, 7) < 0.1).float()
    kept = block_mask(corners, (side, side))
    for n in range(2):
        for c in range(3):
            assert torch.equal(kept[n, c], literal(corners[n, c], side))


@pytest.mark.parametrize(
    ("size", "block", "low", "high"),
    [
        (7, 7, 0.89, 0.91),
        (14, 7, 0.9, 0.914),
        (28, 7, 0.9, 0.912),
        (4, 7, 0.89, 0.91),
        (1, 7, 0.89, 0.91),
        (5, 2, 0.89, 0.92),
    ],
)
def test_share_that_stays_on_maps_of_any_size(size, block, low, high):
    """timm keeps .07 of a 7 x 7 map; torchvision, with odd blocks, keeps as much as ours."""
    torch.manual_seed(0)
    x = torch.ones(60, 60 if size > 20 else 300, size, size)
    kept = (callbacks.DropBlock(0.1, block).drop(x, 0.1) > 0).float().mean().item()
    assert low < kept < high
    if block <= size and block % 2:
        theirs = (DropBlock2d(0.1, block)(x) > 0).float().mean().item()
        assert kept == pytest.approx(theirs, abs=0.006)


def test_the_sum_of_a_constant_stays():
    torch.manual_seed(0)
    y = callbacks.DropBlock(0.2, 3).drop(torch.ones(4, 8, 9, 9), 0.2)
    assert y.mean().item() == pytest.approx(1, abs=1e-5) and len(y.unique()) == 2


def test_masks_of_channels_and_one_for_all():
    torch.manual_seed(0)
    own = callbacks.DropBlock(0.2, 3).drop(torch.ones(4, 8, 9, 9), 0.2) > 0
    assert not torch.equal(own[:, 0], own[:, 1])
    shared = callbacks.DropBlock(0.2, 3, shared=True).drop(torch.ones(4, 8, 9, 9), 0.2) > 0
    assert torch.equal(shared, shared[:, :1].expand_as(shared)) and not torch.equal(shared[0], shared[1])


def test_a_quarter_of_the_rate_in_the_first_of_two_stages():
    assert callbacks.DropBlock().factors(2) == [0.25, 1]
    assert callbacks.DropBlock(where=("a", "b")).factors(2) == [1, 1]
    with pytest.raises(ValueError, match=r"block_size must be in \[1, inf\], not 0"):
        callbacks.DropBlock(block_size=0)
