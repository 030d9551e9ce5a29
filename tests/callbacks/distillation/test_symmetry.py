"""SymmetryAttention: the term by hand, a symmetric network, other tricks beside it, and a network left unchanged."""

import functools

import pytest
import torch
import torch.nn.functional as F

from callbacks import AttentionTransfer, SymmetryAttention
from tests.callbacks.conftest import At, SeenSteps, hooks
from tests.callbacks.distillation.input_gradients import by_hand, one_step, start
from tests.conftest import TinyNetwork, TinyTransformer, tiny_classifier
from zoo import Classifier
from zoo.frame.fast import is_compiled


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6)


def test_symmetry_adds_the_distance_to_the_mirror_image(tiny_data, trainer):
    step = one_step(trainer, start(), tiny_data, SymmetryAttention(beta=3.0))
    student = start()
    student.network.dropout.p = 0.0
    x = step.images
    J, mirrored = by_hand(student.network, x, step.targets), by_hand(student.network, x.flip(3), step.targets).flip(3)
    expected = F.cross_entropy(step.logits, step.targets) + 3 * (J - mirrored).flatten(1).square().sum(1).mean() / 2
    torch.testing.assert_close(step.loss, expected)


class Even(TinyNetwork):
    """A network with equal outputs for an image and its mirror image."""

    def forward(self, x):
        return super().forward(x + x.flip(3))


def test_nothing_to_add_to_a_symmetric_network(tiny_data, trainer):
    torch.manual_seed(0)
    model = Classifier(Even(), stages={"stage1": "block1"})
    step = one_step(trainer, model, tiny_data, SymmetryAttention(beta=100.0))
    torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets), rtol=1e-4, atol=1e-5)


def test_the_second_pass_does_not_reach_other_tricks(tiny_data, trainer, teacher):
    """Attention transfer, listed after symmetry, reads the features of the images, not of their mirror images."""
    losses = []
    for tricks in ([SymmetryAttention(1e-9), AttentionTransfer(teacher)], [AttentionTransfer(teacher)]):
        steps, model = SeenSteps(), start()
        model.network.dropout.p = 0.0
        run = trainer(callbacks=[*tricks, steps], max_epochs=1, limit_train_batches=1)
        run.fit(model, tiny_data)
        losses.append(steps.steps[0].loss)
    torch.testing.assert_close(*losses)


def test_attention_layers_can_be_differentiated_twice(tiny_data, trainer):
    torch.manual_seed(0)
    model = tiny_classifier(network=TinyTransformer)
    enabled = []
    look = At("on_validation_start", lambda *_: enabled.append(torch.backends.cuda.flash_sdp_enabled()))
    run = trainer(callbacks=[SymmetryAttention(), look], max_epochs=1)
    run.fit(model, tiny_data, tiny_data)
    assert all(p.isfinite().all() for p in model.parameters()) and all(enabled)


def test_a_compiled_network_is_run_as_it_is_written_and_compiled_again_after(tiny_data, trainer, monkeypatch):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(Classifier, "compile", functools.partialmethod(Classifier.compile, backend=count))
    model = start(tiny_classifier(compile=True))
    trainer(callbacks=[SymmetryAttention()], max_epochs=1).fit(model, tiny_data)
    assert graphs == [] and is_compiled(model)
    trainer(max_epochs=1).fit(model, tiny_data)
    assert graphs


def test_hooks_and_kernels_go_with_a_fit_that_failed(tiny_model, tiny_data, trainer):
    class Fail(SeenSteps):
        def on_loss(self, model, step):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[SymmetryAttention(), Fail()]).fit(tiny_model, tiny_data)
    assert hooks(tiny_model) == 0 and torch.backends.cuda.flash_sdp_enabled()
