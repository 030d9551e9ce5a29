"""Hints: the regressors' shapes, the equation, and parameters that train without being in any file."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from callbacks import EMA, AttentionTransfer, Hints, KnowledgeDistillation, Linear
from callbacks.distillation.hints import hint_loss
from callbacks.frame.hint_regressors import regressor
from tests.callbacks.conftest import At, SeenSteps, assert_equal, hooks, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier, ResNet


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6).eval()


# ---- the equation


@pytest.mark.parametrize(
    ("v", "u", "kernel"),
    [((1, 8, 4, 4), (1, 6, 4, 4), (1, 1)), ((1, 8, 7, 5), (1, 6, 4, 3), (4, 3)), ((1, 8, 2, 2), (1, 6, 4, 4), (1, 1))],
)
def test_kernel_takes_the_students_map_to_the_teachers_size(v, u, kernel):
    r = regressor(torch.Size(v), torch.Size(u))
    assert r.kernel_size == kernel
    side = (min(v[2], u[2]), min(v[3], u[3]))
    assert r(torch.randn(v)).shape == (1, 6, *side)
    assert hint_loss(r(torch.randn(v)), torch.randn(u)).ndim == 0


def test_by_hand():
    predicted, u = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), torch.tensor([2.0, 5.0]).view(1, 2, 1, 1)
    assert hint_loss(predicted, u).item() == pytest.approx((1 + 4) / 2)
    larger = torch.tensor([[1.0, 3.0], [2.0, 6.0]]).expand(1, 2, 2, 2)  # averaged: 3
    assert hint_loss(predicted, larger).item() == pytest.approx((4 + 0) / 2)


def test_tokens_are_regressed_one_by_one_and_maps_are_not_tokens():
    r = regressor(torch.Size((1, 5, 8)), torch.Size((1, 5, 6)))
    assert r(torch.randn(2, 5, 8)).shape == (2, 5, 6)
    with pytest.raises(ValueError, match="take other stages"):
        regressor(torch.Size((1, 5, 8)), torch.Size((1, 6, 4, 4)))
    with pytest.raises(ValueError, match="the student has 5 tokens, the teacher 3: .* that keeps all tokens"):
        hint_loss(torch.zeros(2, 5, 6), torch.zeros(2, 3, 6))


# ---- in training


def features(network, images):
    first = network.block1(images)
    return {"stage1": first, "stage2": network.block2(first)}


@pytest.mark.parametrize("stages", [None, ("stage1", "stage2")])
def test_adds_the_error_and_the_regressors_learn(tiny_model, tiny_data, trainer, teacher, stages):
    trick, steps, starts, held = Hints(teacher, stages, weight=0.5), SeenSteps(), {}, []

    def look(run, model):
        starts.update(weights(model.hints0.parts))
        held.append({id(p) for group in run.optimizers[0].param_groups for p in group["params"]})
        assert {id(p) for p in model.hints0.parameters()} <= held[0]

    run = trainer(callbacks=[trick, steps, At("on_train_start", look)], max_epochs=1)
    run.fit(tiny_model, tiny_data)
    step = steps.steps[0]
    torch.manual_seed(0)
    with torch.no_grad():
        v, u = (features(network, step.images) for network in (tiny_classifier().network, teacher.network))
        terms = []
        for name in stages or ("stage1",):
            predicted = F.conv2d(v[name], starts[f"{name}.weight"], starts[f"{name}.bias"])
            terms.append((predicted - u[name]).square().mean())
    torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets) + 0.5 * sum(terms))
    ends = trick.state_dict()
    assert ends.keys() == starts.keys() and not any(torch.equal(ends[key], starts[key]) for key in ends)
    assert not hasattr(tiny_model, "hints0")


def test_pretraining_moves_what_the_hint_reaches_and_nothing_else(tiny_data, trainer, teacher):
    torch.manual_seed(0)
    model = tiny_classifier(weight_decay=0.1)
    start, middle = weights(model), {}
    before = At("on_train_epoch_end", lambda run, m: middle or middle.update(weights(m)))
    steps = SeenSteps()
    trainer(callbacks=[Hints(teacher, pretrain="1ep"), steps, before]).fit(model, tiny_data)
    moved = {key for key, value in model.named_parameters() if not torch.equal(start[key], middle[key])}
    assert {key.split(".")[1] for key in moved} == {"block1"}  # weight decay would have moved the head too
    moved = {key for key, value in model.named_parameters() if not torch.equal(middle[key], value)}
    assert {key.split(".")[1] for key in moved} == {"block1", "block2", "head"}
    for step in steps.steps[3:]:
        torch.testing.assert_close(step.loss, F.cross_entropy(step.logits, step.targets))
    assert all(step.loss != F.cross_entropy(step.logits, step.targets) for step in steps.steps[:3])


def test_the_teacher_rests_after_pretraining(tiny_model, tiny_data, trainer, teacher):
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    trainer(callbacks=[Hints(teacher, pretrain="2st")], num_sanity_val_steps=0).fit(tiny_model, tiny_data, tiny_data)
    assert calls == [False, False]  # two steps of six; the dry run is not counted


def test_the_error_falls(tiny_data, trainer, teacher):
    torch.manual_seed(0)
    steps = SeenSteps()
    run = trainer(callbacks=[Hints(teacher, pretrain="1dur"), steps], max_epochs=8)
    run.fit(tiny_classifier(lr=0.05), tiny_data)
    errors = [step.loss.item() for step in steps.steps]
    assert sum(errors[-3:]) < 0.6 * sum(errors[:3])


def test_the_dry_run_leaves_no_trace(tiny_model, tiny_data, trainer, teacher):
    """Statistics, random draws and modes are those without it."""
    tiny_model.network.block2.bn1.eval()
    before, state = weights(tiny_model), torch.get_rng_state()
    Hints(teacher).setup(trainer(), tiny_model, "fit")
    delattr(tiny_model, "hints0")
    assert_equal(weights(tiny_model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not tiny_model.network.block2.bn1.training and tiny_model.network.block1.bn1.training
    assert hooks(tiny_model) == hooks(teacher) == 0


# ---- files


def test_files_averages_and_loaders_know_nothing_of_it(tiny_data, trainer, teacher, tmp_path):
    """A checkpoint from the middle of the fit is that of a plain model; the trick's state has the regressors."""
    torch.manual_seed(99)
    teacher = ResNet("20", num_classes=10, image_size=8)
    torch.manual_seed(0)
    model, ema, file = ResNet("20", num_classes=10, image_size=8), EMA(0.5), tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda run, _: run.save_checkpoint(file))
    trainer(callbacks=[Hints(teacher), ema, save], max_epochs=1, limit_train_batches=2).fit(model, tiny_data)
    assert_equal(zoo.load(file).state_dict(), model.state_dict())
    ema.copy_to(model)
    states = torch.load(file, weights_only=True)["callbacks"]
    (state,) = (value for key, value in states.items() if key.startswith("Hints"))
    assert state.keys() == {"stage2.weight", "stage2.bias"}


def test_a_resume_goes_on_with_the_regressors(tiny_data, trainer, teacher, tmp_path):
    def run(**fit):
        save = At(
            "on_train_epoch_end", lambda run, _: run.current_epoch or run.save_checkpoint(tmp_path / "first.ckpt")
        )
        torch.manual_seed(0)
        model, trick = tiny_classifier(), Hints(teacher)
        trainer(callbacks=[trick, save]).fit(model, tiny_data, **fit)
        return weights(model) | trick.state_dict()

    whole = run()
    assert_equal(run(ckpt_path=tmp_path / "first.ckpt", weights_only=True), whole)


def test_other_keys_are_still_missed(tiny_model, trainer, teacher):
    state = tiny_model.state_dict()
    Hints(teacher).setup(trainer(), tiny_model, "fit")
    assert tiny_model.state_dict().keys() == state.keys()
    tiny_model.load_state_dict(state)
    del state["network.head.bias"]
    with pytest.raises(RuntimeError, match='Missing key.*"network.head.bias". $'):
        tiny_model.load_state_dict(state)


# ---- beside others


def test_two_hints_and_attention_share_a_teacher(tiny_model, tiny_data, trainer, teacher):
    calls, steps = [], SeenSteps()
    tricks = [Hints(teacher, ("stage1",)), Hints(teacher, ("stage2",)), AttentionTransfer(teacher, beta=1.0)]
    run = trainer(callbacks=[*tricks, KnowledgeDistillation(teacher), steps], max_epochs=1)
    count = At("on_train_start", lambda *_: teacher.register_forward_hook(lambda *_: calls.append(1)))
    run.callbacks.insert(0, count)
    run.fit(tiny_model, tiny_data)
    assert len(calls) == 3
    assert tricks[0].state_dict().keys() == {"stage1.weight", "stage1.bias"}
    assert tricks[1].state_dict().keys() == {"stage2.weight", "stage2.bias"}


def test_maps_of_other_sizes(tiny_data, trainer, teacher):
    torch.manual_seed(0)
    fine = TinyNetwork(10)
    fine.block1.conv1.stride, fine.block1.downsample = (
        (1, 1),
        nn.Conv2d(3, 10, 1),
    )  # maps twice as large as the teacher's
    student = Classifier(fine, stages={"stage1": "block1", "stage2": "block2"}, image_size=8)
    trick = Hints(teacher, ("stage1",))
    trainer(callbacks=[trick], max_epochs=1).fit(student, tiny_data)
    assert trick.state_dict()["stage1.weight"].shape == (6, 10, 5, 5)


@pytest.mark.parametrize("arguments", [{"weight": 0}, {"weight": Linear(1, -1)}, {"pretrain": "soon"}])
def test_refuses_wrong_arguments(teacher, arguments):
    with pytest.raises(ValueError, match="must be in|a time is"):
        Hints(teacher, **arguments)
