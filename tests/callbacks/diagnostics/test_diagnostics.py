"""Diagnostics find what is wrong when it is, and nothing when it is not."""

import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.tuner.lr_finder import _LRFinder
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_calibration_error

from callbacks import (
    Calibration,
    Checklist,
    DeadUnits,
    FitVerdict,
    GradientFlow,
    InitialLoss,
    Kaiming,
    LearningRateRange,
    MixUp,
    NaNGuard,
    OverfitSamples,
    UpdateRatio,
    ZeroGamma,
)
from callbacks.diagnostics.dead_units import dead_share
from callbacks.diagnostics.fit_verdict import VERDICTS, trend
from callbacks.diagnostics.initial_loss import entropy
from callbacks.diagnostics.learning_rate_range import steepest, whole
from callbacks.diagnostics.nan_guard import FILE, first_not_finite
from callbacks.frame.diagnostic import Look
from tests.callbacks.conftest import At, Foreign, assert_equal, hooks, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier


def found(trick, trainer, data, model=None, **options):
    torch.manual_seed(0)
    trainer(callbacks=[trick], **options).fit(model or tiny_classifier(), data, data)
    return trick.findings


def batches(images, targets, times=1):
    return DataLoader([[images, targets]] * times, batch_size=None, collate_fn=list)


def test_a_warning_unless_quiet(monkeypatch):
    trick = GradientFlow()
    trick.say(False, "unheard")
    monkeypatch.setattr(Look, "quiet", False)
    with pytest.warns(UserWarning, match="GradientFlow: heard"):
        trick.say(False, "heard")
    assert [finding.text for finding in trick.findings] == ["unheard", "heard"]


# ---- initial loss


def test_entropy_by_hand():
    assert entropy(torch.tensor([0.2, 0.8])).item() == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8))
    assert entropy(torch.tensor([1.0, 0.0])).item() == 0


@pytest.mark.parametrize(("scale", "well"), [(0.0, True), (100.0, False)])
def test_initial_loss_of_weights_that_start_too_large(scale, well, tiny_data, trainer):
    model = tiny_classifier()
    model.network.head.weight.data.mul_(scale)
    model.network.head.bias.data.zero_()
    (finding,) = found(InitialLoss(), trainer, tiny_data, model)
    assert finding.well == well
    if scale == 0:
        assert "cross-entropy is 2.303; ln K is 2.303" in finding.text


def test_initial_loss_leaves_trained_networks_alone(tiny_data, trainer):
    model = tiny_classifier()
    trainer().fit(model, tiny_data)
    assert found(InitialLoss(), trainer, tiny_data, model) == ()


@pytest.mark.parametrize("make", [InitialLoss, OverfitSamples])
def test_the_first_batch_of_a_resume_is_none(make, tiny_data, trainer, tmp_path):
    """Of any module that calls `on_loss`, also of one that does not say that it was trained."""

    class Other(Classifier):
        untrained = property(lambda self: True, lambda self, value: None)

    model = Other(TinyNetwork())
    run = trainer(callbacks=[make()], max_epochs=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(tmp_path / "first.ckpt")
    trick = make()
    trainer(callbacks=[trick]).fit(model, tiny_data, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert trick.findings == ()


def test_initial_loss_notices_targets_that_show(tiny_data, trainer):
    model = tiny_classifier()
    model.network.head.weight.data.zero_()
    model.network.head.bias.data = torch.tensor([30.0] + [0.0] * 9)
    for i in range(len(tiny_data.dataset)):
        tiny_data.dataset[i] = (tiny_data.dataset[i][0], torch.tensor(0))
    trick = InitialLoss()
    trick._judge(loss=0.1, prior=2.0, chance=2.3)
    assert not trick.findings[0].well and "lower than chance" in trick.findings[0].text
    trick._judge(loss=0.0, prior=0.0, chance=2.3)  # one class in the batch, and the bias says so
    assert trick.findings[1].well


# ---- overfitting


def test_a_sound_network_learns_by_heart_and_the_run_is_not_touched(tiny_data, trainer):
    trick, model, plain = OverfitSamples(samples=4, steps=60, lr=0.01), tiny_classifier(), tiny_classifier()
    plain.load_state_dict(model.state_dict())
    (finding,) = found(trick, trainer, tiny_data, model)
    assert finding.well and "4 images were learned by heart" in finding.text
    torch.manual_seed(0)
    trainer().fit(plain, tiny_data)
    assert_equal(weights(model), weights(plain))


def test_the_copy_is_not_heard_by_other_tricks_hooks(tiny_data, trainer):
    model, calls = tiny_classifier(), []
    model.network.block1.register_forward_hook(lambda *_: calls.append(1))
    trainer(callbacks=[OverfitSamples(steps=5)], max_epochs=1).fit(model, tiny_data)
    assert len(calls) == 3  # batches


def test_a_network_that_cannot_see_is_found(tiny_data, trainer):
    model = tiny_classifier()
    model.network.block1.register_forward_pre_hook(lambda module, inputs: (torch.zeros_like(inputs[0]),))
    blind = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Blind(), nn.Linear(3, 10))
    (finding,) = found(OverfitSamples(steps=30), trainer, tiny_data, Classifier(blind, num_classes=10))
    assert not finding.well and "could not be learned by heart" in finding.text


class Blind(nn.Module):
    def forward(self, x):
        return x * 0


# ---- gradients, updates, units


def test_a_layer_beside_the_way_to_the_loss(tiny_data, trainer):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    finding = found(GradientFlow(), trainer, tiny_data, model)[0]
    assert not finding.well and "network.forgotten.weight, network.forgotten.bias" in finding.text


def test_gradients_out_of_range(tiny_data, trainer):
    texts = [f.text for f in found(GradientFlow(low=0.0, high=1e-5), trainer, tiny_data)]
    assert len(texts) == 2 and all("gradients above 1e-05 in" in text and "more" in text for text in texts)
    texts = [f.text for f in found(GradientFlow(low=1e3, high=1e4), trainer, tiny_data)]
    assert len(texts) == 2 and "at step 4 gradients below 1000 in" in texts[1]  # the first of the second epoch
    assert all(f.well for f in found(GradientFlow(low=0.0, high=1e6), trainer, tiny_data))


def test_blocks_that_start_at_zero_are_not_taken_for_vanishing_gradients(tiny_data, trainer):
    trick, other = GradientFlow(), UpdateRatio(every=3)
    trainer(callbacks=[ZeroGamma(), trick, other], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert [f.well for f in (*trick.findings, *other.findings)] == [True, True]


def test_gradients_are_looked_at_once_more_when_what_started_at_zero_has_left_it(trainer, tiny_data):
    trick = GradientFlow(low=1e3, high=1e4)
    trainer(callbacks=[trick], max_epochs=1).fit(tiny_classifier(), batches(*next(iter(tiny_data)), 25))
    assert [f.well for f in trick.findings] == [True, False] and "at step 21" in trick.findings[1].text


@pytest.mark.parametrize(("lr", "word"), [(1e-9, "raise the learning rate"), (50.0, "lower the learning rate")])
def test_updates_that_are_too_small_or_large(lr, word, tiny_data, trainer):
    findings = found(UpdateRatio(every=3), trainer, tiny_data, tiny_classifier(lr=lr))
    assert [f.text.split()[1] for f in findings] == ["3", "6"]
    assert not findings[0].well and word in findings[0].text


def test_the_ratio_by_hand(trainer):
    """One weight matrix, plain gradient descent: the step is lr times the gradient."""
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), num_classes=10, lr=0.5, weight_decay=0)
    model.hparams.optimizer_options = {"momentum": 0.0, "nesterov": False}
    images, targets = torch.randn(4, 3, 2, 2), torch.arange(4)
    weight = model.network[1].weight
    loss = nn.functional.cross_entropy(model(images), targets)
    (gradient,) = torch.autograd.grad(loss, weight)
    expected = (0.5 * gradient).norm() / weight.norm()
    trick = UpdateRatio(every=1, low=0, high=10)
    trainer(callbacks=[trick], max_steps=1).fit(model, batches(images, targets))
    assert f"by {expected:.1e} of" in trick.findings[0].text


def test_one_layer_that_runs_away_is_not_the_median(trainer):
    network = nn.Sequential(nn.Flatten(), *(nn.Linear(2, 2, bias=False) for _ in range(3)))
    network[1].weight.data.fill_(1e-3)

    def constant(trainer, model):
        for p in model.parameters():
            p.grad = torch.full_like(p, 1e-3 * p.detach().norm().item() if p is not network[1].weight else 1.0)

    model = Classifier(network, num_classes=2, optimizer="momentum", lr=1.0, weight_decay=0.0)
    trick = UpdateRatio(every=1, high=0.1)
    data = batches(torch.randn(4, 1, 1, 2), torch.tensor([0, 1, 0, 1]))
    trainer(callbacks=[At("on_before_optimizer_step", constant), trick], max_epochs=1).fit(model, data)
    (finding,) = trick.findings
    assert finding.well and "2.0e-03" in finding.text


def test_dead_share_by_hand():
    a = torch.zeros(2, 4, 3, 3)
    a[1, 0, 2, 2] = a[0, 3] = 1
    assert dead_share(a) == 0.5
    assert dead_share(a.permute(0, 2, 3, 1).flatten(1, 2)) == 0.5  # tokens (N, L, D)


def test_rectifiers_are_looked_at_once_an_epoch(tiny_data, trainer):
    assert len(found(DeadUnits(share=1.0), trainer, tiny_data, max_epochs=2)) == 2


def test_no_hook_of_dead_units_outlives_an_exception(tiny_data, trainer):
    def stop(trainer, model):
        raise RuntimeError("stop")

    model = tiny_classifier()
    with pytest.raises(RuntimeError, match="stop"):
        trainer(callbacks=[DeadUnits(), At("on_before_zero_grad", stop)]).fit(model, tiny_data)
    assert hooks(model) == 0


def test_rectifiers_that_are_dead(tiny_data, trainer):
    model = tiny_classifier()
    model.network.block1.downsample.bias.data.fill_(-1000)
    findings = found(DeadUnits(), trainer, tiny_data, model, max_epochs=1)
    assert not findings[0].well and "network.block1.relu (100%)" in findings[0].text
    assert found(DeadUnits(), trainer, tiny_data, max_epochs=1)[0].well
    assert not model.network.block1.relu._forward_hooks


# ---- NaN


def broken(tiny_data, trainer, tmp_path, change):
    model = tiny_classifier()
    change(model)
    before = weights(model)
    with pytest.raises(FloatingPointError) as error:
        trainer(callbacks=[NaNGuard()]).fit(model, tiny_data)
    return str(error.value), before, model


def test_a_nan_names_the_layer_and_keeps_batch_and_weights(tiny_data, trainer, tmp_path):
    class Broken(nn.Module):
        def forward(self, x):
            return x / 0 - x / 0

    def change(model):
        model.network.maxpool = Broken()

    text, before, model = broken(tiny_data, trainer, tmp_path, change)
    assert "first layer whose output is not finite is network.maxpool" in text
    after = weights(model)
    assert all(torch.equal(before[k], after[k]) for k, v in before.items() if "running" not in k and "num" not in k)
    images, targets = torch.load(tmp_path / FILE)
    assert torch.equal(targets, next(iter(tiny_data))[1]) and images.shape == (4, 3, 8, 8)


def test_weights_and_images_that_are_not_finite(tiny_data, trainer, tmp_path):
    text, *_ = broken(tiny_data, trainer, tmp_path, lambda m: m.network.head.weight.data[0].fill_(float("nan")))
    assert "The weights of network.head.weight are not finite" in text
    images, targets = next(iter(tiny_data))
    with pytest.raises(FloatingPointError, match="Its images are not finite"):
        trainer(callbacks=[NaNGuard()]).fit(tiny_classifier(), batches(images * float("inf"), targets))


def test_a_trick_that_breaks_the_loss(tiny_data, trainer):
    spoil = At("on_loss", None)
    spoil.on_loss = lambda model, step: setattr(step, "loss", step.loss * float("nan"))
    with pytest.raises(FloatingPointError, match="All layers put out finite values: look at the loss"):
        trainer(callbacks=[NaNGuard(), spoil]).fit(tiny_classifier(), tiny_data)


def test_the_search_for_the_layer_leaves_no_hook():
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert first_not_finite(network, torch.full((1, 2), float("inf"))) is not None and hooks(network) == 0


def test_the_innermost_layer_is_named():
    network = nn.Sequential(nn.Sequential(nn.ReLU(), nn.LogSoftmax(1)), nn.Linear(2, 2))
    network[1].weight.data.fill_(float("inf"))
    assert first_not_finite(network, torch.ones(1, 2)) == "1"
    assert first_not_finite(nn.ReLU(), torch.ones(1, 2)) is None


# ---- curves


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([8, 7, 6, 5, 4, 3, 2, 1], -1),
        ([8, 4, 2, 1, 1, 1, 1, 1], 0),
        ([8, 4, 2, 1, 2, 3, 4, 5], 1),
        ([3, 3, 3, 3], 0),
        ([8, 4, 2, 1.0, 1.1, 0.9, 1.1, 0.9], 0),
    ],
)
def test_trends(curve, expected):
    assert trend([float(v) for v in curve]) == expected


def test_the_notes_table():
    assert set(VERDICTS) == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert "overfitting" in VERDICTS[-1, 0][1] and "train longer" in VERDICTS[-1, -1][1]


def test_a_second_fit_has_curves_of_its_own(tiny_data, trainer):
    trick = FitVerdict()
    for _ in range(2):
        (finding,) = found(trick, trainer, tiny_data, max_epochs=3)
        assert "no verdict" in finding.text


def test_a_verdict_at_the_end(tiny_data, trainer):
    (finding,) = found(FitVerdict(), trainer, tiny_data, tiny_classifier(lr=1e-3), max_epochs=6)
    assert finding.well and finding.text.startswith("still learning")
    assert "no verdict" in found(FitVerdict(), trainer, tiny_data)[0].text


def judged(train, val, **metrics):
    trick = FitVerdict()
    trick._curves = {"train/loss": train, "val/loss": val}
    trick.on_train_end(SimpleNamespace(callback_metrics={k: torch.tensor(v) for k, v in metrics.items()}), None)
    return trick.findings[0]


def test_a_run_at_rest_is_judged_by_the_gap_between_its_accuracies():
    rest = [8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    over = judged(rest, rest, **{"train/acc": 0.99, "val/acc": 0.9})
    assert not over.well and "0.990 of the training images are right and 0.900 of the others: overfitting" in over.text
    under = judged(rest, rest, **{"train/acc": 0.6, "val/acc": 0.59})
    assert under.well and "underfitting: a larger network" in under.text
    mixed = judged(rest, rest, **{"train/acc_mixed": 0.6, "val/acc": 0.9})
    assert mixed.well and "fitting" not in mixed.text


def test_a_curve_that_is_no_number_has_no_verdict():
    falls, broken = [8.0, 7.0, 6.0, 5.0], [8.0, 7.0, float("nan"), float("nan")]
    for curves in ((broken, falls), (falls, broken), ([8.0, 7.0, 6.0, float("inf")], falls)):
        finding = judged(*curves)
        assert not finding.well and "no finite number" in finding.text


# ---- calibration, rates


def test_calibration_is_torchmetrics_and_counts_every_image(tiny_data, trainer):
    trick, model = Calibration(bins=10), tiny_classifier()
    run = trainer(callbacks=[trick])
    run.test(model, tiny_data, verbose=False)
    images, targets = (torch.cat(x) for x in zip(*tiny_data, strict=True))
    with torch.no_grad():
        p = model.eval()(images).softmax(1)
    expected = multiclass_calibration_error(p, targets, 10, n_bins=10)
    assert run.callback_metrics["test/ece"] == pytest.approx(expected.item(), abs=1e-6)
    table = torch.zeros(10, 10, dtype=torch.long)
    for truth, prediction in zip(targets.tolist(), p.argmax(1).tolist(), strict=True):
        table[truth, prediction] += 1
    assert torch.equal(trick.confusion, table)
    assert len(trick.draw().axes) == 2
    with pytest.raises(ValueError, match="no test yet"):
        Calibration().draw()


def test_the_drawing_has_shares_of_each_true_class():
    trick = Calibration()
    trick.confusion = torch.tensor([[3, 1], [0, 0]])
    drawn = trick.draw().axes[0].images[0].get_array()
    assert drawn.tolist() == [[0.75, 0.25], [0, 0]]


def test_calibration_speaks_of_the_last_test_alone(tiny_data, trainer):
    trick = Calibration()
    for _ in range(2):
        trainer(callbacks=[trick]).test(tiny_classifier(), tiny_data, verbose=False)
    assert len(trick.findings) == 1


def test_the_most_frequent_mistakes():
    trick = Calibration()
    trick.confusion = torch.tensor([[5, 0, 2], [7, 1, 0], [0, 0, 9]])
    assert trick._worst() == [(1, 0, 7), (0, 2, 2)]


def test_the_rate_of_the_steepest_fall(tmp_path, trainer):
    """A convex problem: the suggestion lowers the loss, a hundred times it does not; weights and rate are put back."""
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
    """A loss that falls around a rate of .01, over two tens: Lightning's slope is by the rate itself, far below."""
    rates = [10 ** (-8 + 8 * t / 100) for t in range(100)]
    losses = [2.3 - 2 / (1 + (0.01 / rate) ** 2) for rate in rates]
    assert 0.9 < steepest(rates, losses) / 0.01 < 1.2
    theirs = _LRFinder("exponential", 1e-8, 1.0, 100)
    noisy = [loss + 1e-3 * math.sin(7 * t) for t, loss in enumerate(losses)]
    theirs.results = {"lr": rates, "loss": noisy}
    assert theirs.suggestion() < 1e-6 and 0.8 < steepest(rates, noisy) / 0.01 < 1.3
    assert steepest(rates, [float(t) for t in range(100)]) is None
    assert steepest(rates[:12], losses[:12]) is None
    blown = losses[:85] + [float("nan")] * 15
    assert steepest(rates, blown) == steepest(rates, losses)


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
    assert whole(theirs) == pytest.approx(by_hand)


def test_after_the_test_of_rates_a_new_network_is_still_one(tiny_data, trainer):
    """So that what looks at new networks alone, or draws their weights, is not told that it was trained."""
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
    assert finding.well and "no test of rates" in finding.text


# ---- all of them


def test_the_test_of_rates_goes_first_and_not_in_a_resume(tiny_data, trainer, tmp_path):
    first, trick = At("on_train_start", lambda *_: None), LearningRateRange(steps=20)
    run = trainer(callbacks=[first, trick], max_epochs=1)
    run.fit(tiny_classifier(), tiny_data)
    assert run.callbacks.index(trick) < run.callbacks.index(first) and len(trick.findings) == 1
    run.save_checkpoint(tmp_path / "first.ckpt")
    model, trick = tiny_classifier(), LearningRateRange(steps=20)
    trainer(callbacks=[trick]).fit(model, tiny_data, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert trick.findings == ()


def test_the_page(tiny_data, trainer, caplog):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    trick = Checklist(steps=3)
    run = trainer(callbacks=[trick])
    with caplog.at_level("INFO"):
        run.fit(model, tiny_data, tiny_data)
    page = next(r.message for r in caplog.records if r.message.startswith("Checklist after 3 steps"))
    lines = page.splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)  # LOOK before ok
    assert any(line.startswith("  LOOK  GradientFlow") and "forgotten" in line for line in lines)
    named = {line.split()[1] for line in lines}
    assert named == {
        "LearningRateRange",
        "InitialLoss",
        "OverfitSamples",
        "GradientFlow",
        "UpdateRatio",
        "DeadUnits",
        "NaNGuard",
    }
    assert not any(isinstance(c, Look) and c is not trick for c in run.callbacks)


def test_what_is_said_of_each_epoch_stands_once_on_the_page(tiny_data, trainer, caplog):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    with caplog.at_level("INFO"):
        trainer(callbacks=[Checklist(steps=15)], max_epochs=5).fit(model, tiny_data)
    page = next(r.message for r in caplog.records if r.message.startswith("Checklist after 15 steps"))
    (flow,) = (line for line in page.splitlines() if "GradientFlow" in line and "forgotten" in line)
    assert "at step 13 no gradient reaches" in flow and flow.endswith("(5 times)")
    assert len(page.splitlines()) < 14


def test_the_run_is_not_touched_by_the_checklist(tiny_data, trainer):
    """The same bits as without, also with the test of rates, where each step draws from its own seed."""
    ends = []
    for tricks in ([], [Checklist(steps=4)]):
        L.seed_everything(3, verbose=False)
        model = tiny_classifier()
        trainer(callbacks=[Kaiming(), *tricks, MixUp()]).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


def test_the_page_of_a_short_run_and_of_a_foreign_module(tiny_data, trainer):
    trick = Checklist(steps=1000)
    trainer(callbacks=[trick]).fit(Foreign(), tiny_data)
    assert trick.findings and not any("ln K" in f.text for f in trick.findings)


def test_the_page_warns_of_nothing_and_leaves_no_hook(tiny_data, trainer, monkeypatch):
    monkeypatch.setattr(Look, "quiet", False)
    model, trick = tiny_classifier(), Checklist(steps=1)
    model.network.head.weight.data.mul_(100)
    run = trainer(callbacks=[trick], max_epochs=1)
    run.fit(model, tiny_data)  # warnings are errors
    assert not all(finding.well for finding in trick.findings)
    assert hooks(model) == 0


def test_an_exception_takes_the_checks_out(tiny_data, trainer):
    def stop(trainer, model):
        raise RuntimeError("stop")

    run = trainer(callbacks=[Checklist(), At("on_before_backward", stop)])
    with pytest.raises(RuntimeError, match="stop"):
        run.fit(tiny_classifier(), tiny_data)
    assert not any(isinstance(callback, GradientFlow | DeadUnits | NaNGuard) for callback in run.callbacks)


def test_the_users_own_checks_stay(tiny_data, trainer):
    own = UpdateRatio(every=1, low=0, high=100)
    trick = Checklist(steps=2)
    run = trainer(callbacks=[trick, own])
    run.fit(tiny_classifier(), tiny_data)
    assert len(own.findings) == 6 and own in run.callbacks
