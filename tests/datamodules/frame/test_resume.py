"""A run stopped at any moment at which a checkpoint can be written goes on with the very next batch, bit for bit."""

import pytest

from datamodules import Digits

BATCHES = 6  # an epoch
EPOCHS = 3
OPTIONS = {"max_epochs": EPOCHS, "limit_val_batches": 2}


def digits(workers=0):
    if workers == 0:
        return Digits(batch_size=8, val_split=1437 - 8 * BATCHES)
    with pytest.warns(UserWarning, match="num_workers"):
        return Digits(batch_size=8, val_split=1437 - 8 * BATCHES, num_workers=workers)


def seen_from(batches, epoch, batch):
    return [b for b in batches if b[:2] >= (epoch, batch)]


MOMENTS = [  # hook, its nth call, the next batch (epoch, number), more of the Trainer's options
    ("on_train_start", 1, (0, 0), {}),
    ("on_train_batch_start", 1, (0, 0), {}),
    ("on_train_batch_start", 9, (1, 2), {}),
    ("on_train_batch_end", 1, (0, 1), {}),
    ("on_train_batch_end", 8, (1, 2), {}),
    ("on_train_batch_end", 6, (1, 0), {}),
    ("on_train_batch_end", 12, (2, 0), {"limit_val_batches": 0}),
    ("on_train_batch_end", 4, (0, 4), {"accumulate_grad_batches": 2}),
    ("on_train_batch_end", 6, (1, 0), {"accumulate_grad_batches": 2}),
    ("on_train_batch_end", 6, (1, 0), {"accumulate_grad_batches": 4}),
    ("on_validation_start", 1, (1, 0), {}),
    ("on_validation_batch_end", 1, (1, 0), {}),
    ("on_validation_epoch_end", 2, (2, 0), {}),
    ("on_validation_end", 1, (1, 0), {}),
    ("on_validation_end", 1, (0, 3), {"val_check_interval": 0.5}),
    ("on_validation_end", 2, (1, 0), {"val_check_interval": 0.5}),
    ("on_validation_start", 3, (1, 3), {"val_check_interval": 0.5}),
    ("on_train_epoch_end", 1, (1, 0), {}),
    ("on_train_epoch_end", 2, (2, 0), {"limit_val_batches": 0}),
    ("on_train_batch_end", 2, (0, 2), {"limit_train_batches": 4}),
    ("on_train_batch_end", 4, (1, 0), {"limit_train_batches": 4}),
    ("on_validation_end", 1, (1, 0), {"limit_train_batches": 4}),
]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("hook", "nth", "following", "more"), MOMENTS)
@pytest.mark.one_in(2)
def test_exact(hook, nth, following, more, workers, linear, trainer, save_at, tmp_path):
    path = tmp_path / "stopped.ckpt"
    straight, resumed = linear(), linear()
    trainer(**{**OPTIONS, **more}, callbacks=[save_at(hook, nth, path)]).fit(straight, digits())
    trainer(**{**OPTIONS, **more}).fit(resumed, digits(workers), ckpt_path=path, weights_only=True)

    epoch_length = more.get("limit_train_batches", BATCHES)
    assert len(straight.train_batches) == EPOCHS * epoch_length
    assert resumed.train_batches == seen_from(straight.train_batches, *following)
    if following != (0, 4) or "accumulate_grad_batches" not in more:
        assert all((a == b).all() for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_the_seed_comes_from_the_checkpoint(linear, trainer, save_at, tmp_path, monkeypatch):
    path = tmp_path / "stopped.ckpt"
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    straight, resumed = linear(), linear()
    trainer(**OPTIONS, callbacks=[save_at("on_train_batch_end", 8, path)]).fit(straight, digits())
    monkeypatch.setenv("PL_GLOBAL_SEED", "6")
    data = digits()
    trainer(**OPTIONS).fit(resumed, data, ckpt_path=path, weights_only=True)
    assert data.seed == 5
    assert resumed.train_batches == seen_from(straight.train_batches, 1, 2)
