"""Image classifiers, and networks that classify each pixel; one file a paper, each class is a LightningModule."""

from zoo.alexnet import AlexNet
from zoo.attention_unet import AttentionUNet
from zoo.bn_inception import BNInception
from zoo.cbam import CBAMResNet
from zoo.conv_net import ConvNet
from zoo.convnext import ConvNeXt
from zoo.convnext_roadmap import ConvNeXtRoadmap
from zoo.deit import DeiT
from zoo.densenet import DenseNet
from zoo.dvt import DVT
from zoo.dynamic_vit import DynamicViT
from zoo.evit import EViT
from zoo.frame.classifier import Classifier, LossTrick, Step
from zoo.frame.load import load
from zoo.frame.prediction import Prediction, predict
from zoo.frame.preprocessing import Preprocessing
from zoo.frame.segmenter import Segmenter
from zoo.googlenet import GoogLeNet
from zoo.hierarchical_mixture import HierarchicalMixture
from zoo.inception_resnet_v2 import InceptionResNetV2
from zoo.inception_v3 import InceptionV3
from zoo.inception_v4 import InceptionV4
from zoo.lvvit import LVViT
from zoo.mlp import MLP
from zoo.mobilenet_v1 import MobileNetV1
from zoo.mobilenet_v2 import MobileNetV2
from zoo.mobilenet_v3 import MobileNetV3
from zoo.moe_vit import MoEViT
from zoo.nin import NIN
from zoo.patch_slimming import PatchSlimming
from zoo.preact_resnet import PreActResNet
from zoo.regnet import RegNet
from zoo.repvgg import RepVGG
from zoo.resnet import ResNet
from zoo.resnext import ResNeXt
from zoo.senet import SENet
from zoo.shufflenet_v1 import ShuffleNetV1
from zoo.shufflenet_v2 import ShuffleNetV2
from zoo.sknet import SKNet
from zoo.swin import Swin
from zoo.tools.fuse import fuse
from zoo.tools.prune import prune_channels
from zoo.tools.quantise import Quantised, quantise
from zoo.tools.receptive import Field, receptive_fields
from zoo.unet import UNet
from zoo.vgg import VGG
from zoo.vit import ViT
from zoo.wide_resnet import WideResNet
from zoo.xception import Xception
from zoo.zfnet import ZFNet

__all__ = [
    "AlexNet",
    "BNInception",
    "CBAMResNet",
    "ConvNeXt",
    "ConvNeXtRoadmap",
    "ConvNet",
    "DVT",
    "DeiT",
    "DenseNet",
    "DynamicViT",
    "EViT",
    "GoogLeNet",
    "HierarchicalMixture",
    "InceptionResNetV2",
    "InceptionV3",
    "InceptionV4",
    "LVViT",
    "MLP",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "MoEViT",
    "NIN",
    "PatchSlimming",
    "PreActResNet",
    "RegNet",
    "RepVGG",
    "ResNeXt",
    "ResNet",
    "SENet",
    "SKNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "Swin",
    "VGG",
    "ViT",
    "WideResNet",
    "Xception",
    "ZFNet",
]
SEGMENTERS = ["AttentionUNet", "UNet"]  # images -> a class for each pixel
