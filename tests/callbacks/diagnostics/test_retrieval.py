"""Retrieval: by hand, against a count in plain Python, ties and single images, and in a test."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks import Retrieval
from callbacks.diagnostics.retrieval import retrieval
from tests.conftest import collate, tiny_classifier
from zoo import Classifier


def circle(*degrees):
    angle = torch.tensor(degrees) * torch.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_by_hand():
    """The query at 0 sees right, wrong, right: MAP@R (1 + 0 + 2/3) / 3. Its class has three others, one far away."""
    x, targets = circle(0.0, 10.0, 20.0, 30.0, 180.0), torch.tensor([0, 0, 1, 0, 0])
    found = [plain(x, targets, q) for q in range(5) if q != 2]
    assert found[0] == pytest.approx((1, 2 / 3, (1 + 2 / 3) / 3))
    assert tuple(retrieval(x, targets)) == pytest.approx([sum(v) / 4 for v in zip(*found, strict=True)], abs=1e-6)


def plain(x, targets, q):
    """Return the three numbers of one query, step by step."""
    order = sorted((i for i in range(len(x)) if i != q), key=lambda i: -float(x[q] @ x[i] / x[i].norm()))
    right = [bool(targets[i] == targets[q]) for i in order]
    r = sum(right)
    precision = [sum(right[: i + 1]) / (i + 1) for i in range(r)]
    return right[0], sum(right[:r]) / r, sum(p for p, ok in zip(precision, right[:r], strict=True) if ok) / r


def test_as_a_count_in_plain_python():
    """Of more images than are compared at a time."""
    torch.manual_seed(3)
    x, targets = torch.randn(300, 5) * torch.rand(300, 1), torch.randint(20, (300,))
    x += torch.randn(20, 5)[targets]
    found = [plain(x, targets, q) for q in range(300)]
    assert tuple(retrieval(x, targets)) == pytest.approx([sum(v) / 300 for v in zip(*found, strict=True)], abs=1e-5)


def test_limits():
    x, targets = torch.eye(4).repeat(3, 1), torch.arange(4).repeat(3)
    assert tuple(retrieval(x, targets)) == (1, 1, 1)
    assert tuple(retrieval(circle(0.0, 170.0, 5.0, 175.0), torch.tensor([0, 0, 1, 1]))) == (0, 0, 0)
    with pytest.raises(ValueError, match="two images of a class"):
        retrieval(x[:4], targets[:4])


def test_logs_the_scores_of_the_features_before_the_head(trainer):
    torch.manual_seed(0)
    images, targets = torch.randn(9, 3, 8, 8), torch.arange(9) % 3
    data, model, trick = (
        DataLoader([*zip(images, targets, strict=True)], 4, collate_fn=collate),
        tiny_classifier(),
        Retrieval(),
    )
    scores = trainer(callbacks=[trick]).test(model, data, verbose=False)[0]
    seen = []
    model.network.head.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.eval()(images)
    expected = retrieval(seen[0], targets)
    assert [scores[f"test/{name}"] for name in expected._fields] == pytest.approx([*expected], abs=1e-6)
    assert "R@1" in trick.findings[0].text


def test_a_network_without_a_linear_layer_is_refused(trainer, tiny_data):
    network = nn.Sequential(nn.Conv2d(3, 10, 8), nn.Flatten())
    with pytest.raises(TypeError, match="Retrieval reads the features that enter a linear layer with 10 outputs"):
        trainer(callbacks=[Retrieval()]).test(Classifier(network, num_classes=10), tiny_data, verbose=False)
