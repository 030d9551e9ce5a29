from itertools import product

import pytest
import torch

from callbacks import Linear, SubtreeDropout
from callbacks.dropout.subtree_dropout import cut
from tests.callbacks.conftest import At
from tests.callbacks.dropout.sheets import close, oracle
from tests.conftest import TinyTransformer, tiny_classifier
from zoo import ResNet
from zoo.hierarchical_mixture import SoftTree, leaf_weights

# root, left child, right child; and the outputs of the four leaves
GATES, LEAVES = torch.tensor([[0.7, 0.2, 0.6]]), torch.tensor([1.0, -2.0, 0.5, 4.0])


def tree(gates: torch.Tensor) -> torch.Tensor:
    return (leaf_weights(gates) * LEAVES).sum(1)


@pytest.mark.parametrize(
    ("stay", "y"),
    [
        ((0, 0, 0), 4.0), ((0, 0, 1), 1.9), ((0, 1, 0), 4.0), ((0, 1, 1), 1.9),
        ((1, 0, 0), -0.2), ((1, 0, 1), -0.83), ((1, 1, 0), 0.22), ((1, 1, 1), -0.41),
    ],
)  # fmt: skip
def test_every_cut_tree_by_hand(stay, y):
    """If the root loses its left subtree, the leaves 1 and -2 are dropped; if all nodes do, the last leaf is left."""
    u = torch.where(torch.tensor([stay]) == 1, 0.69, 0.7)
    assert tree(cut(GATES, u, 0.7)).item() == pytest.approx(y)


def test_evaluation_is_the_mean_of_all_cut_trees():
    p, mean = 0.3, 0.0
    for stay in product((0, 1), repeat=3):
        chance = (1 - p) ** sum(stay) * p ** (3 - sum(stay))
        mean += chance * tree(GATES * torch.tensor([stay])).item()
    assert mean == pytest.approx(0.5161)
    assert tree(GATES * (1 - p)).item() == pytest.approx(0.5161)


def test_limits():
    u = torch.rand(50, 3)
    assert torch.equal(cut(GATES.expand(50, 3), u, 1.0), GATES.expand(50, 3))  # p = 0
    torch.testing.assert_close(leaf_weights(cut(GATES, u, 0.0)), torch.tensor([0.0, 0, 0, 1]).expand(50, 4))


def test_what_is_left_counts_as_one():
    torch.manual_seed(0)
    pi = leaf_weights(cut(torch.rand(200, 15), torch.rand(200, 15), 0.5))
    torch.testing.assert_close(pi.sum(1), torch.ones(200))
    assert (pi[:, -1] > 0).all() and (pi[:, :-1] == 0).any(0).all()


def test_a_subtree_that_is_cut_learns_nothing_and_its_gate_neither():
    gates, leaves = GATES.clone().requires_grad_(), LEAVES.clone().requires_grad_()
    pi = leaf_weights(cut(gates, torch.tensor([[0.9, 0.1, 0.1]]), 0.5))
    (pi * leaves).sum().backward()
    assert (leaves.grad == 0).tolist() == [True, True, False, False]
    assert (gates.grad[0] == 0).tolist() == [True, True, False]


def test_every_example_and_node_draws_on_its_own():
    torch.manual_seed(0)
    model, trick = SoftTree(4, 2, levels=2).train(), SubtreeDropout(0.25)
    trick.on_fit_start(None, model)
    gates = torch.rand(2400, 3) + 0.1
    left = model.gate_scale(gates)
    gone = left == 0
    assert torch.equal(left[~gone], gates[~gone])
    assert gone.float().mean(0).tolist() == pytest.approx([0.25] * 3, abs=0.036)  # four standard deviations
    nodes, examples = gone[:, 0] & gone[:, 1], gone[::2] & gone[1::2]
    assert nodes.float().mean().item() == pytest.approx(0.0625, abs=0.02)
    assert examples.float().mean().item() == pytest.approx(0.0625, abs=0.017)
    assert not torch.equal(model.gate_scale(gates), left)
    trick.teardown(None, model, "fit")
    assert torch.equal(model.gate_scale(gates), 0.75 * gates)


def test_weights_carry_the_scale_and_evaluation_takes_it(trainer, tiny_data):
    """The scale follows the schedule's value in the last step: .3 x 5 / 6."""
    model, scales = tiny_classifier(network=TinyTransformer), []
    scale = model.network.tree.gate_scale
    look = At("on_validation_start", lambda *_: scales.append(scale.scale.item()))
    run = trainer(callbacks=[SubtreeDropout(Linear(0, 0.3)), look], num_sanity_val_steps=0)
    run.fit(model, tiny_data, tiny_data)
    assert scales == pytest.approx([1 - 0.3 * 2 / 6, 1 - 0.3 * 5 / 6])
    assert model.state_dict()["network.tree.gate_scale.scale"].item() == pytest.approx(0.75)
    gates = torch.rand(3, 3)
    for training in (False, True):  # without the trick nothing is drawn
        torch.testing.assert_close(scale.train(training)(gates), 0.75 * gates)


def test_refuses_a_network_without_a_tree(trainer, tiny_data):
    with pytest.raises(TypeError, match="take HierarchicalMixture, or build with"):
        trainer(callbacks=[SubtreeDropout()]).fit(ResNet("20", num_classes=10), tiny_data)


@pytest.mark.parametrize("p", [0.0, 1.5, Linear(-0.1, 0.2)])
def test_refusals(p):
    with pytest.raises(ValueError, match="SubtreeDropout: p must be in"):
        SubtreeDropout(p)


def test_the_slow_loops_numbers():
    _, expected, params = oracle("hme_dropout")
    gates, leaves = (torch.tensor([*params[name].values()]).double() for name in ("gate_left", "leaves"))
    p = params["p"]

    def says(gates):
        return (leaf_weights(gates) * leaves).sum(1)

    stay = torch.tensor([row["delta_root_l_r"] for row in expected["all_combinations"]])
    outputs = says(cut(gates.expand(8, 3), torch.where(stay == 1, 0.0, 1.0), 1 - p))
    close(outputs, [row["output"] for row in expected["all_combinations"]])
    chance = torch.tensor([row["probability"] for row in expected["all_combinations"]]).double()
    close((outputs * chance).sum(), expected["exact_expectation"])
    close(says(gates[None] * (1 - p))[0], expected["output_with_scaled_gates"])
    close(says(gates[None])[0], expected["no_dropout"])
