# %% [markdown]
# # Training tricks
#
# Climb the ladder of the Bag of Tricks paper with our runs. See what tricks do to a batch. Draw every learning-rate
# schedule. Run with a trick and without. Read a trick's card. Learn which tricks refuse each other. It takes half a
# minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

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

# %% [markdown]
# ## The ladder
#
# Each rung is the one above it and one trick more. The ladder is that of He et al. 2019,
# https://arxiv.org/abs/1812.01187, tables 4 and 6.
#
# - Ours come from `results/`: ResNet-20, mean and sample standard deviation over the seeds.
# - The last picture has **published numbers, not ours**: ResNet-50-D on ImageNet, the rungs that the released models
#   confirm. Its data and its network are others, and its mixup and distillation had more epochs.
#
# Compare the two in their order alone.


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
    ax.set(xlabel="test accuracy", ylim=(len(digits_ladder.RUNGS) - 0.5, -0.5))
    ax.set_title(title, fontsize=8)
    ax.locator_params(axis="x", nbins=4)


columns = [(name, *one) for name in ("bag_of_tricks_cifar", "digits_ladder") for one in ladders(name).items()]
fig, axes = plt.subplots(
    1, len(columns) + 1, figsize=(4.5 + 2.8 * len(columns), 4.2), sharey=True, squeeze=False, layout="constrained"
)
axes = axes[0]
for ax, (name, budget, rungs) in zip(axes, columns, strict=False):
    fewest = min(summary.n for summary in rungs.values())
    title = f"ours: {name}, seeds: {fewest} or more\n{fill(budget, 32)}"
    climb(ax, title, {rung: summary[:2] for rung, summary in rungs.items()})
paper = {rung: (float(value), 0.0) for rung, value in bag_of_tricks_cifar.PAPER.items()}
climb(axes[-1], "PUBLISHED, not ours:\nResNet-50-D, ImageNet, top-1", paper, color="gray", mfc="white")
if not records.read("bag_of_tricks_cifar"):
    command = catalogue.field(bag_of_tricks_cifar.__doc__, "Command")
    print(f"On CIFAR-10 not measured yet: there is no results/bag_of_tricks_cifar.jsonl. To make it: {command}")

# %% [markdown]
# ## What tricks do to a batch
#
# Send eight pieces of two photographs, of two classes, through one training step under each trick. See what the network
# sees of four of them. Above each image stands its class, or the weight of the first class where a trick mixes them.
# All is done on the device, a batch at a time. Notebook 02 has every trick of the room `data`.

# %%
SIDE, SHOWN, CLASSES = 80, 4, ("temple", "flower")
temple, flower = (torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images)
corners = {0: [(0, 60), (60, 330), (170, 180), (170, 380)], 1: [(10, 150), (70, 260), (120, 90), (170, 300)]}
pieces = [
    (photograph[:, y : y + 3 * SIDE, x : x + 3 * SIDE][:, ::3, ::3], k)
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
    there = [(name, p) for name, p in zip(CLASSES, weights.tolist(), strict=True) if p > 0.005]
    return there[0][0] if len(there) == 1 else f"{there[0][0]} {there[0][1]:.2f}"


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
fig, axes = plt.subplots(len(shown), SHOWN, figsize=(5.2, 1.02 * len(shown)), layout="constrained")
for line, tricks in zip(axes, shown, strict=True):
    for ax, image, target in zip(line, *after(*tricks), strict=False):
        ax.imshow((image * 0.25 + 0.5).clamp(0, 1).permute(1, 2, 0))
        ax.set_title(label(target), fontsize=6, pad=2)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    name = "\n+ ".join(map(repr, tricks)) or "as it is"
    line[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")

# %% [markdown]
# ## Learning-rate schedules
#
# Let each schedule steer a real run of twenty epochs of ten batches. Nothing is drawn from the formulas. The loss is
# the one weight that there is. Its gradient is 1, so each step moves it by the learning rate of that step. The model's
# own rate is 1.


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
fig, axes = plt.subplots(4, 3, figsize=(9, 8), sharex=True, sharey=True, layout="constrained")
for ax, schedule in zip(axes.flat, schedules, strict=True):
    weights = Weights()
    Trainer(max_epochs=20, callbacks=[schedule, weights], **quiet).fit(OneWeight(), DataLoader(range(BATCHES)))
    moved = -torch.tensor(weights.values).diff()
    ax.plot(torch.arange(len(moved)) / BATCHES, moved)
    ax.set_title(fill(repr(schedule), 44), fontsize=7)
for ax in axes[-1]:
    ax.set_xlabel("epoch")
for ax in axes[:, 0]:
    ax.set_ylabel("learning rate")

# %% [markdown]
# ## With and without
#
# A recipe holds its tricks as a list. `without` takes one out and `plus` puts one in. The same seed means the same
# weights at the start and the same order of images. What differs is the trick, and chance. One seed of a short run
# shows how it is done. It does not show which is better: notebook 09 does, and `zoo compare` in a shell.

# %%
same = {"epochs": 6, "seed": 0}
runs = {
    "as it is": digits_ladder.recipe("+ cosine", **same),
    "plus MixUp": digits_ladder.recipe("+ cosine", **same).plus(callbacks.MixUp(0.2)),
    "without LinearScaling": digits_ladder.recipe("+ cosine", **same).without(callbacks.LinearScaling),
}
print(runs["plus MixUp"])
fig, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
for name, run in runs.items():
    metrics = run.run(save=False)
    print(f"{name}: test accuracy {metrics['test/acc']:.3f}")
    for ax, metric in zip(axes, ("train/loss", "val/acc"), strict=True):
        ax.plot(*run.history.curve(metric), "o-", label=name)
        ax.set(xlabel="epoch", ylabel=metric)
        ax.xaxis.get_major_locator().set_params(integer=True)
axes[0].legend()

# %% [markdown]
# ## The card of a trick
#
# Read the paper and equation of a trick, what it brought and cost here, and what it does not go with. In a shell,
# `zoo card MixUp` prints the same.

# %%
card.main(["MixUp"])

# %% [markdown]
# ## Tricks that refuse each other
#
# Try two tricks that do the same thing, or of which one would undo the other's work. The run stops before its first
# batch, and says why.

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
# See all pairs of tricks that refuse any. It is dark where the first (row) and the second (column) refuse in any order.
# It is lighter where they would do the other way round.

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
ax.grid(visible=False)
ax.imshow((refused.int() + both.int())[some][:, some], cmap="Blues")
ax.set_xticks(range(len(some)), [names[i] for i in some], rotation=90, fontsize=7)
ax.set_yticks(range(len(some)), [names[i] for i in some], fontsize=7)
ax.set(xlabel="second in the list", ylabel="first in the list")
