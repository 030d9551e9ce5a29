"""Attention transfer: the equation, its invariances, and the hooks."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import AttentionTransfer, KnowledgeDistillation, Linear
from callbacks.distillation.attention import attention, attention_loss
from callbacks.distillation.knowledge import soft_loss
from tests.callbacks.conftest import Foreign, SeenSteps, hooks
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6).eval()


# ---- the equation


def test_by_hand():
    A_S = torch.tensor([3.0, -2.0, 0.0, 2.0]).view(1, 2, 1, 2)  # two channels, two positions
    assert attention(A_S).tolist() == [[[9.0, 8.0]]]
    A_T = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    norm = 145**0.5
    by_hand = ((9 / norm) ** 2 + (8 / norm - 1) ** 2) / 2
    assert attention_loss(A_S, A_T).item() == pytest.approx(by_hand, rel=1e-5)


def test_power():
    A = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert attention(A, p=1).item() == 3 and attention(A, p=3).item() == 9


def test_mapping():
    A = torch.tensor([[1.0, -2.0], [-3.0, 1.0]]).view(1, 2, 1, 2)  # two channels, two positions
    assert attention(A, 1, "max").tolist() == [[[3.0, 2.0]]] and attention(A, 1, "sum").tolist() == [[[4.0, 3.0]]]
    assert attention(A, 2, "max").tolist() == [[[9.0, 4.0]]] and attention(A, 2, "sum").tolist() == [[[10.0, 5.0]]]
    assert attention(A.flatten(2).transpose(1, 2), 2, "max").tolist() == [[9.0, 4.0]]  # the same as tokens


def test_sum_tends_to_max_with_the_power():
    torch.manual_seed(0)
    A = torch.randn(2, 5, 3, 3).double() + 2
    torch.testing.assert_close(attention(A, 60) ** (1 / 60), attention(A, 60, "max") ** (1 / 60), rtol=0.03, atol=0)


def test_tokens():
    A = torch.tensor([[[1.0, 2.0], [0.0, -3.0], [1.0, 0.0]]])  # (N, L, D) = (1, 3, 2)
    assert attention(A).tolist() == [[5.0, 9.0, 1.0]]
    assert attention_loss(A, A).item() == 0
    with pytest.raises(ValueError, match=r"\(1, 3, 2\), the teacher's \(1, 2, 2\): .* that keeps all tokens"):
        attention_loss(A, A[:, :2])


@pytest.mark.parametrize("scale", [7.0, 0.01])
def test_sees_where_not_how_strongly(scale):
    torch.manual_seed(0)
    A_S, A_T = torch.randn(4, 5, 6, 6), torch.randn(4, 5, 6, 6)
    torch.testing.assert_close(attention_loss(scale * A_S, A_T), attention_loss(A_S, A_T))
    torch.testing.assert_close(attention_loss(A_S, scale * A_T), attention_loss(A_S, A_T))


def test_channels_need_not_agree():
    torch.manual_seed(0)
    A = torch.randn(4, 5, 6, 6)
    more = torch.cat([A, -A, A], dim=1)  # three times the attention, everywhere
    assert attention_loss(A, more).item() == pytest.approx(0, abs=1e-12)


def test_mean_over_batch_and_positions():
    torch.manual_seed(0)
    A_S, A_T = torch.randn(4, 5, 6, 6), torch.randn(4, 5, 6, 6)
    each = torch.stack([attention_loss(A_S[i : i + 1], A_T[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(attention_loss(A_S, A_T), each.mean())
    Q_S, Q_T = (F.normalize(A.square().sum(1).flatten(1)) for A in (A_S, A_T))
    torch.testing.assert_close(attention_loss(A_S, A_T), (Q_S - Q_T).pow(2).sum() / (4 * 36))


def test_teachers_map_takes_the_students_size():
    torch.manual_seed(0)
    A_S, A_T = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    Q_T = A_T.square().sum(1)
    quarter = Q_T.unfold(1, 2, 2).unfold(2, 2, 2).mean((-1, -2))  # bilinear to one half: the mean of 2 x 2
    expected = (F.normalize(A_S.square().sum(1).flatten(1)) - F.normalize(quarter.flatten(1))).square().mean()
    torch.testing.assert_close(attention_loss(A_S, A_T), expected)


# ---- in training


def run_one(trainer, tiny_model, tiny_data, trick, **arguments):
    steps = SeenSteps()
    trainer(callbacks=[trick, steps], **{"max_epochs": 1, **arguments}).fit(tiny_model, tiny_data)
    return steps.steps


def features(network, images):
    with torch.no_grad():
        first = network.block1(images)
        return {"stage1": first, "stage2": network.block2(first)}


@pytest.mark.parametrize("stages", [None, ("stage2",)])
def test_adds_the_terms_of_the_stages(tiny_model, tiny_data, trainer, teacher, stages):
    trick = AttentionTransfer(teacher, stages, beta=10.0)
    step = run_one(trainer, tiny_model, tiny_data, trick, limit_train_batches=1)[0]
    torch.manual_seed(0)
    student = tiny_classifier().network  # as at the first batch, in training mode
    A_S, A_T = features(student, step.images), features(teacher.network, step.images)
    terms = sum(attention_loss(A_S[name], A_T[name]) for name in stages or ("stage1", "stage2"))
    torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets) + 10 * terms)


def test_gradient_reaches_the_student_before_the_stage_only(tiny_model, tiny_data, trainer, teacher):
    losses = []

    class Only(SeenSteps):
        def on_loss(self, model, step):
            losses.append(step.loss)
            step.loss = step.loss - F.cross_entropy(step.logits, step.targets)

        def on_after_backward(self, trainer, model):
            self.reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 1e-9}

    only = Only()
    tricks = [AttentionTransfer(teacher, ("stage1",)), only]
    trainer(callbacks=tricks, max_epochs=1, limit_train_batches=1).fit(tiny_model, tiny_data)
    assert {name.split(".")[1] for name in only.reached} == {"block1"}
    assert all(p.grad is None for p in teacher.parameters())


def test_follows_a_schedule_of_beta(tiny_model, tiny_data, trainer, teacher):
    steps = run_one(trainer, tiny_model, tiny_data, AttentionTransfer(teacher, beta=Linear(1000, 0, until="2st")))
    added = [(step.loss - F.cross_entropy(step.logits, step.targets)).item() for step in steps]
    assert added[0] > 1.5 * added[1] > 0
    assert added[2] == 0


@pytest.mark.parametrize("mapping", ["sum", "max"])
def test_beside_distillation_with_a_decaying_beta(tiny_model, tiny_data, trainer, teacher, mapping):
    """The paper's AT + KD: (1 - a) CE + a T^2 KL + beta(t) AT, without AT in the last step."""
    beta = Linear(1000, 0, until="5st")
    tricks = [KnowledgeDistillation(teacher, T=4.0, weight=0.9), AttentionTransfer(teacher, beta=beta, mapping=mapping)]
    seen = []

    class Look(SeenSteps):
        def on_loss(self, model, step):
            A_S, A_T = features_of_the_step, features(teacher.network, step.images)
            terms = sum(attention_loss(A_S[name], A_T[name], mapping=mapping) for name in A_T)
            kd = 0.1 * F.cross_entropy(step.logits, step.targets) + 0.9 * soft_loss(
                step.logits, teacher(step.images), 4
            )
            weight = max(0, 1000 * (1 - model.trainer.global_step / 5))
            torch.testing.assert_close(step.loss, kd + weight * terms)
            seen.append(weight)

    features_of_the_step = {}
    for name in ("stage1", "stage2"):
        module = tiny_model.stages[name]
        module.register_forward_hook(lambda m, i, output, name=name: features_of_the_step.update({name: output}))
    trainer(callbacks=[*tricks, Look()]).fit(tiny_model, tiny_data)
    assert seen == pytest.approx([1000, 800, 600, 400, 200, 0])


def test_other_widths_and_map_sizes(tiny_data, trainer, teacher):
    torch.manual_seed(0)
    coarse = TinyNetwork(10)
    coarse.block1.conv1.stride, coarse.block1.downsample = (
        (1, 1),
        nn.Conv2d(3, 10, 1),
    )  # maps twice as large as the teacher's
    student = Classifier(coarse, stages={"stage1": "block1", "stage2": "block2"})
    steps = run_one(trainer, student, tiny_data, AttentionTransfer(teacher))
    assert all(step.loss > F.cross_entropy(step.logits, step.targets) for step in steps)


def test_one_pass_of_a_shared_teacher(tiny_model, tiny_data, trainer, teacher):
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    tricks = [KnowledgeDistillation(teacher), AttentionTransfer(teacher), AttentionTransfer(teacher, ("stage1",), 5.0)]
    trainer(callbacks=tricks, max_epochs=1).fit(tiny_model, tiny_data, tiny_data)
    assert len(calls) == 3  # batches


def test_no_features_are_kept_after_a_step(tiny_model, tiny_data, trainer, teacher):
    trick, kept = AttentionTransfer(teacher), []

    class Look(SeenSteps):
        def on_train_batch_end(self, *_):
            kept.extend([*trick._student_hooks.features, *trick._teacher_hooks.features])

    trainer(callbacks=[trick, Look()]).fit(tiny_model, tiny_data)
    assert kept == []


def test_hooks_go_with_the_fit(tiny_model, tiny_data, trainer, teacher):
    for _ in range(2):
        trainer(callbacks=[AttentionTransfer(teacher)]).fit(tiny_model, tiny_data)
        assert hooks(tiny_model) == hooks(teacher) == 0


def test_hooks_fire_in_a_network_that_was_compiled_before(tiny_data, trainer, teacher, monkeypatch):
    monkeypatch.setattr(Classifier, "compile", functools.partialmethod(Classifier.compile, backend="eager"))
    torch.manual_seed(0)
    student = tiny_classifier(compile=True)
    trainer(max_epochs=1).fit(student, tiny_data)
    steps = run_one(trainer, student, tiny_data, AttentionTransfer(teacher))
    assert all(step.loss > F.cross_entropy(step.logits, step.targets) for step in steps)


def test_hooks_go_with_a_fit_that_failed(tiny_model, tiny_data, trainer, teacher):
    class Fail(SeenSteps):
        def on_train_batch_end(self, *_):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trainer(callbacks=[AttentionTransfer(teacher), Fail()]).fit(tiny_model, tiny_data)
    assert hooks(tiny_model) == hooks(teacher) == 0


# ---- refusals


def test_refuses_a_module_that_does_not_ask(tiny_data, trainer, teacher):
    with pytest.raises(TypeError, match="calls_on_loss = True"):
        trainer(callbacks=[AttentionTransfer(teacher)]).fit(Foreign(), tiny_data)


def test_refuses_networks_without_stages(tiny_model, tiny_data, trainer, teacher):
    with pytest.raises(TypeError, match="stages={'stage1'"):
        trainer(callbacks=[AttentionTransfer(teacher)]).fit(Classifier(TinyNetwork()), tiny_data)
    with pytest.raises(TypeError, match="names none"):
        trainer(callbacks=[AttentionTransfer(nn.Linear(3, 10))]).fit(tiny_model, tiny_data)


def test_refuses_a_stage_that_one_of_the_two_has_not(tiny_model, tiny_data, trainer, teacher):
    with pytest.raises(ValueError, match="'stage5'.*stage1, stage2"):
        trainer(callbacks=[AttentionTransfer(teacher, ("stage5",))]).fit(tiny_model, tiny_data)


def test_refuses_networks_without_a_common_stage(tiny_data, trainer, teacher):
    student = Classifier(TinyNetwork(), stages={"early": "block1"})
    with pytest.raises(ValueError, match="no stage name in common"):
        trainer(callbacks=[AttentionTransfer(teacher)]).fit(student, tiny_data)


@pytest.mark.parametrize("arguments", [{"beta": 0}, {"beta": 0.0}, {"beta": -1}, {"p": 0.5}, {"beta": Linear(1, -1)}])
def test_refuses_wrong_arguments(teacher, arguments):
    with pytest.raises(ValueError, match="has no 'mean'"):
        AttentionTransfer(teacher, mapping="mean")
    with pytest.raises(ValueError, match="must be in"):
        AttentionTransfer(teacher, **arguments)
