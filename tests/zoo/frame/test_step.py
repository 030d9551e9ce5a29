"""A step of training: what loss tricks see and change, auxiliary heads, refilled batches."""

from collections import namedtuple

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from tests.zoo.frame.linear import linear, loader, metrics_of
from zoo import Classifier, LossTrick, Step
from zoo.frame.outputs import split_outputs


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


def test_step_starts_without_extras():
    one, other = (Step(None, None, torch.zeros(1, 2), None) for _ in range(2))
    one.extras["aux"] = []
    assert other.extras == {}
    assert other.over_heads(torch.sum) == 0
