"""Tricks that act on a network, on every model of the zoo: each trains a step, or refuses with a reason."""

import copy
import gc
import tempfile

import pytest
import torch

import callbacks
from callbacks.frame.trick import Trick
from tests.callbacks.conftest import hooks
from tests.conftest import TEACHERS
from tests.zoo.test_every_model import NAMES, loader, with_moved_statistics
from zoo import Classifier

ROOMS = ("network", "dropout", "distillation")
# of the other rooms, those that depend on layers, parameters, features or the size of images
ALSO = (
    "AdaptiveGradientClipping", "AuxiliaryHeads", "CircleLoss", "DeadUnits", "EMA", "ExpertBalance", "GradientFlow",
    "GradientCentralization", "GradualUnfreezing", "LayerDecay", "MagnifiedWeightDecay", "MultiScale", "NoBiasDecay",
    "Orthogonality", "ProgressiveResizing", "RDrop", "SWA", "SelfOrganizingMemory", "TokenLabeling", "TokenRatio",
)  # fmt: skip


def acts_on_networks(name: str) -> bool:
    return getattr(callbacks, name).__module__.split(".")[1] in ROOMS or name in ALSO


def but(*names: str) -> set[str]:
    """Return all models except these."""
    assert {*names} <= {*NAMES}
    return {*NAMES} - {*names}


PLAIN_VITS = {"DVT", "DeiT", "DynamicViT", "EViT", "MoEViT", "PatchSlimming", "ViT"}
WITH_A_SEQUENCE = {"DeiT", "DynamicViT", "EViT", "LVViT", "MoEViT", "PatchSlimming", "ViT"}  # of patches
NO_BATCH_NORM = {"AlexNet", "ConvNeXt", "ConvNet", "LeNet5", "MLP", "Swin", "ZFNet"} | PLAIN_VITS
OTHER_NORMS = NO_BATCH_NORM | {"InceptionResNetV2", "InceptionV4"}  # timm's, with their activation inside
DROP_PATHS_THEMSELVES = {
    "ConvNeXt", "ConvNeXtRoadmap", "DVT", "DeiT", "EViT", "LVViT", "MoEViT", "PatchSlimming", "Swin",
}  # fmt: skip
NO_KNOWN_BRANCHES = {  # in the last three, no module ends where the sum begins
    "AlexNet", "BNInception", "DenseNet", "GoogLeNet", "InceptionV3", "InceptionV4", "LeNet5", "MobileNetV1", "NIN",
    "RepVGG", "ShuffleNetV2", "VGG", "ZFNet", "ConvNet", "MLP", "InceptionResNetV2", "ShuffleNetV1", "Xception",
}  # fmt: skip
NO_CLASSIFYING_LAYER = {"HierarchicalMixture", "LeNet5"}  # no single layer has K outputs: experts, distances

# trick -> the models that refuse it
REFUSED = {
    "CrossmapDropout": {"MLP"},
    "CrossIterationBatchNorm": OTHER_NORMS,
    "CrossMiniBatchNorm": OTHER_NORMS,
    "DilatedConvolutions": PLAIN_VITS | {  # no plain 3x3 convolution in the last stage
        "AlexNet", "ConvNeXt", "InceptionResNetV2", "InceptionV4", "LVViT", "LeNet5", "MLP", "MobileNetV3", "Swin",
        "VGG", "Xception", "ZFNet",
    },
    "ADCM": PLAIN_VITS | {"LVViT", "MLP"},
    "AttentionPatchDropout": but(*WITH_A_SEQUENCE - {"DynamicViT", "EViT"}),
    "Hints": {"DynamicViT"},
    "AttentionTransfer": {"DynamicViT", "MLP"},  # as a teacher it drops patches, as a student it masks them
    "AutoDropout": NO_KNOWN_BRANCHES,
    "CircleLoss": NO_CLASSIFYING_LAYER | {"ConvNet", "NIN", "PreActResNet"},  # whose classifiers are convolutions
    "DropHead": but(*PLAIN_VITS, "LVViT", "Swin"),
    "ExpertBalance": but("MoEViT"),
    "FrozenBatchNorm": NO_BATCH_NORM,
    "GatingDropout": but("MoEViT"),
    "KeepRate": but("DynamicViT", "EViT"),
    "Maxout": but(
        "AlexNet", "BNInception", "CBAMResNet", "ConvNeXt", "ConvNeXtRoadmap", "ConvNet", "DVT", "DynamicViT", "LeNet5",
        "MLP", "MobileNetV2", "MobileNetV3", "NIN", "RegNet", "SENet", "SKNet", "ShuffleNetV1", "ShuffleNetV2", "VGG",
        "ZFNet",
    ),
    "Norm": OTHER_NORMS,
    "PatchDropout": but(*WITH_A_SEQUENCE),
    "ProgressiveResizing": {"LVViT", "LeNet5", "MLP", "Swin", "VGG"} | PLAIN_VITS,  # half of 32 px at first
    "SelfOrganizingMemory": NO_CLASSIFYING_LAYER | {"ConvNet", "NIN", "PreActResNet"},
    "Slimming": NO_BATCH_NORM,
    "SpatialPyramidPooling": but(
        "AlexNet", "BNInception", "GoogLeNet", "InceptionResNetV2", "InceptionV3", "InceptionV4",
        "ResNeXt", "ResNet", "VGG", "Xception", "ZFNet",
    ),
    "SyncBatchNorm": OTHER_NORMS,
    "StochasticDepth": NO_KNOWN_BRANCHES | DROP_PATHS_THEMSELVES,
    "StochasticPooling": but(  # small images' stems have no pooling
        "AlexNet", "BNInception", "GoogLeNet", "InceptionResNetV2", "InceptionV3", "InceptionV4", "NIN", "VGG",
        "Xception", "ZFNet",
    ),
    "SubtreeDropout": but("HierarchicalMixture"),
    "TokenDistillation": {*NAMES},  # only a DynamicViT works, with a teacher that keeps all patches
    "TokenLabeling": but("LVViT"),
    "TokenRatio": but("DynamicViT"),
    "ZeroGamma": but(
        "CBAMResNet", "ConvNeXtRoadmap", "HierarchicalMixture", "MobileNetV2", "MobileNetV3", "RegNet", "ResNeXt",
        "ResNet", "SKNet", "ShuffleNetV1", "Xception",
    ),
    "ZeroLastConv": but("ConvNeXt", "InceptionResNetV2", "PreActResNet", "Swin", "WideResNet", *PLAIN_VITS),
} | dict.fromkeys(
    (
        "BiasedDropout", "ClusteringDropConnect", "ClusteringDropout", "DropConnect", "Dropout", "GaussianDropout",
        "GuidedDropout", "NeuronSpecificDropout", "StructuralDropout", "UniformDropout",
    ),
    NO_CLASSIFYING_LAYER,
) | dict.fromkeys(  # they act on maps
    (
        "ADL", "ChannelDropBlock", "CorrDrop", "FocusedDropout", "HeuristicDropout", "SpectralDropout",
        "WeightedChannelDropout",
    ),
    PLAIN_VITS | {"LVViT", "MLP"},
)  # fmt: skip


QUICK, HEAVY = ("ResNet",), ("InceptionResNetV2", "InceptionV4")  # five seconds a step


def tricks_for(name: str) -> list[str]:
    """Return all tricks for quick models; for others, what they refuse and a tenth (heavy: a twentieth) of the rest."""
    turn, of = NAMES.index(name), 20 if name in HEAVY else 10
    tricks = list(filter(acts_on_networks, callbacks.__all__))
    return [
        trick
        for i, trick in enumerate(tricks)
        if name in QUICK or name in REFUSED.get(trick, ()) or (i + turn) % of == 0
    ]


def build(name: str, teacher: Classifier) -> Trick:
    trick = getattr(callbacks, name)
    if name not in TEACHERS:
        return trick()
    needed = {"CachedLogits": {"path": tempfile.mkdtemp()}, "Specialist": {"classes": (2, 7)}}
    return trick(copy.deepcopy(teacher), **needed.get(name, {}))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
@pytest.mark.one_in(10)
def test_trains_a_step_or_says_why_not(name, trainer):
    plain, data, refused = with_moved_statistics(name, lr=1e-3), loader(name, 4), set()
    for i, trick in enumerate(tricks_for(name)):
        if i % 10 == 0:
            gc.collect()  # otherwise the models of many runs stay in memory
        torch.manual_seed(0)
        model, run = copy.deepcopy(plain), trainer(callbacks=[build(trick, plain)], max_epochs=1)
        try:
            run.fit(model, data)
        except (RuntimeError, TypeError, ValueError) as error:
            text = " ".join([str(error), *getattr(error, "__notes__", ())])
            assert trick in text and run.global_step == 0, f"{trick}: {error}"
            refused.add(trick)
            continue
        assert run.global_step == 1 and hooks(model) == 0, trick
        assert all(p.isfinite().all() for p in model.parameters()), trick
    expected = {trick for trick in tricks_for(name) if name in REFUSED.get(trick, ())}
    assert refused == expected, f"{refused - expected} refused, {expected - refused} not"


def test_refusals_are_of_tricks_that_are_tried():
    assert {*REFUSED} <= {*filter(acts_on_networks, callbacks.__all__)}
