"""Warm restarts: the curve of real runs, against torch's CosineAnnealingWarmRestarts."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from callbacks import WarmRestarts
from callbacks.optimization.warm_restarts import since_restart
from tests.callbacks.conftest import At, SeenRates
from tests.conftest import tiny_classifier


def curve(trainer, data, trick, *more, fit=(), **arguments):
    rates = SeenRates()
    trainer(callbacks=[trick, *more, rates], **arguments).fit(tiny_classifier(lr=0.1), data, **dict(fit))
    return [rate[0] for rate in rates.rates]


def reference(steps, first, multiply):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, rates = CosineAnnealingWarmRestarts(optimizer, first, multiply), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cycles_by_hand():
    assert [since_restart(t, 2, 2) for t in range(7)] == [(0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4), (0, 8)]
    assert [since_restart(t, 10, 2)[1] for t in (9, 10, 29, 30, 69, 70, 149, 150)] == [
        *(10, 20, 20, 40, 40, 80, 80, 160)
    ]


@pytest.mark.parametrize("first, k, multiply", [(1, 3, 1), (1, 3, 2), ("2st", 2, 3), ("0.2dur", 4, 2), (10, 30, 2)])
def test_is_torchs(trainer, tiny_data, first, k, multiply):
    ours = curve(trainer, tiny_data, WarmRestarts(first, multiply), max_epochs=7)
    assert ours == pytest.approx(reference(21, k, multiply))


def test_restarts_begin_after_the_warm_up(trainer, tiny_data):
    ours = curve(trainer, tiny_data, WarmRestarts("2st", 2, warmup_epochs=1, warmup_kind="constant"), max_epochs=4)
    assert ours == pytest.approx([0.01] * 3 + reference(9, 2, 2))


def test_a_resumed_run_follows(trainer, tiny_data, tmp_path):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch == 1 and t.save_checkpoint(file))
    straight = curve(trainer, tiny_data, WarmRestarts("4st"), save, max_epochs=4)
    again = curve(trainer, tiny_data, WarmRestarts("4st"), max_epochs=4, fit={"ckpt_path": file})
    assert again == straight[6:]


def test_refusals(trainer, tiny_data):
    for multiply in (0, 1.5):
        with pytest.raises(ValueError, match=f"multiply must be a whole number >= 1, got {multiply}"):
            WarmRestarts(multiply=multiply)
    with pytest.raises(ValueError, match="a time is"):
        WarmRestarts("soon")
    with pytest.raises(ValueError, match="first '0st' is less than one optimizer step"):
        curve(trainer, tiny_data, WarmRestarts("0st"))
