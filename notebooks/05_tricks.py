# %% [markdown]
# # Training tricks
#
# The ladder of the Bag of Tricks paper redrawn from our runs; what tricks do to a batch; every learning-rate schedule;
# a run with a trick and without; what `zoo card` knows of a trick, and which tricks refuse each other. A minute on one
# core.

# %%
import logging
import warnings
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader

import callbacks
import zoo
from callbacks.frame import pairs
from datamodules import Digits
from recipes import bag_of_tricks_cifar, digits_ladder
from recipes.command import card
from recipes.frame import catalogue, records

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what a Trainer says of the machine
warnings.filterwarnings("ignore")

quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)

# %% [markdown]
# ## The ladder
#
# Each rung is the one above it and one trick more (He et al. 2019, https://arxiv.org/abs/1812.01187, tables 4 and 6).
# From `results/`: ResNet-20, mean and sample standard deviation over the seeds. Last, **published numbers, not ours**:
# ResNet-50-D on ImageNet, the rungs that the released models confirm. Other data, another network, and there mixup and
# distillation had more epochs: the two are to be compared in their order alone.


# %%
def ladders(name: str) -> dict[str, dict[str, records.Summary]]:
    """Return a recipe's test accuracy by rung, for each budget and machine."""
    found = {}
    for runs in records.groups(records.read(name)):
        arguments = {k: v for k, v in runs[0]["arguments"].items() if k not in ("rung", "published")}
        budget = ", ".join([*(f"{k} {v}" for k, v in arguments.items()), runs[0]["hardware"]["device"]])
        accuracy = records.summary(run["metrics"]["test/acc"] for run in runs)
        found.setdefault(budget, {})[runs[0]["arguments"]["rung"]] = accuracy
    return found


def climb(ax, title: str, points: dict[str, tuple[float, float]], **style) -> None:
    """Draw test accuracy with its spread, rung below rung. Rungs without a number stay empty."""
    positions = [digits_ladder.RUNGS.index(rung) for rung in points]
    values, spreads = zip(*points.values(), strict=True)
    ax.errorbar(values, positions, xerr=spreads, fmt="o", capsize=3, **style)
    ax.set_yticks(range(len(digits_ladder.RUNGS)), digits_ladder.RUNGS)
    ax.set(title=title, xlabel="test accuracy", ylim=(len(digits_ladder.RUNGS) - 0.5, -0.5))
    ax.title.set_fontsize(9)
    ax.locator_params(axis="x", nbins=5)


columns = [(name, *one) for name in ("bag_of_tricks_cifar", "digits_ladder") for one in ladders(name).items()]
fig, axes = plt.subplots(1, len(columns) + 1, figsize=(6.5 + 3.5 * len(columns), 4), sharey=True, squeeze=False)
axes = axes[0]
for ax, (name, budget, rungs) in zip(axes, columns, strict=False):
    fewest = min(summary.n for summary in rungs.values())
    title = f"ours: {name}, seeds: {fewest} or more\n{fill(budget, 40)}"
    climb(ax, title, {rung: summary[:2] for rung, summary in rungs.items()})
paper = {rung: (float(value), 0.0) for rung, value in bag_of_tricks_cifar.PAPER.items()}
climb(axes[-1], "PUBLISHED, not ours:\nResNet-50-D, ImageNet, top-1", paper, color="gray", mfc="white")
fig.tight_layout()
if not records.read("bag_of_tricks_cifar"):
    command = catalogue.field(bag_of_tricks_cifar.__doc__, "Command")
    print(f"On CIFAR-10 not measured yet: there is no results/bag_of_tricks_cifar.jsonl. To make it: {command}")

# %% [markdown]
# ## What tricks do to a batch
#
# Eight pieces of two photographs, of two classes, go through one training step under each trick, and this is what the
# network sees. Above each image its class, or the weight of each class where a trick mixes them. All is done on the
# device, a batch at a time. Notebook 02 has every trick of the room `data` as it is by default.

# %%
SIDE, CLASSES = 128, ("temple", "flower")
temple, flower = (torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images)
corners = {0: [(0, 60), (60, 330), (170, 180), (170, 380)], 1: [(10, 150), (70, 260), (120, 90), (170, 300)]}
pieces = [
    (photograph[:, y : y + 2 * SIDE, x : x + 2 * SIDE][:, ::2, ::2], k)
    for both in zip(*corners.values(), strict=True)
    for photograph, k, (y, x) in zip((temple, flower), corners, both, strict=True)
]
images = (
    torch.stack([piece for piece, _ in pieces]) / 255 - 0.5
) / 0.25  # normalised: an erased pixel is 0, a middle grey
targets = torch.tensor([k for _, k in pieces])


class Seen(Callback):
    """Keep the batch as the tricks before it left it."""

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.images, self.targets = (part.clone() for part in batch)


def after(*tricks: Callback) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the batch as the network sees it after these tricks."""
    seed_everything(3, verbose=False)
    network, seen = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), Seen()
    trainer = Trainer(max_steps=1, callbacks=[*tricks, seen], **quiet)
    trainer.fit(zoo.Classifier(network, num_classes=2), DataLoader([[images, targets]], batch_size=None))
    return seen.images, seen.targets


def label(target: torch.Tensor) -> str:
    weights = target if target.is_floating_point() else torch.eye(2)[target]
    return ", ".join(f"{name} {p:.2f}" for name, p in zip(CLASSES, weights.tolist(), strict=True) if p > 0)


shown = [
    (),
    (callbacks.MixUp(1.0),),
    (callbacks.CutMix(),),
    (callbacks.RICAP(beta=1.0),),
    (callbacks.Mosaic(p=1.0),),
    (callbacks.Cutout(),),
    (callbacks.RandomErasing(p=1.0),),
    (callbacks.GridMask(p=1.0),),
    (callbacks.ChannelOrder(p=1.0),),
    (callbacks.Cutout(0.3), callbacks.MixUp(1.0)),
]
fig, axes = plt.subplots(len(shown), len(images), figsize=(14, 2 * len(shown)), layout="constrained")
for line, tricks in zip(axes, shown, strict=True):
    for ax, image, target in zip(line, *after(*tricks), strict=True):
        ax.imshow((image * 0.25 + 0.5).clamp(0, 1).permute(1, 2, 0))
        ax.set_title(label(target), fontsize=7)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel("\n+ ".join(map(repr, tricks)) or "as it is", fontsize=7)

# %% [markdown]
# ## Learning-rate schedules
#
# Not drawn from the formulas: each schedule steers a real run of twenty epochs of ten batches. The loss is the one
# weight that there is, its gradient is 1, and so each step moves it by the learning rate of that step. The model's own
# rate is 1.


# %%
class OneWeight(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Weights(Callback):
    def __init__(self):
        self.values = [0.0]

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.values.append(model.weight.item())


BATCHES = 10
thirds = ("0.25dur", "0.5dur", "0.75dur")
schedules = [
    callbacks.StepDecay(thirds),
    callbacks.StepDecay(thirds, warmup_epochs=2),
    callbacks.CosineDecay(),
    callbacks.CosineDecay(warmup_epochs=3),
    callbacks.CosineDecay(warmup_epochs=3, warmup_kind="constant"),
    callbacks.StepwiseCosine(every=2),
    callbacks.StepThenCosine(),
    callbacks.PolynomialDecay(),
    callbacks.PolynomialDecay(power=2.0),
    callbacks.OneCycle(momentum=None),
    callbacks.WarmRestarts(first=2),
    callbacks.SnapshotEnsemble(),
]
fig, axes = plt.subplots(3, 4, figsize=(15, 7), sharex=True, sharey=True, layout="constrained")
for ax, schedule in zip(axes.flat, schedules, strict=True):
    weights = Weights()
    Trainer(max_epochs=20, callbacks=[schedule, weights], **quiet).fit(OneWeight(), DataLoader(range(BATCHES)))
    moved = -torch.tensor(weights.values).diff()
    ax.plot(torch.arange(len(moved)) / BATCHES, moved)
    ax.set_title(fill(repr(schedule), 44), fontsize=8)
for ax in axes[-1]:
    ax.set_xlabel("epoch")
for ax in axes[:, 0]:
    ax.set_ylabel("learning rate")

# %% [markdown]
# ## With and without
#
# A recipe holds its tricks as a list; `without` takes one out and `plus` puts one in. The same seed means the same
# weights at the start and the same order of images: what differs is the trick, and chance. One seed of a short run
# shows how it is done, not which is better: `zoo run data_is_short` and `zoo run time_is_short` measure that.

# %%
same = {"epochs": 8, "seed": 0}
runs = {
    "as it is": digits_ladder.recipe("+ cosine", **same),
    "plus MixUp": digits_ladder.recipe("+ cosine", **same).plus(callbacks.MixUp(0.2)),
    "without LinearScaling": digits_ladder.recipe("+ cosine", **same).without(callbacks.LinearScaling),
}
print(runs["plus MixUp"])
fig, axes = plt.subplots(1, 2, figsize=(10, 3))
for name, run in runs.items():
    metrics = run.run(save=False)
    print(f"{name}: test accuracy {metrics['test/acc']:.3f}, {metrics['seconds']:.1f} s")
    for ax, metric in zip(axes, ("train/loss", "val/acc"), strict=True):
        ax.plot(*run.history.curve(metric), "o-", label=name)
        ax.set(xlabel="epoch", ylabel=metric)
        ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].legend()

# %% [markdown]
# ## The card of a trick
#
# In a shell, `zoo card MixUp` prints the paper and equation of a trick, what it brought and cost here, and what it
# does not go with. The same from Python:

# %%
card.main(["MixUp"])

# %% [markdown]
# ## Tricks that refuse each other
#
# Two tricks that do the same thing, or of which one would undo the other's work, do not train together: the run stops
# before its first batch, and says why.

# %%
examples = [
    (callbacks.CosineDecay(), callbacks.OneCycle(momentum=None)),
    (callbacks.LinearScaling(), callbacks.SquareRootScaling()),
    (callbacks.LabelSmoothing(), callbacks.FocalLoss()),
    (callbacks.RDrop(), callbacks.MixUp()),
    (callbacks.L2(), callbacks.LabelSmoothing()),
]
data = Digits()
for pair in examples:
    try:
        Trainer(max_steps=1, limit_val_batches=0, callbacks=[*pair], **quiet).fit(zoo.ResNet("20", 10, 8), data)
    except (TypeError, ValueError) as error:
        print(f"{', '.join(map(repr, pair))}\n    {error}\n")

# %% [markdown]
# All pairs of tricks that refuse any: dark where the first (row) and the second (column) refuse in any order, lighter
# where they would do the other way round. The site's page on pairs has the reasons.

# %%
names = [entry.name for entry in catalogue.tricks()]
kinds = [getattr(callbacks, name) for name in names]
refusals = [[first is not second and pairs.refusal(first, second) is not None for second in kinds] for first in kinds]
refused = torch.tensor(refusals)
both = refused & refused.T
print(
    f"{len(names)} tricks, {len(names) * (len(names) - 1) // 2} pairs: {both.sum() // 2} refuse in any order, ", end=""
)
print(f"{(refused & ~both).sum()} in one order, all others go together")
some = (refused | refused.T).any(1).nonzero().flatten()
fig, ax = plt.subplots(figsize=(9, 9), layout="constrained")
ax.imshow((refused.int() + both.int())[some][:, some], cmap="Blues")
ax.set_xticks(range(len(some)), [names[i] for i in some], rotation=90, fontsize=7)
ax.set_yticks(range(len(some)), [names[i] for i in some], fontsize=7)
ax.set(xlabel="second in the list", ylabel="first in the list")
