"""Metrics over ranks: their mean is judged, and logged values do not change."""

import torch
from torch import distributed

from callbacks import ReduceOnPlateau


def test_the_mean_of_the_ranks_leaves_the_logged_value_alone(monkeypatch):
    """There are two ranks; the other one's value is three times this one's."""
    monkeypatch.setattr(distributed, "is_available", lambda: True)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda value: value.mul_(4))
    trick, logged = ReduceOnPlateau(), torch.tensor(1.5)
    trick._device = torch.device("cpu")
    assert trick._over_ranks(logged) == 3.0 and logged == 1.5


def test_alone_it_is_the_value():
    assert ReduceOnPlateau()._over_ranks(torch.tensor(2.0)) == 2.0
