"""Scores: sums by hand, what is logged and when, over epochs, loaders and kinds of targets."""

import copy
import math

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader

from callbacks import EMA, CosineDecay, NoBiasDecay
from tests.zoo.frame.linear import collate, linear, loader, metrics_of
from zoo import Classifier, LossTrick
from zoo.frame.scores import RunningMean, Scores


def test_running_mean_by_hand():
    """Hard targets: 1 of 2 right. Mixed ones: .7 and .4 of the target are where the predictions are."""
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    mean = RunningMean()
    mean.update(torch.tensor(1.0), logits, torch.tensor([0, 0]))
    mean.update(torch.tensor(4.0), logits, torch.tensor([[0.7, 0.3], [0.6, 0.4]]))
    mean.update(torch.tensor(4.0), logits[:1], torch.tensor([[1.0, 0.0]]))
    values = {name: value.item() for name, value in mean.compute(lambda sums: sums).items()}
    assert values == pytest.approx({"loss": (2 * 1 + 2 * 4 + 4) / 5, "acc": 0.5, "acc_mixed": (0.7 + 0.4 + 1) / 3})


def test_running_mean_sums_over_ranks():
    """Two ranks with the same batches: twice the sums and twice the counts, the same means."""
    mean = RunningMean()
    mean.update(torch.tensor(1.5), torch.eye(2), torch.tensor([0, 0]))
    assert mean.compute(lambda sums: 2 * sums) == {"loss": torch.tensor(1.5), "acc": torch.tensor(0.5)}


def test_scores_by_hand():
    scores = Scores(10, torch.device("cpu"))
    logits = torch.arange(10.0).repeat(4, 1)  # classes 9, 8, ... 5 are the best five
    scores.update(logits[:3], torch.tensor([9, 5, 4]))
    scores.update(logits[3:], torch.tensor([6]))
    values = scores.compute()
    assert values["acc"] == 1 / 4 and values["top5"] == 3 / 4
    assert values["loss"].item() == pytest.approx(F.cross_entropy(logits, torch.tensor([9, 5, 4, 6])).item())


def test_a_sample_that_is_not_a_number_shows_in_the_loss(trainer):
    data = loader(10)
    data.dataset[7] = (torch.full((3, 2, 2), torch.nan), torch.tensor(7))
    (metrics,) = trainer().validate(linear(), data, verbose=False)
    assert math.isnan(metrics["val/loss"]) and 0 <= metrics["val/acc"] <= 1


def test_soft_targets_are_scored_by_their_most_probable_class(trainer):
    model, images = linear(), torch.randn(6, 3, 2, 2)
    soft = torch.rand(6, 10).softmax(1)
    data = DataLoader(list(zip(images, soft, strict=True)), batch_size=4, collate_fn=collate)
    (metrics,) = trainer().validate(model, data, verbose=False)
    logits = model(images)
    assert metrics["val/loss"] == pytest.approx(F.cross_entropy(logits, soft).item())
    assert metrics["val/acc"] == pytest.approx((logits.argmax(1) == soft.argmax(1)).float().mean().item())


@pytest.mark.parametrize("stage", ["val", "test"])
def test_several_loaders_have_scores_of_their_own(stage, trainer):
    """The first's have the usual names, so that what looks at `val/loss` goes on to; so has the average's."""
    ema, other = EMA(0.5), loader(10)
    other.dataset[:] = [(2 * image, target) for image, target in other.dataset]
    run = trainer(max_epochs=1, callbacks=[ema])
    run.fit(linear(), loader(), [loader(), other])
    run = trainer(callbacks=[ema])
    evaluate, data = (run.validate, [loader(), other]) if stage == "val" else (run.test, [loader(), other])
    both = evaluate(linear(), data, verbose=False)
    alone = [evaluate(linear(), each, verbose=False)[0] for each in data]
    together = {name: value for part in both for name, value in part.items()}
    for name, value in alone[0].items():
        assert together[name] == pytest.approx(value)
        assert together[f"{name}/dataloader_idx_1"] == pytest.approx(alone[1][name])
    assert together[f"{stage}/loss"] != together[f"{stage}/loss/dataloader_idx_1"]
    assert {f"{stage}/loss_ema0.5", f"{stage}/loss_ema0.5/dataloader_idx_1"} <= {*together}


def test_never_to_log_a_step_and_bare_bones(trainer):
    record = Record()
    run = trainer(max_epochs=1, log_every_n_steps=0, logger=record)
    run.fit(linear(), loader(), loader())
    assert {"train/loss", "val/loss"} <= {*run.callback_metrics}
    assert not any("train/loss_step" in row for _, row in record.rows)
    bare = L.Trainer(max_epochs=1, accelerator="cpu", barebones=True)
    bare.fit(linear(), loader(), loader())
    assert bare.global_step == len(loader()) and not bare.callback_metrics


def test_a_fit_without_batches(trainer):
    """Schedules, whose run has no steps then, do not mind."""
    tricks = [CosineDecay(warmup_epochs=1), EMA(0.9), NoBiasDecay()]
    run = trainer(limit_train_batches=0, callbacks=tricks)
    run.fit(linear(), loader(), loader())
    assert run.global_step == 0


@pytest.mark.parametrize(("classes", "expected"), [(10, {"loss", "acc", "top5"}), (6, {"loss", "acc", "top5"})])
def test_names_that_are_logged(classes, expected, trainer):
    run, data = trainer(max_epochs=1), loader(10, classes)
    run.fit(linear(classes), data, data)
    train = {"train/loss", "train/acc"}
    assert {*run.callback_metrics} == train | {f"val/{name}" for name in expected}
    run.test(run.model, data, verbose=False)
    assert {*run.callback_metrics} == {f"test/{name}" for name in expected}


def test_no_top5_of_five_classes(trainer):
    run, data = trainer(max_epochs=1), loader(10, 5)
    run.fit(linear(5), data, data)
    assert {*run.callback_metrics} == {"train/loss", "train/acc", "val/loss", "val/acc"}


def by_hand(model: Classifier, data: DataLoader, lr: float) -> tuple[float, float]:
    """One epoch of plain SGD, written out: mean loss and accuracy over the images, each batch before its step."""
    loss_sum = hits = n = 0
    for images, targets in data:
        logits = model(images)
        loss = F.cross_entropy(logits, targets)
        gradients = torch.autograd.grad(loss, [*model.parameters()])
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p -= lr * gradient
        loss_sum += loss.item() * len(targets)
        hits += (logits.argmax(1) == targets).sum().item()
        n += len(targets)
    return loss_sum / n, hits / n


def test_epoch_means_are_those_of_a_plain_loop(trainer):
    """With a last batch of two: a mean of the batches' means would be another number."""
    plain = {"optimizer": "momentum", "optimizer_options": {"momentum": 0}, "weight_decay": 0, "lr": 0.5}
    model, run = linear(**plain), trainer(max_epochs=1, log_every_n_steps=2)
    twin = copy.deepcopy(model)
    run.fit(model, loader(), loader())
    loss, accuracy = by_hand(twin, loader(), lr=0.5)
    images, targets = collate(loader().dataset)
    values = metrics_of(run)
    torch.testing.assert_close(model.network.fc.weight, twin.network.fc.weight)
    assert (values["train/loss"], values["train/acc"]) == pytest.approx((loss, accuracy))
    assert values["val/loss"] == pytest.approx(F.cross_entropy(twin(images), targets).item())
    assert values["val/acc"] == pytest.approx((twin(images).argmax(1) == targets).float().mean().item())


def test_mixed_and_hard_batches_are_counted_apart(trainer):
    """Every other batch has soft targets, and a trick that smooths them further must not change what is counted."""

    class Soften(L.Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            if batch_idx % 2:
                batch[1] = F.one_hot(batch[1], 10) * 0.5 + 0.05

    class Smooth(LossTrick):
        def on_loss(self, model, step):
            step.targets = torch.full_like(step.logits, 0.1)

    model, run = linear(lr=1e-9), trainer(max_epochs=2, callbacks=[Soften(), Smooth()])
    run.fit(model, loader())
    hits = [(model(images).argmax(1) == targets).float() for images, targets in loader()]
    assert metrics_of(run)["train/acc"] == pytest.approx(torch.cat(hits[::2]).mean().item())
    assert metrics_of(run)["train/acc_mixed"] == pytest.approx((hits[1] * 0.5 + 0.05).mean().item())


class Record(DummyLogger):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_loss_step_is_the_mean_since_it_was_last_logged(accumulate, trainer):
    losses, record = [], Record()

    class Spy(L.Callback):
        def on_train_batch_end(self, trainer, model, out, batch, batch_idx):
            losses.append(out["loss"].item() * accumulate)

    arguments = {"max_epochs": 1, "log_every_n_steps": 2, "accumulate_grad_batches": accumulate, "logger": record}
    trainer(callbacks=[Spy()], **arguments).fit(linear(), loader(32))
    logged = {step: row["train/loss_step"] for step, row in record.rows if "train/loss_step" in row}
    span = 2 * accumulate
    means = [sum(losses[i : i + span]) / span for i in range(0, 8, span)]
    assert list(logged) == list(range(1, 8 // accumulate, 2))
    assert list(logged.values()) == pytest.approx(means)


def test_loss_step_of_a_run_that_goes_on_is_the_mean_since_it_began(tmp_path, trainer):
    """Its first batch is half a step, and the step before was logged by the run that was stopped."""
    losses, record = [], Record()

    class Spy(L.Callback):
        def on_train_batch_end(self, trainer, model, out, batch, batch_idx):
            losses.append(out["loss"].item() * 2)

    options = {"log_every_n_steps": 2, "accumulate_grad_batches": 2}
    run = trainer(max_epochs=1, **options)
    run.fit(linear(), loader(16))
    run.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    goes_on = trainer(max_epochs=2, logger=record, callbacks=[Spy()], **options)
    goes_on.fit(linear(), loader(16), ckpt_path=tmp_path / "last.ckpt")
    logged = {step: row["train/loss_step"] for step, row in record.rows if "train/loss_step" in row}
    assert logged == {3: pytest.approx(sum(losses) / 4)} and len(losses) == 4
