"""ChannelDropBlock: the slow loop's numbers, and the number of dropped channels."""

import pytest
import torch

import callbacks
from callbacks.dropout import channel_drop_block
from tests.callbacks.dropout.sheets import close, oracle


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


def test_the_strongest_and_its_like_go_or_all_are_weighted_by_their_strength():
    """Channel 1 is the strongest, and channel 3 has its peak at the same place."""
    x = torch.zeros(2, 4, 5, 5)
    for c, (i, peak) in enumerate([(0, 1.0), (2, 9.0), (4, 2.0), (2, 1.0)]):
        x[:, c, i, i] = peak
    torch.manual_seed(0)
    trick, weighted, dropped = (
        callbacks.ChannelDropBlock(0.5, centre="strongest"),
        x * x.mean((2, 3), True).sigmoid(),
        0,
    )
    for _ in range(200):
        y = trick.drop(x, 0.5)
        if torch.equal(y, weighted):
            continue
        assert torch.equal(y, 2 * x * torch.tensor([1.0, 0.0, 1.0, 0.0])[:, None, None])
        dropped += 1
    assert dropped == pytest.approx(100, abs=4.5 * 50**0.5)
