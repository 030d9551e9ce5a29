"""LeNet-5: the paper's counts layer by layer, table I, the squash, and distances by hand."""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from zoo import LeNet5
from zoo.lenet5 import FOUR, THREE, Distances, Subsampling, squash

C3 = [THREE[i : i + 3] for i in range(0, 18, 3)] + [FOUR[i : i + 4] for i in range(0, 36, 4)] + [[*range(6)]]


@pytest.fixture
def model():
    torch.manual_seed(3)
    return LeNet5(num_classes=10, in_chans=1)


def test_parameters_of_the_paper(model):
    """Section II.B has 156, 12, 1,516, 32, 48,120 and 10,164: 60,000 in all."""
    counts = [sum(p.numel() for p in part.parameters()) for part in model.children()]
    assert counts == [156, 12, 1516, 32, 48120, 10164, 0] and sum(counts) == 60_000
    assert model.head.codes.numel() == 840


def test_connections_of_the_paper(model):
    """Section II.B has 122,304, 5,880, 151,600, 2,000 and 48,120; with F6 and the output 340,908."""
    maps = {}
    for name in ("c1", "s2", "c3", "s4", "c5"):
        model.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: maps.update({name: out.shape[1:]}))
    model(torch.zeros(1, 1, 32, 32))
    side = {name: shape[1] for name, shape in maps.items()}
    c1, s2 = 6 * side["c1"] ** 2 * 26, 6 * side["s2"] ** 2 * 5
    c3, s4 = side["c3"] ** 2 * sum(25 * len(reads) + 1 for reads in C3), 16 * side["s4"] ** 2 * 5
    assert (c1, s2, c3, s4, side["c5"]) == (122_304, 5_880, 151_600, 2_000, 1)
    assert c1 + s2 + c3 + s4 + 48_120 + 10_164 + 840 == 340_908


def test_table_1():
    """Three neighbours, four neighbours, four with a gap, all; every map of S2 is read ten times."""
    around = lambda first, n: sorted((first + i) % 6 for i in range(n))  # noqa: E731
    assert C3[:6] == [around(i, 3) for i in range(6)] and C3[6:12] == [around(i, 4) for i in range(6)]
    assert C3[12:] == [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]]
    assert Counter(i for reads in C3 for i in reads) == dict.fromkeys(range(6), 10)


def test_a_map_of_c3_sees_its_maps_only(model):
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    out = model.c3(x)
    for i, reads in enumerate(C3):
        (grad,) = torch.autograd.grad(out[0, i].sum(), x, retain_graph=True)
        assert [j for j in range(6) if grad[0, j].any()] == sorted(reads)


def test_c3_is_a_dense_convolution_with_zeros(model):
    sparse, dense, bias = model.c3.layer, torch.zeros(16, 6, 5, 5), torch.zeros(16)
    parts = [sparse.three.weight, sparse.four.weight, sparse.six.weight]
    rows = [row for part in parts for row in part.detach()]
    for i, (reads, row) in enumerate(zip(C3, rows, strict=True)):
        dense[i, reads] = row
    x = torch.randn(2, 6, 14, 18)
    torch.testing.assert_close(sparse(x), F.conv2d(x, dense, bias))


def test_squash_is_1_at_1():
    a = torch.tensor([-1.0, 0.0, 1.0, 100.0])
    torch.testing.assert_close(squash(a), torch.tensor([-1.0, 0.0, 1.0, 1.7159]), rtol=0, atol=1e-4)


def test_subsampling_by_hand():
    layer = Subsampling(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1))
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.5, 0.5], [0.0, 0.0]]]])
    expected = [1.7159 * math.tanh(6.0 * 2 / 3), 1.7159 * math.tanh(-1.0 * 2 / 3)]
    torch.testing.assert_close(layer(x).flatten(), torch.tensor(expected))


def test_the_nearest_code_wins_and_the_loss_is_equation_9():
    head = Distances(3, 2)
    head.codes.copy_(torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]]))
    logits = head(torch.tensor([[1.0, -1.0, 0.5]]))
    torch.testing.assert_close(logits, -torch.tensor([[0.25, 4.25]]))
    loss = 0.25 + math.log(math.exp(-0.25) + math.exp(-4.25))  # y_target + log of the sum of exp(-y)
    assert F.cross_entropy(logits, torch.tensor([0])).item() == pytest.approx(loss, rel=1e-5)


def test_codes_are_fixed_random_signs_that_a_checkpoint_keeps():
    torch.manual_seed(5)
    one, two = LeNet5(num_classes=50), LeNet5(num_classes=50)
    assert one.head.codes.abs().eq(1).all() and abs(one.head.codes.mean()) < 0.05
    assert not torch.equal(one.head.codes, two.head.codes)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.head.codes, two.head.codes) and "head.codes" not in dict(one.named_parameters())


def test_weights_are_drawn_by_the_inputs_of_the_unit(model):
    for layer, inputs in ((model.c3.layer.three, 75), (model.c3.layer.six, 150), (model.c5.layer, 400)):
        assert 0.9 * 2.4 / inputs < layer.weight.abs().max() <= 2.4 / inputs
    assert model.s4.weight.abs().max() <= 0.6 and not model.f6.layer.bias.any()


def test_the_image_must_reach_c5():
    with pytest.raises(ValueError, match="LeNet5-1998 needs images of at least 16 px, got image_size=15"):
        LeNet5(image_size=15)
    assert LeNet5(num_classes=4, image_size=33)(torch.randn(2, 3, 33, 33)).shape == (2, 4)
