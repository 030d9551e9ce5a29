"""`Model`: what every model says and does once."""

import inspect
from importlib.metadata import version

import pytest
import torch

import zoo
from zoo import ConvNeXt, ResNet
from zoo.frame.arguments import ADAMW, DEFAULTS, Training
from zoo.frame.classifier import Classifier


def test_training_arguments_and_their_defaults_are_those_of_classifier():
    parameters = inspect.signature(Classifier.__init__).parameters
    own = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert {name: own[name] for name in Training.__annotations__} == DEFAULTS
    assert {*own} - {*DEFAULTS} == {"stages", "image_size", "weights"}


def test_signature_is_written_out():
    shared = ["variant", "num_classes", "image_size", "weights"]
    assert [*inspect.signature(ConvNeXt).parameters] == [*shared, "drop_path", *DEFAULTS]
    assert [*inspect.signature(ResNet).parameters] == [*shared, *DEFAULTS]


def test_help_has_every_argument():
    for name in inspect.signature(ConvNeXt).parameters:
        assert f"    {name}: " in ConvNeXt.__doc__


@pytest.mark.parametrize(("wrong", "right"), [("num_clases", "num_classes"), ("lrr", "lr"), ("varient", "variant")])
def test_a_wrong_keyword_is_refused_with_the_right_one(wrong, right):
    with pytest.raises(TypeError, match=f"ResNet takes no '{wrong}'; did you mean '{right}'"):
        ResNet(**{wrong: 1})


def test_hyper_parameters_are_those_of_the_call():
    with torch.device("meta"):
        hparams = ConvNeXt("T", 10, 32, drop_path=0.2, lr=0.3).hparams
    given = {"variant": "T", "num_classes": 10, "image_size": 32, "drop_path": 0.2}
    assert dict(hparams) == {**DEFAULTS, **ADAMW, **given, "lr": 0.3}


# For one image a step, from each paper's table or the authors' configurations: rate and images, weight decay.
OWN = {
    "AlexNet": ("momentum", 0.01 / 128, 5e-4),
    "ConvNeXt": ("adamw", 4e-3 / 4096, 0.05),
    "ConvNeXtRoadmap": ("adamw", 4e-3 / 4096, 0.05),
    "DVT": ("adamw", 5e-4 / 512, 0.05),
    "DeiT": ("adamw", 5e-4 / 512, 0.05),
    "DynamicViT": ("adamw", 1e-3 / 1024, 0.05),
    "EViT": ("adamw", 5e-4 / 512, 0.05),
    "LVViT": ("adamw", 1.6e-3 / 1024, 0.05),
    "MoEViT": ("adamw", 5e-4 / 512, 0.05),
    "PatchSlimming": ("adamw", 5e-4 / 512, 0.05),
    "Swin": ("adamw", 1e-3 / 1024, 0.05),
    "VGG": ("momentum", 0.01 / 256, 5e-4),
    "ViT": ("adamw", 3e-3 / 4096, 0.3),
    "ZFNet": ("momentum", 0.01 / 128, 5e-4),
}


@pytest.mark.parametrize("name", zoo.__all__)
def test_a_family_trains_by_default_as_its_paper_does(name):
    if not issubclass(getattr(zoo, name), zoo.Model):
        return
    signature = inspect.signature(getattr(zoo, name)).parameters
    optimizer, rate, decay = OWN.get(name, ("sgd", 0.1 / 256, 1e-4))
    with torch.device("meta"):
        model = getattr(zoo, name)()
    group = model.configure_optimizers().param_groups[0]
    for found in ({key: p.default for key, p in signature.items()}, model.hparams):
        assert (found["optimizer"], found["weight_decay"]) == (optimizer, decay)
        assert found["lr"] / 256 == pytest.approx(rate)
    assert group["lr"] / 256 == pytest.approx(rate) and group["weight_decay"] == decay
    assert (type(model).training_defaults != {}) == (name in OWN)
    assert ("betas" in group) == (optimizer == "adamw")


def test_what_is_given_wins_over_the_papers():
    with torch.device("meta"):
        model = zoo.Swin("T", optimizer="sgd", lr=0.3, weight_decay=0.0)
    group = model.configure_optimizers().param_groups[0]
    assert (group["lr"], group["weight_decay"], group["nesterov"]) == (0.3, 0.0, True)


def test_stages_are_a_mapping_in_order():
    with torch.device("meta"):
        timm_keys, small = ConvNeXt("T").stages, ResNet("20", num_classes=10).stages
    assert [*timm_keys] == ["stage1", "stage2", "stage3", "stage4"] and [*small] == ["stage1", "stage2", "stage3"]
    assert [*timm_keys.values()] == [timm_keys[name] for name in timm_keys] and "stage5" not in timm_keys
    with pytest.raises(KeyError, match="stage5"):
        timm_keys["stage5"]


def test_the_front_lists_models_only():
    assert {"ResNet", "ConvNeXt"} <= {*zoo.__all__} and not {"UNet", "Model", "Classifier"} & {*zoo.__all__}
    assert zoo.__version__ == version("lightning-zoo")
