"""Knowledge distillation: the equation, its limits, and a teacher that does not change."""

import math

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import EMA, AttentionTransfer, KnowledgeDistillation, Linear, Steps
from callbacks.distillation.knowledge import soft_loss
from tests.callbacks.conftest import Foreign, SeenBatches, SeenSteps, assert_equal, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier, ResNet


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6).eval()


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)


# ---- the equation


def test_by_hand():
    T = 2.0
    v, z = torch.tensor([[T * math.log(3), 0.0]]), torch.zeros(1, 2)  # teacher 3/4, 1/4; student 1/2, 1/2
    by_hand = T**2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert soft_loss(z, v, T).item() == pytest.approx(by_hand, rel=1e-5)
    assert soft_loss(z.expand(3, 2), v.expand(3, 2), T).item() == pytest.approx(by_hand, rel=1e-5)  # mean, not sum


def test_nothing_to_learn_where_the_student_agrees(logits):
    z, v = logits
    soft_loss(z, z.detach() + 3.0, 4.0).backward()  # a constant on all logits changes no probability
    assert z.grad.abs().max() < 1e-6


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_gradient_is_that_of_the_cross_entropy_with_soft_targets(logits, T):
    z, v = logits
    (ours,) = torch.autograd.grad(soft_loss(z, v, T), z)
    (theirs,) = torch.autograd.grad(T**2 * F.cross_entropy(z / T, (v / T).softmax(1)), z)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours, T * ((z / T).softmax(1) - (v / T).softmax(1)) / 6)


@pytest.mark.parametrize("T", [300.0, 1000.0])
def test_gradient_at_high_temperature_is_the_difference_of_centred_logits(logits, T):
    z, v = (x.double() for x in logits)
    z = z.detach().requires_grad_()
    p, q = (v / T).softmax(1), (z / T).softmax(1)
    by_hand = T * (q - p) / 6
    limit = ((z - z.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))) / 5 / 6  # (z - v) / (K N): no T left
    torch.testing.assert_close(by_hand, limit, rtol=0, atol=10 / T**1)
    (gradient,) = torch.autograd.grad(soft_loss(z, v, T), z)
    torch.testing.assert_close(gradient.double(), limit, rtol=0.05, atol=0.002)


def test_half_precision_logits_are_taken_as_float(logits):
    z, v = (x.detach().bfloat16() for x in logits)
    assert soft_loss(z, v, 4.0).dtype == torch.float32
    torch.testing.assert_close(soft_loss(z, v, 4.0), soft_loss(z.float(), v.float(), 4.0))


# ---- in training


def test_mixes_into_whatever_the_loss_is(tiny_model, tiny_data, trainer, teacher):
    steps, batches = SeenSteps(), SeenBatches()
    trick = KnowledgeDistillation(teacher, T=3.0, weight=0.7)
    trainer(callbacks=[trick, steps, batches], max_epochs=1).fit(tiny_model, tiny_data)
    for step, (images, targets) in zip(steps.steps, batches.train, strict=True):
        soft = soft_loss(step.logits, teacher.eval()(images), 3.0)
        torch.testing.assert_close(step.loss, 0.3 * F.cross_entropy(step.logits, targets) + 0.7 * soft)


def test_follows_schedules(tiny_model, tiny_data, trainer, teacher):
    steps = SeenSteps()
    trick = KnowledgeDistillation(teacher, T=Linear(1, 5), weight=Steps(0.5, {"1ep": 1}))
    trainer(callbacks=[trick, steps], max_epochs=2).fit(tiny_model, tiny_data)
    for i, step in enumerate(steps.steps):
        soft = soft_loss(step.logits, teacher(step.images), 1 + 4 * i / 6)
        hard = F.cross_entropy(step.logits, step.targets)
        torch.testing.assert_close(step.loss, (hard + soft) / 2 if i < 3 else soft)


def test_a_head_for_the_teacher_learns_from_it_and_the_other_from_the_labels(tiny_data, trainer, teacher):
    class TwoHeads(TinyNetwork):
        def forward(self, x):
            z = super().forward(x)
            return (z, {"distilled": -2 * z}) if self.training else z

    steps = SeenSteps()
    trick = KnowledgeDistillation(teacher, T=3.0, weight=0.7)
    trainer(callbacks=[trick, steps], max_epochs=1).fit(Classifier(TwoHeads()), tiny_data)
    for step in steps.steps:
        soft = soft_loss(-2 * step.logits, teacher(step.images), 3.0)
        torch.testing.assert_close(step.loss, 0.3 * F.cross_entropy(step.logits, step.targets) + 0.7 * soft)


def test_teacher_stays_as_it_was_and_in_eval_mode(tiny_model, tiny_data, trainer, teacher):
    before = weights(teacher)
    modes = []
    teacher.network.block1.register_forward_hook(lambda *_: modes.append((teacher.training, torch.is_grad_enabled())))
    trainer(callbacks=[KnowledgeDistillation(teacher)]).fit(tiny_model, tiny_data, tiny_data)
    assert_equal(weights(teacher), before)  # running statistics too
    assert modes == [(False, False)] * 6  # once a training batch, never in validation
    assert all(p.grad is None for p in teacher.parameters())


def test_teacher_is_in_no_file_average_or_optimizer(tiny_data, trainer, teacher, tmp_path):
    sizes, alone = {}, None
    for tricks in ([], [KnowledgeDistillation(teacher), AttentionTransfer(teacher)]):
        torch.manual_seed(0)
        model, ema = tiny_classifier(), EMA()
        run = trainer(callbacks=[*tricks, ema])
        run.fit(model, tiny_data)
        run.save_checkpoint(tmp_path / "file.ckpt")
        sizes[len(tricks)] = (tmp_path / "file.ckpt").stat().st_size
        alone = alone or model.state_dict().keys()
        assert model.state_dict().keys() == ema.average.keys() == alone
        in_optimizer = {id(p) for group in run.optimizers[0].param_groups for p in group["params"]}
        assert in_optimizer == {id(p) for p in model.parameters()}
    assert abs(sizes[2] - sizes[0]) < 500  # bytes; the teacher has 1600 parameters


def test_any_network_can_teach(tiny_model, tiny_data, trainer):
    trainer(callbacks=[KnowledgeDistillation(TinyNetwork(4))]).fit(tiny_model, tiny_data)


def test_teacher_from_a_checkpoint(tiny_model, tiny_data, trainer, tmp_path):
    torch.manual_seed(0)
    trained = ResNet("20", num_classes=10)
    run = trainer(max_epochs=1)
    run.fit(trained, tiny_data)
    run.save_checkpoint(tmp_path / "teacher.ckpt")
    steps = SeenSteps()
    trick = KnowledgeDistillation(tmp_path / "teacher.ckpt", weight=1.0)
    trainer(callbacks=[trick, steps], max_epochs=1).fit(tiny_model, tiny_data)
    step = steps.steps[0]
    torch.testing.assert_close(step.loss, soft_loss(step.logits, trained.eval()(step.images), 4.0))


# ---- a normalisation of its own


class Normalised(L.LightningDataModule):
    mean, std = (0.5, 0.25, 0.0), (0.5, 2.0, 1.0)

    def __init__(self, loader):
        super().__init__()
        self.loader = loader

    def train_dataloader(self):
        return self.loader


def test_own_normalisation_by_hand(tiny_model, tiny_data, trainer, teacher):
    mean, std = (0.1, 0.2, 0.3), (0.2, 0.4, 0.5)
    seen = []
    teacher.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    batches = SeenBatches()
    trick = KnowledgeDistillation(teacher, normalization=(mean, std))
    trainer(callbacks=[trick, batches], max_epochs=1).fit(tiny_model, datamodule=Normalised(tiny_data))
    images = batches.train[0][0]
    for c in range(3):
        pixels = images[:, c] * Normalised.std[c] + Normalised.mean[c]  # in [0, 1] for real images
        torch.testing.assert_close(seen[0][:, c], (pixels - mean[c]) / std[c])


def test_two_tricks_share_an_answer_only_to_the_same_question(tiny_model, tiny_data, trainer, teacher):
    calls = []
    teacher.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0].clone()))
    other = ((0.1, 0.2, 0.3), (0.2, 0.4, 0.5))
    tricks = [KnowledgeDistillation(teacher), KnowledgeDistillation(teacher, normalization=other)]
    run = trainer(callbacks=tricks, max_epochs=1, limit_train_batches=1)
    run.fit(tiny_model, datamodule=Normalised(tiny_data))
    assert len(calls) == 2 and not torch.equal(*calls)


def test_own_normalisation_needs_to_know_that_of_the_data(tiny_model, tiny_data, trainer, teacher):
    trick = KnowledgeDistillation(teacher, normalization=((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match="data module with `mean` and `std`"):
        trainer(callbacks=[trick]).fit(tiny_model, tiny_data)


# ---- refusals


def test_refuses_a_teacher_of_other_classes(tiny_model, tiny_data, trainer):
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    with pytest.raises(ValueError, match="knows 7 classes, the student 10"):
        trainer(callbacks=[KnowledgeDistillation(teacher)]).fit(tiny_model, tiny_data)


def test_refuses_a_module_that_does_not_ask(tiny_data, trainer, teacher):
    with pytest.raises(TypeError, match="calls_on_loss = True"):
        trainer(callbacks=[KnowledgeDistillation(teacher)]).fit(Foreign(), tiny_data)


@pytest.mark.parametrize(
    "arguments", [{"T": 0}, {"T": -1.0}, {"weight": 0}, {"weight": 0.0}, {"weight": 1.1}, {"weight": Linear(0, 2)}]
)
def test_refuses_wrong_arguments(teacher, arguments):
    with pytest.raises(ValueError, match="must be in"):
        KnowledgeDistillation(teacher, **arguments)
