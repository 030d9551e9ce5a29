"""OverfitSamples: a working network, one that ignores its images, a run that does not change, and resumed runs."""

import pytest
import torch
from torch import nn

from callbacks import InitialLoss, OverfitSamples
from tests.callbacks.conftest import assert_equal, weights
from tests.callbacks.diagnostics.fits import found
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier


@pytest.mark.parametrize("make", [InitialLoss, OverfitSamples])
def test_the_first_batch_of_a_resume_is_none(make, tiny_data, trainer, tmp_path):
    """Any module that calls `on_loss`, also one without the flag `untrained`."""

    class Other(Classifier):
        untrained = property(lambda self: True, lambda self, value: None)

    model = Other(TinyNetwork())
    run = trainer(callbacks=[make()], max_epochs=1)
    run.fit(model, tiny_data)
    run.save_checkpoint(tmp_path / "first.ckpt")
    trick = make()
    trainer(callbacks=[trick]).fit(model, tiny_data, ckpt_path=tmp_path / "first.ckpt", weights_only=True)
    assert trick.findings == ()


def test_a_sound_network_memorises_and_the_run_is_not_touched(tiny_data, trainer):
    trick, model, plain = OverfitSamples(samples=4, steps=60, lr=0.01), tiny_classifier(), tiny_classifier()
    plain.load_state_dict(model.state_dict())
    (finding,) = found(trick, trainer, tiny_data, model)
    assert finding.well and "the network memorised 4 images" in finding.text
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
    assert not finding.well and "could not memorise" in finding.text


class Blind(nn.Module):
    def forward(self, x):
        return x * 0
