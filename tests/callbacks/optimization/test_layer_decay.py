"""Layer decay: the layers of timm and of ConvNeXt's authors, and ratios of rates that every schedule keeps."""

import pytest
import timm
import torch
from timm.models import group_parameters

import zoo
from callbacks import CosineDecay, LayerDecay, LinearScaling, NoBiasDecay
from callbacks.frame.depth import depths, parts
from callbacks.optimization.layer_decay import scales
from tests.callbacks.conftest import At, Foreign, SeenRates
from tests.callbacks.frame.test_groups import SCHEDULERS, Scheduled
from tests.conftest import tiny_classifier

SAME_AS_TIMM = {
    "DeiT": ("S", "deit_small_distilled_patch16_224"),
    "InceptionV4": (None, "inception_v4"),
    "MobileNetV1": (None, "mobilenetv1_100"),
    "RegNet": ("Y-400MF", "regnety_004"),
    "ResNet": ("50", "resnet50"),
    "Swin": ("T", "swin_tiny_patch4_window7_224"),
    "ViT": ("B/16", "vit_base_patch16_224"),
}


def on_meta(make, *arguments, **more):
    with torch.device("meta"):
        return make(*arguments, **more)


def authors_layer(name):
    """Return the layer by the code of https://github.com/facebookresearch/ConvNeXt at 048efce, for its own names."""
    kind, stage, block, *_ = [*name.split("."), "", ""]
    if kind == "downsample_layers":
        return {0: 0, 1: 2, 2: 3, 3: 12}[int(stage)]
    if kind == "stages":
        return {0: 1, 1: 2, 2: 3 + int(block) // 3, 3: 12}[int(stage)]
    return 13


# ---- layers


def test_scales_by_hand():
    assert scales({"stem": 0, "block": 1, "head": 2}, 0.5) == {"stem": 0.25, "block": 0.5, "head": 1}


@pytest.mark.parametrize("name", SAME_AS_TIMM)
def test_same_layers_as_timm(name):
    variant, theirs = SAME_AS_TIMM[name]
    model = on_meta(getattr(zoo, name), **({} if variant is None else {"variant": variant}))
    # timm's RegNet sorts widths as tensors, which torch 2.11 cannot on meta
    reference = timm.create_model(theirs) if name == "RegNet" else on_meta(timm.create_model, theirs)
    layers = group_parameters(reference, reference.group_matcher(coarse=False), reverse=True)
    assert {name.removeprefix("network."): layer for name, layer in depths(model).items()} == layers


def test_same_rates_as_timms_groups_for_vit():
    model, reference = on_meta(zoo.ViT, "Ti/16"), on_meta(timm.create_model, "vit_tiny_patch16_224")
    names = {p: name for name, p in reference.named_parameters()}
    groups = timm.optim.param_groups_layer_decay(reference, layer_decay=0.7)
    theirs = {names[p]: group["lr_scale"] for group in groups for p in group["params"]}
    assert scales(depths(model), 0.7) == theirs
    assert len(set(theirs.values())) == 14


def test_a_timm_network_says_its_layers_itself():
    network = on_meta(timm.create_model, "densenet121")  # transitions: not as in our rule
    layers = group_parameters(network, network.group_matcher(coarse=False), reverse=True)
    assert depths(zoo.Classifier(network)) == {f"network.{name}": layer for name, layer in layers.items()}


@pytest.mark.parametrize("variant", ["S", "L"])
def test_convnext_has_its_authors_groups(variant):
    model = on_meta(zoo.ConvNeXt, variant)
    layers = depths(model)
    assert set(layers.values()) == {*range(14)}
    isotropic = ("stem.", "blocks.")
    back = {ours: theirs for theirs, ours in model.aliases.items() if not theirs.startswith(isotropic)}
    for name, layer in layers.items():
        start = max((ours for ours in back if name.startswith(ours)), key=len)
        assert layer == authors_layer(back[start] + name.removeprefix(start)), name


def test_a_shorter_convnext_leaves_no_gap():
    layers = depths(on_meta(zoo.ConvNeXt, "T"))
    assert set(layers.values()) == {*range(8)}
    assert layers["stages.2.blocks.8.gamma"] == 5
    assert layers["stages.3.downsample.0.weight"] == layers["stages.3.blocks.2.gamma"] == 6
    assert layers["head.norm.weight"] == layers["head.fc.weight"] == 7


def test_every_model_has_a_stem_a_head_and_no_gap():
    for name in sorted({"AlexNet", "DenseNet", "GoogLeNet", "NIN", "VGG", "WideResNet", "Xception"}):
        layers = depths(on_meta(getattr(zoo, name)))
        assert {*layers.values()} == {*range(max(layers.values()) + 1)}
        assert [*layers.values()] == sorted(layers.values())  # in the order of the network
        head = [key for key, layer in layers.items() if layer == max(layers.values())]
        assert len(head) <= 2, name


def test_a_network_without_blocks_has_its_children():
    layers = depths(tiny_classifier())
    assert {name.split(".")[1]: layer for name, layer in layers.items()} == {"block1": 0, "block2": 1, "head": 2}


def test_what_a_trick_adds_learns_as_the_head():
    model = tiny_classifier()
    model.add_module("_hint", torch.nn.Conv2d(2, 2, 1))
    assert depths(model)["_hint.weight"] == 2


def test_parts_are_cut_by_stages():
    found = parts(on_meta(zoo.ResNet, "18"))
    ends = [(part[0].split(".")[0], part[-1].split(".")[0]) for part in found]
    assert ends == [("conv1", "layer1"), ("layer2",) * 2, ("layer3",) * 2, ("layer4",) * 2, ("fc", "fc")]
    vit = parts(on_meta(zoo.ViT, "Ti/16"))
    assert [part[-1].rpartition(".")[0] for part in vit] == [f"blocks.{i}.mlp.fc2" for i in (2, 5, 8, 11)] + ["head"]
    assert vit[0][0] == "cls_token" and vit[4][0] == "norm.weight"
    assert parts(Foreign()) == parts(tiny_classifier())


# ---- rates


def rates(trainer, model, data, *tricks, **fit):
    seen = SeenRates()
    trainer(callbacks=[*tricks, seen]).fit(model, data, **fit)
    return seen.rates


def by_name(trainer, model, data, *tricks):
    """Return learning rate and weight decay of each parameter in the first step."""
    names, found = {p: name for name, p in model.named_parameters()}, {}

    def look(trainer, model):
        for group in trainer.optimizers[0].param_groups:
            found.update({names[p]: (group["lr"], group["weight_decay"]) for p in group["params"]})

    trainer(callbacks=[*tricks, At("on_train_batch_end", look)], limit_train_batches=1, max_epochs=1).fit(model, data)
    return found


@pytest.mark.parametrize("order", [1, -1])
def test_with_no_bias_decay(trainer, tiny_data, order):
    tricks = [LayerDecay(0.5), NoBiasDecay()][::order]
    found = by_name(trainer, tiny_classifier(lr=0.8, weight_decay=0.3), tiny_data, *tricks)
    assert found["network.block1.conv1.weight"] == (0.2, 0.3)
    assert found["network.block1.bn1.weight"] == (0.2, 0)
    assert found["network.block2.downsample.weight"] == (0.4, 0.3)
    assert found["network.head.weight"] == (0.8, 0.3) and found["network.head.bias"] == (0.8, 0)
    assert len(found) == 12


@pytest.mark.parametrize("order", [1, -1])
def test_with_a_schedule_and_scaling(trainer, tiny_data, order):
    plain = rates(trainer, tiny_classifier(), tiny_data, *[CosineDecay(0.5), LinearScaling()][::order])
    tricks = [LayerDecay(0.5), CosineDecay(0.5), LinearScaling()][::order]
    found = rates(trainer, tiny_classifier(), tiny_data, *tricks)
    assert len(plain) == 6
    torch.testing.assert_close(torch.tensor(found), torch.tensor(plain) * torch.tensor([0.25, 0.5, 1]))


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_torchs_schedulers_keep_the_layers_apart(trainer, tiny_data, tmp_path, kind):
    """Blocks have one rate, the head another; with layer decay, the first block has half the rate of the second."""
    plain = torch.tensor(rates(trainer, Scheduled(kind), tiny_data))
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "file.ckpt"))
    found = rates(trainer, Scheduled(kind), tiny_data, LayerDecay(0.5), save)
    torch.testing.assert_close(torch.tensor(found), plain[:, [0, 0, 1]] * torch.tensor([0.25, 0.5, 1]))
    resumed = rates(trainer, Scheduled(kind), tiny_data, LayerDecay(0.5), ckpt_path=tmp_path / "file.ckpt")
    assert resumed == found[3:]


def test_foreign_modules(trainer, tiny_data):
    assert rates(trainer, Foreign(), tiny_data, LayerDecay(0.5))[0] == [0.025, 0.05, 0.1]


@pytest.mark.parametrize("decay", [0, 1, 1.1, -0.5])
def test_refuses_a_wrong_decay(decay):
    with pytest.raises(ValueError, match="decay"):
        LayerDecay(decay)
