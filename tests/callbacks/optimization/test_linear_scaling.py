"""Linear scaling: images per optimizer step over the base, once; and the contract of all scaling rules."""

from types import SimpleNamespace

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from callbacks import AccumulationSchedule, LinearScaling, SquareRootScaling
from callbacks.frame.scaling import images_per_step
from tests.callbacks.conftest import Foreign, SeenRates
from tests.conftest import collate, tiny_classifier


def rates(trainer, model, data, *tricks, **arguments):
    seen = SeenRates()
    trainer(callbacks=[*tricks, seen], **arguments).fit(model, data)
    return seen.rates


@pytest.mark.parametrize("base, accumulate, k", [(256, 1, 4 / 256), (2, 1, 2), (4, 3, 3)])
def test_rate_is_scaled_by_the_images_of_a_step(trainer, tiny_data, base, accumulate, k):
    seen = rates(trainer, tiny_classifier(lr=0.1), tiny_data, LinearScaling(base), accumulate_grad_batches=accumulate)
    assert all(rate == [pytest.approx(0.1 * k)] for rate in seen)


def test_of_a_changing_accumulation_the_first_epochs(trainer, tiny_data):
    schedule = AccumulationSchedule((0, 1), (3, 1))
    seen = rates(trainer, tiny_classifier(lr=0.1), tiny_data, LinearScaling(4), schedule)
    assert seen == [[pytest.approx(0.3)]] * 4


def test_processes_count(tiny_data):
    run = SimpleNamespace(callbacks=[], train_dataloader=tiny_data, world_size=8, accumulate_grad_batches=2)
    assert images_per_step(run) == 4 * 8 * 2


def test_a_run_that_counts_steps_only(trainer, tiny_data):
    seen = rates(trainer, tiny_classifier(lr=0.1), tiny_data, LinearScaling(2), max_epochs=-1, max_steps=2)
    assert seen == [[pytest.approx(0.2)]] * 2


def test_every_group_is_scaled(trainer, tiny_data):
    class TwoRates(Foreign):
        def configure_optimizers(self):
            head, rest = self.network.head.parameters(), self.network.block1.parameters()
            return torch.optim.SGD([{"params": rest, "lr": 0.4}, {"params": head, "lr": 0.1}])

    assert rates(trainer, TwoRates(), tiny_data, LinearScaling(2))[0] == [0.8, 0.2]


def test_reads_the_size_from_a_batch_sampler(trainer, tiny_data):
    items = tiny_data.dataset
    loader = DataLoader(items, batch_sampler=BatchSampler(SequentialSampler(items), 6, False), collate_fn=collate)
    assert rates(trainer, tiny_classifier(lr=0.1), loader, LinearScaling(3))[0] == [pytest.approx(0.2)]


def test_a_second_fit_scales_once(trainer, tiny_data):
    model, trick = tiny_classifier(lr=0.1), LinearScaling(2)
    for _ in range(2):
        assert rates(trainer, model, tiny_data, trick)[0] == [pytest.approx(0.2)]


def test_a_resumed_run_scales_once(trainer, tiny_data, tmp_path):
    run = trainer(callbacks=[LinearScaling(2)], max_epochs=1)
    run.fit(tiny_classifier(lr=0.1), tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    seen = SeenRates()
    trainer(callbacks=[LinearScaling(2), seen]).fit(
        tiny_classifier(lr=0.1), tiny_data, ckpt_path=tmp_path / "file.ckpt"
    )
    assert seen.rates == [[pytest.approx(0.2)]] * 3


def test_refuses_a_loader_that_does_not_say(trainer, tiny_data):
    for trick in (LinearScaling(), SquareRootScaling()):
        with pytest.raises(ValueError, match=f"{type(trick).__name__} cannot read .*needs a `batch_size`"):
            rates(trainer, tiny_classifier(), list(tiny_data), trick)


def test_refuses_a_model_with_its_own_scheduler(trainer, tiny_data):
    class OwnScheduler(Foreign):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [CosineAnnealingLR(optimizer, 5)]

    with pytest.raises(ValueError, match="cannot reach the base rates"):
        rates(trainer, OwnScheduler(), tiny_data, LinearScaling())


def test_refuses_a_second_one(trainer, tiny_data):
    with pytest.raises(ValueError, match="both scale the learning rate"):
        rates(trainer, tiny_classifier(), tiny_data, LinearScaling(), LinearScaling(128))
    with pytest.raises(ValueError, match="SquareRootScaling and LinearScaling both scale the learning rate"):
        rates(trainer, tiny_classifier(), tiny_data, SquareRootScaling(), LinearScaling())


@pytest.mark.parametrize("base", [0, -256])
def test_refuses_a_wrong_base(base):
    with pytest.raises(ValueError, match="base must be in"):
        LinearScaling(base)
