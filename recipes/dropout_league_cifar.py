"""Every method of dropout on one network, with the same images, budget and seeds, each at the best of three rates.

Paper:    one a method: see its file in callbacks/dropout/. The network is ResNet-20 of Deep Residual Learning (He et
          al.; CVPR 2016) https://arxiv.org/abs/1512.03385, section 4.2. Nobody published this comparison
Command:  zoo run dropout_league_cifar --folder CIFAR-10-JPEG --record
Data:     CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10, to be compared with each other only. Trained on 5,000 of
          the 50,000, validated on 5,000 others, every class in proportion and the same for all; tested on all 10,000
Settings: ResNet-20, 8 epochs of batches of 64, SGD with Nesterov's momentum .9, rate .1, decay 5e-4, one epoch of
          warm-up, cosine, flips and no crops, bf16. Each method at its own places and with its own other arguments. Its
          rate is one of three: the default, half of it, and twice it (halfway to 1 above .4), the one of the best
          validation accuracy with a seed of its own; of Cutout the side of its hole, of a method without a rate the
          share of steps (a quarter, half and all, where the default is all). FocusedDropout comes with the magnified
          weight decay that its paper has. Not here: what ResNet-20 has no place for (StochasticPooling) or what makes
          it a wider network (Maxout). Then the seeds of the league. A tie is a difference to none of at most two
          standard errors. Left at half masked: the share of test accuracy that is left where half of the last stage's
          channels are zero (co-adaptation, as in the paper on HeuristicDropout; more shares in results/)
Differs:  NeuronSpecificDropout trains on four fifths of the images and compares them with the others, no other does
Result:
| method | chosen | test/acc | against none |  | train/acc | left at half masked | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- |
| SpectralDropout | SpectralDropout(p=0.1) | 0.6268 ± 0.0062 | +0.0083 ± 0.0051 | tie | 0.733 | 0.81 | 3 |
| none |  | 0.6186 ± 0.0063 |  |  | 0.727 | 0.81 | 3 |
| Cutout | Cutout(side=0.25) | 0.6165 ± 0.0042 | -0.0021 ± 0.0044 | tie | 0.679 | 0.81 | 3 |
| AutoDropout | AutoDropout(participation=0.25) | 0.6125 ± 0.0069 | -0.0060 ± 0.0054 | tie | 0.698 | 0.81 | 3 |
| ProbDropBlock | ProbDropBlock(p=Linear(start=0, end=0.05, until='1dur')) | 0.6097 ± 0.0108 | -0.0088 ± 0.0072 | tie | 0.689 | 0.83 | 3 |
| DropBlock | DropBlock(p=Linear(start=0, end=0.05, until='1dur')) | 0.6089 ± 0.0040 | -0.0097 ± 0.0043 | worse | 0.694 | 0.83 | 3 |
| UniformDropout | UniformDropout(p=0.125) | 0.6075 ± 0.0032 | -0.0111 ± 0.0041 | worse | 0.674 | 0.90 | 3 |
| FocusedDropout | FocusedDropout(participation=0.05), MagnifiedWeightDecay(probability=0.05) | 0.6075 ± 0.0060 | -0.0111 ± 0.0050 | worse | 0.684 | 0.81 | 3 |
| CorrDrop | CorrDrop(p=0.1) | 0.6071 ± 0.0086 | -0.0115 ± 0.0062 | tie | 0.675 | 0.82 | 3 |
| CrossmapDropout | CrossmapDropout(p=0.05) | 0.6063 ± 0.0090 | -0.0122 ± 0.0063 | tie | 0.683 | 0.82 | 3 |
| ADL | ADL(p=0.875) | 0.6005 ± 0.0102 | -0.0181 ± 0.0069 | worse | 0.680 | 0.83 | 3 |
| ClusteringDropout | ClusteringDropout(participation=0.25) | 0.5976 ± 0.0119 | -0.0210 ± 0.0078 | worse | 0.668 | 0.79 | 3 |
| BiasedDropout | BiasedDropout(p=0.25) | 0.5974 ± 0.0039 | -0.0211 ± 0.0043 | worse | 0.661 | 0.86 | 3 |
| GuidedDropout | GuidedDropout(p=0.1) | 0.5963 ± 0.0011 | -0.0222 ± 0.0037 | worse | 0.654 | 0.87 | 3 |
| ChannelDropBlock | ChannelDropBlock(p=0.1) | 0.5884 ± 0.0034 | -0.0301 ± 0.0041 | worse | 0.639 | 0.81 | 3 |
| DropConnect | DropConnect(p=0.25) | 0.5820 ± 0.0133 | -0.0365 ± 0.0085 | worse | 0.630 | 0.91 | 3 |
| GaussianDropout | GaussianDropout(p=0.25) | 0.5770 ± 0.0104 | -0.0416 ± 0.0070 | worse | 0.628 | 0.91 | 3 |
| Dropout | Dropout(p=0.25) | 0.5762 ± 0.0106 | -0.0424 ± 0.0071 | worse | 0.619 | 0.91 | 3 |
| ADCM | ADCM(p=0.05) | 0.5750 ± 0.0134 | -0.0435 ± 0.0085 | worse | 0.634 | 0.77 | 3 |
| SpatialDropout | SpatialDropout(p=0.05) | 0.5657 ± 0.0130 | -0.0529 ± 0.0084 | worse | 0.599 | 0.84 | 3 |
| StochasticDepth | StochasticDepth(p=0.25) | 0.5527 ± 0.0047 | -0.0658 ± 0.0045 | worse | 0.563 | 0.74 | 3 |
| WeightedChannelDropout | WeightedChannelDropout(p=0.1) | 0.5525 ± 0.0168 | -0.0661 ± 0.0104 | worse | 0.570 | 0.88 | 3 |
| HeuristicDropout | HeuristicDropout() | 0.5180 ± 0.0088 | -0.1005 ± 0.0062 | worse | 0.647 | 0.80 | 3 |
| NeuronSpecificDropout | NeuronSpecificDropout(p=0.1) | 0.4992 ± 0.0399 | -0.1194 ± 0.0233 | worse | 0.503 | 0.87 | 3 |
| StructuralDropout | StructuralDropout(p=0.75) | 0.4689 ± 0.0266 | -0.1497 ± 0.0158 | worse | 0.430 | 0.84 | 3 |

- Data: CIFAR-10-JPEG: lossy copies (quality 75) of CIFAR-10, to be compared with each other only. Trained on 5,000 of
  the 50,000, validated on 5,000 others, every class in proportion and the same for all; tested on all 10,000
- Command: zoo run dropout_league_cifar --folder CIFAR-10-JPEG --record
- Arguments: data=CIFAR-10-JPEG, epochs=8, images=5000
- Hardware: AMD EPYC, 1 threads
- Versions: lightning 2.6.6, python 3.11.7, timm 1.0.31, torch 2.14.1
- Commit: 3e245c8; b02ecb5
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lightning as L
from torch import Tensor

import callbacks as c
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.schedule import Linear, Schedule, rate_values
from callbacks.frame.trick import Trick, parameters
from datamodules import ImageData
from recipes import Recipe
from recipes.frame import records
from recipes.frame.cifar import TRAINING_IMAGES, cifar10, images_named
from recipes.frame.co_adaptation import FRACTIONS, co_adaptation
from recipes.frame.league import NONE, best_rate, three_rates, verdict
from zoo import ResNet
from zoo.frame.checks import validate_choice

NAME = "dropout_league_cifar"
VALIDATION_IMAGES = 5000
RATE_SEED = 1000  # of the runs that choose the rate; the league has others
ALSO = ("ADCM", "Cutout")  # of the same family, though no mask over hidden features alone
METHODS: dict[str, type[Trick]] = {
    name: kind for name in sorted(c.__all__) if issubclass(kind := getattr(c, name), FeatureDropout) or name in ALSO
}
RATES = ("p", "side", "participation")  # what a method is tried with several values of: the first of these that it has


def rates(method: str) -> tuple[float, float, float]:
    """What is tried."""
    return three_rates(rate_values(parameters(METHODS[method])[_rate_of(method)].default)[-1])


def made(method: str, rate: float) -> list[Trick]:
    """The trick at this rate; of a schedule, from zero in a straight line to it. FocusedDropout with its decay."""
    if method == NONE:
        return []
    name = _rate_of(method)
    rising = isinstance(parameters(METHODS[method])[name].default, Schedule)
    tricks: list[Trick] = [METHODS[method](**{name: Linear(0, rate) if rising else rate})]
    return tricks + [c.MagnifiedWeightDecay(probability=rate)] * (method == "FocusedDropout")


def _rate_of(method: str) -> str:
    return next(name for name in RATES if name in parameters(METHODS[method]))


def recipe(
    method: str = NONE,
    rate: float = 0.0,
    images: int = 5000,
    epochs: int = 8,
    root: Path = Path("data"),
    folder: Path | None = None,
    seed: int = 0,
) -> Recipe:
    """Train and test with one method.

    Args:
        method: a key of `METHODS`, or "none".
        rate: of the method, in (0, 1); not of "none".
        images: how many to train on.
        epochs: passes over them.
        root: where CIFAR-10 is; downloaded into it if absent (170 MB).
        folder: the same images as files instead: `train/<class>/*` and `test/<class>/*`.
        seed: of the weights, the order of the images and every random draw.
    """
    on = made(validate_choice(method, [NONE, *METHODS], NAME), rate)
    L.seed_everything(seed, workers=True, verbose=False)
    return Recipe(
        name=NAME,
        model=ResNet("20", num_classes=10, image_size=32, lr=0.1, weight_decay=5e-4),
        data=held(images, root, folder),
        callbacks=[c.CosineDecay(warmup_epochs=1), *on],
        trainer={"max_epochs": epochs, "check_val_every_n_epoch": epochs, "precision": "bf16-mixed"},
        seed=seed,
        arguments={
            "method": method,
            "as": ", ".join(map(repr, on)),
            "images": images,
            "epochs": epochs,
            "data": images_named(folder),
        },
    )


@cache
def held(images: int, root: Path, folder: Path | None) -> ImageData:
    """Read once a process, for all methods."""
    fraction = images / (TRAINING_IMAGES - VALIDATION_IMAGES)
    data = cifar10(root, folder, batch_size=64, val_split=VALIDATION_IMAGES, fraction=fraction, padding=0)
    data.prepare_data()
    data.setup()
    return data


def chosen(method: str, record: bool, **budget) -> float:
    """The rate of the best validation accuracy."""
    if method == NONE:
        return 0.0
    found = {rate: run(method, rate, RATE_SEED, record, **budget)["val/acc"] for rate in rates(method)}
    return best_rate(found)


def run(method: str, rate: float, seed: int, record: bool, **budget) -> dict[str, float]:
    """Metrics of one run: as recorded, or else trained. With `RATE_SEED`, the test images are not looked at."""
    one, league = recipe(method, rate, seed=seed, **budget), seed != RATE_SEED
    name = NAME if league else f"{NAME}_rates"
    if record:
        for old in records.read(name):
            if (old["arguments"], old["seed"]) == (one.arguments, seed):
                return old["metrics"]
    metrics = one.run(test=league)
    if league:
        left = co_adaptation(one.model.cpu(), test_batches(one.data))
        metrics |= {f"masked {share:.1f}": value for share, value in zip(FRACTIONS, left, strict=True)}
    if record:
        line = {"arguments": one.arguments, "seed": seed, "metrics": metrics, "seconds": metrics["seconds"]}
        records.append(name, line)
    what = f"test {metrics['test/acc']:.4f}" if league else f"rate {rate:.3g}"
    print(f"{method:<24}seed {seed:<6}{what}  val {metrics['val/acc']:.4f}  {metrics['seconds']:.0f} s", flush=True)
    return metrics


def test_batches(data: ImageData) -> Iterator[list[Tensor]]:
    """As the network gets them, in float32."""
    return (data.on_after_batch_transfer(list(batch), 0) for batch in data.test_dataloader())


def main(
    methods: list[str] | None = None,
    images: int = 5000,
    epochs: int = 8,
    root: Path = Path("data"),
    folder: Path | None = None,
    seeds: int = 3,
    record: bool = False,
) -> None:
    """Train without dropout, then choose each method's rate and train with it.

    Args:
        methods: which; None: all.
        images, epochs, root, folder: as in `recipe`.
        seeds: number of runs of each in the league, with the seeds 0, 1, ...
        record: add each run to results/, from which the tables are made; runs that are there already are not made
            again, so that the league can be stopped, gone on with, and run in parts.
    """
    budget = {"images": images, "epochs": epochs, "root": root, "folder": folder}
    accuracies = {}
    for method in [NONE, *(validate_choice(method, METHODS, NAME) for method in methods or METHODS)]:
        rate = chosen(method, record, **budget)
        runs = [run(method, rate, seed, record, **budget) for seed in range(seeds)]
        accuracies[method] = records.summary(metrics["test/acc"] for metrics in runs)
    for method, (mean, std, n) in sorted(accuracies.items(), key=lambda item: -item[1].mean):
        _, _, word = verdict(accuracies[method], accuracies[NONE])
        print(f"{method:<24}{mean:.4f} ± {std:.4f} ({n} seeds)  {word if method != NONE else ''}")
