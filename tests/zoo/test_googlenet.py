"""GoogLeNet: torchvision's counts and outputs for "BN", table 1 read a second time for "LRN", the auxiliary heads."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from zoo import GoogLeNet

# At 1000 classes and 224 px: parameters without and with the auxiliary heads, and 1e9 multiply-adds of convolutions and
# linear layers without them. Counted on a network written apart from this one ("LRN") and on torchvision 0.29 ("BN");
# the paper says 1.5 billion operations.
COUNTS = {"LRN": (6_998_552, 13_378_280, 1.5827), "BN": (6_624_904, 13_004_888, 1.4984)}


def torchvision_googlenet() -> nn.Module:
    return torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False).eval()


@pytest.mark.parametrize("variant", COUNTS)
def test_counts(variant, count):
    with_heads, multiply_adds = count(partial(GoogLeNet, variant))
    with torch.device("meta"):
        heads = sum(p.numel() for n, p in GoogLeNet(variant).named_parameters() if n.startswith("aux"))
    assert (with_heads - heads, with_heads, round(multiply_adds / 1e9, 4)) == COUNTS[variant]


def test_same_logits_as_torchvision(randomise, agree, images):
    torch.manual_seed(0)
    ours, theirs = randomise(GoogLeNet("BN", num_classes=10)), torchvision_googlenet()
    theirs.load_state_dict(ours.state_dict())
    agree(ours, theirs, images(90))  # odd maps, where a pool may round up or down
    ours.load_state_dict(theirs.state_dict())


def test_same_auxiliary_logits_as_torchvision(randomise, images):
    torch.manual_seed(0)
    ours, theirs = randomise(GoogLeNet("BN", num_classes=10)), torchvision_googlenet()
    theirs.load_state_dict(ours.state_dict())
    for network in (ours, theirs):
        for module in network.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    x = images(64)
    logits, extras = ours(x)
    other = theirs(x)
    (w1, aux1), (w2, aux2) = extras["aux"]
    assert (w1, w2) == (0.3, 0.3)
    torch.testing.assert_close((logits, aux1, aux2), (other.logits, other.aux_logits1, other.aux_logits2))


def by_table_1(w: dict, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The logits, and what the auxiliary heads say without dropout."""

    def conv(x: torch.Tensor, key: str, stride: int = 1) -> torch.Tensor:
        kernel = w[f"{key}.conv.weight"]
        return F.conv2d(x, kernel, w[f"{key}.conv.bias"], stride, padding=kernel.shape[-1] // 2).relu()

    def norm(a: torch.Tensor) -> torch.Tensor:  # Caffe divides alpha by the number of channels that it adds
        sums = [(a[:, max(0, i - 2) : i + 3] ** 2).sum(1) for i in range(a.shape[1])]
        return a / (1 + 1e-4 / 5 * torch.stack(sums, 1)) ** 0.75

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # even maps, rounded up: one zero at the far edges

    def block(x: torch.Tensor, name: str) -> torch.Tensor:
        k = f"inception{name}.branch"
        shrunk = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)
        three, five = (conv(conv(x, f"{k}{i}.0"), f"{k}{i}.1") for i in (2, 3))
        return torch.cat([conv(x, f"{k}1"), three, five, conv(shrunk, f"{k}4.1")], 1)

    def linear(x: torch.Tensor, key: str) -> torch.Tensor:
        return x @ w[f"{key}.weight"].T + w[f"{key}.bias"]

    def head(x: torch.Tensor, key: str) -> torch.Tensor:
        x = conv(F.avg_pool2d(x, 5, 3), f"{key}.conv")
        assert x.shape[1:] == (128, 4, 4)
        return linear(linear(x.flatten(1), f"{key}.fc1").relu(), f"{key}.fc2")

    x = norm(pool(conv(x, "conv1", 2)))
    x = pool(norm(conv(conv(x, "conv2"), "conv3")))
    x = block(pool(block(block(x, "3a"), "3b")), "4a")
    first = head(x, "aux1")
    x = block(block(block(x, "4b"), "4c"), "4d")
    second = head(x, "aux2")
    x = block(block(pool(block(x, "4e")), "5a"), "5b")
    assert x.shape[1:] == (1024, 7, 7)
    return {"logits": linear(x.mean((2, 3)), "fc"), "aux1": first, "aux2": second}


def test_lrn_is_table_1(agree, images, he_weights):
    torch.manual_seed(0)
    ours = he_weights(GoogLeNet("LRN", num_classes=10))
    x = 30 * images(224)  # large, so that the norm matters
    with torch.no_grad():
        read = by_table_1(ours.state_dict(), x)
        agree(ours, lambda x: read["logits"], x)
        for module in ours.train().modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        (w1, aux1), (w2, aux2) = ours(x)[1]["aux"]
    assert (w1, w2) == (0.3, 0.3)
    torch.testing.assert_close((aux1, aux2), (read["aux1"], read["aux2"]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", COUNTS)
@pytest.mark.parametrize(("pixels", "first"), [(224, 112), (64, 64), (32, 32)])
def test_map_sizes(variant, pixels, first, map_sizes):
    sides = (first, first // (1 if pixels <= 64 else 2))
    sides += tuple(sides[1] // 2**i for i in (1, 2, 3))
    found = map_sizes(partial(GoogLeNet, variant, image_size=pixels), pixels)
    assert found == list(zip((64, 192, 480, 832, 1024), sides, strict=True))


def test_dropout():
    models = {v: GoogLeNet(v, image_size=32) for v in COUNTS}
    assert {v: (m.dropout.p, m.aux1.dropout.p) for v, m in models.items()} == {"LRN": (0.4, 0.7), "BN": (0.2, 0.7)}


def test_initial_weights_of_caffe():
    torch.manual_seed(0)
    model = GoogLeNet("LRN", num_classes=10, image_size=32)
    zero = ("fc.bias", "aux1.fc2.bias", "aux2.fc2.bias")
    for name, w in model.named_parameters():
        if name.endswith("bias"):
            assert w.unique().tolist() == pytest.approx([0.0 if name in zero else 0.2])
        elif w.numel() > 2000:
            assert w.std().item() == pytest.approx(w[0].numel() ** -0.5, rel=0.05)


def test_initial_weights_of_torchvision():
    torch.manual_seed(0)
    for name, w in GoogLeNet("BN", num_classes=10, image_size=32).named_parameters():
        if w.ndim > 1 and w.numel() > 2000:
            assert w.std().item() == pytest.approx(0.01, rel=0.08), name
