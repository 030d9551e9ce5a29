"""Splitting parameter groups: torch's schedulers and resumes work as without a split."""

import lightning as L
import pytest
import torch
from torch.optim import lr_scheduler as S

from callbacks import NoBiasDecay
from callbacks.frame.groups import regroup
from tests.callbacks.conftest import At, Foreign, SeenRates

SCHEDULERS = {
    "none": None,
    "cosine": lambda o: S.CosineAnnealingLR(o, 6),
    "lambda": lambda o: S.LambdaLR(o, [lambda i: 1 / (i + 1), lambda i: 0.5**i]),
    "multiplicative": lambda o: S.MultiplicativeLR(o, [lambda i: 0.9, lambda i: 0.8]),
    "sequential": lambda o: S.SequentialLR(o, [S.LinearLR(o, 0.1, total_iters=2), S.CosineAnnealingLR(o, 4)], [2]),
    "chained": lambda o: S.ChainedScheduler([S.ConstantLR(o, 0.5, 2), S.ExponentialLR(o, 0.9)]),
    "onecycle": lambda o: S.OneCycleLR(o, max_lr=[0.1, 0.02], total_steps=7),
    "cyclic": lambda o: S.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], step_size_up=2),
    "plateau": lambda o: S.ReduceLROnPlateau(o, patience=0, min_lr=[0.02, 0.001]),
}


class Scheduled(Foreign):
    """A module with two groups of different rates, and a scheduler that steps with the optimizer."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def configure_optimizers(self):
        blocks = [*self.network.block1.parameters(), *self.network.block2.parameters()]
        groups = [{"params": blocks, "lr": 0.1}, {"params": self.network.head.parameters(), "lr": 0.02}]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
        if self.kind == "none":
            return optimizer
        scheduler = {"scheduler": SCHEDULERS[self.kind](optimizer), "interval": "step"}
        if self.kind == "plateau":
            scheduler |= {"monitor": "always"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def training_step(self, batch, batch_idx):
        self.log("always", torch.tensor(1.0))
        return super().training_step(batch, batch_idx)


def rates(trainer, data, kind, *tricks, **fit):
    seen = SeenRates()
    trainer(callbacks=[*tricks, seen]).fit(Scheduled(kind), data, **fit)
    return seen.rates


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_rates_are_those_of_the_group_that_was_split(trainer, tiny_data, kind):
    alone = rates(trainer, tiny_data, kind)
    split = rates(trainer, tiny_data, kind, NoBiasDecay())
    assert split == [[a, a, b, b] for a, b in alone]
    assert len(alone) == 6


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_resume_follows(trainer, tiny_data, tmp_path, kind):
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "file.ckpt"))
    straight = rates(trainer, tiny_data, kind, NoBiasDecay(), save)
    resumed = rates(trainer, tiny_data, kind, NoBiasDecay(), ckpt_path=tmp_path / "file.ckpt")
    assert resumed == straight[3:]


def test_splits_may_follow_one_another(trainer, tiny_data):
    class Each(L.Callback):
        def on_fit_start(self, trainer, model):
            regroup(trainer, lambda group: [{**group, "params": [p]} for p in group["params"]])

    alone = rates(trainer, tiny_data, "sequential")
    split = rates(trainer, tiny_data, "sequential", NoBiasDecay(), Each())
    assert split == [[a] * 10 + [b] * 2 for a, b in alone]  # one group a parameter


def test_no_parameter_is_lost_or_doubled(trainer, tiny_data):
    model = Scheduled("none")
    run = trainer(callbacks=[NoBiasDecay()])
    run.fit(model, tiny_data)
    there = [id(p) for group in run.optimizers[0].param_groups for p in group["params"]]
    assert sorted(there) == sorted(id(p) for p in model.parameters())
