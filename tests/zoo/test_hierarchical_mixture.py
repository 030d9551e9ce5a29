import math

import pytest
import torch
import torch.nn.functional as F

from zoo import HierarchicalMixture, ResNet
from zoo.hierarchical_mixture import VARIANTS, SoftTree, leaf_weights
from zoo.tools.complexity import total_macs


def test_leaf_weights_by_hand():
    """Root .7, its children .2 and .6: .7 .2, .7 .8, .3 .6, .3 .4."""
    pi = leaf_weights(torch.tensor([[0.7, 0.2, 0.6], [1.0, 0.0, 0.5]]))
    torch.testing.assert_close(pi, torch.tensor([[0.14, 0.56, 0.18, 0.12], [0.0, 1.0, 0.0, 0.0]]))
    y = (pi[0] * torch.tensor([1.0, -2.0, 0.5, 4.0])).sum()  # .7 (.2 - 1.6) + .3 (.3 + 1.6)
    assert y.item() == pytest.approx(-0.41)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_leaf_weights_are_a_distribution(levels):
    torch.manual_seed(0)
    pi = leaf_weights(torch.rand(7, 2**levels - 1))
    assert pi.shape == (7, 2**levels) and (pi >= 0).all()
    torch.testing.assert_close(pi.sum(1), torch.ones(7))


def recursive(tree: SoftTree, x: torch.Tensor, level: int, place: int, levels: int) -> torch.Tensor:
    """One example through the equation, node by node: place counts from the left within a level."""
    k = tree.experts.out_features // 2**levels
    if level == levels:
        rows = slice(place * k, (place + 1) * k)
        return tree.experts.weight[rows] @ x + tree.experts.bias[rows]
    node = 2**level - 1 + place
    z = (tree.gates.weight[node] @ x + tree.gates.bias[node]).item()
    g = tree.gate_scale.scale / (1 + math.exp(-z))
    left, right = (recursive(tree, x, level + 1, 2 * place + child, levels) for child in (0, 1))
    return g * left + (1 - g) * right


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_tree_is_the_equation_node_by_node(levels, scale):
    torch.manual_seed(0)
    tree, x = SoftTree(5, 3, levels).double(), torch.randn(4, 5, dtype=torch.float64)
    tree.gate_scale.scale.fill_(scale)
    torch.nn.init.normal_(tree.gates.weight)
    expected = torch.stack([recursive(tree, row, 0, 0, levels) for row in x])
    torch.testing.assert_close(tree(x), expected, rtol=1e-6, atol=1e-6)  # gates are read in float32


def test_equal_experts_make_it_a_linear_layer():
    torch.manual_seed(0)
    tree, linear, x = SoftTree(5, 3, 4), torch.nn.Linear(5, 3), torch.randn(6, 5)
    tree.experts.weight.data = linear.weight.data.repeat(16, 1)
    tree.experts.bias.data = linear.bias.data.repeat(16)
    torch.testing.assert_close(tree(x), linear(x))


def test_it_is_a_resnet_whose_head_is_a_tree():
    torch.manual_seed(0)
    model, images = HierarchicalMixture("20-2", num_classes=10).eval(), torch.randn(2, 3, 32, 32)
    resnet = ResNet("20", num_classes=10).eval()
    trunk = {key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}
    resnet.load_state_dict(trunk | {"fc.weight": torch.zeros(10, 64), "fc.bias": torch.zeros(10)})
    features = []
    resnet.avgpool.register_forward_hook(lambda *call: features.append(call[2].flatten(1)))
    resnet(images)
    torch.testing.assert_close(model(images), model.fc(features[0]))


@pytest.mark.parametrize(
    ("variant", "trunk", "k"), [("20-2", "20", 10), ("20-4", "20", 10), ("20-6", "20", 10), ("18-4", "18", 1000)]
)
def test_counts(variant, trunk, k):
    """Those of the ResNet; its head of C K + K becomes 2^h of them, and 2^h - 1 gates of C + 1."""
    levels = VARIANTS[variant].levels
    with torch.device("meta"):
        model, resnet = HierarchicalMixture(variant, num_classes=k), ResNet(trunk, num_classes=k)
    c, leaves = resnet.fc.in_features, 2**levels
    more = (leaves - 1) * (c * k + k) + (leaves - 1) * (c + 1)
    numbers = [sum(p.numel() for p in m.parameters()) for m in (model, resnet)]
    assert numbers[0] - numbers[1] == more
    size = model.image_size
    assert total_macs(model, size) - total_macs(resnet, size) == (leaves - 1) * c * k + (leaves - 1) * c
    assert variant != "18-4" or numbers[0] == 19_392_207


def test_a_tree_separates_what_one_linear_layer_cannot():
    """Exclusive or: the gate turns the sign of what its experts say."""
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]) * 2 - 1
    y, tree = torch.tensor([0, 1, 1, 0]), SoftTree(2, 2, 1)
    optimizer = torch.optim.Adam(tree.parameters(), 0.1)
    for _ in range(200):
        loss = F.cross_entropy(tree(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 and tree(x).argmax(1).tolist() == y.tolist()


def test_far_logits_of_gates_stay_finite():
    tree = SoftTree(2, 3, 3)
    torch.nn.init.constant_(tree.gates.weight, 1e4)
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], requires_grad=True)
    tree(x).sum().backward()
    assert tree(x).isfinite().all() and x.grad.isfinite().all()


def test_gates_are_multiplied_in_float32_at_any_precision():
    """In bf16, products of six gates would be off by a hundredth."""
    tree, x, seen = SoftTree(5, 3, 6), torch.randn(4, 5), []
    tree.gate_scale.register_forward_hook(lambda m, inputs, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert tree(x).dtype == torch.bfloat16
    assert seen == [torch.float32]


@pytest.mark.parametrize(
    ("arguments", "words"), [(("20-3",), "HierarchicalMixture has no '20-3'"), (("20-4", 10, 224), "up to 64 px")]
)
def test_refusals(arguments, words):
    with pytest.raises(ValueError, match=words):
        HierarchicalMixture(*arguments)
