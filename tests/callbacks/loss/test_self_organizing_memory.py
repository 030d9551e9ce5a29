"""The memory for web images: each equation by hand, the limit of equal weights, and noise that is found."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import tensor

from callbacks import SelfOrganizingMemory
from callbacks.frame.regions import regions
from callbacks.frame.self_organizing import Memory, count, first, move, neighbours, winners
from callbacks.loss.self_organizing_memory import bags, trust
from tests.conftest import tiny_classifier
from zoo import Step


def test_neighbours_by_hand():
    near = neighbours(2, 1.0, torch.device("cpu"))  # squared distances 0, 1, 1, 2
    row = tensor([0.0, -0.5, -0.5, -1.0]).exp()
    torch.testing.assert_close(near[0], row / row.sum())
    assert torch.equal(near, near.T)
    assert neighbours(3, 0.1, torch.device("cpu")).argmax(1).tolist() == [*range(9)]


def test_a_region_goes_where_its_whole_neighbourhood_is_near():
    keys = F.normalize(tensor([[1.0, 0.0], [0.9, 0.5], [0.0, 1.0], [0.8, 0.6]]))
    h = tensor([[7.0, 1.0], [0.0, 3.0]])  # its length does not count
    assert winners(h, keys, torch.eye(4)).tolist() == [0, 2]
    near = tensor([[0.5, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert winners(h, keys, near).tolist() == [1, 2]  # beside 0 there is one far away


def test_scores_and_weights_of_a_bag_by_hand():
    values = tensor([[8.0, 1.0], [2.0, 9.0]])
    w = trust(values, tensor([0, 1]))
    torch.testing.assert_close(w[:, 0], 2 * tensor([8 / 9 * 8 / 10, 2 / 11 * 2 / 10]))
    scaled = bags(w, tensor([[1.0, 0.0], [1.0, 0.0]]))
    torch.testing.assert_close(scaled, tensor([[0.9514, 0.0], [0.0486, 0.0]]), atol=1e-4, rtol=0)


def test_bags_are_of_one_class_and_mixed_regions_are_in_two():
    y = tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    torch.testing.assert_close(bags(torch.ones(3, 2), y), tensor([[2 / 3, 0.0], [0.0, 2 / 3], [1 / 3, 1 / 3]]))


def test_one_bag_moves_winner_and_neighbours_by_hand():
    keys, g = tensor([[1.0, 0.0], [0.0, 1.0]]), tensor([[0.0, 5.0]])
    moved = move(keys, g, 0.5 * tensor([[0.8, 0.2]]))
    torch.testing.assert_close(moved, F.normalize(tensor([[0.6, 0.4], [0.0, 1.0]])))
    torch.testing.assert_close(move(keys, g.repeat(9, 1), torch.ones(9, 2)), tensor([[0.0, 1.0], [0.0, 1.0]]))


def test_values_stay_distributions():
    values = first(Run(), torch.randn(7, 3), 4, 2).values
    found = tensor([[0.7, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0]])  # the second class is absent
    after = count(values, found, 0.1 * torch.eye(2))
    torch.testing.assert_close(after[:, 0], 0.9 * values[:, 0] + 0.1 * found[0])
    torch.testing.assert_close(after[:, 1], values[:, 1])
    many = count(values, found[:1].repeat(9, 1), 0.5 * torch.ones(9, 2))  # all at once: no overshoot
    torch.testing.assert_close(many, found[0][:, None].expand(4, 2))


def test_regions_are_the_image_its_corners_and_its_centre():
    images = torch.arange(150.0).view(1, 1, 10, 15).expand(2, 3, 10, 15)
    found = regions(images)
    assert found.shape == (12, 3, 10, 15) and torch.equal(found[:2], images)
    for i, (y, x) in enumerate([(0, 0), (0, 6), (4, 0), (4, 6), (2, 3)], 1):
        crop = images[..., y : y + 6, x : x + 9]
        torch.testing.assert_close(found[2 * i : 2 * i + 2].mean((2, 3)), crop.mean((2, 3)))


class Run:
    """In the place of a Trainer: step 5 of 10."""

    global_step, world_size = 5, 1


def step_of(h, y, classes):
    logits = (h[:, :classes] * 2).requires_grad_()
    return Step(torch.zeros(len(h), 3, 8, 8), y, logits, logits.sum())


@pytest.fixture
def model():
    module = tiny_classifier()
    module._trainer = Run()
    return module


def test_equal_weights_are_the_loss_of_the_mean_logits(model):
    h, y = torch.randn(6, 5), tensor([0, 2, 0, 0, 2, 2])
    trick = SelfOrganizingMemory(sigma=1.0, power=0.0, start="9st")
    trick._seen, step = h, step_of(h, y, 3)
    trick.on_loss(model, step)
    means = torch.stack([step.logits[y == k].mean(0) for k in (0, 2)])
    torch.testing.assert_close(step.loss, F.cross_entropy(means, tensor([0, 2])))
    step.loss.backward()
    torch.testing.assert_close(step.logits.grad.sum(1), torch.zeros(6))


def test_wrong_labels_and_clutter_lose_their_weight(model):
    """Two classes, and clutter that both have. In small bags, .4 are clutter, and .2 of the rest have wrong labels."""
    generator = torch.Generator().manual_seed(2)
    centres, y = torch.eye(3, 8), tensor([0, 1, 0, 1])
    trick = SelfOrganizingMemory(side=3, sigma=0.5, power=0.0, mu=0.05, start="0st")
    for _ in range(300):
        u, noise = torch.rand(4, 2, generator=generator).T, torch.randn(4, 8, generator=generator)
        kind = torch.where(u[0] < 0.4, 2, torch.where(u[1] < 0.2, 1 - y, y))
        trick._seen = centres[kind] + 0.1 * noise
        trick.on_loss(model, step_of(trick._seen, y, 2))
    near = neighbours(3, 0.5, torch.device("cpu"))
    w = trust(trick.memory.values, winners(centres, trick.memory.keys, near))
    right, wrong, clutter = w[[0, 1], [0, 1]], w[[0, 1], [1, 0]], w[2]
    assert right.min() > 1.5 * torch.cat([wrong, clutter]).max()


def test_the_memory_goes_into_a_checkpoint_and_comes_back():
    trick, other = SelfOrganizingMemory(side=2), SelfOrganizingMemory(side=2)
    assert trick.state_dict() == {}
    trick.memory = Memory(torch.randn(4, 3), torch.rand(4, 2))
    other.load_state_dict(trick.state_dict())
    assert all(map(torch.equal, trick.memory, other.memory))


def test_evaluation_sees_the_image_alone(tiny_data, trainer):
    model, trick = tiny_classifier(), SelfOrganizingMemory(side=2, start=0)
    run: L.Trainer = trainer(callbacks=[trick])
    run.fit(model, tiny_data, tiny_data)
    assert trick.memory is not None and torch.allclose(trick.memory.values.sum(0), torch.ones(1), atol=1e-5)
    assert torch.allclose(trick.memory.keys.norm(dim=1), torch.ones(4), atol=1e-5)
