"""Each operation against timm's on Pillow images, at the same strength; the draws against timm's description."""

from collections import Counter

import numpy as np
import pytest
import torch
from timm.data import auto_augment as timm
from torchvision.transforms.v2.functional import pil_to_tensor

from datamodules.transforms import RandAugment
from datamodules.transforms.rand_augment import ACTIONS

# our names -> timm's operation and its argument at strength s
TIMM = {
    "AutoContrast": lambda p, s: timm.auto_contrast(p),
    "Equalize": lambda p, s: timm.equalize(p),
    "Invert": lambda p, s: timm.invert(p),
    "Posterize": lambda p, s: _posterized(p, *_level("PosterizeIncreasing", s)),
    "Solarize": lambda p, s: timm.solarize(p, *_level("SolarizeIncreasing", s)),
    "SolarizeAdd": lambda p, s: timm.solarize_add(p, *_level("SolarizeAdd", s)),
    "Color": lambda p, s: timm.color(p, 1 + 0.9 * s),
    "Contrast": lambda p, s: timm.contrast(p, 1 + 0.9 * s),
    "Brightness": lambda p, s: timm.brightness(p, 1 + 0.9 * s),
    "Sharpness": lambda p, s: timm.sharpness(p, 1 + 0.9 * s),
}
MOVED = {  # the argument is the strength times this; timm's shifts go the other way
    "Rotate": (timm.rotate, 30),
    "ShearX": (timm.shear_x, 0.3),
    "ShearY": (timm.shear_y, 0.3),
    "TranslateX": (timm.translate_x_rel, -0.45),
    "TranslateY": (timm.translate_y_rel, -0.45),
}


def _level(name, strength):
    result = timm.LEVEL_TO_ARG[name](10 * strength, {})
    return result if isinstance(result, tuple) else (result,)


def _posterized(picture, bits):
    """Older Pillows made 0 bits black, and Pillow 13 refuses them, so that timm fails at magnitude 10."""
    return timm.posterize(picture, bits) if bits else picture.point(lambda value: 0)


def test_there_are_timms_operations():
    increasing = {name.replace("Increasing", "").replace("Rel", "") for name in timm._RAND_INCREASING_TRANSFORMS}
    assert increasing == set(ACTIONS) == set(TIMM) | set(MOVED) and len(ACTIONS) == 15


@pytest.mark.parametrize("strength", [1.0, 0.9, 0.33, 0.05, 0.0])
@pytest.mark.parametrize("name", TIMM)
def test_colours_are_timms(name, strength, photo, pillow):
    image = photo[:, 100:164, 200:264]
    for signed in (strength, -strength) if name in ("Color", "Contrast", "Brightness", "Sharpness") else (strength,):
        ours = ACTIONS[name](image, signed, [0.0] * 3)
        theirs = pil_to_tensor(TIMM[name](pillow(image), signed))
        assert ours.dtype == torch.uint8
        assert (ours.int() - theirs.int()).abs().max() <= 2


@pytest.mark.parametrize("strength", [1.0, -0.85, 0.1])
@pytest.mark.parametrize("name", MOVED)
def test_places_are_timms(name, strength, photo, pillow):
    """Bilinear in both, inside the image: at its edge Pillow cuts sharply, and torch blends with the fill."""
    image = photo[:, 100:164, 200:296]
    operation, most = MOVED[name]
    options = {"fillcolor": (124, 116, 104), "resample": 2}
    ours = ACTIONS[name](image, strength, [124.0, 116.0, 104.0]).int()
    theirs = pil_to_tensor(operation(pillow(image), most * strength, **options)).int()
    difference = (ours - theirs).abs()
    assert difference.double().mean() < 1.2 and (difference > 3).double().mean() < 0.03


def test_draws():
    """Two of 15 with replacement, each applied with 1/2; magnitude N(9, .5) below 10; a sign where there is one."""
    torch.manual_seed(0)
    policy, n = RandAugment(), 6000
    drawn = [policy.make_params([])["chosen"] for _ in range(n)]
    counts = Counter(len(chosen) for chosen in drawn)
    for applied, share in enumerate((0.25, 0.5, 0.25)):
        assert abs(counts[applied] / n - share) < 0.025
    flat = [pair for chosen in drawn for pair in chosen]
    names = Counter(name for name, _ in flat)
    assert set(names) == set(ACTIONS) and max(abs(count / n - 1 / 15) for count in names.values()) < 0.012
    magnitudes = np.array([10 * abs(s) for _, s in flat])
    assert abs(np.median(magnitudes) - 9) < 0.03 and abs((magnitudes == 10).mean() - 0.0228) < 0.008
    assert abs(np.subtract(*np.percentile(magnitudes, [69.146, 30.854])) - 0.5) < 0.04  # a half sigma to both sides
    negative = Counter(name for name, s in flat if s < 0)
    signed = {"Rotate", "Color", "Contrast", "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"}
    assert set(negative) == signed
    assert all(abs(negative[name] / names[name] - 0.5) < 0.09 for name in signed)
    assert any(chosen[0][0] == chosen[1][0] for chosen in drawn if len(chosen) == 2)


def test_the_drawn_are_applied_in_order(photo):
    image, policy = photo[:, :32, :32], RandAugment(fill=(0, 0, 0))
    chosen = [("Invert", 0.9), ("Solarize", 0.5)]
    expected = 255 - image
    expected = torch.where(expected >= 128, 255 - expected, expected)
    assert torch.equal(policy.transform(image, {"chosen": chosen}), expected)


def test_fill_comes_from_outside():
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    moved = RandAugment().transform(image, {"chosen": [("TranslateX", 0.9)]})
    assert moved[:, 0, 0].tolist() == [124, 116, 104] and moved[:, 0, -1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("wrong", [{"magnitude": 11}, {"std": -1}, {"num_ops": -1}])
def test_refuses(wrong):
    with pytest.raises(ValueError, match="magnitude in"):
        RandAugment(**wrong)
