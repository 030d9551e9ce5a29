"""Seeds: the published numbers of splitmix64, the same in `datamodules`, even draws, and reseeding as torch does it."""

import pytest
import torch

from datamodules.frame import order
from zoo.frame.seeds import GOLD, draws, mix, mix_text, reseed

# java.util.SplittableRandom's generator from seed 1234567; the usual test vector (Rosetta Code, "splitmix64")
FIRST = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


def signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def test_they_are_splitmix64():
    assert [mix(1234567 + i * GOLD) for i in range(5)] == FIRST
    assert draws(torch.tensor(1234567), 5).tolist() == [(number >> 40) / 2**24 for number in FIRST]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**32])
def test_datamodules_have_the_same(seed):
    """Apart from the lowest bit of an epoch's key, which says whether the epoch is odd."""
    for epoch in range(5):
        key = order.epoch_key(seed, epoch)
        assert key >> 1 == signed(mix(seed, epoch)) >> 1 and key % 2 == epoch % 2
        image = torch.tensor(signed(mix(3 + key - GOLD)))
        assert torch.equal(draws(image, 4), order.draws(torch.tensor([3]), 4, key)[0])


def test_order_and_every_value_count():
    lists = [(), (0,), (0, 0), (1, 2), (2, 1), (-1,), (2**63,), (1, 2, 3)]
    assert len({mix(*values) for values in lists}) == len(lists)
    assert len({mix_text(text) for text in ("", "a", "b", "ab", "ba")}) == 5


def test_draws_of_a_number_are_even_and_others_for_another_number():
    u = draws(torch.tensor(7), 40_000)
    assert u.min() >= 0 and u.max() < 1 and u.dtype == torch.float32
    assert torch.bincount((10 * u).long()).float().std() < 130  # of 4,000 in each tenth, two standard deviations
    assert abs(torch.corrcoef(torch.stack([u[1:], u[:-1]]))[0, 1]) < 0.02
    each = torch.cat([draws(torch.tensor(key), 1) for key in range(4000)])
    assert each.mean().item() == pytest.approx(0.5, abs=0.02) and each.std().item() == pytest.approx(12**-0.5, abs=0.01)
    assert torch.equal(draws(torch.tensor(7), 5), u[:5])  # the same at each call


def test_reseeding_is_that_of_torch():
    for seed in (0, 7, 2**64 - 1):
        torch.manual_seed(seed)
        expected = torch.rand(5)
        torch.rand(3)
        reseed(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(5), expected)


def test_reseeding_reaches_the_device(monkeypatch):
    class Module:
        manual_seed = staticmethod(lambda seed: seeds.append(seed))

    seeds = []
    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    reseed(5, torch.device("cuda", 0))
    assert seeds == [5] and torch.initial_seed() == 5
