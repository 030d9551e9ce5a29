"""Figures of the models' pages: of the code as it stands, and right where others have counted."""

import pytest
from builder import models, networks

from recipes.frame import catalogue
from recipes.frame.costs import COSTS

MODELS = {entry.name: entry for entry in catalogue.models()}


def test_a_model_has_its_variants_and_stages():
    page = models.page(MODELS["ResNet"], networks.read()["ResNet"])
    assert "**50** | 224 px | 25,557,032 |" in page  # torchvision's ResNet-50 has as many
    assert "80.858 % (ImageNet; torchvision, `IMAGENET1K_V2`)" in page
    assert "91.73 % (CIFAR-10; `resnet20-12fca82f.th`" in page
    assert "| stage4 | 2048 x 7 x 7 | 32 | 427 |" in page  # 483 px in He et al., whose strides are in the first 1x1


@pytest.mark.parametrize("name", MODELS)
def test_the_default_variant_costs_what_the_command_line_says(name):
    variant, parameters, macs = COSTS[name]
    found = networks.read()[name]
    assert (found["default"], found["variants"][variant][:2]) == (variant, [parameters, macs]), "run `make tables`"


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("AttentionUNet", "MobileNetV3", "Swin", "ViT")]


@pytest.mark.parametrize("name", ["ConvNet", "NIN", *SLOW])
@pytest.mark.one_in(4)
def test_figures_are_those_that_are_counted(name):
    kept, counted = networks.read()[name], networks.count(name)
    assert kept | {"source": ""} == counted | {"source": ""}, "run `make tables`"


def test_words_of_a_docstring_do_not_count_as_code(tmp_path):
    texts = {'"""One."""\nx = 1  # a\n': "a", '"""Two."""\n\nx = 1\n': "a", '"""One."""\nx = 2\n': "b"}
    found = {}
    for text, same in texts.items():
        (tmp_path / "m.py").write_text(text)
        found.setdefault(same, set()).add(networks.digest([tmp_path / "m.py"]))
    assert len(found["a"]) == len(found["b"]) == 1 and found["a"] != found["b"]
