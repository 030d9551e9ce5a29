"""Every two tricks train together; those that cannot, or in one order only, say why, as `callbacks._pairs` has it."""

import random
from itertools import combinations

import pytest
import torch

import callbacks
from callbacks._pairs import limits, refusal
from tests.conftest import build_trick, tiny_classifier, tiny_network


def orders(i: int, j: int) -> list[tuple[str, str]]:
    """Both where one of them is refused, else one: every second pair the other way round."""
    names = callbacks.__all__[i], callbacks.__all__[j]
    both, kinds = [names, names[::-1]], [getattr(callbacks, name) for name in names]
    return both if refusal(*kinds) or refusal(*kinds[::-1]) else [both[(i + j) % 2]]


PAIRS = [pair for i, j in combinations(range(len(callbacks.__all__)), 2) for pair in orders(i, j)]
QUICK = set(random.Random(0).sample(PAIRS, min(800, len(PAIRS))))


def marked(pair):
    return pytest.param(pair, marks=[] if pair in QUICK else [pytest.mark.slow])


@pytest.mark.parametrize("pair", [marked(pair) for pair in PAIRS], ids="+".join)
def test_two_tricks(pair, tiny_data, trainer):
    torch.manual_seed(0)
    model = tiny_classifier(network=tiny_network(*pair))
    tricks = [build_trick(name) for name in pair]
    run = trainer(callbacks=tricks, max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    if why := refusal(*map(type, tricks)):
        with pytest.raises(ValueError, match=why):
            run.fit(model, tiny_data, tiny_data)
        return
    run.fit(model, tiny_data, tiny_data)
    assert run.global_step == 2
    assert run.callback_metrics["val/loss"].isfinite()
    assert all(p.isfinite().all() for p in model.parameters())


def test_the_limits_of_a_trick_by_hand():
    kinds = [callbacks.CosineDecay, callbacks.StepDecay, callbacks.MixUp]
    assert limits(callbacks.MixUp, kinds) == {}
    assert limits(callbacks.StepDecay, kinds) == {"not both set the learning rate": ["CosineDecay"]}
    kinds = [callbacks.LabelSmoothing, callbacks.TokenDistillation, callbacks.PatchDropout]
    assert limits(callbacks.LabelSmoothing, kinds) == {"must stand before": ["TokenDistillation"]}
    assert limits(callbacks.TokenDistillation, kinds) == {
        "must stand after": ["LabelSmoothing"],
        "one needs every patch, the other takes some out": ["PatchDropout"],
    }
