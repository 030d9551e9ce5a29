"""Image classifiers, one file a paper; each class is a LightningModule."""

from zoo._base import Classifier, Step
from zoo._weights import load
from zoo.preact_resnet import PreActResNet
from zoo.resnet import ResNet

__all__ = ["PreActResNet", "ResNet"]
