import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import KeepRate, TokenRatio
from callbacks.dropout.keep_rate import keep_at
from tests.callbacks.conftest import At
from tests.conftest import collate
from zoo import DynamicViT, EViT, ViT, load


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """A variant of width 8, small enough for a test."""
    for model in (EViT, DynamicViT):
        row = next(iter(model.variants.values()))
        monkeypatch.setitem(model.variants, "nano", replace(row, width=8, depth=12, heads=2))


@pytest.fixture
def data():
    """Six batches of two images of 16 px, 64 patches."""
    torch.manual_seed(0)
    return DataLoader([(torch.randn(3, 16, 16), i % 10) for i in range(12)], batch_size=2, collate_fn=tensors)


def tensors(items):
    return collate([(image, torch.tensor(target)) for image, target in items])


def make(kind=EViT, **arguments):
    torch.manual_seed(0)
    return kind("nano", num_classes=10, image_size=16, **{"lr": 1e-3, "keep": 0.5} | arguments)


def test_the_cosine_by_hand():
    """The authors' `adjust_keep_rate`: 300 epochs of 4 batches, from 10 to 110, to .7."""
    at = [keep_at(4 * epoch, 40, 440, 0.7) for epoch in (0, 9, 10, 35, 60, 85, 110, 299)]
    half = math.sqrt(0.5) / 2
    assert at == pytest.approx([1, 1, 1, 0.7 + 0.3 * (0.5 + half), 0.85, 0.7 + 0.3 * (0.5 - half), 0.7, 0.7])
    assert keep_at(5, 5, 5, 0.7) == 0.7  # no ramp at all


def watched(trainer, data, model, trick, **arguments):
    """Return `keep` of each training batch and validation, and the number of tokens in the last block, per batch."""
    rates, evaluated, tokens = [], [], []
    network = getattr(model, "network", model)
    look = [
        At("on_before_zero_grad", lambda *_: rates.append(network.keep)),
        At("on_validation_start", lambda *_: evaluated.append(network.keep)),
    ]
    handle = network.blocks[-1].register_forward_hook(
        lambda block, inputs, output: tokens.append(output.shape[1]) if block.training else None
    )
    arguments = {"max_epochs": 2, "num_sanity_val_steps": 0} | arguments
    run = trainer(callbacks=[trick, *look], **arguments)
    run.fit(model, data, data)
    handle.remove()
    return rates, evaluated, tokens, run


def test_a_run_of_evit_loses_patches_step_by_step(trainer, data):
    model = make()
    rates, evaluated, tokens, _ = watched(trainer, data, model, KeepRate("2st", "10st"))
    expected = [1, 1, *(0.75 + 0.25 * math.cos(math.pi * t / 8) for t in range(8)), 0.5, 0.5]
    assert rates == pytest.approx(expected)
    assert evaluated == [rates[5], 0.5]  # as in the last training step
    assert tokens[:3] == [65, 65, 65] and tokens[-2:] == [11, 11]  # 64, 33, 18 and 10 patches, the fused one among them
    assert tokens == sorted(tokens, reverse=True) and len({*tokens}) > 5
    assert model.keep == 0.5


def test_targets_of_dynamic_vit_follow(trainer, data):
    model, targets = make(DynamicViT), []
    look = At("on_before_zero_grad", lambda t, m: targets.append(m.ratios))
    run = trainer(callbacks=[KeepRate(0, "12st"), TokenRatio(), look], max_epochs=2)
    run.fit(model, data)
    assert targets[0] == (1, 1, 1) and targets[6] == pytest.approx((0.75, 0.75**2, 0.75**3))
    assert model.ratios == (0.5, 0.25, 0.125)


def test_a_resumed_run_goes_on_with_the_rate(trainer, data, tmp_path):
    file = tmp_path / "half.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(file))
    straight, again = make(), make()
    run = trainer(callbacks=[KeepRate(0, "1dur"), save], max_epochs=2)
    run.fit(straight, data)
    assert load(file).keep == straight.keep == 0.5  # the last step was trained with a little more
    rates = []
    look = At("on_before_zero_grad", lambda t, m: rates.append(m.keep))
    trainer(callbacks=[KeepRate(0, "1dur"), look], max_epochs=2).fit(again, data, ckpt_path=file)
    assert rates[0] == pytest.approx(0.75)
    for p, q in zip(straight.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_run_that_breaks_off_leaves_the_models_own(trainer, data):
    model = make()

    def fail(trainer, model):
        assert model.keep > 0.9
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[KeepRate(0, "1dur"), At("on_before_zero_grad", fail)], max_epochs=2).fit(model, data)
    assert model.keep == 0.5


def test_refuses_a_network_without_a_rate(trainer, data):
    with pytest.raises(TypeError, match="take EViT or DynamicViT"):
        trainer(callbacks=[KeepRate()]).fit(ViT("Ti/16", num_classes=10, image_size=16), data)


@pytest.mark.parametrize("times", [(2, 1), (0, 3), ("9st", "0.5dur")])
def test_refuses_times_that_do_not_fit_the_run(times, trainer, data):
    with pytest.raises(ValueError, match="they must be in this order"):
        trainer(callbacks=[KeepRate(*times)], max_epochs=2).fit(make(), data)


def test_refuses_what_is_no_time():
    with pytest.raises(ValueError, match="a time is a number of epochs"):
        KeepRate("later")
