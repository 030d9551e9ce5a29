"""Random draws of tricks: equal for equal seeds, different for another seed, epoch or batch."""

import pytest
import torch

from callbacks import CutMix, MixUp
from tests.callbacks.conftest import SeenBatches
from tests.conftest import tiny_classifier


@pytest.fixture
def train(tiny_data, trainer, monkeypatch):
    """`train(trick, seed)`: the mixed targets of every training batch."""

    def run(trick, seed, noise=0):
        monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
        torch.manual_seed(noise)
        seen = SeenBatches()
        trainer(callbacks=[trick, seen], max_epochs=3).fit(tiny_classifier(), tiny_data)
        return [targets for _, targets in seen.train]

    return run


@pytest.mark.parametrize("trick", [MixUp, CutMix])
def test_same_seed_same_draws(train, trick):
    once, again = train(trick(), 5, noise=0), train(trick(), 5, noise=1)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("trick", [MixUp, CutMix])
def test_other_seed_other_draws(train, trick):
    pairs = zip(train(trick(), 5), train(trick(), 6), strict=True)
    assert sum(torch.equal(a, b) for a, b in pairs) <= 1  # a box may cover all, or a permutation be the identity


def test_batches_and_epochs_draw_differently(train):
    lam = [targets.amax(1).min().item() for targets in train(MixUp(), 5)]  # lam or 1 - lam, whichever is larger
    assert len(set(lam)) == 9
