"""Warm-up of a constant rate and of a model's own scheduler, whose curve does not change afterwards."""

import pytest
import torch
from torch.optim import lr_scheduler as S

from callbacks import CosineDecay, WarmUp
from callbacks.frame.warm_up import KINDS, warm_up
from tests.callbacks.conftest import At, Foreign, SeenRates
from tests.conftest import tiny_classifier

SCHEDULERS = {
    "cosine": lambda o: S.CosineAnnealingLR(o, 12),
    "exponential": lambda o: S.ExponentialLR(o, 0.8),
    "lambda": lambda o: S.LambdaLR(o, lambda i: 1 / (i + 1)),
    "steps": lambda o: S.MultiStepLR(o, [2, 5]),
}


class Scheduled(Foreign):
    """A foreign module with a scheduler of its own, stepped after every batch."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = {"scheduler": SCHEDULERS[self.kind](optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def rates(trainer, model, data, *tricks, fit=(), **arguments):
    seen = SeenRates()
    trainer(callbacks=[*tricks, seen], **arguments).fit(model, data, **dict(fit))
    return [rate[0] for rate in seen.rates]


def test_by_hand():
    assert [warm_up(x, 4) for x in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert [warm_up(x, 2, "constant") for x in range(4)] == [0.1, 0.1, 1, 1]
    assert [warm_up(x, 4, "multiplier") for x in (0, 2, 4)] == pytest.approx([0.001, 0.5005, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_rate(trainer, tiny_data, kind):
    ours = rates(trainer, tiny_classifier(lr=0.1), tiny_data, WarmUp(2, kind), max_epochs=3)
    assert ours == pytest.approx([0.1 * warm_up(x, 6, kind) for x in range(9)])
    assert ours[6:] == [0.1] * 3


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_models_own_scheduler_follows_its_curve(trainer, tiny_data, kind):
    alone = rates(trainer, Scheduled(kind), tiny_data, max_epochs=4)
    ours = rates(trainer, Scheduled(kind), tiny_data, WarmUp(1.5), max_epochs=4)
    assert ours == pytest.approx([rate * min((x + 1) / 4, 1) for x, rate in enumerate(alone)])  # 4.5 steps are 4


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_run_follows(trainer, tiny_data, tmp_path, epoch):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch == epoch and t.save_checkpoint(file))
    straight = rates(trainer, Scheduled("cosine"), tiny_data, WarmUp(2), save, max_epochs=4)
    again = rates(trainer, Scheduled("cosine"), tiny_data, WarmUp(2), max_epochs=4, fit={"ckpt_path": file})
    assert again == straight[3 * epoch + 3 :]


@pytest.mark.parametrize("accumulate, m", [(2, 4), (3, 2)])
def test_steps_count_not_batches(trainer, tiny_data, accumulate, m):
    ours = rates(
        trainer, tiny_classifier(lr=1.0), tiny_data, WarmUp(2), accumulate_grad_batches=accumulate, max_epochs=5
    )
    assert ours == pytest.approx([min((x + 1) / m, 1) for x in range(5 * m // 2)])


def test_the_step_is_taken_at_the_lowered_rate(trainer, tiny_data):
    """Plain SGD without momentum: a step is the gradient times the rate."""
    ends = []
    for tricks, lr in (([], 0.01), ([WarmUp(1, "constant")], 0.1)):
        torch.manual_seed(0)
        options = {"optimizer": "momentum", "weight_decay": 0, "optimizer_options": {"momentum": 0}}
        model = tiny_classifier(lr=lr, **options)
        trainer(callbacks=tricks, max_epochs=1).fit(model, tiny_data)
        ends.append(model.network.head.weight.detach().clone())
    torch.testing.assert_close(*ends)


def test_a_run_without_end(trainer, tiny_data):
    stop = At("on_train_epoch_end", lambda t, _: setattr(t, "should_stop", t.current_epoch == 1))
    assert rates(trainer, tiny_classifier(lr=1.0), tiny_data, WarmUp(1), stop, max_epochs=-1) == pytest.approx(
        [1 / 3, 2 / 3, 1, 1, 1, 1]
    )


@pytest.mark.parametrize("fails", ["training_step", "never"])
def test_nothing_is_left_on_the_optimizer(trainer, tiny_data, fails):
    class Failing(Foreign):
        def training_step(self, batch, batch_idx):
            if fails == "training_step" and self.trainer.global_step == 1:
                raise RuntimeError("stop")
            return super().training_step(batch, batch_idx)

    optimizers = []
    look = At("on_train_start", lambda t, _: optimizers.append(t.optimizers[0]))
    try:
        rates(trainer, Failing(), tiny_data, WarmUp(2), look)
    except RuntimeError:
        assert fails == "training_step"
    (optimizer,) = optimizers
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_refusals(trainer, tiny_data):
    with pytest.raises(ValueError, match="epochs must be in"):
        WarmUp(0)
    with pytest.raises(ValueError, match="WarmUp has no 'cubic'"):
        WarmUp(kind="cubic")
    with pytest.raises(ValueError, match="WarmUp and CosineDecay both set the learning rate: take one of them out"):
        rates(trainer, tiny_classifier(), tiny_data, WarmUp(), CosineDecay())
