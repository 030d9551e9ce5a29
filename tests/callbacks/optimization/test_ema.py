"""EMA: the recursion, both sets of weights in every file, and their scores."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from timm.utils import ModelEmaV3
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

import zoo
from callbacks import EMA, KnowledgeDistillation, Linear
from callbacks.optimization.ema import ema_update
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier, ResNet


@pytest.fixture
def history():
    """Return `history(...)`: a callback that records the raw weights at the start and after every optimizer step."""

    class History(L.Callback):
        def __init__(self):
            self.seen, self.steps = [], 0

        def on_train_start(self, trainer, model):
            self.seen = [weights(model)]

        def on_train_batch_end(self, trainer, model, *_):
            if trainer.global_step > self.steps:
                self.steps = trainer.global_step
                self.seen.append(weights(model))

    return History()


def by_recursion(seen, decays):
    average = {k: v.double() for k, v in seen[0].items()}
    for theta, d in zip(seen[1:], decays, strict=True):
        average = {k: d * average[k] + (1 - d) * v.double() for k, v in theta.items()}
    return average


def weights_of(ema):
    return {name: value.clone() for name, value in ema.average.items()}


def floats(state):
    return {k: v for k, v in state.items() if v.is_floating_point()}


def assert_close(ours, theirs):
    for name, value in floats(ours).items():
        torch.testing.assert_close(value.double(), theirs[name].double(), rtol=1e-5, atol=1e-6, msg=name)


# ---- the recursion


@pytest.mark.parametrize("d", [0.0, 0.25, 0.999, 1.0])
def test_the_update_is_the_papers_equation(d):
    average, theta = [torch.tensor([1.0, -2.0]), torch.zeros(2, 3)], [torch.tensor([3.0, 4.0]), torch.rand(2, 3)]
    expected = [d * a + (1 - d) * t for a, t in zip(average, theta, strict=True)]
    ema_update(average, theta, d)
    torch.testing.assert_close(average, expected)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_by_recursion(tiny_model, tiny_data, trainer, history, decay):
    ema = EMA(decay)
    trainer(callbacks=[ema, history]).fit(tiny_model, tiny_data)
    assert len(history.seen) == 7
    assert_close(ema.average, by_recursion(history.seen, [decay] * 6))
    assert not torch.equal(ema.average["network.head.weight"], tiny_model.network.head.weight)


def test_same_as_torchs_and_timms(tiny_model, tiny_data, trainer):
    ema, others = EMA(0.8), {}

    class Others(L.Callback):
        def on_train_start(self, trainer, model):
            average = get_ema_multi_avg_fn(0.8)
            others["torch"] = AveragedModel(model.network, multi_avg_fn=average, use_buffers=False)
            others["torch"].update_parameters(model.network)  # the first call copies
            others["timm"] = ModelEmaV3(model.network, decay=0.8)

        def on_train_batch_end(self, trainer, model, *_):
            others["torch"].update_parameters(model.network)
            others["timm"].update(model.network)

    trainer(callbacks=[ema, Others()]).fit(tiny_model, tiny_data)
    ours = {name.removeprefix("network."): value for name, value in ema.average.items()}
    parameters = {name: ours[name] for name, _ in tiny_model.network.named_parameters()}
    assert_close(parameters, others["torch"].module.state_dict())
    assert_close(ours, others["timm"].module.state_dict())  # batch norm's statistics too


def test_follows_a_schedule_of_decay(tiny_model, tiny_data, trainer, history):
    ema = EMA(Linear(0, 0.9))
    trainer(callbacks=[ema, history]).fit(tiny_model, tiny_data)
    decays = [0.9 * step / 6 for step in range(1, 7)]  # global_step counts the step that was just taken
    assert_close(ema.average, by_recursion(history.seen, decays))


def test_one_update_a_step_not_a_batch(tiny_model, trainer, tiny_data, history):
    ema, updates = EMA(0.9), []
    count = At("on_train_batch_end", lambda *_: updates.append(ema.average["network.head.bias"].clone()))
    run = trainer(callbacks=[ema, history, count], max_epochs=11, limit_train_batches=3, accumulate_grad_batches=4)
    run.fit(tiny_model, tiny_data)
    assert len(updates) == 33 and run.global_step == 11  # Lightning steps at an epoch's end
    assert len(torch.stack(updates).unique(dim=0)) == 1 + 11  # two batches have the initial average
    assert_close(ema.average, by_recursion(history.seen, [0.9] * 11))


def test_eight_updates_for_32_batches_at_accumulation_4(tiny_model, trainer):
    torch.manual_seed(0)
    data = DataLoader([[torch.randn(4, 3, 8, 8), torch.arange(4)] for _ in range(32)], batch_size=None)
    ema, updates = EMA(0.9), []
    count = At("on_train_batch_end", lambda *_: updates.append(ema.average["network.head.bias"].clone()))
    trainer(callbacks=[ema, count], max_epochs=1, accumulate_grad_batches=4).fit(tiny_model, data)
    assert len(updates) == 32
    assert len(torch.stack(updates).unique(dim=0)) == 1 + 8  # three batches have the initial average
    assert ema.average["network.block1.bn1.num_batches_tracked"] == 32


def test_counters_are_those_of_the_raw_weights(tiny_model, tiny_data, trainer):
    ema = EMA()
    trainer(callbacks=[ema]).fit(tiny_model, tiny_data)
    counters = {name for name, value in ema.average.items() if not value.is_floating_point()}
    assert counters == {"network.block1.bn1.num_batches_tracked", "network.block2.bn1.num_batches_tracked"}
    assert all(ema.average[name] == tiny_model.state_dict()[name] == 6 for name in counters)


def test_training_does_not_notice(tiny_data, trainer):
    ends = []
    for tricks in ([], [EMA(0.5), EMA(0.9)]):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=tricks).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


def test_several_decays_at_once(tiny_model, tiny_data, trainer, history):
    slow, fast = EMA(0.99), EMA(0.5)
    run = trainer(callbacks=[slow, fast, history])
    run.fit(tiny_model, tiny_data, tiny_data)
    assert_close(slow.average, by_recursion(history.seen, [0.99] * 6))
    assert_close(fast.average, by_recursion(history.seen, [0.5] * 6))
    assert {"val/acc_ema0.99", "val/acc_ema0.5", "val/loss_ema0.99", "val/loss_ema0.5"} <= run.callback_metrics.keys()


def test_a_second_fit_starts_anew(tiny_data, trainer):
    ema, model = EMA(0.9), tiny_classifier()
    trainer(callbacks=[ema]).fit(model, tiny_data)
    start = []
    look = At("on_train_start", lambda trainer, model: start.append((weights(model), weights_of(ema))))
    trainer(callbacks=[ema, look]).fit(model, tiny_data)
    assert_equal(*start[0])


def test_a_teacher_is_not_averaged(tiny_model, tiny_data, trainer):
    ema = EMA()
    trainer(callbacks=[ema, KnowledgeDistillation(TinyNetwork(6))]).fit(tiny_model, tiny_data)
    assert ema.average.keys() == tiny_model.state_dict().keys()


# ---- its scores


def scores(trainer, model, data, kind="validate"):
    run = trainer()
    values = getattr(run, kind)(model, data, verbose=False)[0]
    return {name.split("/")[1]: value for name, value in values.items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_scores_are_those_of_a_fresh_model_with_these_weights(tiny_model, tiny_data, trainer, precision):
    ema = EMA(0.7)
    run = trainer(callbacks=[ema], precision=precision)
    run.fit(tiny_model, tiny_data, tiny_data)
    fresh = tiny_classifier()
    ema.copy_to(fresh)
    alone = trainer(precision=precision)
    expected = alone.validate(fresh, tiny_data, verbose=False)[0]
    for name in ("acc", "loss", "top5"):
        assert run.callback_metrics[f"val/{name}_ema0.7"].item() == expected[f"val/{name}"]
    raw = alone.validate(tiny_model, tiny_data, verbose=False)[0]
    assert run.callback_metrics["val/loss"].item() == raw["val/loss"]
    assert raw["val/loss"] != expected["val/loss"]


def test_test_scores_too(tiny_model, tiny_data, trainer):
    ema = EMA(0.7)
    run = trainer(callbacks=[ema])
    run.fit(tiny_model, tiny_data)
    values = run.test(tiny_model, tiny_data, verbose=False)[0]
    fresh = tiny_classifier()
    ema.copy_to(fresh)
    expected = scores(trainer, fresh, tiny_data, "test")
    assert {values[f"test/{name}_ema0.7"] == expected[name] for name in ("acc", "loss", "top5")} == {True}


def test_nothing_to_score_before_training(tiny_model, tiny_data, trainer):
    values = trainer(callbacks=[EMA()]).validate(tiny_model, tiny_data, verbose=False)[0]
    assert set(values) == {"val/loss", "val/acc", "val/top5"}


def test_a_checkpoint_may_follow_the_average(tiny_model, tiny_data, trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path, monitor="val/acc_ema0.9", mode="max", filename="best")
    trainer(callbacks=[EMA(0.9), keep], enable_checkpointing=True).fit(tiny_model, tiny_data, tiny_data)
    assert (tmp_path / "best.ckpt").is_file()


# ---- files


@pytest.fixture
def saved(tiny_data, trainer, tmp_path):
    """A ResNet-20 trained with two averages; its full and its weights-only file."""
    torch.manual_seed(0)
    model, emas = ResNet("20", num_classes=10), (EMA(0.9), EMA(0.5))
    run = trainer(callbacks=[*emas], max_epochs=1)
    run.fit(model, tiny_data)
    files = {"full": tmp_path / "full.ckpt", "weights": tmp_path / "weights.ckpt"}
    run.save_checkpoint(files["full"])
    run.save_checkpoint(files["weights"], weights_only=True)
    return model, emas, files


@pytest.mark.parametrize("kind", ["full", "weights"])
def test_raw_and_averaged_weights_are_in_every_file(saved, kind):
    model, emas, files = saved
    content = torch.load(files[kind], weights_only=True)
    assert_equal(content["state_dict"], weights(model))
    assert content["averages"].keys() == {"EMA(0.9)", "EMA(0.5)"}
    for ema in emas:
        assert_equal(content["averages"][ema.state_key], ema.average)
        assert_equal(weights(zoo.load(files[kind], average=ema.state_key)), ema.average)
    assert_equal(weights(zoo.load(files[kind])), weights(model))


def test_loading_an_average_that_is_not_there_lists_those_that_are(saved):
    with pytest.raises(ValueError, match=r"no average 'EMA\(0.99\)'; it has \['EMA\(0.5\)', 'EMA\(0.9\)'\]"):
        zoo.load(saved[2]["full"], average="EMA(0.99)")


def test_the_average_stands_once_in_a_file(saved):
    parameters = 4 * sum(value.numel() for value in saved[0].state_dict().values())  # bytes of one set of weights
    assert saved[2]["weights"].stat().st_size < 3.4 * parameters  # raw and two averages
    content = torch.load(saved[2]["full"], weights_only=True)
    assert not any("EMA" in key for key in content["callbacks"])


def test_evaluation_of_a_file_scores_its_average(tiny_data, trainer, tmp_path):
    ema = EMA(0.7)
    run = trainer(callbacks=[ema])
    run.fit(tiny_classifier(), tiny_data, tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    again = trainer(callbacks=[EMA(0.7)])
    values = again.validate(tiny_classifier(), tiny_data, ckpt_path=tmp_path / "file.ckpt", verbose=False)[0]
    assert values["val/loss_ema0.7"] == run.callback_metrics["val/loss_ema0.7"].item()


def test_a_resumed_run_goes_on_with_the_average(tiny_data, trainer, tmp_path):
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "file.ckpt"))
    straight, resumed = EMA(0.7), EMA(0.7)
    torch.manual_seed(0)
    trainer(callbacks=[straight, save]).fit(tiny_classifier(), tiny_data)
    trainer(callbacks=[resumed]).fit(tiny_classifier(), tiny_data, ckpt_path=tmp_path / "file.ckpt")
    assert_equal(resumed.average, straight.average)


def test_an_average_may_join_a_run_later(tiny_model, tiny_data, trainer, tmp_path):
    run = trainer(callbacks=[EMA(0.9)], max_epochs=1)
    run.fit(tiny_model, tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    ema, start = EMA(0.5), {}
    look = At("on_train_start", lambda *_: start.update(weights_of(ema)))
    trainer(callbacks=[ema, look]).fit(tiny_classifier(), tiny_data, ckpt_path=tmp_path / "file.ckpt")
    assert_equal(start, weights(tiny_model))


def test_copy_to(tiny_model, tiny_data, trainer):
    ema = EMA(0.7)
    trainer(callbacks=[ema]).fit(tiny_model, tiny_data)
    assert weights(tiny_model)["network.head.bias"].ne(ema.average["network.head.bias"]).any()
    ema.copy_to(tiny_model)
    assert_equal(weights(tiny_model), ema.average)
    with torch.no_grad():
        tiny_model.network.head.bias.add_(1)
    assert not torch.equal(ema.average["network.head.bias"], tiny_model.network.head.bias)  # a copy, not the same


def test_foreign_modules(tiny_data, trainer, tmp_path):
    ema = EMA(0.7)
    run = trainer(callbacks=[ema])
    model = Foreign()
    run.fit(model, tiny_data, tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    assert_equal(torch.load(tmp_path / "file.ckpt", weights_only=True)["averages"]["EMA(0.7)"], ema.average)
    fresh = Classifier(TinyNetwork())
    fresh.load_state_dict(ema.average)
    assert run.callback_metrics["val/loss_ema0.7"].item() == scores(trainer, fresh, tiny_data)["loss"]


@pytest.mark.parametrize("decay", [0, 0.0, 1, 1.0, -0.1, 1.1, Linear(0, 1)])
def test_refuses_a_wrong_decay(decay):
    with pytest.raises(ValueError, match="decay"):
        EMA(decay)
