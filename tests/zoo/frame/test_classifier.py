"""Classifier: which networks and optimizers it takes, how it is set up, and what it refuses."""

import functools

import lightning as L
import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader

from tests.zoo.frame.linear import Linear, collate, linear, loader
from zoo import Classifier, ResNet
from zoo.frame.checks import check_targets, classes_of, validate_choice
from zoo.frame.exact_resume import ExactResume
from zoo.frame.fast import is_compiled
from zoo.frame.graceful_stop import GracefulStop

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
    run = trainer(max_epochs=1, callbacks=[L.Callback(), mine])
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
        (torch.tensor([[0], [1]]), r"targets must be classes \(N,\), int64, .* got torch.int64 \(2, 1\)"),
        (torch.tensor([0, 1], dtype=torch.int32), r"targets must be classes .* got torch.int32 \(2,\)"),
        (torch.full((2, 4), 0.25), r"soft targets must be \(N, 10\), got \(2, 4\)"),
        (torch.tensor([0.0, 1.0]), r"soft targets must be \(N, 10\), got \(2,\)"),
    ],
    ids=["too high", "negative", "column", "int32", "other K", "float indices"],
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
