"""MultiScale: one size for several batches, equal sizes on all ranks and after a resume, uniform draws, refusals."""

import pytest
import torch

from callbacks import MultiScale
from callbacks.data.multi_scale import draw_scale
from tests.callbacks.data.sizes import FixedSize, sizes


@pytest.mark.parametrize("seed", [0, 5])
def test_a_size_holds_for_some_batches(seed, tiny_data, trainer, monkeypatch):
    """Epochs of three batches: two of one size, then one of another."""
    monkeypatch.setenv("PL_GLOBAL_SEED", str(seed))
    seen = sizes(MultiScale((0.5, 2.0), every=2, multiple=2), tiny_data, trainer, max_epochs=8)
    assert len(seen) == 24 and all(a == b for a, b in zip(seen[::3], seen[1::3], strict=True))
    assert len({*zip(seen[::3], seen[2::3], strict=True)}) > 3
    assert len(set(seen)) > 3 and all(s % 2 == 0 and 4 <= s <= 16 for s in seen)
    assert seen == sizes(MultiScale((0.5, 2.0), every=2, multiple=2), tiny_data, trainer, max_epochs=8)


def test_draws_are_even():
    values = torch.tensor([draw_scale(3, i // 40, i % 40, 0.5, 1.5) for i in range(4000)])
    assert values.min() >= 0.5 and values.max() < 1.5
    counts = torch.histc(values, 10, 0.5, 1.5)
    assert ((counts - 400) ** 2 / 400).sum() < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001
    assert len({draw_scale(seed, epoch, block, 0, 1) for seed in (3, 4) for epoch in (0, 1) for block in (0, 1)}) == 8


def test_both_sides_of_oblong_images_keep_their_ratio():
    batch = [torch.zeros(2, 3, 16, 40), torch.zeros(2)]
    MultiScale((1.5, 1.5), multiple=4).resize(batch, 1.5)
    assert batch[0].shape == (2, 3, 24, 60)


@pytest.mark.parametrize("wrong", [{"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"every": 0}, {"multiple": 0}])
def test_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="MultiScale"):
        MultiScale(**wrong)


def test_an_error_of_a_network_with_a_fixed_size_names_the_size(tiny_data, trainer):
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        trainer(callbacks=[MultiScale((0.5, 0.5), multiple=2)]).fit(FixedSize(), tiny_data)
    assert caught.value.__notes__[0].startswith("MultiScale had made the images 4 x 4 px")
