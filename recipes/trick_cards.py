"""What each trick brings, alone, to one network at one small budget: the numbers on the cards that `zoo card` prints.

Paper:    one a trick: see its file in callbacks/. The network is ResNet-20 of Deep Residual Learning (He et al.; CVPR
          2016) https://arxiv.org/abs/1512.03385, section 4.2. Nobody published this comparison
Command:  zoo run trick_cards --images 5000 --epochs 4 --folder CIFAR-10-JPEG --seeds 3 --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10, to be compared with each other only. Trained on `images`
          of the 50,000, every class in proportion and the same for all; tested on all 10,000
Settings: ResNet-20, few epochs of batches of 64, SGD with Nesterov's momentum .9, rate .1, decay 5e-4, one epoch of
          warm-up, cosine, crop from 4 pixels of padding, flip, bf16. A trick that sets the learning rate takes the
          cosine's place; a teacher is a ResNet-56, trained once in the same way for three times as long. Each trick
          has the arguments of its paper for CIFAR where there are any, else its defaults. Nothing was tuned: it shows
          what a trick brings at this budget, and most regularisers were made for longer ones
Result:
| as | trick | test/acc | test/acc_ema0.99 | test/acc_polyak0.5dur | test/acc_snapshots3 | test/acc_swa | test/acc_tta | seconds | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
|  | none | 0.4715 ± 0.0113 |  |  |  |  |  | 26.9 ± 0.5 | 3 |
| MixUp() | MixUp | 0.4356 ± 0.0217 |  |  |  |  |  | 27.7 ± 0.5 | 3 |
| CutMix(p=0.5) | CutMix | 0.4458 ± 0.0198 |  |  |  |  |  | 27.8 ± 0.7 | 3 |
| Cutout(side=16) | Cutout | 0.4352 ± 0.0179 |  |  |  |  |  | 27.3 ± 0.6 | 3 |
| RandomErasing() | RandomErasing | 0.4352 ± 0.0193 |  |  |  |  |  | 27.5 ± 0.8 | 3 |
| LabelSmoothing() | LabelSmoothing | 0.4833 ± 0.0045 |  |  |  |  |  | 27.3 ± 0.7 | 3 |
| EMA(decay=0.99) | EMA | 0.4715 ± 0.0113 | 0.4453 ± 0.0096 |  |  |  |  | 27.2 ± 0.2 | 3 |
| SWA() | SWA | 0.4363 ± 0.0341 |  |  |  | 0.4698 ± 0.0171 |  | 28.9 ± 0.3 | 3 |
| NoBiasDecay() | NoBiasDecay | 0.4686 ± 0.0109 |  |  |  |  |  | 27.2 ± 0.1 | 3 |
| ZeroGamma() | ZeroGamma | 0.4552 ± 0.0102 |  |  |  |  |  | 27.2 ± 0.0 | 3 |
| GradientCentralization() | GradientCentralization | 0.5225 ± 0.0075 |  |  |  |  |  | 27.2 ± 0.3 | 3 |
| OneCycle() | OneCycle | 0.4869 ± 0.0038 |  |  |  |  |  | 26.9 ± 0.4 | 3 |
| SelfDistillation(decay=0.99) | SelfDistillation | 0.4699 ± 0.0083 |  |  |  |  |  | 34.2 ± 1.0 | 3 |
| ConfidencePenalty() | ConfidencePenalty | 0.4724 (1 run) |  |  |  |  |  | 26.1 (1 run) | 1 |
| FocalLoss() | FocalLoss | 0.4581 (1 run) |  |  |  |  |  | 25.8 (1 run) | 1 |
| BinaryCrossEntropy(threshold=None, sum_classes=True) | BinaryCrossEntropy | 0.4561 (1 run) |  |  |  |  |  | 26.2 (1 run) | 1 |
| RICAP() | RICAP | 0.3988 (1 run) |  |  |  |  |  | 26.3 (1 run) | 1 |
| MixUpOrCutMix() | MixUpOrCutMix | 0.4280 (1 run) |  |  |  |  |  | 26.4 (1 run) | 1 |
| Mosaic() | Mosaic | 0.3718 (1 run) |  |  |  |  |  | 26.5 (1 run) | 1 |
| GridMask(d1=8, d2=24) | GridMask | 0.4437 (1 run) |  |  |  |  |  | 26.4 (1 run) | 1 |
| PolyakAveraging() | PolyakAveraging | 0.4601 (1 run) |  | 0.4463 (1 run) |  |  |  | 26.3 (1 run) | 1 |
| AdaptiveGradientClipping() | AdaptiveGradientClipping | 0.4645 (1 run) |  |  |  |  |  | 26.8 (1 run) | 1 |
| GradientClipping() | GradientClipping | 0.4653 (1 run) |  |  |  |  |  | 26.5 (1 run) | 1 |
| StepDecay(milestones=('0.5dur', '0.75dur'), warmup_epochs=1) | StepDecay | 0.4188 (1 run) |  |  |  |  |  | 26.3 (1 run) | 1 |
| StepThenCosine(warmup_epochs=1) | StepThenCosine | 0.4132 (1 run) |  |  |  |  |  | 26.5 (1 run) | 1 |
| StepwiseCosine(every=1, warmup_epochs=1) | StepwiseCosine | 0.4505 (1 run) |  |  |  |  |  | 26.1 (1 run) | 1 |
| WarmUp(epochs=1) | WarmUp | 0.3604 (1 run) |  |  |  |  |  | 25.3 (1 run) | 1 |
| LinearScaling(base=32) | LinearScaling | 0.4403 (1 run) |  |  |  |  |  | 24.9 (1 run) | 1 |
| SquareRootScaling(base=32) | SquareRootScaling | 0.4562 (1 run) |  |  |  |  |  | 24.9 (1 run) | 1 |
| PolynomialDecay(warmup_epochs=1) | PolynomialDecay | 0.4723 (1 run) |  |  |  |  |  | 25.5 (1 run) | 1 |
| WarmRestarts(first='0.34dur', warmup_epochs=1) | WarmRestarts | 0.4512 (1 run) |  |  |  |  |  | 25.1 (1 run) | 1 |
| SnapshotEnsemble(cycles=3, last=3) | SnapshotEnsemble | 0.3824 (1 run) |  |  | 0.3758 (1 run) |  |  | 24.7 (1 run) | 1 |
| Kaiming() | Kaiming | 0.4858 (1 run) |  |  |  |  |  | 25.0 (1 run) | 1 |
| LeCun() | LeCun | 0.4915 (1 run) |  |  |  |  |  | 25.0 (1 run) | 1 |
| Xavier() | Xavier | 0.4911 (1 run) |  |  |  |  |  | 25.5 (1 run) | 1 |
| Uniform() | Uniform | 0.4548 (1 run) |  |  |  |  |  | 25.6 (1 run) | 1 |
| L1() | L1 | 0.4584 (1 run) |  |  |  |  |  | 25.8 (1 run) | 1 |
| L2() | L2 | 0.4730 (1 run) |  |  |  |  |  | 25.7 (1 run) | 1 |
| Orthogonality() | Orthogonality | 0.4921 (1 run) |  |  |  |  |  | 26.2 (1 run) | 1 |
| Flooding(b=0.1) | Flooding | 0.4601 (1 run) |  |  |  |  |  | 26.0 (1 run) | 1 |
| RDrop() | RDrop | 0.4731 (1 run) |  |  |  |  |  | 49.1 (1 run) | 1 |
| Activation(kind='silu') | Activation | 0.4483 (1 run) |  |  |  |  |  | 44.3 (1 run) | 1 |
| Norm() | Norm | 0.4052 (1 run) |  |  |  |  |  | 78.2 (1 run) | 1 |
| MagnifiedWeightDecay() | MagnifiedWeightDecay | 0.4837 (1 run) |  |  |  |  |  | 25.4 (1 run) | 1 |
| LayerDecay(decay=0.9) | LayerDecay | 0.4583 (1 run) |  |  |  |  |  | 25.6 (1 run) | 1 |
| ProgressiveResizing() | ProgressiveResizing | 0.4594 (1 run) |  |  |  |  |  | 18.6 (1 run) | 1 |
| MultiScale(multiple=4) | MultiScale | 0.4200 (1 run) |  |  |  |  |  | 26.2 (1 run) | 1 |
| TestTimeAugmentation() | TestTimeAugmentation | 0.4601 (1 run) |  |  |  |  | 0.4616 (1 run) | 25.6 (1 run) | 1 |
| Slimming() | Slimming | 0.4724 (1 run) |  |  |  |  |  | 25.6 (1 run) | 1 |
| MagnitudePruning(final=0.5, every=20) | MagnitudePruning | 0.4675 (1 run) |  |  |  |  |  | 25.6 (1 run) | 1 |
| AuxiliaryHeads(stages=('stage2',)) | AuxiliaryHeads | 0.4858 (1 run) |  |  |  |  |  | 25.9 (1 run) | 1 |
| ChannelOrder() | ChannelOrder | 0.4675 (1 run) |  |  |  |  |  | 26.9 (1 run) | 1 |
| CircleLoss() | CircleLoss | 0.4713 (1 run) |  |  |  |  |  | 26.2 (1 run) | 1 |
| Dice() | Dice | 0.2112 (1 run) |  |  |  |  |  | 25.4 (1 run) | 1 |
| Tversky() | Tversky | 0.3521 (1 run) |  |  |  |  |  | 25.4 (1 run) | 1 |
| AccumulationSchedule(epochs=(2, 3), factors=(2, 4)) | AccumulationSchedule | 0.4211 (1 run) |  |  |  |  |  | 24.6 (1 run) | 1 |
| ReduceOnPlateau(metric=None, patience=0, threshold=0.05, warmup_epochs=1) | ReduceOnPlateau | 0.3604 (1 run) |  |  |  |  |  | 25.1 (1 run) | 1 |
| SpatialPyramidPooling() | SpatialPyramidPooling | 0.2633 (1 run) |  |  |  |  |  | 24.2 (1 run) | 1 |
| SymmetryAttention() | SymmetryAttention | 0.4541 (1 run) |  |  |  |  |  | 316.2 (1 run) | 1 |
| KnowledgeDistillation(teacher=ResNet) | KnowledgeDistillation | 0.5355 (1 run) |  |  |  |  |  | 42.1 (1 run) | 1 |
| AttentionTransfer(teacher=ResNet) | AttentionTransfer | 0.5457 (1 run) |  |  |  |  |  | 43.4 (1 run) | 1 |
| Hints(teacher=ResNet) | Hints | 0.5374 (1 run) |  |  |  |  |  | 42.4 (1 run) | 1 |
| GradientAttentionTransfer(teacher=ResNet) | GradientAttentionTransfer | 0.4786 (1 run) |  |  |  |  |  | 200.4 (1 run) | 1 |

- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10, to be compared with each other only. Trained on `images`
  of the 50,000, every class in proportion and the same for all; tested on all 10,000
- Command: zoo run trick_cards --images 5000 --epochs 4 --folder CIFAR-10-JPEG --seeds 3 --record
- Arguments: data=CIFAR-10-JPEG, epochs=4, images=5000
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 251e53f; 20a5458
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import perf_counter

import lightning as L

import callbacks as c
from callbacks.frame.pairs import refusal
from callbacks.frame.trick import Trick
from recipes import Recipe
from recipes.frame import records
from recipes.frame.cifar import TRAINING_IMAGES, cifar10, images_named
from zoo import ResNet

TEACHER_EPOCHS = 3  # times as many as a student's
NONE = "none"  # the network without a trick: what the others are compared with
# How a trick stands on its card; `why_not` says it of the others.
TRICKS: dict[str, Callable[[], Trick]] = {
    "AccumulationSchedule": lambda: c.AccumulationSchedule((2, 3), (2, 4)),
    "Activation": lambda: c.Activation("silu"),
    "AdaptiveGradientClipping": c.AdaptiveGradientClipping,
    "AuxiliaryHeads": lambda: c.AuxiliaryHeads(("stage2",)),
    "BinaryCrossEntropy": lambda: c.BinaryCrossEntropy(threshold=None, sum_classes=True),
    "ChannelOrder": c.ChannelOrder,
    "CircleLoss": c.CircleLoss,
    "ConfidencePenalty": c.ConfidencePenalty,
    "CutMix": lambda: c.CutMix(p=0.5),
    "Cutout": lambda: c.Cutout(16),
    "Dice": c.Dice,
    "EMA": lambda: c.EMA(0.99),
    "Flooding": lambda: c.Flooding(0.1),
    "FocalLoss": c.FocalLoss,
    "GradientCentralization": c.GradientCentralization,
    "GradientClipping": c.GradientClipping,
    "GridMask": lambda: c.GridMask(d1=8, d2=24),
    "Kaiming": c.Kaiming,
    "L1": c.L1,
    "L2": c.L2,
    "LabelSmoothing": c.LabelSmoothing,
    "LayerDecay": lambda: c.LayerDecay(0.9),
    "LeCun": c.LeCun,
    "LinearScaling": lambda: c.LinearScaling(base=32),
    "MagnifiedWeightDecay": c.MagnifiedWeightDecay,
    "MagnitudePruning": lambda: c.MagnitudePruning(0.5, every=20),
    "MixUp": lambda: c.MixUp(1.0),
    "MixUpOrCutMix": c.MixUpOrCutMix,
    "Mosaic": c.Mosaic,
    "MultiScale": lambda: c.MultiScale(multiple=4),
    "NoBiasDecay": c.NoBiasDecay,
    "Norm": lambda: c.Norm("group"),
    "OneCycle": c.OneCycle,
    "Orthogonality": c.Orthogonality,
    "PolyakAveraging": c.PolyakAveraging,
    "PolynomialDecay": lambda: c.PolynomialDecay(warmup_epochs=1),
    "ProgressiveResizing": c.ProgressiveResizing,
    "RDrop": c.RDrop,
    "RICAP": c.RICAP,
    "RandomErasing": c.RandomErasing,
    "ReduceOnPlateau": lambda: c.ReduceOnPlateau(None, patience=0, threshold=0.05, warmup_epochs=1),
    "SWA": c.SWA,
    "SelfDistillation": lambda: c.SelfDistillation(0.99),
    "Slimming": c.Slimming,
    "SnapshotEnsemble": lambda: c.SnapshotEnsemble(cycles=3, last=3),
    "SpatialPyramidPooling": c.SpatialPyramidPooling,
    "SquareRootScaling": lambda: c.SquareRootScaling(base=32),
    "StepDecay": lambda: c.StepDecay(("0.5dur", "0.75dur"), warmup_epochs=1),
    "StepThenCosine": lambda: c.StepThenCosine(warmup_epochs=1),
    "StepwiseCosine": lambda: c.StepwiseCosine(every=1, warmup_epochs=1),
    "SymmetryAttention": c.SymmetryAttention,
    "TestTimeAugmentation": c.TestTimeAugmentation,
    "Tversky": c.Tversky,
    "Uniform": c.Uniform,
    "WarmUp": lambda: c.WarmUp(1),
    "WarmRestarts": lambda: c.WarmRestarts("0.34dur", multiply=2, warmup_epochs=1),
    "Xavier": c.Xavier,
    "ZeroGamma": c.ZeroGamma,
    # with a teacher
    "AttentionTransfer": lambda: c.AttentionTransfer(teacher()),
    "GradientAttentionTransfer": lambda: c.GradientAttentionTransfer(teacher()),
    "Hints": lambda: c.Hints(teacher()),
    "KnowledgeDistillation": lambda: c.KnowledgeDistillation(teacher(), T=4.0),
}
NOT_HERE = {
    "CachedLogits": "ends with the same bits as KnowledgeDistillation",
    "ClassBalanced": "for classes of unequal sizes, which these are not",
    "CosineDecay": "what all others run with",
    "EarlyStopping": "for runs that are longer than they need be",
    "FrozenBatchNorm": "for networks that were trained before",
    "GradualUnfreezing": "for networks that were trained before",
    "Specialist": "for some of the classes alone",
    "StochasticPooling": "for networks with max pooling, which ResNet-20 has not",
    "ZeroLastConv": "for branches that end in a convolution, which ResNet-20's do not",
}
_budget: dict = {}  # of this process's runs: a teacher is trained at the budget of its students


def why_not(trick: str) -> str:
    """Why a trick that is not in `TRICKS` has no run here."""
    kind = getattr(c, trick)
    if trick in NOT_HERE:
        return NOT_HERE[trick]
    if kind.__module__.startswith("callbacks.diagnostics."):
        return "it looks, and changes nothing"
    if kind.__module__.startswith("callbacks.dropout."):
        return "with its like in the recipe dropout_league_cifar; for transformers, in token_reduction_cifar"
    return "for transformers: see the recipe token_reduction_cifar"


def with_schedule(*tricks: Trick) -> list[Trick]:
    """The cosine, unless one of them sets the learning rate, then they."""
    base = c.CosineDecay(warmup_epochs=1)
    return [*([] if any(refusal(type(base), type(t)) for t in tricks) else [base]), *tricks]


@cache
def teacher() -> ResNet:
    """A ResNet-56, trained once a process."""
    longer = {**_budget, "epochs": TEACHER_EPOCHS * _budget["epochs"]}
    best = recipe(depth="56", seed=1000, **longer)  # a seed that no student has
    best.run(test=False)
    return best.model


def recipe(
    trick: str = NONE,
    images: int = TRAINING_IMAGES,
    epochs: int = 10,
    root: Path = Path("data"),
    folder: Path | None = None,
    depth: str = "20",
    seed: int = 0,
) -> Recipe:
    """Train and test with one trick.

    Args:
        trick: a key of `TRICKS`, or "none".
        images: how many of the 50,000 to train on.
        epochs: passes over them.
        root: where CIFAR-10 is; downloaded into it if absent (170 MB).
        folder: the same images as files instead: `train/<class>/*` and `test/<class>/*`.
        depth: of the ResNet.
        seed: of the weights, the order of the images and every random draw.
    """
    if depth == "20":
        _budget.update(images=images, epochs=epochs, root=root, folder=folder)
    on = with_schedule(*([] if trick == NONE else [TRICKS[trick]()]))  # a teacher trains here, before the seed is set
    L.seed_everything(seed, workers=True, verbose=False)
    data = cifar10(root, folder, batch_size=64, val_split=TRAINING_IMAGES - images)
    return Recipe(
        name="trick_cards",
        model=ResNet(depth, num_classes=10, image_size=32, lr=0.1, weight_decay=5e-4),
        data=data,
        callbacks=on,
        trainer={"max_epochs": epochs, "limit_val_batches": 0, "precision": "bf16-mixed"},
        seed=seed,
        arguments={
            "trick": trick,
            "as": "" if trick == NONE else repr(on[-1]),
            "images": images,
            "epochs": epochs,
            "data": images_named(folder),
        },
    )


def main(
    tricks: list[str] | None = None,
    images: int = TRAINING_IMAGES,
    epochs: int = 10,
    root: Path = Path("data"),
    folder: Path | None = None,
    seed: int = 0,
    seeds: int = 1,
    record: bool = False,
) -> None:
    """Train once without, then with each trick alone.

    Args:
        tricks: which; None: all.
        images, epochs, root, folder, seed: as in `recipe`.
        seeds: number of runs of each, with the seeds `seed`, `seed + 1`, ...
        record: add each run to results/, from which the cards are made.
    """
    for s in range(seed, seed + seeds):
        plain = None
        for trick in [NONE, *(tricks or TRICKS)]:
            start = perf_counter()
            metrics = recipe(trick, images, epochs, root, folder, seed=s).run(record=record)
            plain = plain or metrics
            gain = accuracy(metrics) - accuracy(plain)
            print(
                f"seed {s}  {trick:<26}{accuracy(metrics):.4f}  {gain:+.4f}  {perf_counter() - start:.0f} s",
                flush=True,
            )


def accuracy(metrics: dict[str, float]) -> float:
    """On the test set; of averages, ensembles and views, which are scored beside the plain network, theirs."""
    beside = [value for name, value in metrics.items() if name.startswith("test/acc_")]
    return beside[0] if beside else metrics["test/acc"]


def gain(trick: str) -> records.Summary | None:
    """Test accuracy with the trick less that without, seed by seed; None: not measured."""
    runs = records.read("trick_cards")
    found: dict[str, dict] = {NONE: {}, trick: {}}
    for run in runs:
        arguments = {k: v for k, v in run["arguments"].items() if k not in ("trick", "as")}
        key = (run["seed"], *sorted(arguments.items()), *sorted(run["hardware"].items()))
        name = run["arguments"]["trick"]
        if name in found:
            found[name][key] = accuracy(run["metrics"])
    pairs = [value - found[NONE][key] for key, value in found[trick].items() if key in found[NONE]]
    return records.summary(pairs) if pairs else None
