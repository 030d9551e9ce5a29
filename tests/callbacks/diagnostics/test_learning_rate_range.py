"""LearningRateRange: a convex problem, the slope and the smoothing by hand, and runs that it must skip."""

import math

import pytest
import torch
from lightning.pytorch.tuner.lr_finder import _LRFinder
from torch import nn

from callbacks import InitialLoss, LearningRateRange
from callbacks.diagnostics.learning_rate_range import correct_bias, steepest_rate
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.callbacks.diagnostics.fits import batches, found
from tests.conftest import tiny_classifier
from zoo import Classifier


def test_the_rate_of_the_steepest_fall(tmp_path, trainer):
    """In a convex problem, the suggested rate lowers the loss, and 100 times that rate does not.

    Weights and rate are restored.
    """
    torch.manual_seed(0)
    images, targets = torch.randn(64, 3, 4, 4), torch.arange(64) % 10
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 10)), num_classes=10, lr=0.03)
    before, after = weights(model), {}
    trick = LearningRateRange(1e-5, 100.0, 60, plot=tmp_path / "lr.png")
    look = At("on_train_start", lambda trainer, model: after.update(weights(model)))
    run = trainer(callbacks=[trick, look], max_epochs=1)
    run.fit(model, batches(images, targets, 70))
    assert 1e-3 < trick.suggestion < 10 and trick.findings[0].well
    assert (tmp_path / "lr.png").stat().st_size > 1000
    assert_equal(before, after)
    assert run.optimizers[0].param_groups[0]["lr"] == 0.03 and "the model has 0.03" in trick.findings[0].text


def test_the_steepest_fall_is_by_the_logarithm_of_the_rate():
    """The loss falls around a rate of .01, over two decades. Lightning's slope, by the rate itself, is far below."""
    rates = [10 ** (-8 + 8 * t / 100) for t in range(100)]
    losses = [2.3 - 2 / (1 + (0.01 / rate) ** 2) for rate in rates]
    assert 0.9 < steepest_rate(rates, losses) / 0.01 < 1.2
    theirs = _LRFinder("exponential", 1e-8, 1.0, 100)
    noisy = [loss + 1e-3 * math.sin(7 * t) for t, loss in enumerate(losses)]
    theirs.results = {"lr": rates, "loss": noisy}
    assert theirs.suggestion() < 1e-6 and 0.8 < steepest_rate(rates, noisy) / 0.01 < 1.3
    assert steepest_rate(rates, [float(t) for t in range(100)]) is None
    assert steepest_rate(rates[:12], losses[:12]) is None
    blown = losses[:85] + [float("nan")] * 15
    assert steepest_rate(rates, blown) == steepest_rate(rates, losses)


def test_the_smoothed_loss_begins_with_the_first(tiny_data, trainer):
    class Constant(Foreign):
        def training_step(self, batch, batch_idx):
            return 2.0 + 0 * self.network(batch[0]).sum()

    seen = []
    trick = LearningRateRange(steps=20)
    trick._judge = lambda rates, losses, own: seen.append((rates, losses))
    trainer(callbacks=[trick], max_epochs=1).fit(Constant(), batches(*next(iter(tiny_data)), 25))
    ((rates, losses),) = seen
    assert losses == pytest.approx([2.0] * 20) and rates[0] == pytest.approx(1e-8)
    by_hand = [1.0, (0.98 * 1 + 3) / 1.98, (0.98**2 * 1 + 0.98 * 3 + 5) / (1 + 0.98 + 0.98**2)]
    average, theirs = 0.0, []
    for t, loss in enumerate((1.0, 3.0, 5.0), 1):
        average = 0.98 * average + 0.02 * loss
        theirs.append(average / (1 - 0.98 ** (t + 1)))
    assert correct_bias(theirs) == pytest.approx(by_hand)


def test_after_the_test_of_rates_a_new_network_is_still_one(tiny_data, trainer):
    """Tricks that check or initialise untrained networks must not take it for a trained one."""
    tricks = [InitialLoss(), LearningRateRange(steps=20)]
    trainer(callbacks=tricks, max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert all(len(trick.findings) == 1 for trick in tricks)


def test_no_rate_is_read_off_a_run_that_is_too_short(tiny_data, trainer):
    (finding,) = found(LearningRateRange(), trainer, tiny_data)
    assert finding.well and "the run has only 6 of the 100 steps" in finding.text


def test_no_test_of_rates_with_two_optimizers(tiny_data, trainer):
    class Two(Foreign):
        automatic_optimization = False

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.network.block1, self.network.head)]

        def training_step(self, batch, batch_idx):
            return None

    (finding,) = found(LearningRateRange(), trainer, tiny_data, Two())
    assert finding.well and "no range test" in finding.text


def test_the_test_of_rates_goes_first_and_not_in_a_resume(tiny_data, trainer, tmp_path):
    first, trick = At("on_train_start", lambda *_: None), LearningRateRange(steps=20)
    run = trainer(callbacks=[first, trick], max_epochs=1)
    run.fit(tiny_classifier(), tiny_data)
    assert run.callbacks.index(trick) < run.callbacks.index(first) and len(trick.findings) == 1
    run.save_checkpoint(tmp_path / "first.ckpt")
    model, trick = tiny_classifier(), LearningRateRange(steps=20)
    trainer(callbacks=[trick]).fit(model, tiny_data, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert trick.findings == ()
