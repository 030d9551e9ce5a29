"""R-Drop: the term by hand and against torch's KL, batch norm of doubled batches, the order of tricks, and in a run."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import LabelSmoothing, MixUp, RDrop
from callbacks.loss.r_drop import disagreement
from tests.callbacks.conftest import SeenSteps, weights
from tests.callbacks.dropout.sheets import CLASSICS, close
from tests.conftest import tiny_classifier


def test_by_hand():
    z = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])  # p1 = 1/4, 3/4; p2 = 1/2, 1/2
    kl = 0.25 * math.log(0.5) + 0.75 * math.log(1.5) + 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert disagreement(z).item() == pytest.approx(kl / 2, rel=1e-6)


def test_as_torch_has_it():
    torch.manual_seed(0)
    z = 3 * torch.randn(12, 5)
    one, two = z.log_softmax(1).chunk(2)
    both = [F.kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((one, two), (two, one))]
    torch.testing.assert_close(disagreement(z), sum(both) / 2)
    assert disagreement(torch.cat([z, z])) == 0
    torch.testing.assert_close(disagreement(torch.cat([two, one])), disagreement(z))


def without_dropout():
    torch.manual_seed(0)
    model = tiny_classifier()
    model.network.dropout = nn.Identity()
    return model


def test_a_network_that_draws_nothing_trains_as_without_it(tiny_data, trainer):
    """Batch norm's statistics and the loss are those of the single batch, up to the factor of the unbiased variance."""
    ends, metrics = [], []
    for tricks in ([], [RDrop(1.0)]):
        model = without_dropout()
        run = trainer(callbacks=tricks)
        run.fit(model, tiny_data)
        ends.append(weights(model))
        metrics.append({name: run.callback_metrics[name].item() for name in ("train/loss", "train/acc")})
    for name, value in ends[0].items():
        tolerance = 0.05 if name.endswith("running_var") else 1e-5
        torch.testing.assert_close(ends[1][name], value, rtol=tolerance, atol=1e-5)
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)


def test_reaches_the_run_beside_another_loss(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[MixUp(1.0), LabelSmoothing(0.2), RDrop(0.5), steps], max_epochs=1).fit(tiny_model, tiny_data)
    for step in steps.steps:
        images, y = step.images, step.targets
        assert len(images) == 8 and torch.equal(images[:4], images[4:]) and torch.equal(y[:4], y[4:])
        assert not torch.equal(step.logits[:4], step.logits[4:])  # dropout has drawn twice
        expected = F.cross_entropy(step.logits, y) + 0.5 * disagreement(step.logits)
        torch.testing.assert_close(step.loss, expected)


def test_brings_the_passes_together(tiny_data, trainer):
    ends = []
    for weight in (1e-9, 3.0):
        torch.manual_seed(0)
        model = tiny_classifier(lr=0.02)
        model.network.dropout.p = 0.5
        steps = SeenSteps()
        trainer(callbacks=[RDrop(weight), steps], max_epochs=5).fit(model, tiny_data)
        ends.append(sum(disagreement(step.logits).item() for step in steps.steps[-9:]))
    assert ends[1] < 0.6 * ends[0]


def test_must_stand_after_what_changes_images(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="list RDrop after MixUp"):
        trainer(callbacks=[RDrop(), MixUp()]).fit(tiny_model, tiny_data)


def test_refuses_a_wrong_weight():
    with pytest.raises(ValueError, match="weight must be"):
        RDrop(0)


def test_the_slow_loops_numbers():
    """The reference sums the two losses; ours is their mean (see Differs)."""
    sheet = CLASSICS["r_drop"]
    p = torch.tensor([sheet["P1"], sheet["P2"]], dtype=torch.float64)
    close(-p[:, sheet["label"]].log().sum(), sheet["nll_sum"])
    term = disagreement(p.log())
    close(term, sheet["symmetric_kl"])  # half of both
    close(sheet["nll_sum"] + sheet["alpha"] * term, sheet["total"])
