"""GradientFlow: missing, small and large gradients, and blocks that start at 0."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn

from callbacks import GradientFlow, UpdateRatio, ZeroGamma
from callbacks.diagnostics.gradient_flow import join_names
from tests.callbacks.diagnostics.fits import batches, found
from tests.conftest import tiny_classifier


def test_a_layer_beside_the_way_to_the_loss(tiny_data, trainer):
    model = tiny_classifier()
    model.network.forgotten = nn.Linear(3, 3)
    finding = found(GradientFlow(), trainer, tiny_data, model)[0]
    assert not finding.well and "network.forgotten.weight, network.forgotten.bias" in finding.text


def test_gradients_out_of_range(tiny_data, trainer):
    texts = [f.text for f in found(GradientFlow(low=0.0, high=1e-5), trainer, tiny_data)]
    assert len(texts) == 2 and all("gradients are above 1e-05 in" in text and "more" in text for text in texts)
    texts = [f.text for f in found(GradientFlow(low=1e3, high=1e4), trainer, tiny_data)]
    assert len(texts) == 2 and "at step 4 gradients are below 1000 in" in texts[1]  # the first of the second epoch
    assert all(f.well for f in found(GradientFlow(low=0.0, high=1e6), trainer, tiny_data))


def test_blocks_that_start_at_zero_are_not_taken_for_vanishing_gradients(tiny_data, trainer):
    trick, other = GradientFlow(), UpdateRatio(every=3)
    trainer(callbacks=[ZeroGamma(), trick, other], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert [f.well for f in (*trick.findings, *other.findings)] == [True, True]


def test_gradients_are_looked_at_once_more_when_what_started_at_zero_has_left_it(trainer, tiny_data):
    trick = GradientFlow(low=1e3, high=1e4)
    trainer(callbacks=[trick], max_epochs=1).fit(tiny_classifier(), batches(*next(iter(tiny_data)), 25))
    assert [f.well for f in trick.findings] == [True, False] and "at step 21" in trick.findings[1].text


@pytest.mark.parametrize(("count", "text"), [(1, "a"), (5, "a, b, c, d, e"), (7, "a, b, c, d, e and 2 more")])
def test_long_lists_of_names_are_cut(count, text):
    assert join_names(list("abcdefg")[:count]) == text


def test_refuses_a_fused_optimizer_that_takes_the_scale_off_itself(tiny_data, trainer):
    half = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    model = tiny_classifier(optimizer="adamw", optimizer_options={"fused": True})
    with pytest.raises(TypeError, match="GradientFlow needs gradients without the scale.*set fused=False"):
        trainer(callbacks=[GradientFlow()], plugins=[half]).fit(model, tiny_data)
