# %% [markdown]
# # Dropout museum
#
# See what each method of dropout does to the same feature maps. Put rates on a schedule. Compare all methods on the
# same images, budget and seeds. Take channels away from trained networks. Choose a network's width after training. It
# takes half a minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

from collections import defaultdict

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from IPython.display import Markdown
from lightning import Callback, Trainer, seed_everything
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader

import callbacks
import zoo
from callbacks import (
    ClusteringDropout,
    Cosine,
    CosineDecay,
    Dropout,
    FeatureDropout,
    FocusedDropout,
    HeuristicDropout,
    Linear,
    Steps,
    StructuralDropout,
    VShape,
)
from callbacks.data.cutout import cutout
from callbacks.dropout.clustering_dropout import responses, unit_rates
from callbacks.frame.schedule import rate_now, rate_values
from callbacks.network.stochastic_pooling import StochasticPool2d
from datamodules import Digits
from recipes.command import tables
from recipes.frame import catalogue, records
from recipes.frame.co_adaptation import FRACTIONS, co_adaptation

METHODS = {name: getattr(callbacks, name) for name in sorted(callbacks.__all__)}
METHODS = {name: kind for name, kind in METHODS.items() if issubclass(kind, FeatureDropout)}
REGIME = "data_is_short"

# %% [markdown]
# ## Networks to look into
#
# Train ResNet-20 on handwritten digits of twice their size, without dropout and with three methods. All start from the
# same weights and see the same images in the same order. Four epochs of one seed show how to look. They do not show
# which method is better.


# %%
class LargerDigits(Digits):
    image_size = 16

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
        return [F.interpolate(images, scale_factor=2, mode="bilinear"), targets]


data = LargerDigits(batch_size=64, padding=0)


def train(*tricks) -> zoo.ResNet:
    seed_everything(0, verbose=False)
    model = zoo.ResNet("20", num_classes=10, image_size=16, lr=0.03, weight_decay=5e-4)
    tricks = [CosineDecay(warmup_epochs=1), *tricks]
    Trainer(max_epochs=4, limit_val_batches=0, callbacks=tricks, **quiet).fit(model, data)
    return model.eval()


structural = StructuralDropout(0.9, low=4, step=4)
networks = {
    "none": train(),
    "Dropout": train(Dropout(0.5)),
    "HeuristicDropout": train(HeuristicDropout(0.1)),
    "StructuralDropout": train(structural),
}

# %% [markdown]
# ## Masks
#
# Take two photographs, and the maps that the first stage of the network without dropout makes of them. See the maps as
# each method leaves them, at the last rate of its schedule: of the flower their mean and three of the 16 channels, of
# the temple the mean.
#
# - **Orange was dropped**: by all channels, or by the one that is shown.
# - **Blue was changed** by more than a tenth of the map's largest value, in maps of which nothing was dropped.
# - What is brighter than before was scaled up.
# - SpectralDropout drops waves of the maps, so faint ones that it can hardly be seen.
#
# Of eight draws of a method, the one is shown that drops nearest to half. Some methods act elsewhere by default, on
# vectors before the classifier. Here all act on the same maps. The last two are no masks over features: Cutout's is
# over the image, and stochastic pooling draws one of four pixels.

# %%
SIDE, SHOWN = 64, 3
pair = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255 for image in load_sample_images().images]
crops = [photograph[..., :427, 100:527] for photograph in reversed(pair)]
photographs = torch.cat([F.interpolate(crop, (SIDE, SIDE), mode="bilinear", antialias=True) for crop in crops])
photographs = (photographs - photographs.mean()) / photographs.std()
seen = []
hook = networks["none"].stages["stage1"].register_forward_hook(lambda m, inputs, output: seen.append(output))
with torch.inference_mode():
    networks["none"](photographs)
hook.remove()
x = seen[0].clone()
channels = x[0].mean((1, 2)).argsort(descending=True)[:SHOWN].sort().values
ORANGE, BLUE = torch.tensor([0.85, 0.38, 0.04]), torch.tensor([0.18, 0.5, 0.76])


def coloured(y: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Colour a map (H, W): orange where nothing is left, else blue where it changed by a tenth, else grey."""
    top = before.quantile(0.99)
    grey = (y / top).clamp(0, 1.5).div(1.5).sqrt()[..., None].expand(-1, -1, 3)
    if y.shape != before.shape:
        return grey
    gone, changed = (before > 0) & (y.abs() < 1e-6), (y - before).abs() > 0.1 * top
    mark, colour = (gone, ORANGE) if gone.any() else (changed, BLUE)
    return torch.where(mark[..., None], colour * (0.35 + 0.65 * (before / top).clamp(0, 1))[..., None], grey)


def columns(y: torch.Tensor) -> list[torch.Tensor]:
    """Colour the five maps that are shown of (2, C, H, W)."""
    means, before = y.mean(1), x.mean(1)
    some = [coloured(y[0, k], x[0, k]) for k in channels]
    return [coloured(means[0], before[0]), *some, coloured(means[1], before[1])]


def draw(trick: FeatureDropout, seed: int) -> torch.Tensor:
    """Return the maps as a method leaves them."""
    torch.manual_seed(seed)
    return trick.drop(x, rate_values(trick.p)[-1])


def missing(y: torch.Tensor) -> float:
    """Return how far the dropped fraction of the shown channels is from half."""
    before, after = x[0, channels], y[0, channels]
    return abs(((after.abs() < 1e-6) & (before > 0)).sum() / (before > 0).sum() - 0.5).item()


pictures, elsewhere = {"before": x}, []
for name, kind in METHODS.items():
    trick = kind()
    if isinstance(trick, ClusteringDropout):  # its groups, as a run makes them of many images
        rates = unit_rates(responses(x), trick.clusters, trick.low, trick.high)
        trick.load_state_dict(trick.state_dict() | {"rates": {"": rates}})
    try:
        assert not trick.needs_labels
        pictures[repr(trick)] = min((draw(trick, seed) for seed in range(8)), key=missing)
    except (AssertionError, AttributeError, KeyError, NotImplementedError):
        elsewhere.append(name)
torch.manual_seed(3)
pictures["Cutout"] = cutout(x, torch.tensor([20, 30]), torch.tensor([40, 20]), SIDE // 2)
pictures["StochasticPooling"] = StochasticPool2d((2, 2), (2, 2), (0, 0), False)(x)
fig, axes = plt.subplots(len(pictures), 2 + SHOWN, figsize=(5.6, 0.84 * len(pictures)), layout="constrained")
for line, (name, y) in zip(axes, pictures.items(), strict=True):
    for ax, picture in zip(line, columns(y), strict=True):
        ax.imshow(picture)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    line[0].set_ylabel(name.removesuffix("()"), fontsize=6, rotation=0, ha="right", va="center")
titles = ["flower, mean", *(f"channel {k}" for k in channels.tolist()), "temple, mean"]
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title, fontsize=7)
print("not shown, since they need the next weights or the labels of many images:", ", ".join(elsewhere) or "none")

# %% [markdown]
# ## Schedules
#
# Give any rate as a schedule. On the left are rates over a run of twelve epochs of ten steps. On the right are the
# steps at which FocusedDropout acts. It acts at a tenth of them, drawn from seed and step: the same on all ranks and
# after a resume.

# %%
SCHEDULES = {
    "0.1": 0.1,
    "Linear(0, 0.1)": Linear(0, 0.1),
    'Linear(0, 0.1, until="30st")': Linear(0, 0.1, until="30st"),
    "Cosine(0.2, 0)": Cosine(0.2, 0),
    'Steps(0.2, {"0.5dur": 0.05})': Steps(0.2, {"0.5dur": 0.05}),
    "VShape(0.15, 0.05)": VShape(0.15, 0.05),
}


class Spy(Callback):
    def __init__(self, focused: FocusedDropout):
        self.focused, self.rates, self.acting = focused, defaultdict(list), []

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        for name, schedule in SCHEDULES.items():
            self.rates[name].append(rate_now(schedule, trainer))
        self.acting.append(self.focused.is_active(model))


batch = [torch.randn(4, 3, 16, 16), torch.randint(10, (4,))]
network = torch.nn.Sequential(torch.nn.Conv2d(3, 10, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
small = zoo.Classifier(network.append(torch.nn.Flatten()), 10, stages={"stage1": "1"})
focused = FocusedDropout(participation=0.1)
spy = Spy(focused)
seed_everything(0, verbose=False)
Trainer(max_epochs=12, callbacks=[focused, spy], **quiet).fit(small, DataLoader([batch] * 10, batch_size=None))
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 3), layout="constrained")
for name, rates in spy.rates.items():
    left.plot(rates, label=name)
left.set(xlabel="step", ylabel="rate")
left.legend(fontsize=7)
right.eventplot([step for step, acts in enumerate(spy.acting) if acts])
right.set(xlabel="step", yticks=[], xlim=(0, len(spy.acting)), title=f"{focused!r}: {sum(spy.acting)} steps")

# %% [markdown]
# ## The comparison
#
# Read it from `results/`. The header of `recipes/data_is_short.py` says what was done.

# %%
runs = records.read(REGIME)
entry = next(entry for entry in catalogue.recipes() if entry.name == REGIME)
if runs:
    table = tables.recipe_result(entry)
else:
    table = f"Not measured yet: `{catalogue.field(entry.doc, 'Command')}` makes the table, and the plot below it."
Markdown(table)

# %% [markdown]
# ## Co-adaptation
#
# Ask how much of a network's accuracy hangs on channels being there together. Set a growing fraction of the last
# stage's channels to zero, others for each image. The less accuracy falls, the less the channels depend on each other.
# The paper on HeuristicDropout does so for U-Nets. On the left are the four networks from above, one run each. On the
# right, where it was measured, is the comparison: the five methods that keep most at half masked, and the one that
# keeps least.

# %%
data.setup("test")
batches = [data.on_after_batch_transfer(list(batch), 0) for batch in data.test_dataloader()]
curves = {name: co_adaptation(model, batches) for name, model in networks.items()}
methods = defaultdict(list)
for run in runs:
    if "masked 0.5" not in run["metrics"]:
        continue
    methods[run["arguments"]["arm"]].append([run["metrics"][f"masked {fraction:.1f}"] for fraction in FRACTIONS])
methods = {name: torch.tensor(values).mean(0).tolist() for name, values in methods.items()}
half = FRACTIONS.index(0.5)
ranked = sorted(methods, key=lambda name: -methods[name][half])
named = {*ranked[:5], *ranked[-1:], *(["none"] if "none" in methods else [])}  # the others stay grey lines
fig, axes = plt.subplots(
    1, 1 + bool(methods), figsize=(5.5 * (1 + bool(methods)), 3.6), squeeze=False, layout="constrained"
)
titles = ("digits, one seed", "CIFAR-10-JPEG, where data is short")
for ax, title, each in zip(axes[0], titles, (curves, methods), strict=False):
    for name, values in each.items():
        grey = each is methods and name not in named
        style = {"color": "black", "linewidth": 3} if name == "none" else {}
        style |= {"color": "0.8", "linewidth": 0.8, "zorder": 1} if grey else {}
        ax.plot(FRACTIONS, values, label=None if grey else name, **style)
    ax.set(xlabel="fraction of channels masked", ylabel="test accuracy", title=title)
    ax.legend(fontsize=8, loc="lower left")

# %% [markdown]
# ## A width for every purpose
#
# StructuralDropout cuts features off behind a random one, so that the first ones carry the most. Cut the network to any
# width after training, without training again. See the accuracy on validation images by the number of features before
# the classifier, against the network that was trained without.

# %%
widths = (4, 8, 12, 16, 24, 32, 48, 64)
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name in ("none", "StructuralDropout"):
    accuracies = structural.curve(networks[name], data, widths)
    ax.plot(*zip(*accuracies.items(), strict=True), "o-", label=name)
ax.set(xscale="log", xticks=widths, xticklabels=widths, xlabel="features", ylabel="validation accuracy")
ax.minorticks_off()
ax.legend()
whole, small = networks["StructuralDropout"], structural.cut(networks["StructuralDropout"], 16)
for name, model in (("whole", whole), ("cut to 16", small)):
    print(f"{name}: {sum(w.numel() for w in model.parameters()):,} parameters")
