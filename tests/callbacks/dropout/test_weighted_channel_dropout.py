"""WeightedChannelDropout: the slow loop's numbers, and the probability and number of kept channels."""

from math import sqrt

import pytest
import torch

import callbacks
from callbacks.dropout import weighted_channel_dropout as wcd
from tests.callbacks.dropout.sheets import close, oracle


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
