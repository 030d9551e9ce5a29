"""Tricks that change the network: checkpoints, copies, averages and resumed runs hold the changed network."""

import copy

import pytest
import torch
from torch import nn

import zoo
from callbacks import ADCM, EMA, Activation, DilatedConvolutions, Maxout, Norm
from tests.callbacks.conftest import At, assert_equal, weights
from tests.conftest import tiny_classifier
from tests.zoo.test_every_model import loader
from zoo import ResNet
from zoo.frame import surgery

TRICKS = {
    "ADCM": lambda: ADCM(),
    "Activation": lambda: Activation("prelu"),
    "DilatedConvolutions": lambda: DilatedConvolutions(),
    "Maxout": lambda: Maxout(where=("conv1", "layer2.0.conv1")),
    "Norm": lambda: Norm("group"),
}
every = pytest.mark.parametrize("name", TRICKS)


def resnet() -> ResNet:
    torch.manual_seed(0)
    return ResNet("20", num_classes=10, image_size=8, lr=0.01)


def data():
    return loader("ResNet")


@every
def test_a_checkpoint_loads_as_the_changed_network(name, trainer, tmp_path):
    model, run, file = resnet(), trainer(callbacks=[TRICKS[name](), EMA(0.5)], max_epochs=1), tmp_path / "model.ckpt"
    run.fit(model, data())
    run.save_checkpoint(file)
    torch.load(file, weights_only=True)
    images = torch.randn(2, 3, 8, 8)
    expected = model.eval()(images)
    for loaded in (zoo.load(file), ResNet.load_from_checkpoint(file).eval()):
        assert [type(m) for m in loaded.modules()] == [type(m) for m in model.modules()]
        assert torch.equal(loaded(images), expected)
        assert loaded.surgery == model.surgery and not loaded.untrained
    average = zoo.load(file, average="EMA(0.5)")
    assert average.state_dict().keys() == model.state_dict().keys()
    assert not torch.equal(average(images), expected)


@every
def test_a_resumed_run_ends_with_the_same_bits_with_or_without_the_trick_listed(name, trainer, tmp_path):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(file))
    straight = resnet()
    trainer(callbacks=[TRICKS[name](), save]).fit(straight, data())
    for tricks in ([TRICKS[name]()], []):
        resumed = resnet()
        trainer(callbacks=tricks).fit(resumed, data(), ckpt_path=file, weights_only=True)
        assert_equal(weights(resumed), weights(straight))


@every
def test_evaluates_a_file_without_the_trick(name, trainer, tmp_path):
    model, run, file = resnet(), trainer(callbacks=[TRICKS[name]()], max_epochs=1), tmp_path / "model.ckpt"
    run.fit(model, data())
    run.save_checkpoint(file)
    scores = trainer().validate(model, data(), verbose=False)
    assert trainer().validate(resnet(), data(), ckpt_path=file, verbose=False, weights_only=True) == scores


@every
def test_a_copy_is_the_changed_network(name, trainer):
    model = resnet()
    trainer(callbacks=[TRICKS[name]()], max_epochs=1).fit(model, data())
    copied = copy.deepcopy(model)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(copied.eval()(images), model.eval()(images)) and copied.surgery == model.surgery
    copied.surgery.append(None)
    assert None not in model.surgery


def test_several_are_done_again_in_their_order(trainer, tmp_path):
    model, run, file = (
        resnet(),
        trainer(callbacks=[Norm("layer"), Activation("silu")], max_epochs=1),
        tmp_path / "m.ckpt",
    )
    run.fit(model, data())
    run.save_checkpoint(file)
    assert zoo.load(file).surgery == [("Norm", {"kind": "layer"}), ("Activation", {"kind": "silu"})]


def test_another_network_is_refused(trainer, tmp_path):
    run, file = trainer(callbacks=[Activation("mish")], max_epochs=1), tmp_path / "model.ckpt"
    run.fit(resnet(), data())
    run.save_checkpoint(file)
    said = r"changed by Activation\(kind='mish'\), this one by Activation\(kind='gelu'\)"
    with pytest.raises(ValueError, match=said):
        trainer(callbacks=[Activation("gelu")]).fit(resnet(), data(), ckpt_path=file, weights_only=True)


def test_a_plain_file_is_refused_by_a_changed_network(trainer, tmp_path):
    run, file = trainer(max_epochs=1), tmp_path / "model.ckpt"
    run.fit(resnet(), data())
    run.save_checkpoint(file)
    with pytest.raises(ValueError, match="changed by nothing, this one by Activation"):
        trainer(callbacks=[Activation("gelu")]).fit(resnet(), data(), ckpt_path=file, weights_only=True)


def test_without_the_tricks_the_file_says_what_to_import(trainer, tmp_path, monkeypatch):
    run, file = trainer(callbacks=[Activation("mish")], max_epochs=1), tmp_path / "model.ckpt"
    run.fit(resnet(), data())
    run.save_checkpoint(file)
    monkeypatch.setattr(surgery, "OPERATIONS", {})
    with pytest.raises(ValueError, match="`import callbacks` before loading it"):
        zoo.load(file)


def test_is_done_once(trainer):
    """A second fit keeps the slopes that the first one has learned."""
    model = resnet()
    trick = Activation("prelu")
    trainer(callbacks=[trick], max_epochs=1).fit(model, data())
    slopes = [m for m in model.modules() if isinstance(m, nn.PReLU)]
    trainer(callbacks=[trick], max_epochs=1).fit(model, data())
    assert [m for m in model.modules() if isinstance(m, nn.PReLU)] == slopes
    assert model.surgery == [("Activation", {"kind": "prelu"})]


def test_evaluation_alone_changes_nothing(trainer, tiny_data):
    model = tiny_classifier()
    trainer(callbacks=[Activation(), Norm()]).validate(model, tiny_data, verbose=False)
    assert model.surgery == [] and any(isinstance(m, nn.ReLU) for m in model.modules())
