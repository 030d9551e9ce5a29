"""Self-distillation: the equation, the average that it uses, and passes without side effects."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from callbacks import EMA, AttentionTransfer, Linear, SelfDistillation
from callbacks.distillation.self_distillation import consistency_loss
from tests.callbacks.conftest import At, SeenSteps, assert_equal, weights
from tests.conftest import TinyNetwork, tiny_classifier


def test_by_hand():
    z, v = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]]) * torch.tensor(3.0).log()  # 1/2, 1/2 and 3/4, 1/4
    assert consistency_loss(z, v).item() == pytest.approx((1 / 16 + 1 / 16) / 2)
    assert consistency_loss(z, z + 5).item() == 0
    assert consistency_loss(z.expand(3, 2), v.expand(3, 2)).item() == pytest.approx(1 / 16)


class Averages(SeenSteps):
    """Record the steps, and the average at the time of the loss."""

    def __init__(self, trick):
        super().__init__()
        self.trick, self.averages = trick, []

    def on_loss(self, model, step):
        super().on_loss(model, step)
        self.averages.append({key: value.clone() for key, value in self.trick._ema.average.items()})


@pytest.mark.parametrize("listed", [False, True])
def test_adds_the_distance_from_what_the_average_says(tiny_data, trainer, listed):
    torch.manual_seed(0)
    model, trick = tiny_classifier(), SelfDistillation(0.5, weight=Linear(0, 30, until="3st"))
    seen, emas = Averages(trick), [EMA(0.9), EMA(0.5)] if listed else []
    run = trainer(callbacks=[trick, seen, *emas])
    run.fit(model, tiny_data)
    assert [c for c in run.callbacks if isinstance(c, EMA)] == emas  # its own is gone
    network, start, added = TinyNetwork().eval(), None, []
    for i, (step, average) in enumerate(zip(seen.steps, seen.averages, strict=True)):
        average = {key.removeprefix("network."): value for key, value in average.items()}
        v = functional_call(network, average, (step.images,))
        cross_entropy = F.cross_entropy(step.logits, step.targets)
        expected = cross_entropy + min(30, 10 * i) * F.mse_loss(step.logits.softmax(1), v.softmax(1))
        torch.testing.assert_close(step.loss, expected)
        added.append((step.loss - cross_entropy).item())
        start = start or average
    assert added[0] == 0 < min(added[1:])
    assert not torch.equal(average["head.weight"], start["head.weight"])  # it follows the student


def test_shares_the_average_of_the_same_decay_only(tiny_model, tiny_data, trainer):
    ema, other = EMA(0.5), EMA(0.9)
    trick, both = SelfDistillation(0.5), SelfDistillation(0.5, weight=1.0)
    found = []
    look = At("on_train_start", lambda run, _: found.extend(c for c in run.callbacks if isinstance(c, EMA)))
    trainer(callbacks=[trick, other, ema, both, look], max_epochs=1).fit(tiny_model, tiny_data)
    assert trick._ema is both._ema is ema and found == [other, ema]
    found.clear()
    trainer(callbacks=[trick, both, look], max_epochs=1).fit(tiny_model, tiny_data)
    assert trick._ema is both._ema and found == [trick._ema]


def test_its_average_is_evaluated_and_in_the_file(tiny_model, tiny_data, trainer, tmp_path):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda run, _: run.save_checkpoint(file))
    run = trainer(callbacks=[SelfDistillation(0.9), save], max_epochs=1)
    run.fit(tiny_model, tiny_data, tiny_data)
    assert "val/acc_ema0.9" in run.callback_metrics
    assert torch.load(file, weights_only=True)["averages"].keys() == {"EMA(0.9)"}


def test_the_averages_pass_leaves_statistics_modes_and_taps(tiny_data, trainer):
    """With a tiny weight, training is as without it; attention transfer after it sees the student's features."""
    torch.manual_seed(99)
    teacher, ends = tiny_classifier(width=6), []
    for tricks in ([SelfDistillation(0.5, weight=1e-30)], []):
        torch.manual_seed(0)
        model, modes = tiny_classifier(lr=1e-4), []
        model.network.block1.bn1.eval()  # the user keeps it in eval mode
        look = At("on_train_batch_end", lambda _, m: modes.append([x.training for x in m.modules()]))  # noqa: B023
        trainer(callbacks=[*tricks, AttentionTransfer(teacher), look]).fit(model, tiny_data)
        ends.append((weights(model), modes))
    assert_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_its_average_goes_with_a_fit_that_failed(tiny_model, tiny_data, trainer):
    class Fail(SeenSteps):
        def on_loss(self, model, step):
            raise ZeroDivisionError

    run = trainer(callbacks=[SelfDistillation(), Fail()])
    with pytest.raises(ZeroDivisionError):
        run.fit(tiny_model, tiny_data)
    assert not any(isinstance(callback, EMA) for callback in run.callbacks)


@pytest.mark.parametrize("arguments", [{"decay": 0}, {"decay": 1}, {"weight": 0}, {"weight": Linear(1, -1)}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be in|must be below 1"):
        SelfDistillation(**arguments)
