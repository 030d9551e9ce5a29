"""MultiScale and ProgressiveResizing: sizes by hand, draws that ranks and resumes share, Pillow's pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import Linear, MultiScale, ProgressiveResizing, Steps
from callbacks.data.multi_scale import drawn
from callbacks.frame.resizing import nearest_multiple, resize
from tests.callbacks.conftest import At, SeenBatches
from tests.conftest import tiny_classifier
from zoo import Classifier


def sizes(trick, data, trainer, **options):
    seen = SeenBatches()
    trainer(callbacks=[trick, seen], **options).fit(tiny_classifier(), data, data)
    assert all(images.shape[-1] == 8 for images, _ in seen.val)
    return [images.shape[-1] for images, _ in seen.train]


def test_multiples_by_hand():
    assert [nearest_multiple(v, 32) for v in (10, 47, 49, 224, 250)] == [32, 32, 64, 224, 256]


def test_the_same_pixels_as_pillow():
    torch.manual_seed(0)
    image = torch.randint(256, (3, 17, 13), dtype=torch.uint8)
    for size in ((9, 7), (30, 20)):
        ours = resize(image[None].float(), size)[0]
        theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.BILINEAR)
        assert (ours - torch.from_numpy(np.array(theirs)).permute(2, 0, 1)).abs().max() < 1.01
    batch = torch.randn(2, 3, 8, 8)
    assert resize(batch, (8, 8)) is batch


def test_multi_scale_holds_a_size_for_some_batches(tiny_data, trainer):
    """Epochs of three batches: two of one size, then one of another."""
    seen = sizes(MultiScale((0.5, 2.0), every=2, multiple=2), tiny_data, trainer, max_epochs=8)
    assert len(seen) == 24 and all(a == b for a, b in zip(seen[::3], seen[1::3], strict=True))
    assert len({*zip(seen[::3], seen[2::3], strict=True)}) > 3
    assert len(set(seen)) > 3 and all(s % 2 == 0 and 4 <= s <= 16 for s in seen)
    assert seen == sizes(MultiScale((0.5, 2.0), every=2, multiple=2), tiny_data, trainer, max_epochs=8)


def test_multi_scale_draws_evenly():
    values = torch.tensor([drawn(3, i // 40, i % 40, 0.5, 1.5) for i in range(4000)])
    assert values.min() >= 0.5 and values.max() < 1.5
    counts = torch.histc(values, 10, 0.5, 1.5)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001
    assert len({drawn(seed, epoch, block, 0, 1) for seed in (3, 4) for epoch in (0, 1) for block in (0, 1)}) == 8


def test_progressive_resizing_grows(tiny_data, trainer):
    assert sizes(ProgressiveResizing(Linear(0.5, 1.0, until="4st"), 1), tiny_data, trainer) == [4, 5, 6, 7, 8, 8]
    assert sizes(ProgressiveResizing(Steps(0.5, {"1ep": 1.0})), tiny_data, trainer) == [4, 4, 4, 8, 8, 8]
    assert sizes(ProgressiveResizing(), tiny_data, trainer)[-1] == 8


@pytest.mark.parametrize("wrong", [{"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"every": 0}, {"multiple": 0}])
def test_multi_scale_refuses(wrong):
    with pytest.raises(ValueError, match="MultiScale"):
        MultiScale(**wrong)


def test_progressive_resizing_refuses():
    for wrong in ({"scale": 0.0}, {"scale": Linear(0.5, 1.5)}, {"multiple": 0}):
        with pytest.raises(ValueError, match="ProgressiveResizing"):
            ProgressiveResizing(**wrong)


@pytest.mark.parametrize("trick", [ProgressiveResizing(0.5), MultiScale((0.5, 0.5), multiple=2)])
def test_of_a_network_of_one_size_the_error_says_who_made_another(trick, tiny_data, trainer):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        trainer(callbacks=[trick]).fit(Classifier(network, num_classes=10), tiny_data)
    assert caught.value.__notes__[0].startswith(f"{type(trick).__name__} had made the images 4 x 4 px")


def test_of_other_errors_it_says_nothing(tiny_data, trainer):
    fails = At("on_validation_epoch_start", lambda trainer, model: 1 / (trainer.global_step == 0))
    with pytest.raises(ZeroDivisionError) as caught:
        trainer(callbacks=[ProgressiveResizing(0.5), fails]).fit(tiny_classifier(), tiny_data, tiny_data)
    assert not hasattr(caught.value, "__notes__")
