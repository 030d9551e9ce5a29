"""Contract of the tricks of boxes, `callbacks.OF_BOXES`: their runs, on a detector, and the pairs with others."""

import copy
import zlib
from itertools import combinations, product

import pytest
import torch

import callbacks
from callbacks.frame.pairs import STRANGERS, limits, refusal
from tests.conftest import build_trick
from tests.zoo.frame.test_detector import loader, make, run
from zoo.frame.detector import takes_boxes

every = pytest.mark.parametrize("name", callbacks.OF_BOXES)
OTHERS = ("Calibration", "CosineDecay", "EMA", "FrozenBatchNorm", "L2", "MixUp", "Mosaic", "MultiScale", "NoBiasDecay")
WITHIN = [*combinations(callbacks.OF_BOXES, 2)]
# each with one other, by a hash that new tricks do not change; in the order of the hash too
BESIDE = [pair[:: 1 - 2 * (zlib.crc32("+".join(pair).encode()) % 2)] for pair in product(callbacks.OF_BOXES, OTHERS)]


def test_the_list_is_of_the_tricks_that_need_boxes():
    members = [m for m in vars(callbacks).values() if isinstance(m, type) and getattr(m, "needs_boxes", False)]
    assert sorted(member.__name__ for member in members) == callbacks.OF_BOXES
    assert all(member.takes_boxes for member in members)


@pytest.mark.slow
@every
def test_trains_under_accumulation_and_leaves_targets_and_model_as_they_were(name, trainer):
    model, data, plain = make(), loader(), make()
    before = copy.deepcopy(data.dataset)
    fit = trainer(callbacks=[build_trick(name)], max_epochs=1, limit_val_batches=0, accumulate_grad_batches=2)
    fit.fit(model, data)
    assert fit.global_step == 1 and fit.callback_metrics["train/loss"].isfinite()
    for (image, target), (old, other) in zip(data.dataset, before, strict=True):
        assert torch.equal(image, old) and all(torch.equal(target[key], other[key]) for key in other)
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
@every
def test_two_of_a_kind(name, trainer):
    kind = getattr(callbacks, name)
    two = [kind(), kind(**kind.examples[0])]
    if why := refusal(kind, kind):
        assert name == "BoxLoss"
        with pytest.raises(ValueError, match=why):
            run(trainer, make(), *two)
        return
    assert len(run(trainer, make(), *two)[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("pair", [*WITHIN, *BESIDE], ids="+".join)
@pytest.mark.one_in(2)
def test_two_tricks(pair, trainer):
    tricks = [build_trick(name) for name in pair]
    if why := refusal(*map(type, tricks)):
        with pytest.raises(ValueError, match=why):
            run(trainer, make(), *tricks)
        return
    steps, _ = run(trainer, make(), *tricks)
    assert all(step.loss.isfinite() for step in steps)


@every
def test_those_that_know_nothing_of_boxes_are_never_with_them(name, trainer):
    kinds = [getattr(callbacks, other) for other in (*callbacks.__all__, *callbacks.OF_BOXES)]
    found = limits(getattr(callbacks, name), kinds)[STRANGERS]
    assert found == [kind.__name__ for kind in kinds if not takes_boxes(kind)] and {"LabelSmoothing"} < {*found}
    why = f"{name} needs boxes, of which LabelSmoothing knows nothing: take one of the two out"
    with pytest.raises(ValueError, match=why):
        trainer(callbacks=[build_trick(name), build_trick("LabelSmoothing")]).fit(make(), loader())
