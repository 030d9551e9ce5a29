"""L-BFGS: a convex case against scipy, what it refuses, and a resume."""

import lightning as L
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import nn
from torch.utils.data import DataLoader

from callbacks import AccumulationSchedule, LayerDecay
from tests.conftest import collate, tiny_classifier
from zoo import Classifier
from zoo.frame.lbfgs import LBFGS

K, SIDE = 3, 2


def problem():
    """Labels that no linear network separates, so that the minimum is finite: images (60, 3, 2, 2) and classes."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(60, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, K, (60,), generator=generator)


def minimum() -> float:
    images, targets = problem()
    x, y = np.hstack([images.flatten(1).numpy(), np.ones((60, 1))]), targets.numpy()

    def loss(weights):
        z = x @ weights.reshape(-1, K)
        p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
        value = np.mean(logsumexp(z, axis=1) - z[np.arange(60), y])
        p[np.arange(60), y] -= 1
        return value, (x.T @ p / 60).ravel()

    found = minimize(loss, np.zeros(x.shape[1] * K), jac=True, method="BFGS", options={"gtol": 1e-10})
    return float(found.fun)


def linear(**training) -> Classifier:
    torch.manual_seed(1)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, K)), K, weight_decay=0.0, **training)


def loss_of(model: Classifier) -> float:
    images, targets = problem()
    with torch.no_grad():
        return nn.functional.cross_entropy(model(images), targets).item()


def whole_batch() -> DataLoader:
    return DataLoader(list(zip(*problem(), strict=True)), batch_size=60, collate_fn=collate)


def test_the_minimum_of_a_convex_loss_is_scipys(trainer):
    model, sgd = linear(optimizer="lbfgs", lr=1.0), linear(optimizer="sgd", lr=1.0)
    for each in (model, sgd):
        trainer(max_epochs=4, precision="64-true").fit(each, whole_batch())
    assert loss_of(model) == pytest.approx(minimum(), abs=1e-9)
    assert loss_of(sgd) > minimum() + 1e-3  # four steps of another optimizer are not enough


def test_defaults_are_torchs_with_a_line_search():
    optimizer = linear(optimizer="lbfgs", lr=0.5, optimizer_options={"history_size": 7}).configure_optimizers()
    assert isinstance(optimizer, LBFGS)
    (group,) = optimizer.param_groups
    plain = torch.optim.LBFGS([nn.Parameter(torch.zeros(1))]).defaults
    assert {**plain, "lr": 0.5, "line_search_fn": "strong_wolfe", "history_size": 7}.items() <= group.items()


def test_a_weight_decay_is_refused():
    model = tiny_classifier(optimizer="lbfgs", weight_decay=1e-4)
    with pytest.raises(ValueError, match="L-BFGS has no weight decay, got 0.0001: give weight_decay=0"):
        model.configure_optimizers()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate_grad_batches": 2}, "accumulates gradients"),
        ({"callbacks": [AccumulationSchedule((1,), (2,))]}, "accumulates gradients"),
        ({"gradient_clip_val": 1.0}, "clips gradients: leave out gradient_clip_val"),
        ({"callbacks": [LayerDecay(0.5)]}, "several parameter groups"),
    ],
)
def test_what_it_cannot_do_is_refused(tiny_data, trainer, options, words):
    with pytest.raises(ValueError, match=words):
        trainer(**options).fit(tiny_classifier(optimizer="lbfgs", weight_decay=0.0), tiny_data)


def test_scaled_losses_are_refused(tiny_data, trainer, monkeypatch):
    """On a processor, Lightning has no 16-mixed: the word alone."""
    monkeypatch.setattr(L.Trainer, "precision", "16-mixed")
    with pytest.raises(ValueError, match="trains in 16-mixed: take precision='32-true'"):
        trainer().fit(tiny_classifier(optimizer="lbfgs", weight_decay=0.0), tiny_data)


def test_others_are_not_asked(tiny_data, trainer):
    trainer(accumulate_grad_batches=2, max_epochs=1).fit(tiny_classifier(), tiny_data)


def test_a_resumed_run_ends_with_the_same_bits(trainer, tmp_path):
    whole = linear(optimizer="lbfgs", lr=1.0, optimizer_options={"max_iter": 2})
    run = trainer(max_epochs=2)
    run.fit(whole.float(), single())
    run.save_checkpoint(tmp_path / "half.ckpt")
    trainer(max_epochs=4).fit(again := linear(**arguments()).float(), single(), ckpt_path=tmp_path / "half.ckpt")
    straight = linear(**arguments()).float()
    trainer(max_epochs=4).fit(straight, single())
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), straight.parameters(), strict=True))
    assert loss_of(straight.double()) < loss_of(whole.double())


def arguments():
    return {"optimizer": "lbfgs", "lr": 1.0, "optimizer_options": {"max_iter": 2}}


def single() -> DataLoader:
    images, targets = problem()
    return DataLoader(list(zip(images.float(), targets, strict=True)), batch_size=60, collate_fn=collate)
