"""Cached logits: bit-identical to a run without files, a teacher that does not run, and images that differ."""

import os

import pytest
import torch

from callbacks import AttentionTransfer, CachedLogits, KnowledgeDistillation, MixUp, WorstOf
from callbacks.distillation.cached_logits import checksums, fingerprint
from datamodules import Digits
from tests.callbacks.conftest import At, assert_equal, hooks, weights
from tests.conftest import tiny_classifier


@pytest.fixture
def teacher():
    torch.manual_seed(99)
    return tiny_classifier(width=6)


def test_checksums_tell_images_apart():
    torch.manual_seed(0)
    images = torch.randn(50, 3, 8, 8)
    mine = checksums(images)
    assert mine.std() == pytest.approx(0.7, abs=0.15)
    for other in (images.flip(3), images.roll(1, 3), images.roll(1, 0), images + 0.1 * torch.randn_like(images)):
        assert ((checksums(other) - mine).abs() > 0.002).float().mean() > 0.95
    torch.testing.assert_close(checksums(images * (1 + 1e-6)), mine, rtol=0, atol=1e-4)


def test_fingerprint_is_of_weights_and_of_what_is_seen(teacher):
    one = fingerprint(teacher, None, 32)
    assert one == fingerprint(teacher, None, 32) != fingerprint(teacher, None, 64)
    with torch.no_grad():
        teacher.network.block1.bn1.running_mean[0] += 1e-3
    assert fingerprint(teacher, None, 32) != one


def trained(trainer, teacher, data, tricks, **arguments):
    """Train, and return the student's weights and the number of batches that the teacher has seen."""
    calls = []
    hook = teacher.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)
    model = tiny_classifier()
    run = trainer(callbacks=tricks, **arguments)
    run.fit(model, data) if isinstance(data, torch.utils.data.DataLoader) else run.fit(model, datamodule=data)
    hook.remove()
    return weights(model), len(calls)


def digits():
    return Digits(16, val_split=1437 - 64, num_workers=0)  # four batches, shuffled and shifted


def test_same_bits_as_distillation_and_the_teacher_is_asked_once(trainer, teacher, tmp_path):
    plain, asked = trained(trainer, teacher, digits(), [MixUp(), KnowledgeDistillation(teacher, T=2.0)])
    first, again = (
        trained(trainer, teacher, digits(), [MixUp(), CachedLogits(teacher, tmp_path / "new", T=2.0)]) for _ in range(2)
    )
    assert_equal(first[0], plain)
    assert_equal(again[0], plain)
    assert (asked, first[1], again[1]) == (8, 8, 0)
    assert len([*(tmp_path / "new").iterdir()]) == 2  # epochs


def test_a_full_disk_leaves_the_older_file(trainer, teacher, tiny_data, tmp_path, monkeypatch):
    """`os.fsync` stands for the disk: what was not flushed to it is not renamed."""
    trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)])
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    trick = CachedLogits(teacher, tmp_path)
    trick._saved, trick._new, trick._file, trick._wrong = {}, {0: (torch.zeros(1), torch.zeros(1))}, min(kept), None
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        trick.on_train_epoch_end(None, None)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_other_students_and_rates_ask_nothing_more(trainer, teacher, tiny_data, tmp_path):
    trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)])
    torch.manual_seed(5)
    count = []
    teacher.register_forward_hook(lambda *_: count.append(1))
    trick = CachedLogits(teacher, str(tmp_path), weight=0.3, kind="hard")
    trainer(callbacks=[trick], max_epochs=3).fit(tiny_classifier(width=4, lr=0.01), tiny_data)
    assert len(count) == 3  # the third epoch's


def test_features_still_need_the_teacher(trainer, teacher, tiny_data, tmp_path):
    for _ in range(2):
        tricks = [CachedLogits(teacher, tmp_path), AttentionTransfer(teacher)]
        _, asked = trained(trainer, teacher, tiny_data, tricks)
        assert hooks(teacher) == 0
    assert asked == 6


def test_a_run_that_stops_in_mid_epoch_is_filled_up(trainer, teacher, tiny_data, tmp_path):
    _, asked = trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)], max_epochs=-1, max_steps=2)
    assert asked == 2
    _, asked = trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)], max_epochs=1)
    assert asked == 1
    _, asked = trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)], max_epochs=1)
    assert asked == 0


def test_an_epoch_that_is_there_is_not_written_over_by_one_that_was_not(trainer, teacher, tmp_path):
    first, _ = trained(trainer, teacher, digits(), [CachedLogits(teacher, tmp_path)])
    (missing,), (there,) = (list(tmp_path.glob(f"*epoch{epoch}-*")) for epoch in (0, 1))
    missing.unlink()
    kept = there.read_bytes()
    again, asked = trained(trainer, teacher, digits(), [CachedLogits(teacher, tmp_path)])
    assert asked == 4 and there.read_bytes() == kept
    assert_equal(again, first)


def shuffled(data, order, size=4):
    items = [data.dataset[i] for i in order]
    return torch.utils.data.DataLoader(items, batch_size=size, collate_fn=data.collate_fn)


@pytest.mark.parametrize(
    ("order", "size"),
    [
        ([3, 1, 2, 0, *range(4, 12)], 4),
        ([*range(4), 5, 4, *range(6, 12)], 4),
        ([*range(8), 9, 8, 10, 11], 4),
        ([*range(12)], 3),
        ([*range(12)], 5),
    ],
    ids=["first batch", "middle batch", "last batch", "smaller", "larger"],
)
def test_refuses_other_images(trainer, teacher, tiny_data, tmp_path, order, size):
    trained(trainer, teacher, tiny_data, [CachedLogits(teacher, tmp_path)], max_epochs=1)
    steps = []
    count = At("on_train_batch_end", lambda *_: steps.append(1))
    with pytest.raises(ValueError, match="the images are not those of the logits.*the same seed"):
        trained(trainer, teacher, shuffled(tiny_data, order, size), [CachedLogits(teacher, tmp_path), count])
    assert len(steps) == (3 if order[8] == 9 or order[4] == 5 else 0)


def test_several_teachers_share_a_folder(trainer, teacher, tiny_data, tmp_path):
    torch.manual_seed(1)
    other = tiny_classifier(width=5)
    tricks = [CachedLogits(teacher, tmp_path), CachedLogits(other, tmp_path)]
    expected, _ = trained(trainer, teacher, tiny_data, [KnowledgeDistillation(teacher), KnowledgeDistillation(other)])
    for _ in range(2):
        ended, _ = trained(trainer, teacher, tiny_data, tricks)
        assert_equal(ended, expected)


def test_refuses_images_that_depend_on_the_network(trainer, teacher, tiny_data, tmp_path):
    """The logits would be of other images in the next run."""
    tricks = [WorstOf(k=2), CachedLogits(teacher, tmp_path)]
    with pytest.raises(ValueError, match="CachedLogits needs the same images in every run, and WorstOf chooses them"):
        trainer(callbacks=tricks).fit(tiny_classifier(), tiny_data)
