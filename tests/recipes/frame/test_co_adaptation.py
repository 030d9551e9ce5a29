"""Accuracy under masked channels: masks by hand, a network whose answer is known, and one pass for all shares."""

import pytest
import torch
from torch import nn

from recipes.frame.co_adaptation import FRACTIONS, channel_masks, co_adaptation
from zoo import ResNet


class Vote(nn.Module):
    """Class 1 if the mean of its channels is above a threshold, else class 0."""

    def __init__(self, threshold: float):
        super().__init__()
        self.features, self.threshold = nn.Identity(), threshold
        self.stages = {"all": self.features}

    def forward(self, x):
        mean = self.features(x).mean((1, 2, 3))
        return torch.stack([torch.full_like(mean, self.threshold), mean], 1)


def ones(n: int = 6) -> list:
    return [[torch.ones(n, 10, 2, 2), torch.ones(n, dtype=torch.long)]]


def test_masks_by_hand():
    u = torch.tensor([[0.3, 0.9, 0.1, 0.5], [0.8, 0.2, 0.6, 0.4]])
    masks = channel_masks(u, (0.0, 0.25, 0.5, 1.0))
    assert masks[0].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert masks[1].tolist() == [[1, 1, 0, 1], [1, 0, 1, 1]]
    assert masks[2].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert masks[3].sum() == 0
    assert channel_masks(u, (0.4,))[0].sum(1).tolist() == [2, 2]  # 1.6 of 4: rounded


def test_accuracy_falls_where_too_few_channels_are_left_and_nothing_is_scaled():
    # of ten channels of 1, a share s masked leaves a mean of 1 - s
    assert co_adaptation(Vote(0.55), ones(), fractions=(0.0, 0.4, 0.5, 0.9)) == [1.0, 1.0, 0.0, 0.0]


def test_one_pass_is_as_good_as_one_for_each_share():
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10, image_size=32).train()
    batches = [[torch.randn(20, 3, 32, 32), torch.randint(10, (20,))] for _ in range(2)]
    together = co_adaptation(model, batches, "stage2", (0.0, 0.5))
    assert together == [co_adaptation(model, batches, "stage2", (share,))[0] for share in (0.0, 0.5)]
    assert model.training and not model.stages["stage2"]._forward_hooks
    hits = sum((model.eval()(images).argmax(1) == targets).sum().item() for images, targets in batches)
    assert together[0] == pytest.approx(hits / 40)


def test_each_image_has_masks_of_its_own_and_each_call_the_same():
    model = Vote(0.05)
    model.features = model.stages["all"] = nn.Identity()
    images = torch.zeros(200, 10, 1, 1)
    images[:, 0] = 1  # only the first channel tells: half of the images lose it
    batches = [[images, torch.ones(200, dtype=torch.long)]]
    first, again, other = (co_adaptation(model, batches, fractions=(0.5,), seed=seed)[0] for seed in (0, 0, 1))
    assert first == again != other
    assert first == pytest.approx(0.5, abs=0.12)


def test_the_last_stage_is_what_is_masked():
    model = ResNet("20", num_classes=10, image_size=32)
    batches = [[torch.randn(16, 3, 32, 32), torch.randint(10, (16,))]]
    assert co_adaptation(model, batches) == co_adaptation(model, batches, [*model.stages.keys()][-1], FRACTIONS)


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"in \[0, 1\], not 0.5, 1.5"):
        co_adaptation(Vote(0.5), ones(), fractions=(0.5, 1.5))
    with pytest.raises(ValueError, match="no batches"):
        co_adaptation(Vote(0.5), [])
