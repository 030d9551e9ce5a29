"""Image classifiers, and networks that classify each pixel; one file a paper, each class is a LightningModule.

A model is its file and its line here: `__all__` and the lists of the command line are made from these lines.
"""

from importlib.metadata import version

from zoo.alexnet import AlexNet as AlexNet
from zoo.attention_unet import AttentionUNet as AttentionUNet
from zoo.bn_inception import BNInception as BNInception
from zoo.cbam import CBAMResNet as CBAMResNet
from zoo.conv_net import ConvNet as ConvNet
from zoo.convnext import ConvNeXt as ConvNeXt
from zoo.convnext_roadmap import ConvNeXtRoadmap as ConvNeXtRoadmap
from zoo.deit import DeiT as DeiT
from zoo.densenet import DenseNet as DenseNet
from zoo.dvt import DVT as DVT
from zoo.dynamic_vit import DynamicViT as DynamicViT
from zoo.evit import EViT as EViT
from zoo.frame.classifier import Classifier as Classifier
from zoo.frame.detector import Detector as Detector
from zoo.frame.load import load as load
from zoo.frame.model import Model as Model
from zoo.frame.prediction import Prediction as Prediction
from zoo.frame.prediction import predict as predict
from zoo.frame.preprocessing import Preprocessing as Preprocessing
from zoo.frame.segmenter import Segmenter as Segmenter
from zoo.frame.stage_segmenter import StageSegmenter as StageSegmenter
from zoo.frame.step import LossTrick as LossTrick
from zoo.frame.step import Step as Step
from zoo.googlenet import GoogLeNet as GoogLeNet
from zoo.hierarchical_mixture import HierarchicalMixture as HierarchicalMixture
from zoo.inception_resnet_v2 import InceptionResNetV2 as InceptionResNetV2
from zoo.inception_v3 import InceptionV3 as InceptionV3
from zoo.inception_v4 import InceptionV4 as InceptionV4
from zoo.lenet5 import LeNet5 as LeNet5
from zoo.lvvit import LVViT as LVViT
from zoo.mlp import MLP as MLP
from zoo.mobilenet_v1 import MobileNetV1 as MobileNetV1
from zoo.mobilenet_v2 import MobileNetV2 as MobileNetV2
from zoo.mobilenet_v3 import MobileNetV3 as MobileNetV3
from zoo.moe_vit import MoEViT as MoEViT
from zoo.nin import NIN as NIN
from zoo.patch_slimming import PatchSlimming as PatchSlimming
from zoo.preact_resnet import PreActResNet as PreActResNet
from zoo.regnet import RegNet as RegNet
from zoo.repvgg import RepVGG as RepVGG
from zoo.resnet import ResNet as ResNet
from zoo.resnext import ResNeXt as ResNeXt
from zoo.senet import SENet as SENet
from zoo.shufflenet_v1 import ShuffleNetV1 as ShuffleNetV1
from zoo.shufflenet_v2 import ShuffleNetV2 as ShuffleNetV2
from zoo.sknet import SKNet as SKNet
from zoo.swin import Swin as Swin
from zoo.tools.complexity import summary as summary
from zoo.tools.diagrams.diagram import diagram as diagram
from zoo.tools.fuse import fuse as fuse
from zoo.tools.prune import prune_channels as prune_channels
from zoo.tools.prune_detector import prune_detector as prune_detector
from zoo.tools.quantise import Quantised as Quantised
from zoo.tools.quantise import quantise as quantise
from zoo.tools.receptive import Field as Field
from zoo.tools.receptive import receptive_fields as receptive_fields
from zoo.unet import UNet as UNet
from zoo.vgg import VGG as VGG
from zoo.vit import ViT as ViT
from zoo.wide_resnet import WideResNet as WideResNet
from zoo.xception import Xception as Xception
from zoo.zfnet import ZFNet as ZFNet

SEGMENTERS = ["AttentionUNet", "UNet"]  # images -> a class for each pixel
__all__ = sorted(
    name
    for name, member in globals().items()
    if isinstance(member, type) and member.__module__.count(".") == 1 and issubclass(member, Classifier)
    if name not in SEGMENTERS
)
__version__ = version("lightning-zoo")
