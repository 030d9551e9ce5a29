"""Training tricks as Lightning callbacks, one file a paper, in rooms named after what a trick changes.

`data` changes the batch, `network` the network, `dropout` hidden features, `loss` the error term, `optimization` steps
and weights; `distillation` adds a teacher; `diagnostics` watch a run and change nothing. `frame` has the base classes:
derive your own from `Trick` or `FeatureDropout`.

A trick is its file and its line here: `__all__` and the lists of the command line are made from these lines.
"""

import callbacks.frame.beside  # first: it checks that `zoo` is ours
import callbacks.presets  # lists of tricks by paper
from callbacks.data.box_crop import BoxCrop as BoxCrop
from callbacks.data.box_flip import BoxFlip as BoxFlip
from callbacks.data.channel_order import ChannelOrder as ChannelOrder
from callbacks.data.copy_paste import CopyPaste as CopyPaste
from callbacks.data.cutmix import CutMix as CutMix
from callbacks.data.cutout import Cutout as Cutout
from callbacks.data.elastic_deformation import ElasticDeformation as ElasticDeformation
from callbacks.data.gaussian_noise import GaussianNoise as GaussianNoise
from callbacks.data.gridmask import GridMask as GridMask
from callbacks.data.mixup import MixUp as MixUp
from callbacks.data.mixup_or_cutmix import MixUpOrCutMix as MixUpOrCutMix
from callbacks.data.mosaic import Mosaic as Mosaic
from callbacks.data.multi_scale import MultiScale as MultiScale
from callbacks.data.progressive_resizing import ProgressiveResizing as ProgressiveResizing
from callbacks.data.random_erasing import RandomErasing as RandomErasing
from callbacks.data.ricap import RICAP as RICAP
from callbacks.data.worst_of import WorstOf as WorstOf
from callbacks.diagnostics.calibration import Calibration as Calibration
from callbacks.diagnostics.checklist import Checklist as Checklist
from callbacks.diagnostics.dead_units import DeadUnits as DeadUnits
from callbacks.diagnostics.fit_verdict import FitVerdict as FitVerdict
from callbacks.diagnostics.gradient_flow import GradientFlow as GradientFlow
from callbacks.diagnostics.initial_loss import InitialLoss as InitialLoss
from callbacks.diagnostics.learning_rate_range import LearningRateRange as LearningRateRange
from callbacks.diagnostics.nan_guard import NaNGuard as NaNGuard
from callbacks.diagnostics.noisy_labels import NoisyLabels as NoisyLabels
from callbacks.diagnostics.overfit_samples import OverfitSamples as OverfitSamples
from callbacks.diagnostics.retrieval import Retrieval as Retrieval
from callbacks.diagnostics.shuffled_labels import ShuffledLabels as ShuffledLabels
from callbacks.diagnostics.update_ratio import UpdateRatio as UpdateRatio
from callbacks.distillation.attention import AttentionTransfer as AttentionTransfer
from callbacks.distillation.cached_logits import CachedLogits as CachedLogits
from callbacks.distillation.gradient_attention_transfer import GradientAttentionTransfer as GradientAttentionTransfer
from callbacks.distillation.hints import Hints as Hints
from callbacks.distillation.knowledge import KnowledgeDistillation as KnowledgeDistillation
from callbacks.distillation.self_distillation import SelfDistillation as SelfDistillation
from callbacks.distillation.specialist import Specialist as Specialist
from callbacks.distillation.symmetry import SymmetryAttention as SymmetryAttention
from callbacks.distillation.token import TokenDistillation as TokenDistillation
from callbacks.dropout.adcm import ADCM as ADCM
from callbacks.dropout.adl import ADL as ADL
from callbacks.dropout.attention_patch_dropout import AttentionPatchDropout as AttentionPatchDropout
from callbacks.dropout.auto_dropout import AutoDropout as AutoDropout
from callbacks.dropout.biased_dropout import BiasedDropout as BiasedDropout
from callbacks.dropout.channel_drop_block import ChannelDropBlock as ChannelDropBlock
from callbacks.dropout.clustering_drop_connect import ClusteringDropConnect as ClusteringDropConnect
from callbacks.dropout.clustering_dropout import ClusteringDropout as ClusteringDropout
from callbacks.dropout.corr_drop import CorrDrop as CorrDrop
from callbacks.dropout.crossmap_dropout import CrossmapDropout as CrossmapDropout
from callbacks.dropout.drop_block import DropBlock as DropBlock
from callbacks.dropout.drop_connect import DropConnect as DropConnect
from callbacks.dropout.drop_head import DropHead as DropHead
from callbacks.dropout.dropout import Dropout as Dropout
from callbacks.dropout.focused_dropout import FocusedDropout as FocusedDropout
from callbacks.dropout.gating_dropout import GatingDropout as GatingDropout
from callbacks.dropout.gaussian_dropout import GaussianDropout as GaussianDropout
from callbacks.dropout.guided_dropout import GuidedDropout as GuidedDropout
from callbacks.dropout.heuristic_dropout import HeuristicDropout as HeuristicDropout
from callbacks.dropout.keep_rate import KeepRate as KeepRate
from callbacks.dropout.maxout import Maxout as Maxout
from callbacks.dropout.neuron_specific_dropout import NeuronSpecificDropout as NeuronSpecificDropout
from callbacks.dropout.patch_dropout import PatchDropout as PatchDropout
from callbacks.dropout.prob_drop_block import ProbDropBlock as ProbDropBlock
from callbacks.dropout.spatial_dropout import SpatialDropout as SpatialDropout
from callbacks.dropout.spectral_dropout import SpectralDropout as SpectralDropout
from callbacks.dropout.stochastic_depth import StochasticDepth as StochasticDepth
from callbacks.dropout.structural_dropout import StructuralDropout as StructuralDropout
from callbacks.dropout.subtree_dropout import SubtreeDropout as SubtreeDropout
from callbacks.dropout.uniform_dropout import UniformDropout as UniformDropout
from callbacks.dropout.weighted_channel_dropout import WeightedChannelDropout as WeightedChannelDropout
from callbacks.frame.diagnostic import Diagnostic as Diagnostic
from callbacks.frame.feature_dropout import FeatureDropout as FeatureDropout
from callbacks.frame.model_needs import CallsOnLoss as CallsOnLoss
from callbacks.frame.model_needs import HasModule as HasModule
from callbacks.frame.needs import Choice as Choice
from callbacks.frame.needs import Need as Need
from callbacks.frame.needs import Range as Range
from callbacks.frame.pair_needs import Claims as Claims
from callbacks.frame.pair_needs import EveryPatch as EveryPatch
from callbacks.frame.pair_needs import NoBatchChangedAfter as NoBatchChangedAfter
from callbacks.frame.pair_needs import NoHeadMadeAfter as NoHeadMadeAfter
from callbacks.frame.pair_needs import NothingAddedBefore as NothingAddedBefore
from callbacks.frame.pair_needs import OneImageSize as OneImageSize
from callbacks.frame.pair_needs import PairNeed as PairNeed
from callbacks.frame.pattern import Pattern as Pattern
from callbacks.frame.schedule import Cosine as Cosine
from callbacks.frame.schedule import Linear as Linear
from callbacks.frame.schedule import Schedule as Schedule
from callbacks.frame.schedule import Steps as Steps
from callbacks.frame.schedule import VShape as VShape
from callbacks.frame.teacher import Teacher as Teacher
from callbacks.frame.trick import Trick as Trick
from callbacks.loss.auxiliary_heads import AuxiliaryHeads as AuxiliaryHeads
from callbacks.loss.binary_cross_entropy import BinaryCrossEntropy as BinaryCrossEntropy
from callbacks.loss.box_loss import BoxLoss as BoxLoss
from callbacks.loss.circle import CircleLoss as CircleLoss
from callbacks.loss.class_balanced import ClassBalanced as ClassBalanced
from callbacks.loss.confidence_penalty import ConfidencePenalty as ConfidencePenalty
from callbacks.loss.dice import Dice as Dice
from callbacks.loss.expert_balance import ExpertBalance as ExpertBalance
from callbacks.loss.flooding import Flooding as Flooding
from callbacks.loss.focal import FocalLoss as FocalLoss
from callbacks.loss.generalized_cross_entropy import GeneralizedCrossEntropy as GeneralizedCrossEntropy
from callbacks.loss.l1 import L1 as L1
from callbacks.loss.l2 import L2 as L2
from callbacks.loss.label_smoothing import LabelSmoothing as LabelSmoothing
from callbacks.loss.orthogonality import Orthogonality as Orthogonality
from callbacks.loss.r_drop import RDrop as RDrop
from callbacks.loss.self_organizing_memory import SelfOrganizingMemory as SelfOrganizingMemory
from callbacks.loss.ssim import SSIM as SSIM
from callbacks.loss.token_labeling import TokenLabeling as TokenLabeling
from callbacks.loss.token_ratio import TokenRatio as TokenRatio
from callbacks.loss.tversky import Tversky as Tversky
from callbacks.network.activation import Activation as Activation
from callbacks.network.cross_iteration_batch_norm import CrossIterationBatchNorm as CrossIterationBatchNorm
from callbacks.network.cross_mini_batch_norm import CrossMiniBatchNorm as CrossMiniBatchNorm
from callbacks.network.dilated_convolutions import DilatedConvolutions as DilatedConvolutions
from callbacks.network.frozen_batch_norm import FrozenBatchNorm as FrozenBatchNorm
from callbacks.network.kaiming import Kaiming as Kaiming
from callbacks.network.lecun import LeCun as LeCun
from callbacks.network.magnitude_pruning import MagnitudePruning as MagnitudePruning
from callbacks.network.norm import Norm as Norm
from callbacks.network.slimming import Slimming as Slimming
from callbacks.network.spatial_pyramid_pooling import SpatialPyramidPooling as SpatialPyramidPooling
from callbacks.network.stochastic_pooling import StochasticPooling as StochasticPooling
from callbacks.network.sync_batch_norm import SyncBatchNorm as SyncBatchNorm
from callbacks.network.test_time_augmentation import TestTimeAugmentation as TestTimeAugmentation
from callbacks.network.uniform import Uniform as Uniform
from callbacks.network.xavier import Xavier as Xavier
from callbacks.network.zero_gamma import ZeroGamma as ZeroGamma
from callbacks.network.zero_last_conv import ZeroLastConv as ZeroLastConv
from callbacks.optimization.accumulation_schedule import AccumulationSchedule as AccumulationSchedule
from callbacks.optimization.adaptive_gradient_clipping import AdaptiveGradientClipping as AdaptiveGradientClipping
from callbacks.optimization.cosine_decay import CosineDecay as CosineDecay
from callbacks.optimization.early_stopping import EarlyStopping as EarlyStopping
from callbacks.optimization.ema import EMA as EMA
from callbacks.optimization.gradient_centralization import GradientCentralization as GradientCentralization
from callbacks.optimization.gradient_clipping import GradientClipping as GradientClipping
from callbacks.optimization.gradual_unfreezing import GradualUnfreezing as GradualUnfreezing
from callbacks.optimization.layer_decay import LayerDecay as LayerDecay
from callbacks.optimization.linear_scaling import LinearScaling as LinearScaling
from callbacks.optimization.magnified_weight_decay import MagnifiedWeightDecay as MagnifiedWeightDecay
from callbacks.optimization.no_bias_decay import NoBiasDecay as NoBiasDecay
from callbacks.optimization.one_cycle import OneCycle as OneCycle
from callbacks.optimization.polyak import PolyakAveraging as PolyakAveraging
from callbacks.optimization.polynomial_decay import PolynomialDecay as PolynomialDecay
from callbacks.optimization.reduce_on_plateau import ReduceOnPlateau as ReduceOnPlateau
from callbacks.optimization.snapshot_ensemble import SnapshotEnsemble as SnapshotEnsemble
from callbacks.optimization.square_root_scaling import SquareRootScaling as SquareRootScaling
from callbacks.optimization.step_decay import StepDecay as StepDecay
from callbacks.optimization.step_then_cosine import StepThenCosine as StepThenCosine
from callbacks.optimization.stepwise_cosine import StepwiseCosine as StepwiseCosine
from callbacks.optimization.swa import SWA as SWA
from callbacks.optimization.warm_restarts import WarmRestarts as WarmRestarts
from callbacks.optimization.warm_up import WarmUp as WarmUp
from zoo.frame.exact_resume import ExactResume as ExactResume
from zoo.frame.graceful_stop import GracefulStop as GracefulStop

OF_BOXES = ["BoxCrop", "BoxFlip", "BoxLoss", "CopyPaste"]  # tricks too, for `zoo.Detector` alone
__all__ = sorted(
    name
    for name, member in globals().items()
    if isinstance(member, type) and issubclass(member, Trick) and not member.__module__.startswith("callbacks.frame.")
    if name not in OF_BOXES
)
