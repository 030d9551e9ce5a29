"""Gradual unfreezing: the parts that learn at each time, frozen parts that do not change, and resumes."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch.utils.data import DataLoader

from callbacks import CosineDecay, GradualUnfreezing, NoBiasDecay
from callbacks.optimization.gradual_unfreezing import count_learning
from tests.callbacks.conftest import At, Foreign, SeenRates, assert_equal, weights
from tests.conftest import tiny_classifier

PARTS = ("head", "block2", "block1")


def parts_of(names):
    """Return the parts of the tiny network to which these parameters or buffers belong."""
    return {name.split(".")[1] for name in names}


class Moved(L.Callback):
    """Record the parts that moved in each epoch, statistics included."""

    def __init__(self):
        self.seen, self.flags = [], []

    def on_train_start(self, trainer, model):
        self.before = weights(model)

    def on_train_epoch_start(self, trainer, model):
        self.before = weights(model)

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.flags.append(parts_of(name for name, p in model.named_parameters() if p.requires_grad))

    def on_train_epoch_end(self, trainer, model):
        now = model.state_dict()
        self.seen.append(parts_of(name for name, old in self.before.items() if not torch.equal(old, now[name])))


def test_how_many_learn():
    assert [count_learning(step, [3, 6, 9]) for step in (0, 2, 3, 8, 9, 100)] == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_more_every_epoch(trainer, tiny_data, optimizer):
    """Weight decay and statistics could also move frozen parts."""
    moved, model = Moved(), tiny_classifier(optimizer=optimizer, lr=0.01, weight_decay=0.1)
    trainer(callbacks=[GradualUnfreezing(), moved], max_epochs=4).fit(model, tiny_data, tiny_data)
    stages = [{"head"}, {"head", "block2"}, {*PARTS}, {*PARTS}]
    assert moved.seen == stages
    assert moved.flags[::3] == stages


@pytest.mark.parametrize("every, accumulate, flags", [("2st", 1, [1, 1, 2, 2, 3, 3]), ("1st", 2, [1, 1, 2, 3, 3, 3])])
def test_times_are_optimizer_steps(trainer, tiny_data, every, accumulate, flags):
    """With three batches an epoch and accumulation of two, the steps have two batches and one."""
    moved = Moved()
    run = trainer(callbacks=[GradualUnfreezing(every), moved], accumulate_grad_batches=accumulate)
    run.fit(tiny_classifier(), tiny_data)
    assert [len(flag) for flag in moved.flags] == flags


@pytest.mark.parametrize("order", [1, -1])
def test_rates_fall_from_part_to_part(trainer, tiny_data, order):
    plain, seen = SeenRates(), SeenRates()
    trainer(callbacks=[CosineDecay(), plain]).fit(tiny_classifier(), tiny_data)
    tricks = [GradualUnfreezing(ratio=10), NoBiasDecay(), CosineDecay()][::order]
    trainer(callbacks=[*tricks, seen]).fit(tiny_classifier(), tiny_data)
    assert len(seen.rates[0]) == 6  # three parts, with and without decay
    expected = torch.tensor(plain.rates) * torch.tensor([0.01, 0.1, 1])
    torch.testing.assert_close(torch.tensor(seen.rates).sort().values, expected.repeat_interleave(2, dim=1))


def test_no_gradient_is_computed_for_what_is_frozen(trainer, tiny_data):
    grads = []
    look = At("on_after_backward", lambda _, model: grads.append(model.network.block1.conv1.weight.grad is None))
    trainer(callbacks=[GradualUnfreezing("3st"), look], max_epochs=3).fit(tiny_classifier(), tiny_data)
    assert grads == [True] * 6 + [False] * 3


def test_what_the_user_froze_stays_frozen(trainer, tiny_data):
    model = tiny_classifier()
    model.network.block2.conv1.weight.requires_grad_(False)
    model.network.block1.bn1.eval()
    before = weights(model)
    trainer(callbacks=[GradualUnfreezing("1st")]).fit(model, tiny_data, tiny_data)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["network.block2.conv1.weight"]
    assert not model.network.block1.bn1.training and model.network.block2.bn1.training
    now = weights(model)
    same = {name for name in now if torch.equal(now[name], before[name])}
    statistics = {f"network.block1.bn1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert same == statistics | {"network.block2.conv1.weight"}


def test_nothing_is_left_behind_by_an_exception(trainer, tiny_data):
    def stop(trainer, model):
        raise RuntimeError("stop")

    model = tiny_classifier()
    with pytest.raises(RuntimeError, match="stop"):
        trainer(callbacks=[GradualUnfreezing(), At("on_train_batch_end", stop)]).fit(model, tiny_data)
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


# ---- a resume


@pytest.mark.filterwarnings("ignore:You're resuming from")
@pytest.mark.parametrize("every, step", [(1, 3), (1, 6), ("2st", 1), ("2st", 2), ("2st", 3), ("2st", 4), ("2st", 5)])
def test_a_resumed_run_goes_on_where_it_was(trainer, tiny_data, tmp_path, every, step):
    """All batches are equal, so a loader that does not resume its position does no harm."""

    def run(**fit):
        torch.manual_seed(0)
        model, moved = tiny_classifier(optimizer="adamw", lr=0.01), Moved()
        data = DataLoader([next(iter(tiny_data))] * 3, batch_size=None)
        more = [At("on_train_batch_end", lambda t, _: t.global_step == step and t.save_checkpoint(file))]
        trainer(callbacks=[GradualUnfreezing(every), moved, *more], max_epochs=3).fit(model, data, **fit)
        return model, moved

    file = tmp_path / "file.ckpt"
    straight, seen = run()
    resumed, again = run(ckpt_path=file)
    assert again.flags == seen.flags[step:] and again.flags
    assert_equal(weights(resumed), weights(straight))


class WithBackbone(Foreign):
    """A module as Lightning's callback needs it: a backbone, and an optimizer of the rest."""

    def __init__(self):
        super().__init__()
        self.backbone = self.network.block1

    def configure_optimizers(self):
        return torch.optim.SGD(list(self.network.head.parameters()), lr=0.1)


def resumed_flags(trainer, data, tmp_path, make, trick):
    """Return whether the backbone learns after a resume from a time when it did."""
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch == 1 and t.save_checkpoint(tmp_path / "file.ckpt"))
    trainer(callbacks=[trick(), save]).fit(make(), data)
    flags = []
    look = At("on_train_batch_start", lambda _, m: flags.append(m.network.block1.conv1.weight.requires_grad))
    trainer(callbacks=[trick(), look], max_epochs=3).fit(make(), data, ckpt_path=tmp_path / "file.ckpt")
    return flags


def test_lightnings_own_freezes_again_after_a_resume_and_ours_does_not(trainer, tiny_data, tmp_path):
    """Lightning#21901. If the first assertion fails, Lightning has fixed it."""
    theirs = resumed_flags(trainer, tiny_data, tmp_path, WithBackbone, lambda: BackboneFinetuning(1))
    assert theirs == [False] * 3
    ours = resumed_flags(trainer, tiny_data, tmp_path, Foreign, lambda: GradualUnfreezing("1st"))
    assert ours == [True] * 3


# ---- under DDP no flag may change: gradients are dropped instead


def test_in_several_processes_gradients_are_dropped(trainer, tiny_data, monkeypatch):
    moved, alone = Moved(), Moved()
    models = []
    for seen, size in ((alone, 1), (moved, 2)):
        torch.manual_seed(0)
        models.append(tiny_classifier(optimizer="adamw", lr=0.01))
        run = trainer(callbacks=[GradualUnfreezing(), seen])
        monkeypatch.setattr(type(run), "world_size", property(lambda _, size=size: size))
        run.fit(models[-1], tiny_data)
    assert all(flags == {*PARTS} for flags in moved.flags)
    assert moved.seen == alone.seen == [{"head"}, {"head", "block2"}]
    assert_equal(*map(weights, models))


@pytest.mark.parametrize("arguments", [{"every": "often"}, {"ratio": 0.5}])
def test_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="a time is a number|ratio must be in"):
        GradualUnfreezing(**arguments)


@pytest.mark.parametrize("every", [0, "0.01dur"])
def test_refuses_less_than_a_step(trainer, tiny_data, every):
    with pytest.raises(ValueError, match="less than one optimizer step"):
        trainer(callbacks=[GradualUnfreezing(every)]).fit(tiny_classifier(), tiny_data)


def test_a_network_of_one_part_learns_at_once(trainer, tiny_data):
    model = Foreign(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10)))
    before = weights(model)
    trainer(callbacks=[GradualUnfreezing("1dur")], max_epochs=1).fit(model, tiny_data)
    assert not torch.equal(weights(model)["network.1.weight"], before["network.1.weight"])
