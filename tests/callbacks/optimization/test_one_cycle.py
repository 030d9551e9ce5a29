"""One cycle: rate and momentum of real runs, step by step those of torch's OneCycleLR."""

import lightning as L
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from callbacks import LinearScaling, NoBiasDecay, OneCycle
from callbacks.optimization.one_cycle import one_cycle
from tests.callbacks.conftest import At, Foreign
from tests.conftest import tiny_classifier

OPTIONS = {"momentum": {"optimizer": "momentum"}, "adamw": {"optimizer": "adamw", "optimizer_options": {"eps": 1e-6}}}


class Seen(L.Callback):
    """Record rate and momentum of every optimizer step, a list for each group."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.steps.append([(g["lr"], g["betas"] if "betas" in g else g["momentum"]) for g in optimizer.param_groups])


def run(trainer, data, trick, *more, model=None, fit=(), **arguments):
    seen = Seen()
    trainer(callbacks=[trick, *more, seen], **arguments).fit(model or tiny_classifier(lr=0.4), data, **dict(fit))
    return seen.steps


def reference(kind, steps, **arguments):
    parameters = [torch.zeros(1, requires_grad=True)]
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.SGD
    optimizer = make(parameters, lr=0.4, **({} if kind == "adamw" else {"momentum": 0.9}))
    scheduler, seen = OneCycleLR(optimizer, 0.4, total_steps=steps, **arguments), []
    for _ in range(steps):
        (g,) = optimizer.param_groups
        seen.append((g["lr"], g["betas"] if "betas" in g else g["momentum"]))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("epochs, accumulate, steps", [(4, 1, 12), (3, 2, 6), (2, 3, 2)])
def test_is_torchs(trainer, tiny_data, kind, epochs, accumulate, steps):
    model = tiny_classifier(lr=0.4, **OPTIONS[kind])
    ours = run(trainer, tiny_data, OneCycle(), model=model, max_epochs=epochs, accumulate_grad_batches=accumulate)
    for (mine,), theirs in zip(ours, reference(kind, steps), strict=True):
        assert mine[0] == pytest.approx(theirs[0], rel=1e-12)
        assert mine[1] == pytest.approx(theirs[1], rel=1e-12)


@pytest.mark.parametrize("pct_start", [0.0, 0.25, 0.9])
def test_every_argument_is_torchs(trainer, tiny_data, pct_start):
    trick = OneCycle(pct_start, div=10, final_div=50, momentum=(0.8, 0.9))
    ours = run(trainer, tiny_data, trick, model=tiny_classifier(lr=0.4, optimizer="momentum"), max_epochs=4)
    theirs = reference(
        "sgd", 12, pct_start=pct_start, div_factor=10, final_div_factor=50, base_momentum=0.8, max_momentum=0.9
    )
    for (mine,), step in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(step, rel=1e-12)


def test_by_hand():
    """Twenty-one steps, ten of them up: the ends, the top and the quarter points of both cosines."""
    values = [one_cycle(t, 21, 11 / 21, 0, 1, 0) for t in (0, 5, 10, 15, 20)]
    assert values == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-15)


def test_a_rise_of_no_length_is_left_out():
    """torch divides by zero here."""
    assert one_cycle(0, 2, 0.5, 0.04, 1, 0) == 1
    with pytest.raises(ZeroDivisionError):
        reference("sgd", 2, pct_start=0.5)


def test_momentum_may_stay(trainer, tiny_data):
    ours = run(trainer, tiny_data, OneCycle(momentum=None), model=tiny_classifier(lr=0.4, optimizer="momentum"))
    assert {step[0][1] for step in ours} == {0.9}
    assert [step[0][0] for step in ours] == pytest.approx([rate for rate, _ in reference("sgd", 6)])


def test_groups_that_others_split_and_scale_follow(trainer, tiny_data):
    alone = run(trainer, tiny_data, OneCycle())
    ours = run(trainer, tiny_data, OneCycle(), NoBiasDecay(), LinearScaling(base=2))
    for (one, two), (plain,) in zip(ours, alone, strict=True):
        assert one == two == pytest.approx((2 * plain[0], plain[1]))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_resumed_run_is_exact(trainer, tiny_data, tmp_path, kind):
    file, ends = tmp_path / "file.ckpt", []
    save = At("on_train_batch_end", lambda t, _: t.global_step == 6 and t.save_checkpoint(file))
    for fit in ({}, {"ckpt_path": file}):
        torch.manual_seed(0)
        model = tiny_classifier(lr=0.1, **OPTIONS[kind])
        steps = run(trainer, tiny_data, OneCycle(), save, model=model, fit=fit, max_epochs=4)
        ends.append((steps, model.network.head.weight.detach().clone()))
    assert ends[1][0] == ends[0][0][6:]
    assert torch.equal(ends[0][1], ends[1][1])


def test_refusals(trainer, tiny_data):
    for arguments in ({"pct_start": 1.1}, {"div": 0.5}, {"final_div": 0}, {"momentum": (0.5, 1.5)}):
        with pytest.raises(ValueError, match=f"OneCycle: {next(iter(arguments))} must be in"):
            OneCycle(**arguments)

    for wrong in (0.9, (0.9,), (0.8, 0.9, 0.95)):
        with pytest.raises(ValueError, match="OneCycle: momentum must be two numbers"):
            OneCycle(momentum=wrong)

    class Plain(Foreign):
        def configure_optimizers(self):
            return torch.optim.Adagrad(self.parameters(), lr=0.1)

    with pytest.raises(ValueError, match="Adagrad has no momentum: choose another or set momentum=None"):
        run(trainer, tiny_data, OneCycle(), model=Plain())
