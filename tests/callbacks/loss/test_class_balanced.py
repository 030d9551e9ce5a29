"""Class-balanced loss: weights by hand and against the data modules', the mean, the counts, refusals."""

import pytest
import torch
import torch.nn.functional as F

from callbacks import ClassBalanced
from callbacks.loss.class_balanced import effective_weights
from datamodules import Digits
from datamodules.frame.sampling import class_weights
from tests.callbacks.conftest import SeenSteps
from tests.conftest import tiny_classifier


def test_weights_by_hand():
    # E = 1, 1.5, 1.75 at beta = 1/2: rarities 1, 2/3, 4/7
    rarity = torch.tensor([1, 2 / 3, 4 / 7])
    torch.testing.assert_close(effective_weights(torch.tensor([1, 2, 3]), 0.5), rarity * 3 / rarity.sum())


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.9999])
def test_same_weights_as_the_data_modules(beta):
    n = torch.tensor([5000, 900, 12, 1])
    theirs = class_weights(n, "effective", beta, tuple("abcd"))
    assert torch.equal(effective_weights(n, beta), theirs)
    assert theirs.sum().item() == pytest.approx(4)


def test_limits():
    n = torch.tensor([100, 10, 1])
    torch.testing.assert_close(effective_weights(n, 0.0), torch.ones(3))
    inverse = 1 / n.double()
    expected = (inverse * 3 / inverse.sum()).float()
    torch.testing.assert_close(effective_weights(n, 1 - 1e-9), expected, rtol=1e-5, atol=0)


def built(counts, beta=0.9):
    trick = ClassBalanced(beta, counts)
    trick._weights = effective_weights(torch.tensor(counts), beta)
    return trick


def test_the_mean_is_over_images():
    """torch divides by the sum of weights for hard targets: then the weight of a batch of one class would cancel."""
    torch.manual_seed(0)
    z, hard = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 2, 2])
    trick = built((100, 10, 1))
    each = F.cross_entropy(z, hard, reduction="none") * trick._weights[hard]
    torch.testing.assert_close(trick.loss(z, hard), each.mean())
    torch.testing.assert_close(trick.loss(z, F.one_hot(hard).float()), each.mean())


def test_counts_of_the_data_module_reach_the_run(trainer):
    data = Digits(32, val_split=0.2)
    steps = SeenSteps()
    run = trainer(callbacks=[ClassBalanced(0.99), steps], max_epochs=1, limit_train_batches=2, limit_val_batches=0)
    run.fit(tiny_classifier(), data)
    weights = data.class_weights("effective", 0.99)
    assert weights.std() > 0
    for step in steps.steps:
        each = F.cross_entropy(step.logits, step.targets, reduction="none") * weights[step.targets]
        torch.testing.assert_close(step.loss, each.mean())


def test_refusals(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\)"):
        ClassBalanced(1)
    with pytest.raises(ValueError, match="beta must be in"):
        ClassBalanced(-0.1)
    with pytest.raises(ValueError, match=r"ClassBalanced\(counts="):
        trainer(callbacks=[ClassBalanced()]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="class 1 has no training images"):
        trainer(callbacks=[ClassBalanced(counts=(3, 0, *(1,) * 8))]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="counts has 3 numbers, and there are 10 classes"):
        trainer(callbacks=[ClassBalanced(counts=(3, 2, 1))]).fit(tiny_model, tiny_data)
    data = Digits(32, sampling="over")
    with pytest.raises(ValueError, match='sampling="over" has made the classes equal already'):
        trainer(callbacks=[ClassBalanced()]).fit(tiny_model, data)
