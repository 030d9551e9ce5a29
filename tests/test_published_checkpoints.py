"""Checkpoints that others trained, through our network, on 1,000 of CIFAR-10's official test images."""

from pathlib import Path

import pytest

from recipes.command import verify

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs published checkpoints and test images beside the checkout"),
]


@pytest.fixture(scope="module")
def images():
    return verify.read_mosaic(DATA)


@pytest.mark.parametrize(
    ("file", "right"),
    [
        ("resnet20-12fca82f.th", 915),
        ("resnet32-d509ac18.th", 928),
        ("resnet56-4bfd9763.th", 926),
        ("cifar10_resnet20-4118986f.pt", 925),
    ],
)
@pytest.mark.one_in(2)
def test_gets_right_what_it_did(file, right, images):
    """As many images as when it was first measured; the published number is in the interval (results/verify.jsonl)."""
    published = verify.CHECKPOINTS[file]
    model = verify.build(DATA / file, published)
    seen = verify.count_right(model, *images, published.publisher)
    assert abs(seen - right) <= 1  # one image may be on the fence between two processors
    low, high = verify.proportion(seen, len(images[1]))
    assert low <= published.accuracy / 100 <= high
