"""NeuronSpecificDropout: the author's numbers, the mask of each image, and the held-out images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import callbacks
from callbacks.dropout.neuron_specific_dropout import class_masks
from callbacks.frame.class_sums import class_sums, units
from datamodules.frame.memory import MemoryData
from tests.callbacks.conftest import At, hooks
from tests.conftest import tiny_classifier

SHEET = json.loads((Path(__file__).parents[2] / "data/dropout/nsdropout.json").read_text())


def acting(held, y, p=0.4, absolute=False):
    """Return a trick as in the middle of a run, with means of held-out images."""
    trick = callbacks.NeuronSpecificDropout(p, absolute)
    trick._held, trick._place, trick._batch = {"spot": held}, "spot", [None, y]
    return trick


def test_by_the_authors_code():
    x, y, x_val, y_val = (torch.tensor(SHEET["input"][k]) for k in ("x_train", "y_train", "x_val", "y_val"))
    means = [sums / counts for sums, counts in (class_sums(x, y, 2), class_sums(x_val, y_val, 2))]
    theirs = {name: torch.tensor([SHEET["expected"][name][c] for c in "01"]) for name in ("difference", "class_mask")}
    torch.testing.assert_close(means[0] - means[1], theirs["difference"], rtol=1e-6, atol=1e-6)
    assert torch.equal(class_masks(means[0] - means[1], 0.4), theirs["class_mask"].float())
    output = torch.tensor(SHEET["expected"]["output_train"])
    torch.testing.assert_close(acting(means[1], y).drop(x, 0.4), output, rtol=1e-6, atol=1e-6)


def test_sign_and_size():
    d = torch.tensor([[3.0, -4.0, 1.0, 0.0]])
    assert class_masks(d, 0.25).tolist() == [[0, 1, 1, 1]]
    assert class_masks(d, 0.25, absolute=True).tolist() == [[1, 0, 1, 1]]
    assert class_masks(d, 0.1).tolist() == [[1, 1, 1, 1]]  # rounds to none
    assert class_masks(d, 0.99).sum() == 1 and class_masks(d[:, :1], 0.9).tolist() == [[1]]


@pytest.mark.parametrize("shape", [(6, 10), (6, 4, 10), (6, 10, 3, 3), (6, 10, 1, 1), (6, 1, 2, 2)])
def test_kept_share_scale_and_gradient(shape):
    torch.manual_seed(0)
    x, y = torch.rand(shape, requires_grad=True), torch.tensor([0, 1, 2, 0, 1, 2])
    width = units(x).shape[1]
    out = acting(torch.rand(3, width), y, 0.3).drop(x, 0.3)
    out.sum().backward()
    kept = units(out.detach()) > 0
    assert kept.sum(1).tolist() == [7 if width == 10 else 1] * 6
    assert torch.equal(kept[:3], kept[3:]) and len(kept.unique(dim=0)) == (3 if width == 10 else 1)  # by class
    torch.testing.assert_close(out[out > 0], (x / 0.7)[out > 0])
    assert torch.equal(x.grad > 0, out > 0)


def test_a_class_that_is_not_held_out_keeps_all_and_nothing_is_nan():
    held = torch.tensor([[0.0, 9.0], [float("nan")] * 2, [5.0, 5.0]])
    y = torch.tensor([0, 1])
    assert acting(held, y, 0.5).drop(torch.ones(2, 2), 0.5).tolist() == [[0, 2], [1, 1]]
    for x in (torch.zeros(2, 2), torch.ones(2, 2)):
        out = acting(held, y, 0.5).drop(x.bfloat16(), 0.5)
        assert out.isfinite().all() and out.dtype == torch.bfloat16


def test_mixed_targets_count_as_their_largest_class_and_others_are_refused():
    held = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    x, soft = torch.ones(2, 2), torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    assert acting(held, soft, 0.5).drop(x, 0.5).tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match="a label of each of 4 examples"):
        acting(held, soft, 0.5).drop(torch.ones(4, 2), 0.5)
    with pytest.raises(ValueError, match="have no units"):
        callbacks.NeuronSpecificDropout(where="input")


def test_images_held_out_are_those_of_validation(trainer, tiny_data):
    """The means equal those of a pass by hand; the network's modes, statistics and hooks do not change."""
    model, trick, seen = tiny_classifier(lr=1e-30), callbacks.NeuronSpecificDropout(), []
    model.network.block1.bn1.eval()
    held = DataLoader([tiny_data.dataset[i] for i in (0, 1, 10, 3)], batch_size=3, collate_fn=tiny_data.collate_fn)
    by_hand = torch.stack([image for image, _ in held.dataset])

    def look(trainer, model):
        assert hooks(model) == 1 and model.network.block2.bn1.training and not model.network.block1.bn1.training
        network = model.network
        with torch.no_grad():
            model.eval()
            x = network.avgpool(network.maxpool(network.block2(network.block1(by_hand)))).flatten(1)
            model.train()
        if not seen:
            seen.append((x, trick.state_dict()["held"]))

    trainer(callbacks=[trick, At("on_train_epoch_start", look)], max_epochs=1).fit(model, tiny_data, held)
    x, means = seen[0]
    (place, mean), *rest = means.items()
    assert place == "network.head" and not rest and mean.shape == (10, 16)
    torch.testing.assert_close(mean[0], (x[0] + x[2]) / 2)
    torch.testing.assert_close(mean[1], x[1])
    assert mean[[2, *range(4, 10)]].isnan().all()


class Shades(MemoryData):
    """40 images of 4 classes, each of a colour of its own; 8 are for validation."""

    classes, image_size = tuple("abcdefghij"), 8
    mean, std = (0.5,) * 3, (0.5,) * 3

    def read(self, part):
        if part == "val":
            return None
        shade = np.arange(40, dtype=np.uint8)[:, None, None, None] * 5
        return np.broadcast_to(shade, (40, 8, 8, 3)).copy(), torch.arange(40) % 4


def test_images_held_out_are_a_fifth_of_the_training_images(trainer):
    """The means are theirs. They are neither trained on nor used in validation, and are restored afterwards."""
    model, trick, trained, means = tiny_classifier(lr=1e-30), callbacks.NeuronSpecificDropout(), set(), []
    data = Shades(batch_size=4, val_split=8, padding=0, flip=False)

    def look(trainer, model):
        images = data.held_dataloader().dataset.__getitems__(data.held_indices.tolist())
        images = data.on_after_batch_transfer(images, 0)[0]
        network = model.network
        model.eval()
        with torch.no_grad():
            x = network.avgpool(network.maxpool(network.block2(network.block1(images)))).flatten(1)
        model.train()
        labels = data.held_indices % 4
        means.append(torch.stack([x[labels == k].mean(0) for k in range(4)]))

    model.network.register_forward_pre_hook(
        lambda m, i: trained.update((i[0][:, 0, 0, 0] * 127.5 + 127.5).round().tolist()) if m.training else None
    )
    see = At("on_train_epoch_start", look)
    trainer(callbacks=[see, trick], max_epochs=3).fit(model, data)
    torch.testing.assert_close(trick.state_dict()["held"]["network.head"][:4], means[-1], rtol=1e-4, atol=1e-4)
    held = {5.0 * i for i in range(40)} - trained - {5.0 * i for i in data.val_indices.tolist()}
    assert len(held) == 6 and len(trained) == 26  # of 32; 6.4 are a fifth
    assert len(data.train_indices) == 32 and len(data.held_indices) == 0


@pytest.mark.parametrize("held", [0, 1, -0.1])
def test_refuses_a_share_of_nothing_or_all(held):
    with pytest.raises(ValueError, match="held must be in"):
        callbacks.NeuronSpecificDropout(held=held)


def test_on_request_validation_is_compared_with(trainer):
    data, trick = Shades(batch_size=4, val_split=8, padding=0, flip=False), callbacks.NeuronSpecificDropout(held=None)
    look = At("on_train_start", lambda t, m: held.append(len(data.held_indices)))
    held = []
    trainer(callbacks=[trick, look], max_epochs=1).fit(tiny_classifier(), data)
    assert (
        held == [0]
        and len(data.train_indices) == 32
        and not trick.state_dict()["held"]["network.head"][:4].isnan().any()
    )


def test_without_validation_it_is_a_plain_dropout(trainer, tiny_data):
    trick = callbacks.NeuronSpecificDropout(0.4)
    trainer(callbacks=[trick], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert trick.state_dict()["held"] == {}
    torch.manual_seed(0)
    out = trick.drop(torch.ones(400, 50), 0.4)
    assert (out == 0).float().mean().item() == pytest.approx(0.4, abs=0.02)
    assert out.mean().item() == pytest.approx(1, abs=0.03)


def test_labels_choose_in_training_and_never_at_evaluation(trainer, tiny_data):
    """Wrong labels change the trained weights; outputs in evaluation do not depend on labels."""
    ends = []
    for shift in (0, 1):
        torch.manual_seed(0)
        model = tiny_classifier(lr=1e-30)
        model.network.dropout.p, seen = 0.0, {True: [], False: []}
        watch = At(
            "on_train_start",
            lambda t, m, s=seen: m.network.head.register_forward_pre_hook(
                lambda h, i: s[h.training].append(i[0].detach())
            ),
        )
        moved = [(image, (target + shift) % 10) for image, target in tiny_data.dataset]
        data = DataLoader(moved, batch_size=4, collate_fn=tiny_data.collate_fn)
        run = trainer(callbacks=[callbacks.NeuronSpecificDropout(0.5), watch], max_epochs=1)
        run.fit(model, tiny_data, data)
        ends.append(seen)
    assert all((x == 0).sum(1).ge(8).all() for x in ends[0][True])
    assert any(not torch.equal(a, b) for a, b in zip(ends[0][True], ends[1][True], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ends[0][False], ends[1][False], strict=True))
