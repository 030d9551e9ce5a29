"""Classifier: what it trains on, what it logs, which networks and optimizers it takes, and what it refuses."""

import copy
import functools
import math
from collections import namedtuple

import lightning as L
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torch.utils.data import DataLoader

from callbacks import EMA, CosineDecay, NoBiasDecay
from zoo import Classifier, LossTrick, ResNet, Step
from zoo.frame.checks import check_targets, classes_of, validate_choice
from zoo.frame.exact_resume import ExactResume
from zoo.frame.fast import is_compiled
from zoo.frame.graceful_stop import GracefulStop
from zoo.frame.outputs import split_outputs
from zoo.frame.scores import RunningMean, Scores
from zoo.frame.seeds import reseed


class Linear(nn.Module):
    """(N, 3, 2, 2) -> (N, K), so small that a loop written out can follow it."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.fc = nn.Linear(12, classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def linear(classes: int = 10, **training) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Linear(classes), **training)


def collate(items):
    return [torch.stack([x for x, _ in items]), torch.stack([y for _, y in items])]


def loader(n: int = 10, classes: int = 10) -> DataLoader:
    """Batches of four, the last one smaller, in order."""
    torch.manual_seed(1)
    images, targets = torch.randn(n, 3, 2, 2), torch.randint(classes, (n,))
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=4, collate_fn=collate)


def metrics_of(run: L.Trainer) -> dict[str, float]:
    return {name: value.item() for name, value in run.callback_metrics.items()}


# ---- Step and on_loss


class Times(LossTrick):
    def __init__(self, factor: float):
        self.factor = factor

    def on_loss(self, model, step):
        step.loss = step.loss * self.factor


class Plus(LossTrick):
    def __init__(self, seen: list):
        self.seen = seen

    def on_loss(self, model, step):
        self.seen.append(step)
        step.loss = step.loss + 1


@pytest.mark.parametrize("plus_first", [True, False])
def test_tricks_change_the_loss_in_list_order(plus_first, trainer):
    seen, outputs = [], []

    class Spy(L.Callback):
        def on_train_batch_end(self, trainer, model, out, batch, batch_idx):
            outputs.append(out["loss"].item())

    tricks = [Plus(seen), Times(3)] if plus_first else [Times(3), Plus(seen)]
    data = loader(4)
    images, targets = next(iter(data))
    model = linear(lr=0.1)
    loss = F.cross_entropy(model(images), targets).item()
    trainer(max_epochs=1, callbacks=[*tricks, Spy()]).fit(model, data)
    assert outputs == pytest.approx([3 * (loss + 1) if plus_first else 3 * loss + 1])
    (step,) = seen
    assert torch.equal(step.images, images) and torch.equal(step.targets, targets)
    assert step.logits.shape == (4, 10) and step.extras == {}


def test_what_is_differentiated_is_the_tricks_loss(trainer):
    """A loss times three moves the weights as far as a learning rate times three."""
    one, other = linear(lr=0.3, optimizer="momentum"), linear(lr=0.1, optimizer="momentum")
    trainer(max_epochs=1).fit(one, loader(4))
    trainer(max_epochs=1, callbacks=[Times(3)]).fit(other, loader(4))
    rate = {"rtol": 1e-3, "atol": 1e-6}  # weight decay is not multiplied
    torch.testing.assert_close(one.network.fc.weight, other.network.fc.weight, **rate)


class TwoHeads(nn.Module):
    """Gives extras in training, logits alone in evaluation."""

    def __init__(self, wrap):
        super().__init__()
        self.wrap, self.fc, self.aux = wrap, nn.Linear(12, 10), nn.Linear(12, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.wrap(self.fc(x), self.aux(x)) if self.training else self.fc(x)


Outputs = namedtuple("Outputs", ["logits", "aux_logits"])


def test_auxiliary_heads_count_in_the_loss(trainer):
    seen = []
    model = Classifier(TwoHeads(lambda logits, aux: (logits, {"aux": [(0.3, aux)]})), lr=1e-9)
    images, targets = next(iter(loader(4)))
    run = trainer(max_epochs=1, callbacks=[Plus(seen)])
    run.fit(model, loader(4), loader(4))
    main, aux = (F.cross_entropy(head(images.flatten(1)), targets) for head in (model.network.fc, model.network.aux))
    assert metrics_of(run)["train/loss"] == pytest.approx((main + 0.3 * aux + 1).item())
    assert metrics_of(run)["val/loss"] == pytest.approx(main.item())
    assert seen[0].over_heads(lambda z: z.new_tensor(2.0)).item() == pytest.approx(2.6)


def test_named_tuples_of_torchvision_are_logits_and_extras(trainer):
    seen = []
    trainer(max_epochs=1, callbacks=[Plus(seen)]).fit(Classifier(TwoHeads(Outputs)), loader(4))
    assert list(seen[0].extras) == ["aux_logits"] and seen[0].extras["aux_logits"].shape == (4, 10)
    logits, extras = split_outputs(torchvision.models.GoogLeNetOutputs(torch.ones(2, 3), None, torch.zeros(2, 3)))
    assert logits.sum() == 6 and list(extras) == ["aux_logits2", "aux_logits1"]


def test_a_callback_may_refill_the_batch(trainer):
    class Blacken(L.Callback):
        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            batch[:] = [torch.zeros_like(batch[0]), batch[1]]

    seen = []
    trainer(max_epochs=1, callbacks=[Blacken(), Plus(seen)]).fit(linear(), loader(4))
    assert not seen[0].images.any()


# ---- scores


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


# ---- optimizers


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("momentum", torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
        ("adamw", torch.optim.AdamW, {"betas": (0.9, 0.999)}),
    ],
)
def test_optimizers_by_name(name, kind, settings):
    optimizer = linear(optimizer=name, lr=0.02, weight_decay=0.03).configure_optimizers()
    (group,) = optimizer.param_groups  # biases too decay
    assert type(optimizer) is kind
    assert {key: group[key] for key in settings} == settings
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.02, 0.03, 2)


def test_optimizer_options_reach_it():
    (group,) = linear(optimizer_options={"momentum": 0.8}).configure_optimizers().param_groups
    assert group["momentum"] == 0.8


def test_frozen_parameters_are_left_out():
    model = linear()
    model.network.fc.bias.requires_grad_(False)
    (group,) = model.configure_optimizers().param_groups
    assert group["params"] == [model.network.fc.weight]


# ---- foreign networks


@pytest.mark.parametrize(
    ("network", "stages", "classes"),
    [
        (lambda: timm.create_model("resnet18", num_classes=7), 4, 7),
        (lambda: timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=32), 12, 7),
        (lambda: timm.create_model("convnext_atto", num_classes=7), 4, 7),
        (lambda: timm.create_model("vgg11", num_classes=7), 5, 7),  # its maps come out of layers without parameters
        (lambda: timm.create_model("hrnet_w18_small", num_classes=7), 0, 7),  # names modules that it does not have
        (lambda: torchvision.models.resnet18(num_classes=7), 0, 7),
        (lambda: "resnet18", 4, 1000),
    ],
    ids=["resnet", "vit", "convnext", "vgg", "hrnet", "torchvision", "by name"],
)
def test_foreign_networks(network, stages, classes):
    with torch.device("meta"):
        model = Classifier(network())
    assert list(model.stages) == [f"stage{i}" for i in range(1, stages + 1)]
    assert model.num_classes == classes


def test_stages_of_a_timm_resnet_are_its_layers():
    model = Classifier("resnet18", num_classes=7)
    assert model.stages["stage3"] is model.network.layer3
    assert model.hparams.network == "resnet18"  # so that a checkpoint can be rebuilt


def test_a_foreign_network_trains_as_its_own_stages_are_named(trainer):
    network = torchvision.models.resnet18(num_classes=10)
    model, run = Classifier(network, stages={"stage1": "layer1"}, lr=0.01), trainer(max_epochs=1)
    torch.manual_seed(0)
    data = DataLoader([(torch.randn(3, 32, 32), torch.tensor(i)) for i in range(4)], batch_size=4, collate_fn=collate)
    run.fit(model, data, data)
    assert model.stages == {"stage1": network.layer1}
    assert {"val/acc", "train/loss"} <= {*run.callback_metrics}


def test_classes_are_those_of_the_last_linear_layer():
    assert classes_of(nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 4))) == 4
    for unreadable in (nn.Sequential(nn.Conv2d(3, 4, 1)), None):
        with pytest.raises(ValueError, match="pass num_classes="):
            Classifier(unreadable)


def test_works_without_a_trainer(tmp_path):
    model, images = linear().eval(), torch.randn(2, 3, 2, 2)
    assert torch.equal(model(images), model.network(images))
    torch.testing.assert_close(model.predict_step([images, None], 0), model(images).softmax(1))
    model.export(tmp_path / "weights.pth")
    assert [*torch.load(tmp_path / "weights.pth", weights_only=True)] == ["fc.weight", "fc.bias"]


def test_predicts_probabilities(trainer):
    probabilities = torch.cat(trainer().predict(linear(), loader()))
    assert probabilities.shape == (10, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(10))


@pytest.mark.parametrize("part", ["network", "fc"])
def test_plain_weights_of_a_compiled_network_have_plain_keys(part):
    network = Linear()
    if part == "fc":
        network.fc = torch.compile(network.fc, backend="eager")
    else:
        network = torch.compile(network, backend="eager")
    assert [*Classifier(network, 10).plain_state_dict()] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_predicts_in_float32_whatever_the_precision(precision, trainer):
    model = linear()
    (first, *_) = trainer(precision=precision).predict(model, loader())
    assert first.dtype == torch.float32
    logits = model.float()(next(iter(loader()))[0])
    torch.testing.assert_close(first, logits.softmax(1), rtol=0.05, atol=0.005)
    torch.testing.assert_close(first.sum(1), torch.ones(4), rtol=0, atol=1e-6)  # in bfloat16 it would not be 1


# ---- set-up


def test_own_callbacks_are_added_once(trainer):
    run = trainer(max_epochs=1)
    for _ in range(2):
        run.fit(linear(), loader(4))
        assert [type(callback) for callback in run.callbacks].count(ExactResume) == 1
        assert [type(callback) for callback in run.callbacks].count(GracefulStop) == 1
    mine = ExactResume()
    run = trainer(max_epochs=1, callbacks=[Times(1), mine])
    run.fit(linear(), loader(4))
    assert [callback for callback in run.callbacks if isinstance(callback, ExactResume)] == [mine]
    assert run.callbacks[0] is mine


@pytest.mark.parametrize("late", [False, True])
@torch._dynamo.config.patch(skip_nnmodule_hook_guards=True)
def test_hooks_fire_in_a_compiled_network(late, tiny_model, tiny_data, trainer, monkeypatch):
    """Dynamo skips hooks that it has not seen when it compiled, without a word, unless told otherwise."""
    monkeypatch.setattr(Classifier, "compile", functools.partialmethod(Classifier.compile, backend="eager"))
    torch._dynamo.reset()
    fired = torch.zeros(())

    def hook(module, args, out):
        fired.add_(1)

    tiny_model.hparams.compile = True
    if late:
        trainer(max_epochs=1).fit(tiny_model, tiny_data)
    handle = tiny_model.stages["stage2"].register_forward_hook(hook)
    trainer(max_epochs=1).fit(tiny_model, tiny_data)
    assert is_compiled(tiny_model)
    assert fired == 3
    handle.remove()
    trainer(max_epochs=1).fit(tiny_model, tiny_data)
    assert fired == 3
    torch._dynamo.reset()


def test_fresh_until_trained(trainer):
    model = linear()
    assert model.untrained
    trainer(max_epochs=1).fit(model, loader(4))
    assert not model.untrained


# ---- refusals


class FiveClasses(L.LightningDataModule):
    num_classes = 5

    def train_dataloader(self):
        return loader(4, 5)


def test_refuses_data_of_another_number_of_classes(trainer):
    with pytest.raises(ValueError, match=r"the data has 5 classes, the model 10: Classifier\(..., num_classes=5\)"):
        trainer().fit(linear(), FiveClasses())


def fit_on(model: Classifier, images: torch.Tensor, targets: torch.Tensor, trainer) -> None:
    trainer(max_epochs=1).fit(model, DataLoader([(images, targets)], batch_size=None, collate_fn=list))


@pytest.mark.parametrize(
    ("image_size", "pixels", "advice"),
    [(32, 96, "small-image stem .*image_size=32.*image_size=96"), (224, 32, "ImageNet stem .*image_size=32")],
)
def test_refuses_images_for_the_other_stem(image_size, pixels, advice, trainer):
    model = ResNet("18", num_classes=10, image_size=image_size)
    with pytest.raises(ValueError, match=advice):
        fit_on(model, torch.zeros(2, 3, pixels, pixels), torch.tensor([0, 1]), trainer)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.zeros(2, 12)])
def test_refuses_what_is_no_normalised_image(images, trainer):
    with pytest.raises(ValueError, match=r"images must be float \(N, C, H, W\), got torch"):
        fit_on(linear(), images, torch.tensor([0, 1]), trainer)


@pytest.mark.parametrize(
    ("targets", "advice"),
    [
        (torch.tensor([0, 10]), r"targets go from 0 to 10, .*\(0 to 9\): set num_classes=11"),
        (torch.tensor([-1, 3]), "targets go from -1 to 3"),
        (torch.full((2, 4), 0.25), r"soft targets must be \(N, 10\), got \(2, 4\)"),
        (torch.tensor([0.0, 1.0]), r"soft targets must be \(N, 10\), got \(2,\)"),
    ],
    ids=["too high", "negative", "other K", "float indices"],
)
def test_refuses_targets_out_of_range(targets, advice, trainer):
    with pytest.raises(ValueError, match=advice):
        fit_on(linear(), torch.zeros(2, 3, 2, 2), targets, trainer)
    with pytest.raises(ValueError, match=advice):
        check_targets(targets, 10)


def test_refuses_targets_in_evaluation_too(trainer):
    bad = DataLoader([(torch.zeros(2, 3, 2, 2), torch.tensor([0, 10]))], batch_size=None, collate_fn=list)
    with pytest.raises(ValueError, match="targets go from 0 to 10"):
        trainer().test(linear(), bad)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "bad",
    [{"lr": 0}, {"lr": -1}, {"lr": NAN}, {"lr": INFINITY}, {"weight_decay": -1e-4}, {"weight_decay": NAN}],
)
def test_refuses_training_arguments_out_of_range(bad):
    with pytest.raises(ValueError, match="lr must be > 0 and weight_decay >= 0, both finite, got"):
        linear(**bad)


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match="Shop has no 'peer'; did you mean 'pear'.* there are: apple, pear"):
        validate_choice("peer", ["apple", "pear"], "Shop")
    with pytest.raises(ValueError, match="Shop has no 'xyz'; there are: apple, pear"):
        validate_choice("xyz", ["apple", "pear"], "Shop")
    assert validate_choice("pear", ["apple", "pear"], "Shop") == "pear"


def test_step_starts_without_extras():
    one, other = (Step(None, None, torch.zeros(1, 2), None) for _ in range(2))
    one.extras["aux"] = []
    assert other.extras == {}
    assert other.over_heads(torch.sum) == 0


def test_reseeding_is_that_of_torch():
    for seed in (0, 7, 2**64 - 1):
        torch.manual_seed(seed)
        expected = torch.rand(5)
        torch.rand(3)
        reseed(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(5), expected)


def test_reseeding_reaches_the_device(monkeypatch):
    class Module:
        manual_seed = staticmethod(lambda seed: seeds.append(seed))

    seeds = []
    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    reseed(5, torch.device("cuda", 0))
    assert seeds == [5] and torch.initial_seed() == 5


def test_a_model_in_eval_mode_is_trained_in_training_mode(tiny_model, tiny_data, trainer):
    """`zoo.load` gives it so, and Lightning would leave it so: batch norm would learn nothing."""
    tiny_model.eval()
    trainer(max_epochs=1).fit(tiny_model, tiny_data)
    assert tiny_model.training and tiny_model.network.block1.bn1.num_batches_tracked == len(tiny_data)


def test_a_part_in_eval_mode_stays_so(tiny_model, tiny_data, trainer):
    tiny_model.network.block1.eval()
    trainer(max_epochs=1).fit(tiny_model, tiny_data)
    assert tiny_model.network.block1.bn1.num_batches_tracked == 0
    assert tiny_model.network.block2.bn1.num_batches_tracked == len(tiny_data)


def test_a_sample_that_is_not_a_number_shows_in_the_loss_of_an_evaluation():
    scores, logits = Scores(10, torch.device("cpu")), torch.randn(4, 10)
    scores.update(logits, torch.arange(4))
    scores.update(logits.index_fill(0, torch.tensor(1), float("nan")), torch.arange(4))
    assert scores.compute()["loss"].isnan()
