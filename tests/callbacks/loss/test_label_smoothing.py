"""Label smoothing: two formulations, each against a reference, and its position in the list."""

import math

import pytest
import torch
import torch.nn.functional as F

from callbacks import KnowledgeDistillation, LabelSmoothing, Linear, MixUp
from callbacks.data.mixup import mixup
from callbacks.loss.label_smoothing import smooth
from tests.callbacks.conftest import SeenBatches, SeenSteps
from tests.conftest import build_trick
from zoo import Step


def test_by_hand():
    y = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(smooth(y, 0.12), torch.tensor([[0.03, 0.91, 0.03, 0.03]]))
    torch.testing.assert_close(smooth(y, 0.12, "paper"), torch.tensor([[0.04, 0.88, 0.04, 0.04]]))


@pytest.mark.parametrize("formulation", ["torch", "paper"])
def test_no_eps_is_the_identity_and_the_mass_stays_one(formulation):
    y = torch.rand(6, 5).softmax(1)
    assert torch.equal(smooth(y, 0, formulation), y)
    torch.testing.assert_close(smooth(y, 0.3, formulation).sum(1), torch.ones(6))


@pytest.mark.parametrize("soft", [False, True])
def test_same_loss_as_torch(soft):
    torch.manual_seed(0)
    logits = torch.randn(6, 5)
    targets = torch.rand(6, 5).softmax(1) if soft else torch.arange(6) % 5
    y = targets if soft else F.one_hot(targets).float()
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=0.2)(logits, targets)
    torch.testing.assert_close(F.cross_entropy(logits, smooth(y, 0.2)), theirs)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_formulations_convert_into_each_other(k):
    y = torch.eye(k)[:2]
    torch.testing.assert_close(smooth(y, 0.1, "paper"), smooth(y, 0.1 * k / (k - 1), "torch"))


# log((K - 1)(1 - eps) / eps) and log((1 - eps + eps / K) K / eps) at eps = .1
GAPS = {"paper": {10: 4.3944, 100: 6.7923, 1000: 9.1040}, "torch": {10: 4.5109, 100: 6.8035, 1000: 9.1051}}


@pytest.mark.parametrize("formulation", GAPS)
@pytest.mark.parametrize("k", [10, 100, 1000])
def test_loss_is_least_at_the_known_gap_between_logits(formulation, k):
    y = F.one_hot(torch.tensor([3]), k).double()
    z = (GAPS[formulation][k] * y + 1.7).requires_grad_()  # any constant may be added to all logits
    F.cross_entropy(z, smooth(y, 0.1, formulation)).backward()
    assert z.grad.abs().max() < 1e-5


def test_gap_grows_without_bound_as_eps_vanishes_and_is_zero_at_the_other_end():
    y = torch.eye(10)[:1].double()

    def gap(eps):
        q = smooth(y, eps, "paper")
        return math.log(q[0, 0] / q[0, 1])

    assert gap(1e-12) > 25 and gap(9 / 10) == pytest.approx(0)


def test_order_of_mixing_and_smoothing_does_not_matter(images):
    y, perm = F.one_hot(images[1]).float(), torch.randperm(6)
    for formulation in ("torch", "paper"):
        first = mixup(images[0], smooth(y, 0.1, formulation), 0.3, perm)[1]
        torch.testing.assert_close(first, smooth(mixup(images[0], y, 0.3, perm)[1], 0.1, formulation))


@pytest.mark.parametrize("mixed", [False, True])
def test_training_loss_takes_smoothed_targets(tiny_model, tiny_data, trainer, mixed):
    steps, batches = SeenSteps(), SeenBatches()
    tricks = [MixUp()] if mixed else []
    trainer(callbacks=[*tricks, LabelSmoothing(0.2), steps, batches], max_epochs=1).fit(tiny_model, tiny_data)
    for step, (_, targets) in zip(steps.steps, batches.train, strict=True):
        torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, targets, label_smoothing=0.2))


def test_counts_in_auxiliary_heads(trainer):
    logits, targets = torch.randn(2, 4, 3)[0], torch.arange(4) % 3
    aux = torch.randn(4, 3)
    step = Step(None, targets, logits, None, {"aux": [(0.3, aux)]})
    model = type("Model", (), {"trainer": None})
    LabelSmoothing(0.2).on_loss(model, step)
    ours = [F.cross_entropy(z, targets, label_smoothing=0.2) for z in (logits, aux)]
    torch.testing.assert_close(step.loss, ours[0] + 0.3 * ours[1])


def test_metrics_keep_the_true_labels(tiny_model, tiny_data, trainer):
    run = trainer(callbacks=[LabelSmoothing()])
    run.fit(tiny_model, tiny_data, tiny_data)
    assert "train/acc" in run.callback_metrics and "train/acc_mixed" not in run.callback_metrics


def test_follows_a_schedule_of_eps(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    run = trainer(callbacks=[LabelSmoothing(Linear(0, 0.6)), steps], accumulate_grad_batches=3)
    run.fit(tiny_model, tiny_data)
    eps = [(1 - step.targets.amax(1)[0].item()) * 10 / 9 for step in steps.steps]
    assert eps == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3], abs=1e-6)  # one optimizer step an epoch


def test_refuses_to_wipe_out_what_others_added(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="list it before KnowledgeDistillation"):
        trainer(callbacks=[build_trick("KnowledgeDistillation"), LabelSmoothing()]).fit(tiny_model, tiny_data)


def test_distillation_after_it_adds_to_the_smoothed_loss(tiny_model, tiny_data, trainer):
    between, after = SeenSteps(), SeenSteps()
    losses = []
    between.on_loss = lambda model, step: losses.append(step.loss)
    distillation: KnowledgeDistillation = build_trick("KnowledgeDistillation")
    trainer(callbacks=[LabelSmoothing(), between, distillation, after], max_epochs=1).fit(tiny_model, tiny_data)
    for smoothed, step in zip(losses, after.steps, strict=True):
        soft = (step.loss - 0.1 * smoothed) / 0.9
        assert soft > 0


@pytest.mark.parametrize("eps", [0, 0.0, 1.1, -0.1, Linear(0, 1.5)])
def test_refuses_a_wrong_eps(eps):
    with pytest.raises(ValueError, match="eps must be"):
        LabelSmoothing(eps)


def test_refuses_another_reading():
    with pytest.raises(ValueError, match="did you mean 'paper'"):
        LabelSmoothing(formulation="papers")


def test_default():
    assert (LabelSmoothing().eps, LabelSmoothing().formulation) == (0.1, "torch")
