# %% [markdown]
# # Dropout museum
#
# What each method of dropout does to the same feature maps, side by side; rates on a schedule; the comparison of all
# methods on the same images, budget and seeds; how networks get on without some of their channels; and a network whose
# width is chosen after training. A minute on one core.

# %%
import logging
import warnings
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
from callbacks.dropout.adcm import AttentionDropout
from callbacks.dropout.clustering_dropout import responses, unit_rates
from callbacks.frame.schedule import rate_now, rate_values
from callbacks.network.stochastic_pooling import StochasticPool2d
from datamodules import Digits
from recipes.command import tables
from recipes.frame import catalogue, records
from recipes.frame.co_adaptation import FRACTIONS, co_adaptation

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what a Trainer says of the machine
warnings.filterwarnings("ignore")

METHODS = {name: getattr(callbacks, name) for name in sorted(callbacks.__all__)}
METHODS = {name: kind for name, kind in METHODS.items() if issubclass(kind, FeatureDropout)}
REGIME = "data_is_short"
quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)

# %% [markdown]
# ## Networks to look into
#
# ResNet-20 on handwritten digits of twice their size: without dropout, and with three methods. All start from the same
# weights and see the same images in the same order. The maps below are those of the first; the others come at the end.
# Five epochs of one seed show how to look, not which method is better.


# %%
class LargerDigits(Digits):
    image_size = 16

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
        return [F.interpolate(images, scale_factor=2, mode="bilinear"), targets]


data = LargerDigits(batch_size=64, padding=0)


def train(*tricks) -> zoo.ResNet:
    seed_everything(0, verbose=False)
    model = zoo.ResNet("20", num_classes=10, image_size=16, lr=0.1, weight_decay=5e-4)
    tricks = [CosineDecay(warmup_epochs=1), *tricks]
    Trainer(max_epochs=5, limit_val_batches=0, callbacks=tricks, **quiet).fit(model, data)
    return model.eval()


structural = StructuralDropout(0.9)
networks = {
    "none": train(),
    "Dropout": train(Dropout(0.5)),
    "HeuristicDropout": train(HeuristicDropout(0.1)),
    "StructuralDropout": train(structural),
}

# %% [markdown]
# ## Masks
#
# A photograph, and the maps that the first stage of that network makes of it: their mean, and four of the 16 channels.
# Then the maps as each method leaves them, at the last rate of its schedule, and with the same draws for all. They are
# on one scale of grey; what is brighter than before was scaled up. Some act elsewhere by default, on vectors before
# the classifier; here all act on the same maps. The last three are not masks over features: Cutout's is over the
# image, attention with dropout is new layers, untrained here, and stochastic pooling draws one of four pixels.

# %%
SIDE, SHOWN = 64, 4
photograph = torch.from_numpy(load_sample_images().images[1].copy()).permute(2, 0, 1)[None] / 255
photograph = F.interpolate(photograph[..., :427, 100:527], (SIDE, SIDE), mode="bilinear", antialias=True)
seen = []
hook = networks["none"].stages["stage1"].register_forward_hook(lambda m, inputs, output: seen.append(output))
with torch.inference_mode():
    networks["none"]((photograph - photograph.mean()) / photograph.std())
hook.remove()
x = seen[0].clone()
channels = x[0].mean((1, 2)).argsort(descending=True)[:SHOWN]


def gallery(ax_row, y: torch.Tensor, name: str) -> None:
    """Draw the mean of the maps (1, C, H, W), then some of them."""
    for ax, picture in zip(ax_row, [y[0].mean(0, keepdim=True), *y[0, channels][:, None]], strict=True):
        before = x[0].mean(0) if ax is ax_row[0] else x[0, channels]
        ax.imshow(picture[0], cmap="gray", vmin=0, vmax=1.25 * before.quantile(0.98))
        ax.set(xticks=[], yticks=[])
    ax_row[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")


pictures, elsewhere = {"before": x}, []
for name, kind in METHODS.items():
    trick = kind()
    torch.manual_seed(3)
    if isinstance(trick, ClusteringDropout):  # its groups, as a run makes them of many images
        rates = unit_rates(responses(x), trick.clusters, trick.low, trick.high)
        trick.load_state_dict(trick.state_dict() | {"rates": {"": rates}})
    try:
        assert not trick.needs_labels
        pictures[name] = trick.drop(x, rate_values(trick.p)[-1])
    except (AssertionError, AttributeError, KeyError, NotImplementedError):
        elsewhere.append(name)
torch.manual_seed(3)
pictures["Cutout"] = cutout(x, torch.tensor([20]), torch.tensor([40]), SIDE // 2)
with torch.no_grad():
    pictures["ADCM"] = AttentionDropout(x.shape[1], 0.1)(x)
pictures["StochasticPooling"] = StochasticPool2d((2, 2), (2, 2), (0, 0), False)(x)
fig, axes = plt.subplots(len(pictures), 1 + SHOWN, figsize=(8, 1.35 * len(pictures)), layout="constrained")
for line, (name, y) in zip(axes, pictures.items(), strict=True):
    gallery(line, y, name)
axes[0, 0].set_title("mean", fontsize=8)
for ax, channel in zip(axes[0, 1:], channels.tolist(), strict=True):
    ax.set_title(f"channel {channel}", fontsize=8)
print("not shown, since they need the next weights or the labels of many images:", ", ".join(elsewhere) or "none")

# %% [markdown]
# ## Schedules
#
# Every rate may be a schedule. Left, rates over a run of twelve epochs of ten steps; right, the steps at which
# FocusedDropout acts: a tenth of them, drawn from seed and step, the same on all ranks and after a resume.

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
# From `results/`; the header of `recipes/data_is_short.py` says what was done.

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
# How much of a network's accuracy hangs on channels being there together: a growing fraction of the last stage's
# channels is zero, others for each image (as in the paper on HeuristicDropout, there for U-Nets). The less accuracy
# falls, the less they depend on each other. Left the four networks from above, one run each; right the comparison.

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
fig, axes = plt.subplots(
    1, 1 + bool(methods), figsize=(7.5 * (1 + bool(methods)), 4), squeeze=False, layout="constrained"
)
titles = ("digits, one seed", "CIFAR-10-JPEG, where data is short")
for ax, title, each in zip(axes[0], titles, (curves, methods), strict=False):
    for i, (name, values) in enumerate(each.items()):
        style = {"color": "black", "linewidth": 3} if name == "none" else {"linestyle": ("-", "--", ":")[i // 10 % 3]}
        ax.plot(FRACTIONS, values, label=name, **style)
    ax.set(xlabel="fraction of channels masked", ylabel="test accuracy", title=title)
    ax.legend(fontsize=7, ncols=1 + len(each) // 16, bbox_to_anchor=(1.01, 1), loc="upper left")

# %% [markdown]
# ## A width for every purpose
#
# StructuralDropout cuts features off behind a random one, so that the first ones carry the most. After training, the
# network can be cut to any width, without training again. Accuracy on validation images by the
# number of features before the classifier, against the network that was trained without.

# %%
widths = (1, 2, 4, 8, 16, 24, 32, 48, 64)
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
