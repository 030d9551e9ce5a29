"""Training tricks as Lightning callbacks, one file a paper, in rooms named after what a trick changes.

`data` the batch, `network` the network, `dropout` hidden features, `loss` the error term, `distillation` a teacher's
word, `optimization` steps and weights. A leading underscore means machinery.
"""

from callbacks.data.channel_order import ChannelOrder
from callbacks.data.cutmix import CutMix
from callbacks.data.cutout import Cutout
from callbacks.data.gridmask import GridMask
from callbacks.data.mixup import MixUp
from callbacks.data.mixup_or_cutmix import MixUpOrCutMix
from callbacks.data.mosaic import Mosaic
from callbacks.data.multi_scale import MultiScale
from callbacks.data.progressive_resizing import ProgressiveResizing
from callbacks.data.random_erasing import RandomErasing
from callbacks.data.ricap import RICAP
from callbacks.diagnostics.calibration import Calibration
from callbacks.diagnostics.checklist import Checklist
from callbacks.diagnostics.dead_units import DeadUnits
from callbacks.diagnostics.fit_verdict import FitVerdict
from callbacks.diagnostics.gradient_flow import GradientFlow
from callbacks.diagnostics.initial_loss import InitialLoss
from callbacks.diagnostics.learning_rate_range import LearningRateRange
from callbacks.diagnostics.nan_guard import NaNGuard
from callbacks.diagnostics.overfit_samples import OverfitSamples
from callbacks.diagnostics.shuffled_labels import ShuffledLabels
from callbacks.diagnostics.update_ratio import UpdateRatio
from callbacks.distillation.attention import AttentionTransfer
from callbacks.distillation.cached_logits import CachedLogits
from callbacks.distillation.gradient_attention_transfer import GradientAttentionTransfer
from callbacks.distillation.hints import Hints
from callbacks.distillation.knowledge import KnowledgeDistillation
from callbacks.distillation.self_distillation import SelfDistillation
from callbacks.distillation.specialist import Specialist
from callbacks.distillation.symmetry import SymmetryAttention
from callbacks.distillation.token import TokenDistillation
from callbacks.dropout.adcm import ADCM
from callbacks.dropout.adl import ADL
from callbacks.dropout.attention_patch_dropout import AttentionPatchDropout
from callbacks.dropout.auto_dropout import AutoDropout, Pattern
from callbacks.dropout.biased_dropout import BiasedDropout
from callbacks.dropout.channel_drop_block import ChannelDropBlock
from callbacks.dropout.clustering_dropout import ClusteringDropout
from callbacks.dropout.corr_drop import CorrDrop
from callbacks.dropout.crossmap_dropout import CrossmapDropout
from callbacks.dropout.drop_block import DropBlock
from callbacks.dropout.drop_connect import DropConnect
from callbacks.dropout.drop_head import DropHead
from callbacks.dropout.dropout import Dropout
from callbacks.dropout.focused_dropout import FocusedDropout
from callbacks.dropout.gating_dropout import GatingDropout
from callbacks.dropout.gaussian_dropout import GaussianDropout
from callbacks.dropout.guided_dropout import GuidedDropout
from callbacks.dropout.heuristic_dropout import HeuristicDropout
from callbacks.dropout.keep_rate import KeepRate
from callbacks.dropout.maxout import Maxout
from callbacks.dropout.neuron_specific_dropout import NeuronSpecificDropout
from callbacks.dropout.patch_dropout import PatchDropout
from callbacks.dropout.prob_drop_block import ProbDropBlock
from callbacks.dropout.spatial_dropout import SpatialDropout
from callbacks.dropout.spectral_dropout import SpectralDropout
from callbacks.dropout.stochastic_depth import StochasticDepth
from callbacks.dropout.structural_dropout import StructuralDropout
from callbacks.dropout.subtree_dropout import SubtreeDropout
from callbacks.dropout.uniform_dropout import UniformDropout
from callbacks.dropout.weighted_channel_dropout import WeightedChannelDropout
from callbacks.frame.schedule import Cosine, Linear, Schedule, Steps, VShape
from callbacks.loss.auxiliary_heads import AuxiliaryHeads
from callbacks.loss.binary_cross_entropy import BinaryCrossEntropy
from callbacks.loss.circle import CircleLoss
from callbacks.loss.class_balanced import ClassBalanced
from callbacks.loss.confidence_penalty import ConfidencePenalty
from callbacks.loss.dice import Dice
from callbacks.loss.expert_balance import ExpertBalance
from callbacks.loss.flooding import Flooding
from callbacks.loss.focal import FocalLoss
from callbacks.loss.l1 import L1
from callbacks.loss.l2 import L2
from callbacks.loss.label_smoothing import LabelSmoothing
from callbacks.loss.orthogonality import Orthogonality
from callbacks.loss.r_drop import RDrop
from callbacks.loss.token_labeling import TokenLabeling
from callbacks.loss.token_ratio import TokenRatio
from callbacks.loss.tversky import Tversky
from callbacks.network.activation import Activation
from callbacks.network.frozen_batch_norm import FrozenBatchNorm
from callbacks.network.kaiming import Kaiming
from callbacks.network.lecun import LeCun
from callbacks.network.magnitude_pruning import MagnitudePruning
from callbacks.network.norm import Norm
from callbacks.network.slimming import Slimming
from callbacks.network.spatial_pyramid_pooling import SpatialPyramidPooling
from callbacks.network.stochastic_pooling import StochasticPooling
from callbacks.network.test_time_augmentation import TestTimeAugmentation
from callbacks.network.uniform import Uniform
from callbacks.network.xavier import Xavier
from callbacks.network.zero_gamma import ZeroGamma
from callbacks.network.zero_last_conv import ZeroLastConv
from callbacks.optimization.accumulation_schedule import AccumulationSchedule
from callbacks.optimization.adaptive_gradient_clipping import AdaptiveGradientClipping
from callbacks.optimization.cosine_decay import CosineDecay
from callbacks.optimization.early_stopping import EarlyStopping
from callbacks.optimization.ema import EMA
from callbacks.optimization.gradient_centralization import GradientCentralization
from callbacks.optimization.gradient_clipping import GradientClipping
from callbacks.optimization.gradual_unfreezing import GradualUnfreezing
from callbacks.optimization.layer_decay import LayerDecay
from callbacks.optimization.linear_scaling import LinearScaling
from callbacks.optimization.magnified_weight_decay import MagnifiedWeightDecay
from callbacks.optimization.no_bias_decay import NoBiasDecay
from callbacks.optimization.one_cycle import OneCycle
from callbacks.optimization.polyak import PolyakAveraging
from callbacks.optimization.polynomial_decay import PolynomialDecay
from callbacks.optimization.reduce_on_plateau import ReduceOnPlateau
from callbacks.optimization.snapshot_ensemble import SnapshotEnsemble
from callbacks.optimization.square_root_scaling import SquareRootScaling
from callbacks.optimization.step_decay import StepDecay
from callbacks.optimization.step_then_cosine import StepThenCosine
from callbacks.optimization.stepwise_cosine import StepwiseCosine
from callbacks.optimization.swa import SWA
from callbacks.optimization.warm_restarts import WarmRestarts
from callbacks.optimization.warm_up import WarmUp
from zoo.frame.exact_resume import ExactResume
from zoo.frame.graceful_stop import GracefulStop

__all__ = [
    "EMA",
    "L1",
    "L2",
    "RICAP",
    "SWA",
    "AccumulationSchedule",
    "Activation",
    "AdaptiveGradientClipping",
    "AttentionPatchDropout",
    "AttentionTransfer",
    "AuxiliaryHeads",
    "BinaryCrossEntropy",
    "CachedLogits",
    "Calibration",
    "ChannelOrder",
    "Checklist",
    "CircleLoss",
    "ClassBalanced",
    "ConfidencePenalty",
    "CosineDecay",
    "CutMix",
    "Cutout",
    "DeadUnits",
    "Dice",
    "DropHead",
    "EarlyStopping",
    "ExpertBalance",
    "FitVerdict",
    "Flooding",
    "FocalLoss",
    "FrozenBatchNorm",
    "GatingDropout",
    "GradientAttentionTransfer",
    "GradientCentralization",
    "GradientClipping",
    "GradientFlow",
    "GradualUnfreezing",
    "GridMask",
    "Hints",
    "InitialLoss",
    "Kaiming",
    "KeepRate",
    "KnowledgeDistillation",
    "LabelSmoothing",
    "LayerDecay",
    "LeCun",
    "LearningRateRange",
    "LinearScaling",
    "MagnifiedWeightDecay",
    "MagnitudePruning",
    "MixUp",
    "MixUpOrCutMix",
    "Mosaic",
    "MultiScale",
    "NaNGuard",
    "NoBiasDecay",
    "Norm",
    "OneCycle",
    "Orthogonality",
    "OverfitSamples",
    "PatchDropout",
    "PolyakAveraging",
    "PolynomialDecay",
    "ProgressiveResizing",
    "RDrop",
    "RandomErasing",
    "ReduceOnPlateau",
    "SelfDistillation",
    "ShuffledLabels",
    "Slimming",
    "SnapshotEnsemble",
    "SpatialPyramidPooling",
    "Specialist",
    "SquareRootScaling",
    "StepDecay",
    "StepThenCosine",
    "StepwiseCosine",
    "StochasticPooling",
    "SubtreeDropout",
    "SymmetryAttention",
    "TestTimeAugmentation",
    "TokenDistillation",
    "TokenLabeling",
    "TokenRatio",
    "Tversky",
    "Uniform",
    "UpdateRatio",
    "WarmRestarts",
    "WarmUp",
    "Xavier",
    "ZeroGamma",
    "ZeroLastConv",
    "Dropout",
    "GaussianDropout",
    "UniformDropout",
    "SpatialDropout",
    "DropBlock",
    "ProbDropBlock",
    "WeightedChannelDropout",
    "ChannelDropBlock",
    "FocusedDropout",
    "CorrDrop",
    "ADL",
    "BiasedDropout",
    "CrossmapDropout",
    "HeuristicDropout",
    "SpectralDropout",
    "StructuralDropout",
    "StochasticDepth",
    "DropConnect",
    "NeuronSpecificDropout",
    "GuidedDropout",
    "ClusteringDropout",
    "Maxout",
    "AutoDropout",
    "ADCM",
]
