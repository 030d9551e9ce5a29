"""Specialists: the dustbin, the correction for oversampling, and the combined prediction of several."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import CosineDecay, KnowledgeDistillation, LabelSmoothing, Specialist
from callbacks.distillation.knowledge import soft_loss
from callbacks.distillation.specialist import clusters, specialist_loss
from callbacks.frame.committee import Committee, combine, group, minimise, split
from datamodules import Digits
from tests.callbacks.conftest import SeenSteps
from tests.conftest import tiny_classifier
from zoo import Classifier

S, REST = torch.tensor([1, 3]), torch.tensor([0, 2, 4])


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6).eval()


# ---- one specialist


def test_the_dustbin_has_what_the_others_have_together():
    torch.manual_seed(0)
    z = torch.randn(4, 5)
    q, grouped = z.softmax(1), group(z, S, REST).softmax(1)
    torch.testing.assert_close(grouped, torch.stack([q[:, 1], q[:, 3], q[:, [0, 2, 4]].sum(1)], 1))


def test_loss_by_hand():
    z = torch.zeros(2, 5)  # grouped: 1/5, 1/5, 3/5
    y = torch.tensor([3, 2])
    plain = specialist_loss(z, y, S, REST, frequency=0.4, fraction=0.4)  # nothing is counted more often
    assert plain.item() == pytest.approx((math.log(5) + math.log(5 / 3)) / 2)
    r = (0.8 / 0.2) / (0.4 / 0.6)  # 6: the dustbin counts 3/6 beside 1 and 1
    by_hand = (2 * math.log(2.5) + (0.2 / 0.6) * math.log(2.5 / 0.5)) / 2
    assert r == pytest.approx(6)
    assert specialist_loss(z, y, S, REST, frequency=0.4, fraction=0.8).item() == pytest.approx(by_hand, rel=1e-5)


def test_soft_targets_and_indices_agree():
    torch.manual_seed(0)
    z, y = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    soft = F.one_hot(y, 5).float()
    torch.testing.assert_close(specialist_loss(z, y, S, REST, 0.3, 0.5), specialist_loss(z, soft, S, REST, 0.3, 0.5))
    mixed = 0.25 * soft + 0.75 * soft.flip(0)
    both = specialist_loss(z, mixed, S, REST, 0.3, 0.5)
    torch.testing.assert_close(
        both,
        0.25 * specialist_loss(z, y, S, REST, 0.3, 0.5) + 0.75 * specialist_loss(z, y.flip(0), S, REST, 0.3, 0.5),
    )


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_calibrated_network_has_nothing_to_learn(fraction):
    """If the classes follow the network's probabilities, the gradient is 0 for any fraction of the special classes."""
    torch.manual_seed(0)
    z = torch.randn(1, 5, dtype=torch.float64).requires_grad_()
    q = z.detach().softmax(1)
    frequency = q[0, S].sum().item()
    loss = sum(q[0, k] * specialist_loss(z, torch.tensor([k]), S, REST, frequency, fraction).double() for k in range(5))
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.abs().max() < 1e-6
    (gradient,) = torch.autograd.grad(specialist_loss(z, torch.tensor([1]), S, REST, frequency, fraction), z)
    assert gradient.abs().max() > 0.01


def test_adds_the_generalists_word_about_the_rest(tiny_model, tiny_data, trainer, teacher):
    steps = SeenSteps()
    trick = Specialist(teacher, (7, 2), weight=0.3, T=2.0, fraction=0.6)
    trainer(callbacks=[trick, steps], max_epochs=1).fit(tiny_model, tiny_data)
    special, rest = split((7, 2), 10)
    assert special.tolist() == [2, 7] and rest.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    for step in steps.steps:
        v = teacher(step.images)
        hard = specialist_loss(step.logits, step.targets, special, rest, 0.2, 0.6)  # as for equally frequent classes
        torch.testing.assert_close(step.loss, hard + 0.3 * soft_loss(step.logits[:, rest], v[:, rest], 2.0))


def test_frequencies_are_those_of_the_data(tiny_model, trainer, teacher):
    data, trick = Digits(16, val_split=100), Specialist(teacher, (0, 8))
    trainer(callbacks=[trick], max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(tiny_model, data)
    counts = data.class_counts
    assert trick._frequency == pytest.approx(((counts[0] + counts[8]) / counts.sum()).item())
    assert trick._frequency != 0.2
    data = Digits(16, val_split=100, sampling="over")
    trainer(callbacks=[trick], max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(tiny_model, data)
    assert trick._frequency == pytest.approx(0.2)


@pytest.mark.parametrize("classes", [(), (10,), (-1, 2), tuple(range(10))])
def test_refuses_classes_that_make_no_specialist(tiny_model, tiny_data, trainer, teacher, classes):
    with pytest.raises(ValueError, match="needs some of the classes 0 to 9, and not all"):
        trainer(callbacks=[Specialist(teacher, classes)]).fit(tiny_model, tiny_data)


@pytest.mark.parametrize("arguments", [{"weight": -1}, {"T": 0}, {"fraction": 0}, {"fraction": 1.0}])
def test_refuses_wrong_arguments(teacher, arguments):
    with pytest.raises(ValueError, match="must be in"):
        Specialist(teacher, (1,), **arguments)


def test_refuses_what_it_would_wipe_out(tiny_model, tiny_data, trainer, teacher):
    specialist = Specialist(teacher, (1,))
    with pytest.raises(ValueError, match="list it before KnowledgeDistillation"):
        trainer(callbacks=[KnowledgeDistillation(teacher), specialist]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="both replace the cross-entropy"):
        trainer(callbacks=[LabelSmoothing(), specialist]).fit(tiny_model, tiny_data)


# ---- several at test


class Says(nn.Module):
    """A network with fixed logits, one row per image; counts the images that it has seen."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.seen = logits, []

    def forward(self, images):
        self.seen.append(len(images))
        return self.logits[images[:, 0, 0, 0].long()]


def numbered(n):
    return torch.arange(n).float().view(n, 1, 1, 1)


def objective(z, log_p, opinions):
    """Return KL(p_g || q) + sum_m KL(p_m || q grouped) of one image, computed term by term."""
    log_q = z.log_softmax(0)
    total = (log_p.exp() * (log_p - log_q)).sum()
    for classes, p in opinions:
        rest = [k for k in range(len(z)) if k not in classes]
        grouped = torch.cat([log_q[list(classes)], log_q[rest].logsumexp(0, keepdim=True)])
        total = total + (p * (p.log() - grouped)).sum()
    return total


def test_nobody_asked_is_the_generalist_alone():
    torch.manual_seed(0)
    generalist = Says(torch.randn(4, 5))
    other = Says(torch.randn(4, 5))
    missed = [k for k in range(5) if k not in generalist.logits.argmax(1).tolist()]
    q = combine(generalist, [(other, missed)] if missed else [], numbered(4))
    torch.testing.assert_close(q, generalist.logits.softmax(1))
    assert other.seen == []


def test_a_specialist_of_one_mind_with_the_generalist_changes_nothing():
    torch.manual_seed(0)
    z = torch.randn(4, 5)
    torch.testing.assert_close(combine(Says(z), [(Says(z + 3), (1, 3)), (Says(z), (0,))], numbered(4)), z.softmax(1))


def test_is_the_minimum_that_an_optimiser_finds():
    torch.manual_seed(0)
    log_p = (2 * torch.randn(3, 6)).double().log_softmax(1)
    z1, z2 = (2 * torch.randn(3, 6)).double(), (2 * torch.randn(3, 6)).double()
    parts = [split((0, 2), 6), split((2, 3, 5), 6)]
    p1, p2 = (group(z, *part).softmax(1) for z, part in zip((z1, z2), parts, strict=True))
    rows = torch.tensor([0, 1])
    q = minimise(log_p, [(torch.arange(3), *parts[0], p1), (rows, *parts[1], p2[rows])], steps=3000)
    for n in range(3):
        opinions = [((0, 2), p1[n])] + ([((2, 3, 5), p2[n])] if n < 2 else [])
        z = log_p[n].clone().requires_grad_()
        optimizer = torch.optim.LBFGS([z], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()  # noqa: B023
            loss = objective(z, log_p[n], opinions)  # noqa: B023
            loss.backward()
            return loss

        optimizer.step(closure)
        torch.testing.assert_close(q[n], z.detach().softmax(0), rtol=1e-4, atol=1e-6)


def test_each_step_goes_down_and_a_hundred_are_enough():
    torch.manual_seed(0)
    log_p = (3 * torch.randn(1, 8)).log_softmax(1)
    part = split((1, 4), 8)
    p = group(3 * torch.randn(1, 8), *part).softmax(1)
    said = [(torch.tensor([0]), *part, p)] * 3
    values = [objective(minimise(log_p, said, n)[0].log(), log_p[0], [((1, 4), p[0])] * 3).item() for n in range(40)]
    assert all(after <= before + 1e-5 for before, after in zip(values, values[1:], strict=False))
    near, far = (minimise(log_p, said, n) for n in (100, 5000))
    assert (near - far).abs().max() < 0.01


def test_asks_about_the_first_guesses_only_and_settles_what_the_generalist_confuses():
    z = torch.tensor([[2.0, 2.0, 0, 0], [0, 0.1, 3.0, 0], [1.5, 2.0, 0, 0]])  # 0 or 1, 2, 1 or 0
    knows = Says(torch.tensor([[4.0, 0, 0, 0], [9.0, 9, 0, 0], [4.0, 0, 0, 0]]))
    q = combine(Says(z), [(knows, (0, 1))], numbered(3))
    assert knows.seen == [2] and q.argmax(1).tolist() == [0, 2, 0]
    torch.testing.assert_close(q.sum(1), torch.ones(3))
    torch.testing.assert_close(q[1], z[1].softmax(0))
    knows.seen.clear()
    combine(Says(z), [(knows, (0, 1))], numbered(3), n=2)
    assert knows.seen == [3]  # of the second image, class 0 or 1 is the second guess


def test_a_committee_is_tested_as_any_network(tiny_data, trainer):
    torch.manual_seed(5)
    generalist, *networks = (tiny_classifier() for _ in range(3))
    specialists = [(network, classes) for network, classes in zip(networks, ((7, 2), (0, 1, 3)), strict=True)]
    committee = Classifier(Committee(generalist, specialists, n=2))
    scores = trainer().test(committee, tiny_data, verbose=False)[0]
    images, targets = (torch.cat(part) for part in zip(*tiny_data, strict=True))
    q = combine(generalist.eval(), [(network.eval(), classes) for network, classes in specialists], images, n=2)
    torch.testing.assert_close(committee.eval()(images).softmax(1), q)
    assert scores["test/acc"] == pytest.approx((q.argmax(1) == targets).float().mean().item())
    assert scores["test/loss"] == pytest.approx(F.nll_loss(q.log(), targets).item(), rel=1e-4)
    assert committee.num_classes == 10


# ---- groups of classes


def test_clusters_are_the_classes_that_are_predicted_together():
    torch.manual_seed(0)
    groups = [(0, 3), (1, 4, 5), (2, 6)]
    z = torch.full((300, 7), -4.0)
    for i in range(300):
        z[i, list(groups[i % 3])] = torch.rand(len(groups[i % 3]))
    found = clusters(z.softmax(1), 3)
    assert sorted(found) == groups
    assert sorted(k for part in clusters(torch.rand(20, 7).softmax(1), 4) for k in part) == list(range(7))


@pytest.mark.slow
def test_specialists_of_digits(trainer):
    """Specialists trained from a poor generalist are together better than it."""
    data = Digits(64)
    torch.manual_seed(0)
    generalist = tiny_classifier(width=4)
    trainer(max_epochs=1, callbacks=[CosineDecay()]).fit(generalist, data)
    data.setup("test")
    images, targets = (torch.cat(part) for part in zip(*data.test_dataloader(), strict=True))
    images, _ = data.on_after_batch_transfer([images, targets], 0)
    with torch.no_grad():
        before = generalist.eval()(images).softmax(1)
    specialists = []
    for classes in [c for c in clusters(before, 3) if 1 < len(c) < 10]:
        network = tiny_classifier(width=4)
        network.load_state_dict(generalist.state_dict())
        trick = Specialist(generalist, classes)
        trainer(max_epochs=3, callbacks=[CosineDecay(), trick]).fit(network, data)
        specialists.append((network.eval(), classes))
    after = combine(generalist.eval(), specialists, images)
    assert specialists and (after.argmax(1) == targets).float().mean() > (before.argmax(1) == targets).float().mean()
