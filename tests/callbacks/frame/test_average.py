"""Averages: float32 at any precision, one for shared weights, and reset after a resume that makes the run longer."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from callbacks import EMA, SWA, PolyakAveraging
from datamodules import Digits
from zoo import Classifier


def plain():
    torch.manual_seed(7)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), 10, lr=0.01)


def shared():
    torch.manual_seed(7)
    layer = nn.Linear(16, 16)
    layers = [nn.Flatten(), nn.Linear(192, 16), layer, nn.ReLU(), layer, nn.Linear(16, 10)]
    return Classifier(nn.Sequential(*layers), 10, lr=0.01)


def fit(model, tricks, epochs=2, path=None, **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=tricks, **quiet, **options)
    trainer.fit(model, Digits(256), ckpt_path=path)
    return trainer


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_averages_of_16_bits_are_float32_and_move(precision):
    model, ema = plain(), EMA(0.9999)
    trainer = fit(model, [ema], precision=precision)
    weight, average = model.network[1].weight, ema.average["network.1.weight"]
    assert weight.dtype != torch.float32 and average.dtype == torch.float32
    torch.manual_seed(7)
    start = nn.Linear(192, 10).weight.to(weight.dtype).float()
    moved = (average - start).abs()
    assert moved.max() > 0 and moved.max() < 1e-2 * (weight.float() - start).abs().max()  # some 10 steps of 1e-4
    assert "val/acc_ema0.9999" in trainer.callback_metrics
    ema.copy_to(model)
    assert torch.equal(model.network[1].weight, average.to(weight.dtype))


def test_averages_of_64_bits_stay():
    ema = EMA(0.5)
    fit(plain(), [ema], precision="64-true")
    assert ema.average["network.1.weight"].dtype == torch.float64


def test_shared_weights_have_one_average_that_moves_once():
    model, ema = shared(), EMA(0.5)
    seen = []

    class Look(L.Callback):
        def on_train_batch_end(self, *_):
            seen.append(layer.weight.detach().clone())

    layer = model.network[2]
    expected = layer.weight.detach().clone()
    fit(model, [ema, Look()])
    for weight in seen:
        expected = 0.5 * expected + 0.5 * weight
    torch.testing.assert_close(ema.average["network.2.weight"], expected)
    assert ema.average["network.2.weight"] is ema.average["network.4.weight"]


@pytest.mark.parametrize("kind", [SWA, PolyakAveraging])
def test_a_mean_begun_earlier_is_forgotten_in_a_longer_run(tmp_path, kind):
    fit(plain(), [kind("0.5dur")], epochs=4).save_checkpoint(tmp_path / "last.ckpt")
    trick, early = kind("0.5dur"), []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            early.append(trainer.global_step < 30 and trick.average is not None)

    trainer = fit(plain(), [trick, Look()], epochs=12, path=tmp_path / "last.ckpt")
    assert not any(early) and trainer.global_step == 60
    straight = kind("0.5dur")
    fit(plain(), [straight], epochs=12)
    assert trick.taken == straight.taken > 1


@pytest.mark.parametrize("moment", ["in mid-run", "at the end"])
def test_all_ranks_take_the_average_of_the_first(moment, monkeypatch):
    """Batch norms of other ranks have seen other images. Here rank 0's numbers are sevens."""

    def broadcast(tensor, src):
        assert src == 0
        tensor.fill_(7)

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    model, ema = plain(), EMA(0.5)
    ema.average = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = SimpleNamespace(world_size=2, testing=False, num_val_batches=[1])
    model._trainer = trainer
    if moment == "at the end":
        ema.on_train_end(trainer, model)
    else:
        ema.on_validation_epoch_start(trainer, model)
        assert all((value == 7).all() for value in ema._evaluated.values())
    assert all((value == 7).all() for value in ema.average.values())


def test_an_average_that_other_processes_keep_says_where_it_is():
    """After ddp_spawn, Lightning returns the weights to the main process, but no average."""
    with pytest.raises(RuntimeError, match=r"ddp_spawn .*: read it .*, zoo.load\(file, average='EMA\(0.999\)'\)"):
        EMA().copy_to(plain())
