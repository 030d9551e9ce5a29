# %% [markdown]
# # Architectures
#
# The convolutional families through the years: who builds on whom, accuracy against size and cost, receptive fields,
# the road from ResNet to ConvNeXt, and a look inside networks with attention. Two minutes on two cores.

# %%
import re
from functools import cache

import matplotlib.pyplot as plt
import torch
import torchvision
from lightning import Trainer, seed_everything

import zoo
from callbacks import CosineDecay
from datamodules import Digits
from recipes import _catalogue, _results
from zoo._complexity import total_macs
from zoo.convnext_roadmap import STEPS

# %% [markdown]
# ## The family tree
#
# The years are those of the papers, read from the field `Paper` at the top of each file. An arrow goes from a network
# to one that its paper starts from.

# %%
PARENTS = {
    "ZFNet": "AlexNet", "VGG": "AlexNet", "GoogLeNet": "NIN", "BNInception": "GoogLeNet", "InceptionV3": "BNInception",
    "ResNet": "VGG", "PreActResNet": "ResNet", "WideResNet": "PreActResNet", "InceptionV4": "InceptionV3",
    "InceptionResNetV2": "InceptionV4", "ResNeXt": "ResNet", "DenseNet": "ResNet", "Xception": "InceptionV3",
    "MobileNetV1": "Xception", "SENet": "ResNeXt", "MobileNetV2": "MobileNetV1", "ShuffleNetV1": "ResNeXt",
    "CBAMResNet": "SENet", "ShuffleNetV2": "ShuffleNetV1", "SKNet": "SENet", "MobileNetV3": "MobileNetV2",
    "RegNet": "ResNeXt", "RepVGG": "VGG", "ConvNeXt": "ResNet", "ConvNeXtRoadmap": "ConvNeXt",
}  # fmt: skip
papers = {
    e.name: _catalogue.field(e.doc, "Paper") for e in _catalogue.models() if e.name in {*PARENTS, "AlexNet", "NIN"}
}
years = {name: int(re.findall(r"[;,( ]((?:19|20)\d\d)\b", paper)[0]) for name, paper in papers.items()}
heights = {name: i for i, name in enumerate(sorted(years, key=lambda name: (years[name], name)))}

fig, ax = plt.subplots(figsize=(11, 8))
for name, year in years.items():
    ax.text(year, heights[name], name, va="center", bbox={"boxstyle": "round", "fc": "white", "ec": "steelblue"})
for name, parent in PARENTS.items():
    start, end = (years[parent], heights[parent]), (years[name], heights[name])
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.7", "connectionstyle": "arc3,rad=0.15"})
ax.set(xlim=(min(years.values()) - 0.5, max(years.values()) + 2), ylim=(-1, len(years)), yticks=[], xlabel="year")

# %% [markdown]
# ## Accuracy against size and cost
#
# **Published numbers, not ours**: top-1 accuracy on ImageNet of the weights that torchvision publishes (their first
# version of each, single centre crop; its training is not always the paper's). Parameters and multiply-adds are
# counted here, from our networks without storage.


# %%
@cache
def cost(name: str, variant: str) -> tuple[int, int]:
    """Parameters and multiply-adds of one image, both in millions."""
    with torch.device("meta"):
        model = getattr(zoo, name)(variant)
    return sum(p.numel() for p in model.parameters()) / 1e6, total_macs(model, model.image_size) / 1e6


def published(twin: str) -> float:
    """Top-1 accuracy in per cent of torchvision's first weights."""
    weights = torchvision.models.get_model_weights(twin)
    return next(iter(weights)).meta["_metrics"]["ImageNet-1K"]["acc@1"]


timm_only = {"ConvNeXt": {"T": "convnext_tiny", "S": "convnext_small", "B": "convnext_base", "L": "convnext_large"}}
families = {name: getattr(zoo, name).torchvision_names or timm_only.get(name, {}) for name in zoo.__all__}
fig, axes = plt.subplots(1, 2, figsize=(13, 5), sharey=True)
colours = plt.colormaps["tab20"].colors
for colour, (name, twins) in zip(colours, ((n, t) for n, t in families.items() if t), strict=False):
    points = sorted((*cost(name, variant), published(twin)) for variant, twin in twins.items())
    sizes, macs, accuracies = zip(*points, strict=True)
    for ax, x in zip(axes, (sizes, macs), strict=True):
        ax.plot(x, accuracies, "o-", label=name, color=colour)
for ax, label in zip(axes, ("parameters (millions)", "multiply-adds (millions)"), strict=True):
    ax.set(xscale="log", xlabel=label)
axes[0].set_ylabel("ImageNet top-1 (%), published by torchvision")
axes[1].legend(fontsize=8, ncols=2)

# %% [markdown]
# **Ours**: each family's smallest variant after a few epochs on CIFAR-10-JPEG, from `results/cifar10_families.jsonl`
# (the recipe's header says how, on what hardware, and how to make it again). It shows what learns soon, not what is
# best in the end.

# %%
runs = _results.read("cifar10_families")
fig, ax = plt.subplots(figsize=(9, 5))
for run in runs:
    point = run["metrics"]["MACs"] / 1e6, run["metrics"]["test/acc"]
    ax.plot(*point, "o", color="steelblue")
    ax.annotate(f"{run['arguments']['family']} {run['arguments']['variant']}", point, fontsize=8, rotation=20)
ax.set(xscale="log", xlabel="multiply-adds of an image of 32 px (millions)", ylabel="test accuracy, one seed")
if runs:
    same = {k: v for k, v in runs[0]["arguments"].items() if k not in ("family", "variant")}
    ax.set_title(f"{same}, {runs[0]['hardware']['device']}", fontsize=9)

# %% [markdown]
# ## Receptive fields
#
# How many pixels, from the first to the last, a number in the middle of each stage's map depends on; the dashed line
# is the image of 224 pixels. Networks whose blocks average over the whole map see all of it (left out here).

# %%
shown = ("AlexNet owt", "VGG 16", "GoogLeNet BN", "ResNet 50", "DenseNet 121", "MobileNetV2 1.0", "ConvNeXt T")
fig, ax = plt.subplots(figsize=(9, 4.5))
for name, variant in map(str.split, shown):
    with torch.device("meta"):  # weights without storage
        model = getattr(zoo, name)(variant)
    fields = zoo.receptive_fields(model)
    sizes = [field.size[0] for field in fields.values()]
    ax.plot(range(1, len(sizes) + 1), sizes, "o-", label=f"{name} {variant}: {', '.join(map(str, sizes))}")
ax.axhline(224, color="0.6", ls="--")
ax.set(yscale="log", xlabel="stage", ylabel="receptive field (pixels)")
ax.legend(fontsize=8)

# %% [markdown]
# ## The road from ResNet-50 to ConvNeXt-T
#
# `ConvNeXtRoadmap` builds every step of Figure 2 of "A ConvNet for the 2020s": multiply-adds and parameters, counted.

# %%
counts = {step: cost("ConvNeXtRoadmap", f"50-{step}") for step in STEPS}
fig, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
for ax, column, label in zip(axes, (1, 0), ("multiply-adds (millions)", "parameters (millions)"), strict=True):
    bars = ax.barh(list(counts), [pair[column] for pair in counts.values()], color="steelblue")
    ax.bar_label(bars, fmt="{:,.1f}", fontsize=8, padding=2)
    ax.set_xlabel(label)
axes[0].invert_yaxis()

# %% [markdown]
# Where the multiply-adds of one network are spent, layer by layer, as in the notes' table of AlexNet (the same as
# `zoo show AlexNet owt`):

# %%
zoo.AlexNet("owt").summary_table()

# %% [markdown]
# ## A look inside
#
# A network with SE and one with CBAM, trained for a few epochs on handwritten digits.

# %%
data = Digits(batch_size=64)


def trained(model: zoo.Classifier) -> zoo.Classifier:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = Trainer(max_epochs=4, callbacks=[CosineDecay(warmup_epochs=1)], **quiet)
    trainer.fit(model, data)
    print(f"{type(model).__name__}: validation accuracy {trainer.callback_metrics['val/acc']:.3f}")
    return model.eval()


seed_everything(0, verbose=False)
same = {"num_classes": 10, "image_size": 8, "optimizer": "adamw", "lr": 1e-3}
se, cbam = trained(zoo.SENet("18", **same)), trained(zoo.CBAMResNet("18", **same))
data.setup("test")
images, targets = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)


# %%
def outputs(model: torch.nn.Module, kind: type | None = None) -> dict[str, torch.Tensor]:
    """What the stages, or all modules of one kind, give for the test images."""
    seen, chosen = {}, model.stages if kind is None else {n: m for n, m in model.named_modules() if isinstance(m, kind)}
    hooks = [
        m.register_forward_hook(lambda module, inputs, output, name=n: seen.setdefault(name, output))
        for n, m in chosen.items()
    ]
    with torch.inference_mode():
        model(images)
    for hook in hooks:
        hook.remove()
    return seen


def row(maps, title: str, n: int = 12) -> None:
    """The first maps (H, W) side by side."""
    fig, axes = plt.subplots(1, n, figsize=(n, 1.3))
    fig.suptitle(title, y=1.1, fontsize=10)
    for ax in axes:
        ax.axis("off")
    for ax, one in zip(axes, maps, strict=False):
        ax.imshow(one, cmap="viridis")


first = next(m for m in se.modules() if isinstance(m, torch.nn.Conv2d))
row(first.weight.detach().mean(1), "filters of SENet's first layer, mean over colours")
row(images[:12, 0], "images")
for stage, maps in outputs(se).items():
    row(maps[:12].abs().mean(1), f"feature maps of {stage}: mean of |A| over channels, an image each")

# %% [markdown]
# SE weighs the channels of an image: the more classes differ in a block, the less general its features are (the
# paper's finding on ImageNet: early blocks treat classes alike). Below, the gates of the first and the last block,
# averaged by class.

# %%
gates = outputs(se, torch.nn.Sigmoid)
fig, axes = plt.subplots(1, 2, figsize=(12, 3), sharey=True)
for ax, name in zip(axes, (next(iter(gates)), list(gates)[-1]), strict=True):
    gate = gates[name].flatten(1)
    for k in range(10):
        ax.plot(gate[targets == k].mean(0)[:64], label=str(k), lw=1)
    ax.set(title=name, xlabel="channel (first 64)")
axes[0].set_ylabel("gate")
axes[1].legend(fontsize=7, ncols=2)

# %% [markdown]
# CBAM also weighs the pixels:

# %%
spatial = {name: gate for name, gate in outputs(cbam, torch.nn.Sigmoid).items() if gate.ndim == 4}
row(images[:12, 0], "images")
for name in list(spatial)[:3]:
    row(spatial[name][:12, 0], f"spatial gate of {name}")
