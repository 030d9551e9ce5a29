"""Every two tricks train together, or refuse with the message that `callbacks.frame.pairs` gives.

`make test` runs the first pairs, in an order that begins with new combinations of mechanisms; `make slow`
runs the next ones, `make whole` runs all.
"""

import zlib
from collections import Counter
from itertools import combinations

import lightning as L
import pytest
import torch

import callbacks
from callbacks.frame.pair_needs import PairNeed
from callbacks.frame.pairs import limits, refusal
from tests.conftest import build_trick, tiny_classifier, tiny_network

HOOKS = ["on_loss", "prepare", "leave", *(name for name in vars(L.Callback) if name.startswith("on_"))]
# what `refusal` reads, beside `needs`
SAYS = ["looks_only", "changes_batch", "asks_network", "resizes", "drops_patches", "makes_head"]
QUICK, SLOW, LEAST = 250, 350, 3  # pairs in `make test`, in that and `make slow`, and of each trick at least


def orders(*names: str) -> list[tuple[str, ...]]:
    """Return both orders if one is refused, else one, chosen by a hash that new tricks do not change."""
    kinds = [getattr(callbacks, name) for name in names]
    both = [names, names[::-1]]
    return both if refusal(*kinds) or refusal(*kinds[::-1]) else [both[zlib.crc32("+".join(names).encode()) % 2]]


PAIRS = [pair for names in combinations(callbacks.__all__, 2) for pair in orders(*names)]


def mechanism(name: str) -> tuple:
    """Return the hooks that Lightning calls and what `refusal` reads: equal for methods that differ in their mask."""
    kind = getattr(callbacks, name)
    pairwise = tuple(need for need in kind.needs if isinstance(need, PairNeed))
    return (pairwise, *(getattr(kind, attribute, None) for attribute in (*HOOKS, *SAYS)))


def quick(pairs: list[tuple[str, str]], size: int) -> set[tuple[str, str]]:
    """Return `LEAST` pairs of every trick, then one of every two mechanisms, in an order that new tricks keep."""
    shuffled = sorted(pairs, key=lambda pair: zlib.crc32("+".join(pair).encode()))
    numbers: dict[tuple, int] = {}
    mechanisms = {name: numbers.setdefault(mechanism(name), len(numbers)) for name in callbacks.__all__}
    chosen, of_trick, met = set(), Counter(), set()

    def take(pair):
        chosen.add(pair)
        of_trick.update(pair)
        met.add(frozenset(mechanisms[name] for name in pair))

    for pair in shuffled:
        if min(of_trick[name] for name in pair) < LEAST:
            take(pair)
    for pair in shuffled:
        if len(chosen) < size and frozenset(mechanisms[name] for name in pair) not in met:
            take(pair)
    return chosen


CHOSEN, NEXT = quick(PAIRS, QUICK), quick(PAIRS, SLOW)


def train_together(pair, data, trainer):
    torch.manual_seed(0)
    model = tiny_classifier(network=tiny_network(*pair))
    tricks = [build_trick(name) for name in pair]
    run = trainer(callbacks=tricks, max_epochs=1, limit_train_batches=2, limit_val_batches=1, num_sanity_val_steps=0)
    if why := refusal(*map(type, tricks)):
        with pytest.raises(ValueError, match=why):
            run.fit(model, data, data)
        return
    run.fit(model, data, data)
    assert run.global_step == 2
    assert run.callback_metrics["val/loss"].isfinite()
    assert all(p.isfinite().all() for p in model.parameters())


def marked(pair):
    return pair if pair in CHOSEN else pytest.param(pair, marks=pytest.mark.slow)


@pytest.mark.parametrize("pair", [marked(pair) for pair in PAIRS if pair in CHOSEN | NEXT], ids="+".join)
def test_two_tricks(pair, tiny_data, trainer):
    train_together(pair, tiny_data, trainer)


@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.parametrize("first", sorted({one for one, _ in PAIRS}))
def test_with_every_other_trick(first, tiny_data, trainer):
    """All pairs: as a case each, eight thousand would be collected whenever a test is run."""
    for pair in PAIRS:
        if pair[0] == first:
            try:
                train_together(pair, tiny_data, trainer)
            except BaseException as error:
                error.add_note(f"{' and '.join(pair)} together")
                raise


def test_the_default_suite_has_each_trick_and_most_of_it_is_of_new_mechanisms():
    count = Counter(name for pair in CHOSEN for name in pair)
    assert min(count[name] for name in callbacks.__all__) >= LEAST and len(CHOSEN) <= QUICK
    assert mechanism("SpatialDropout") == mechanism("DropBlock") != mechanism("Dropout")
    assert mechanism("CosineDecay") != mechanism("StepDecay")
    met = {frozenset(map(mechanism, pair)) for pair in CHOSEN}
    assert len(met) > 0.85 * len(CHOSEN)
    assert quick(PAIRS[::-1], QUICK) == CHOSEN


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
