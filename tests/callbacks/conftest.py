"""Shared by the tests of tricks: a foreign module, and callbacks that record steps, batches and rates."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks.frame.declaration import Declaring
from tests.conftest import TinyNetwork
from zoo.frame.outputs import split_outputs


class Foreign(L.LightningModule):
    """A LightningModule of somebody else: batches are lists, it has its own `training_step`, nothing is ours."""

    def __init__(self, network=TinyNetwork):
        super().__init__()
        torch.manual_seed(0)
        self.network = network()

    def forward(self, x):
        return self.network(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(split_outputs(self.network(batch[0]))[0], batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("loss", F.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


class SeenSteps(Declaring):
    """Record the `Step` of every training batch, after the callbacks listed before this one."""

    looks_only = True  # it may stand anywhere

    def __init__(self):
        self.steps = []

    def on_loss(self, model, step):
        self.steps.append(step)


class SeenBatches(L.Callback):
    """Record the batches that the network sees."""

    def __init__(self):
        self.train, self.val = [], []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.train.append(list(batch))

    def on_validation_batch_end(self, trainer, model, outputs, batch, batch_idx, dataloader_idx=0):
        self.val.append(list(batch))


class SeenRates(L.Callback):
    """Record the learning rates of each optimizer step: a list per step, a number per group."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


class At(L.Callback):
    """Call `look(trainer, model)` in one hook."""

    def __init__(self, hook, look):
        setattr(self, hook, lambda trainer, model, *_: look(trainer, model))


def hooks(network: nn.Module) -> int:
    """Return the number of forward hooks of a network."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Assert equal names and bit-identical values."""
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture
def images():
    """Six images, and their classes out of five."""
    torch.manual_seed(3)
    return torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
