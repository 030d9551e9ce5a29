"""Training tricks as Lightning callbacks, one file a paper, in rooms named after what a trick changes.

`data` the batch, `network` the network, `dropout` hidden features, `loss` the error term, `distillation` a teacher's
word, `optimization` steps and weights. A leading underscore means machinery.
"""

from callbacks._schedule import Cosine, Linear, Schedule, Steps, VShape
from callbacks.data.cutmix import CutMix
from callbacks.data.cutout import Cutout
from callbacks.data.gridmask import GridMask
from callbacks.data.mixup import MixUp
from callbacks.data.mixup_or_cutmix import MixUpOrCutMix
from callbacks.data.mosaic import Mosaic
from callbacks.data.random_erasing import RandomErasing
from callbacks.data.ricap import RICAP
from callbacks.diagnostics.shuffled_labels import ShuffledLabels
from callbacks.distillation.attention import AttentionTransfer
from callbacks.distillation.knowledge import KnowledgeDistillation
from callbacks.distillation.token import TokenDistillation
from callbacks.dropout.attention_patch_dropout import AttentionPatchDropout
from callbacks.dropout.drop_head import DropHead
from callbacks.dropout.gating_dropout import GatingDropout
from callbacks.dropout.patch_dropout import PatchDropout
from callbacks.loss.expert_balance import ExpertBalance
from callbacks.loss.label_smoothing import LabelSmoothing
from callbacks.loss.token_labeling import TokenLabeling
from callbacks.loss.token_ratio import TokenRatio
from callbacks.network.activation import Activation
from callbacks.network.kaiming import Kaiming
from callbacks.network.norm import Norm
from callbacks.network.spatial_pyramid_pooling import SpatialPyramidPooling
from callbacks.network.stochastic_pooling import StochasticPooling
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
    "RICAP",
    "Activation",
    "AttentionPatchDropout",
    "AttentionTransfer",
    "CosineDecay",
    "CutMix",
    "Cutout",
    "DropHead",
    "ExpertBalance",
    "GatingDropout",
    "GridMask",
    "Kaiming",
    "KnowledgeDistillation",
    "LabelSmoothing",
    "LinearScaling",
    "MixUp",
    "MixUpOrCutMix",
    "Mosaic",
    "NoBiasDecay",
    "Norm",
    "PatchDropout",
    "RandomErasing",
    "ShuffledLabels",
    "SpatialPyramidPooling",
    "StepDecay",
    "StochasticPooling",
    "TokenDistillation",
    "TokenLabeling",
    "TokenRatio",
    "Xavier",
    "ZeroGamma",
]
