"""Arms of the three regimes and their arguments, fixed before any run.

Arguments are the paper's for images of this size: sides are half of those for 32 x 32 pixels. If an arm has three
`values`, the one with the best validation accuracy is used.
"""

from collections.abc import Callable, Sequence
from functools import partial

import callbacks as c
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.schedule import Linear, Schedule, rate_values
from callbacks.frame.trick import Trick, parameters
from recipes.frame.regime import NONE, TEACHER, Arm, Regime
from zoo import Classifier, DynamicViT, EViT, HierarchicalMixture, LVViT, MoEViT, ResNet, ViT, WideResNet

RATES = (
    "p",
    "side",
    "participation",
    "fraction",
    "share",
)  # arguments of a dropout that are chosen: the first that it has
ALSO = ("ADCM",)  # of the same family, though no mask over hidden features alone
NO_PLACE = ("Maxout", "StochasticPooling")  # the network has no place for it, or becomes a wider one


def one(trick: Callable[..., Trick], *arguments: object, **options: object) -> Callable[..., list[Trick]]:
    """Make a trick with these arguments, and with what else it is called with before them."""
    return lambda *more: [trick(*more, *arguments, **options)]


def dropouts() -> dict[str, Arm]:
    """One arm for each method of dropout that has a place in a residual network."""
    names = [n for n in sorted(c.__all__) if issubclass(getattr(c, n), FeatureDropout) or n in ALSO]
    return {n: Arm(partial(dropout, n), three_rates(_default(n)), masked=True) for n in names if n not in NO_PLACE}


def dropout(method: str, rate: float) -> list[Trick]:
    """Make a dropout with this rate; a schedule rises linearly from zero to it. FocusedDropout gets its decay."""
    name = rate_name(method)
    rising = isinstance(parameters(getattr(c, method))[name].default, Schedule)
    tricks: list[Trick] = [getattr(c, method)(**{name: Linear(0, rate) if rising else rate})]
    return tricks + [c.MagnifiedWeightDecay(rate)] * (method == "FocusedDropout")


def rate_name(method: str) -> str:
    """Return the name of a dropout's rate argument."""
    return next(name for name in RATES if name in parameters(getattr(c, method)))


def _default(method: str) -> float:
    return float(rate_values(parameters(getattr(c, method))[rate_name(method)].default)[-1])


def three_rates(usual: float) -> tuple[float, float, float]:
    """Return half of a rate in (0, 1), the rate, and twice it (above .4 halfway to 1); of 1 a quarter, half and 1."""
    if usual == 1:
        return 0.25, 0.5, 1.0
    return usual / 2, usual, 2 * usual if usual <= 0.4 else (1 + usual) / 2


Build = Callable[[float], Classifier]  # learning rate -> a network


def small(kind: type[Classifier], variant: str, **options: object) -> Build:
    """Build a network for 16 px, by default trained with SGD."""
    options = {"weight_decay": 5e-4, **options}
    return lambda lr: kind(variant, num_classes=10, image_size=16, lr=lr, **options)  # type: ignore[arg-type]


TREE = small(HierarchicalMixture, "20-4")

# ---- where data is short: what regularises

DOZEN_OF_DATA: dict[str, Arm] = {
    "MixUp": Arm(one(c.MixUp), (0.2, 0.5, 1.0)),
    "CutMix": Arm(lambda p: [c.CutMix(p=p)], (0.25, 0.5, 1.0)),
    "Cutout": Arm(lambda side: [c.Cutout(int(side))], (4, 8, 12)),
    "LabelSmoothing": Arm(one(c.LabelSmoothing), (0.05, 0.1, 0.2)),
    "EMA": Arm(one(c.EMA), (0.99, 0.995, 0.999)),
    "RandomErasing": Arm(lambda p: [c.RandomErasing(p=p)], (0.25, 0.5, 0.75)),
    "RICAP": Arm(one(c.RICAP), (0.1, 0.3, 1.0)),
    "StochasticDepth": Arm(partial(dropout, "StochasticDepth"), (0.1, 0.2, 0.5), masked=True),
    "DropBlock": Arm(lambda p: [c.DropBlock(Linear(0, p), block_size=3)], (0.05, 0.1, 0.2), masked=True),
    "Dropout": Arm(partial(dropout, "Dropout"), (0.25, 0.5, 0.75), masked=True),
    "KnowledgeDistillation": Arm(lambda teacher, T: [c.KnowledgeDistillation(teacher, T=T)], (2, 4, 8), taught=TEACHER),
    "AttentionTransfer": Arm(
        lambda teacher, beta: [c.AttentionTransfer(teacher, beta=beta)], (100, 1000, 5000), taught=TEACHER
    ),
}
OTHERS_OF_DATA: dict[str, Arm] = {
    "MixUpOrCutMix": Arm(one(c.MixUpOrCutMix)),
    "GridMask": Arm(one(c.GridMask, d1=4, d2=12)),
    "Mosaic": Arm(one(c.Mosaic)),
    "SWA": Arm(one(c.SWA)),
    "SelfDistillation": Arm(one(c.SelfDistillation, 0.99)),
    "ConfidencePenalty": Arm(one(c.ConfidencePenalty)),
    "FocalLoss": Arm(one(c.FocalLoss)),
    "BinaryCrossEntropy": Arm(one(c.BinaryCrossEntropy, threshold=None, sum_classes=True)),
    "CircleLoss": Arm(one(c.CircleLoss)),
    "Flooding": Arm(one(c.Flooding, 0.1)),
    "RDrop": Arm(lambda: [c.Dropout(0.5), c.RDrop()]),
    "AuxiliaryHeads": Arm(one(c.AuxiliaryHeads)),
    "Hints": Arm(one(c.Hints), taught=TEACHER),
    "L1": Arm(one(c.L1)),
    "Orthogonality": Arm(one(c.Orthogonality)),
    "MagnifiedWeightDecay": Arm(one(c.MagnifiedWeightDecay)),
    "NoBiasDecay": Arm(one(c.NoBiasDecay)),
    "PolyakAveraging": Arm(one(c.PolyakAveraging)),
    "SnapshotEnsemble": Arm(one(c.SnapshotEnsemble)),
    "TestTimeAugmentation": Arm(one(c.TestTimeAugmentation)),
    "GradientCentralization": Arm(one(c.GradientCentralization)),
    "MultiScale": Arm(one(c.MultiScale, multiple=4)),
    "Slimming": Arm(one(c.Slimming)),
    "MagnitudePruning": Arm(one(c.MagnitudePruning, 0.5, every=20)),
    "Dice": Arm(one(c.Dice)),
    "Tversky": Arm(one(c.Tversky)),
    "ChannelOrder": Arm(one(c.ChannelOrder)),
    "GradientAttentionTransfer": Arm(one(c.GradientAttentionTransfer), taught=TEACHER),
    "GaussianNoise": Arm(one(c.GaussianNoise)),
    "ElasticDeformation": Arm(one(c.ElasticDeformation, 8.5, 2.0)),
    "WorstOf": Arm(one(c.WorstOf, k=3)),
    "GeneralizedCrossEntropy": Arm(one(c.GeneralizedCrossEntropy)),
    "HierarchicalMixture": Arm(lambda: [], network=TREE),
    "SubtreeDropout": Arm(one(c.SubtreeDropout), against="HierarchicalMixture", network=TREE),
}

# ---- where time is short: what speeds learning up

DOZEN_OF_TIME: dict[str, Arm] = {
    "StepDecay": Arm(lambda gamma: [c.StepDecay(("0.5dur", "0.75dur"), gamma, warmup_epochs=0.25)], (0.05, 0.1, 0.2)),
    "OneCycle": Arm(one(c.OneCycle), (0.2, 0.3, 0.4)),
    "no WarmUp": Arm(lambda: [c.CosineDecay()]),
    "Uniform": Arm(one(c.Uniform)),
    "Kaiming": Arm(one(c.Kaiming), against="Uniform"),
    "ZeroGamma": Arm(one(c.ZeroGamma)),
    "NoBiasDecay": Arm(one(c.NoBiasDecay)),
    "SWA": Arm(lambda factor: [c.SWA(lr_factor=factor)], (0.2, 0.5, 1.0)),
    "batch 256": Arm(lambda: [], batch=256),
    "LinearScaling": Arm(one(c.LinearScaling, 64), batch=256, against="batch 256"),
}
OTHERS_OF_TIME: dict[str, Arm] = {
    "GradientCentralization": Arm(one(c.GradientCentralization)),
    "MixUp": Arm(one(c.MixUp, 1.0)),
    "LabelSmoothing": Arm(one(c.LabelSmoothing)),
    "EMA": Arm(one(c.EMA, 0.99)),
    "CutMix": Arm(one(c.CutMix, p=0.5)),
    "Cutout": Arm(one(c.Cutout, 8)),
    "SquareRootScaling": Arm(one(c.SquareRootScaling, 64), batch=256, against="batch 256"),
    "LeCun": Arm(one(c.LeCun), against="Uniform"),
    "Xavier": Arm(one(c.Xavier), against="Uniform"),
    "PolynomialDecay": Arm(one(c.PolynomialDecay, warmup_epochs=0.25)),
    "StepThenCosine": Arm(one(c.StepThenCosine, warmup_epochs=0.25)),
    "StepwiseCosine": Arm(one(c.StepwiseCosine, "0.1dur", warmup_epochs=0.25)),
    "WarmRestarts": Arm(one(c.WarmRestarts, "0.34dur", multiply=2, warmup_epochs=0.25)),
    "SnapshotEnsemble": Arm(one(c.SnapshotEnsemble, 3)),
    "ReduceOnPlateau": Arm(one(c.ReduceOnPlateau, None, patience=0, threshold=0.05, warmup_epochs=0.25)),
    "PolyakAveraging": Arm(one(c.PolyakAveraging)),
    "GradientClipping": Arm(one(c.GradientClipping)),
    "AdaptiveGradientClipping": Arm(one(c.AdaptiveGradientClipping)),
    "ProgressiveResizing": Arm(one(c.ProgressiveResizing)),
    "AccumulationSchedule": Arm(one(c.AccumulationSchedule, (3, 4), (2, 4))),
    "LayerDecay": Arm(one(c.LayerDecay, 0.9)),
    "Norm": Arm(one(c.Norm, "group")),
    "Activation": Arm(one(c.Activation, "silu")),
    "Orthogonality": Arm(one(c.Orthogonality)),
    "SpatialPyramidPooling": Arm(one(c.SpatialPyramidPooling)),
    "RandomErasing": Arm(one(c.RandomErasing)),
    "StochasticDepth": Arm(one(c.StochasticDepth, 0.2)),
    "Dropout": Arm(one(c.Dropout, 0.5)),
    "batch 16 x 4": Arm(lambda: [c.AccumulationSchedule((0,), (4,))], batch=16),
    "CrossIterationBatchNorm": Arm(
        lambda: [c.AccumulationSchedule((0,), (4,)), c.CrossIterationBatchNorm(burn_in=1)],
        batch=16,
        against="batch 16 x 4",
    ),
    "CrossMiniBatchNorm": Arm(
        lambda: [c.AccumulationSchedule((0,), (4,)), c.CrossMiniBatchNorm()], batch=16, against="batch 16 x 4"
    ),
}
IN_THE_BASE = {  # tricks that the base has: where time is short, the base against the arm without
    "CosineDecay": "StepDecay",
    "WarmUp": "no WarmUp",
}


# ---- in a small transformer: what acts on patches, heads and experts.
# An arm that is named after a network has no trick

ADAMW = {"optimizer": "adamw", "weight_decay": 0.05}
PLAIN, CONV = small(ViT, "96/16", **ADAMW), small(ResNet, "20", **ADAMW)
DYNAMIC, REORGANISED = small(DynamicViT, "96", **ADAMW), small(EViT, "96", drop_path=0.0, **ADAMW)
LABELLED = small(LVViT, "96", **ADAMW)
EXPERTS = small(MoEViT, "96", drop_path=0.0, **ADAMW)
CONV_TEACHER = "convolutional teacher"
OF_TRANSFORMERS: dict[str, Arm] = {
    "PatchDropout": Arm(one(c.PatchDropout)),
    "AttentionPatchDropout": Arm(one(c.AttentionPatchDropout, where=1)),
    "DropHead": Arm(one(c.DropHead)),
    "EViT": Arm(lambda: [], network=REORGANISED),
    "KeepRate": Arm(one(c.KeepRate), against="EViT", network=REORGANISED),
    # These start from the teacher, as in the paper: from random weights, DynamicViT hardly learns from 1,000 images
    "DynamicViT": Arm(lambda teacher: [], taught=TEACHER, network=DYNAMIC, starts=True),
    "TokenRatio": Arm(lambda teacher: [c.TokenRatio()], (), TEACHER, "DynamicViT", network=DYNAMIC, starts=True),
    "TokenDistillation": Arm(
        lambda teacher: [c.TokenRatio(), c.TokenDistillation(teacher)],
        taught=TEACHER,
        against="TokenRatio",
        network=DYNAMIC,
        starts=True,
    ),
    "MoEViT": Arm(lambda: [], network=EXPERTS),
    "ExpertBalance": Arm(one(c.ExpertBalance), against="MoEViT", network=EXPERTS),
    "GatingDropout": Arm(lambda: [c.ExpertBalance(), c.GatingDropout()], against="ExpertBalance", network=EXPERTS),
    "LVViT": Arm(lambda: [], network=LABELLED),
    "TokenLabeling": Arm(one(c.TokenLabeling), taught=CONV_TEACHER, against="LVViT", network=LABELLED),
}


BASE = Arm(lambda: [], (0.05, 0.1, 0.2), masked=True)  # its argument is the learning rate, which all arms share
DATA_IS_SHORT = Regime(
    "data_is_short",
    small(WideResNet, "16-2"),
    images=4000,
    epochs=60,
    arms={
        NONE: BASE,
        TEACHER: Arm(lambda: [], network=small(WideResNet, "40-2")),
        **dropouts(),
        **OTHERS_OF_DATA,
        **DOZEN_OF_DATA,
    },
)
TIME_IS_SHORT = Regime(
    "time_is_short",
    small(ResNet, "20"),
    images=45_000,
    epochs=5,
    arms={NONE: BASE, **OTHERS_OF_TIME, **DOZEN_OF_TIME},
)
SMALL_TRANSFORMER = Regime(
    "small_transformer",
    PLAIN,
    images=1000,
    epochs=200,
    arms={
        NONE: Arm(lambda: [], (1e-3, 2e-3, 4e-3)),
        TEACHER: Arm(lambda: []),
        CONV_TEACHER: Arm(lambda: [], network=CONV),
        **OF_TRANSFORMERS,
    },
)
REGIMES: Sequence[Regime] = (DATA_IS_SHORT, TIME_IS_SHORT, SMALL_TRANSFORMER)


def usual(name: str, teacher: Classifier | None = None) -> Trick:
    """Make the trick of an arm of either convolutional regime with its default argument."""
    one = DATA_IS_SHORT.arms.get(name) or TIME_IS_SHORT.arms[name]
    network = [teacher] if one.taught else []
    return one.build(*network, *([one.values[1]] if one.values else []))[-1]
