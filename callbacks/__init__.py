"""Training tricks as Lightning callbacks, one file a paper, in rooms named after what a trick changes.

`data` the batch, `network` the network, `loss` the error term, `distillation` a teacher's word, `optimization` steps
and weights. A leading underscore means machinery.
"""

from callbacks._schedule import Cosine, Linear, Schedule, Steps
from callbacks.data.cutmix import CutMix
from callbacks.data.mixup import MixUp
from callbacks.distillation.attention import AttentionTransfer
from callbacks.distillation.knowledge import KnowledgeDistillation
from callbacks.loss.label_smoothing import LabelSmoothing
from callbacks.network.kaiming import Kaiming
from callbacks.network.xavier import Xavier
from callbacks.network.zero_gamma import ZeroGamma
from callbacks.optimization.cosine_decay import CosineDecay
from callbacks.optimization.ema import EMA
from callbacks.optimization.linear_scaling import LinearScaling
from callbacks.optimization.no_bias_decay import NoBiasDecay
from callbacks.optimization.step_decay import StepDecay
from zoo._exact import ExactResume
from zoo._stop import GracefulStop

__all__ = [
    "EMA",
    "AttentionTransfer",
    "CosineDecay",
    "CutMix",
    "Kaiming",
    "KnowledgeDistillation",
    "LabelSmoothing",
    "LinearScaling",
    "MixUp",
    "NoBiasDecay",
    "StepDecay",
    "Xavier",
    "ZeroGamma",
]
