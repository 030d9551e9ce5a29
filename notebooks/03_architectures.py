# %% [markdown]
# # Architectures
#
# Follow the convolutional families through the years. See who builds on whom, and what accuracy costs. Compare
# receptive fields. Take the road from ResNet to ConvNeXt. Look inside networks with attention. It takes a minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

import re
from functools import cache

import matplotlib.pyplot as plt
import torch
import torchvision
from lightning import Trainer, seed_everything

import zoo
from callbacks import CosineDecay
from datamodules import Digits
from recipes.frame import catalogue, records
from zoo.convnext_roadmap import STEPS
from zoo.tools.complexity import total_macs

# %% [markdown]
# ## The family tree
#
# Follow an arrow from a network to one whose paper starts from it. The years are those of the papers, read from the
# field `Paper` at the top of each file.

# %%
PARENTS = {
    "ZFNet": "AlexNet", "VGG": "AlexNet", "GoogLeNet": "NIN", "BNInception": "GoogLeNet", "InceptionV3": "BNInception",
    "ResNet": "VGG", "PreActResNet": "ResNet", "WideResNet": "PreActResNet", "InceptionV4": "InceptionV3",
    "InceptionResNetV2": "InceptionV4", "ResNeXt": "ResNet", "DenseNet": "ResNet", "Xception": "InceptionV3",
    "MobileNetV1": "Xception", "SENet": "ResNeXt", "MobileNetV2": "MobileNetV1", "ShuffleNetV1": "ResNeXt",
    "CBAMResNet": "SENet", "ShuffleNetV2": "ShuffleNetV1", "SKNet": "SENet", "MobileNetV3": "MobileNetV2",
    "RegNet": "ResNeXt", "RepVGG": "VGG", "ConvNeXt": "ResNet", "ConvNeXtRoadmap": "ConvNeXt",
}  # fmt: skip
papers = {e.name: catalogue.field(e.doc, "Paper") for e in catalogue.models() if e.name in {*PARENTS, "AlexNet", "NIN"}}
years = {name: int(re.findall(r"[;,( ]((?:19|20)\d\d)\b", paper)[0]) for name, paper in papers.items()}
heights = {name: i for i, name in enumerate(sorted(years, key=lambda name: (years[name], name)))}

ARROW = {"arrowstyle": "->", "color": "0.6", "connectionstyle": "arc3,rad=0.15", "shrinkA": 5, "shrinkB": 5}
fig, ax = plt.subplots(figsize=(9, 7), layout="constrained")
for name, year in years.items():
    ax.plot(year, heights[name], "o", color="steelblue")
    ax.text(year + 0.15, heights[name], name, va="center", bbox={"pad": 1, "fc": "white", "ec": "none"}, zorder=1)
for name, parent in PARENTS.items():
    start, end = (years[parent], heights[parent]), (years[name], heights[name])
    ax.annotate("", end, start, arrowprops=ARROW, zorder=0)
ax.set(xlim=(min(years.values()) - 0.5, max(years.values()) + 2.5), ylim=(-1, len(years)), yticks=[], xlabel="year")

# %% [markdown]
# ## Accuracy against size and cost
#
# **Published numbers, not ours**: top-1 accuracy on ImageNet, of one crop.
#
# - Full dots are torchvision's weights, the first version of each. Their training is not always the paper's.
# - Hollow dots are the authors' own numbers, of families that torchvision does not have in full.
#
# The networks were trained in different years and ways, so the gaps are not the networks' alone. Parameters and
# multiply-adds are counted here, from networks without storage. RepVGG's are those of its fused form.


# %%
@cache
def cost(name: str, variant: str) -> tuple[int, int]:
    """Count parameters and multiply-adds of one image, both in millions."""
    with torch.device("meta"):
        model = getattr(zoo, name)(variant)
        model = model.reparameterize() if name == "RepVGG" else model
    return sum(p.numel() for p in model.parameters()) / 1e6, total_macs(model, model.image_size) / 1e6


def published(reference: str) -> float:
    """Top-1 accuracy in per cent of torchvision's first weights."""
    weights = torchvision.models.get_model_weights(reference)
    return next(iter(weights)).meta["_metrics"]["ImageNet-1K"]["acc@1"]


# each from the table of its paper that has one crop, or from the authors' repository (ShuffleNetV1, SKNet, RegNet)
PRINTED = {
    "BNInception": {"BN": 74.8},  # in the paper of Inception-v3
    "InceptionV4": {"v4": 80.0},
    "InceptionResNetV2": {"v2": 80.1},
    "Xception": {"ImageNet": 79.0},
    "MobileNetV1": {"0.25": 50.6, "0.5": 63.7, "0.75": 68.4, "1.0": 70.6},
    "ShuffleNetV1": {"0.5x-g3": 57.3, "1.0x-g3": 67.8, "1.5x-g3": 71.6, "2.0x-g3": 74.1},
    "SENet": {"50": 76.71, "101": 77.62, "152": 78.43},
    "CBAMResNet": {"18": 70.73, "34": 74.01, "50": 77.34, "101": 78.49},
    "SKNet": {"50": 79.21, "101": 79.81},
    "RegNet": {"Y-200MF": 70.34, "Y-800MF": 76.32, "Y-3.2GF": 78.93, "Y-8.0GF": 79.95, "Y-16GF": 80.39},
    "RepVGG": {"A0": 72.41, "A1": 74.46, "A2": 76.48, "B1": 78.37, "B2": 78.78},
}
SAME_AS_OURS = {"ConvNeXt": {"T": "convnext_tiny", "S": "convnext_small", "B": "convnext_base", "L": "convnext_large"}}
references = {name: getattr(zoo, name).torchvision_names for name in papers} | SAME_AS_OURS  # under other keys
accuracies = {
    name: {row: published(reference) for row, reference in rows.items()} for name, rows in references.items() if rows
}
fig, axes = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
for i, (name, rows) in enumerate((accuracies | PRINTED).items()):
    points = sorted((*cost(name, row), accuracy) for row, accuracy in rows.items())
    style = {"color": plt.colormaps["tab20"](i % 20), "marker": "os^vD"[i % 5], "markersize": 5}
    style |= {"markerfacecolor": "none", "linestyle": ":"} if name in PRINTED else {}
    for ax, x in zip(axes, (0, 1), strict=True):
        ax.plot([point[x] for point in points], [point[2] for point in points], label=name, **style)
for ax, label in zip(axes, ("parameters (millions)", "multiply-adds (millions)"), strict=True):
    ax.set(xscale="log", xlabel=label)
axes[0].set_ylabel("ImageNet top-1 (%), as published")
axes[1].legend(fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left")

# %% [markdown]
# **Ours**: each family's smallest variant after a few epochs on CIFAR-10-JPEG, from `results/cifar10_families.jsonl`.
# The recipe's header says how, on what hardware, and how to make it again. See what learns soon. What is best in the
# end is another question.

# %%
runs = sorted(records.read("cifar10_families"), key=lambda run: run["metrics"]["MACs"])
fig, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
words = []
for i, run in enumerate(runs, 1):
    point = run["metrics"]["MACs"] / 1e6, run["metrics"]["test/acc"]
    ax.plot(*point, "o", color="lightsteelblue", markersize=13)
    ax.annotate(str(i), point, fontsize=7, ha="center", va="center")
    words.append(f"{i}  {run['arguments']['family']} {run['arguments']['variant']}")
ax.set(xscale="log", xlabel="multiply-adds of an image of 32 px (millions)", ylabel="test accuracy, one seed")
ax.text(1.02, 1, "\n".join(words), transform=ax.transAxes, va="top", fontsize=8)
if runs:
    same = [f"{v} {k}" for k, v in runs[0]["arguments"].items() if k in ("epochs", "images")]
    ax.set_title(f"CIFAR-10-JPEG, {', '.join(same)}, {runs[0]['hardware']['device']}", fontsize=9)

# %% [markdown]
# ## Receptive fields
#
# Count the pixels that a number in the middle of each stage's map depends on, from the first to the last. The dashed
# line is the image of 224 pixels. Networks whose blocks average over the whole map see all of it. They are left out.

# %%
shown = ("AlexNet owt", "VGG 16", "GoogLeNet BN", "ResNet 50", "DenseNet 121", "MobileNetV2 1.0", "ConvNeXt T")
fig, ax = plt.subplots(figsize=(9, 4.5))
for i, (name, variant) in enumerate(map(str.split, shown)):
    with torch.device("meta"):  # weights without storage
        model = getattr(zoo, name)(variant)
    fields = zoo.receptive_fields(model)
    sizes = [field.size[0] for field in fields.values()]
    ax.plot(
        range(1, len(sizes) + 1),
        sizes,
        "o-" if i < 6 else "s--",
        label=f"{name} {variant}: {', '.join(map(str, sizes))}",
    )
ax.axhline(224, color="0.6", ls="--")
ax.set(yscale="log", xticks=range(1, 6), xlabel="stage", ylabel="receptive field (pixels)")
ax.legend(fontsize=8)

# %% [markdown]
# ## The road from ResNet to ConvNeXt
#
# `ConvNeXtRoadmap` builds every step of Figure 2 of "A ConvNet for the 2020s". One road starts at ResNet-50 and ends at
# the size of Swin-T. The other starts at ResNet-200 and ends at that of Swin-B.
#
# - Bars are multiply-adds, with the parameters beside them. Both are counted here.
# - Dots are **published** top-1 accuracies on ImageNet, from the paper's tables. They are not ours.
#
# A step keeps what the steps above it changed. The kernels of 9 and 11 are the exception: they were tried and left.

# %%
PUBLISHED = {
    "50": (78.82, 79.36, 79.51, 78.28, 80.50, 80.64, 79.92, 80.35,
           80.57, 80.57, 80.47, 80.62, 81.27, 81.41, 81.47, 81.97),
    "200": (81.14, 81.33, 81.59, 80.54, 81.85, 82.64, 82.04, 82.32,
            82.30, 82.27, 82.18, 82.19, 82.71, 83.17, 83.35, 83.60),
}  # fmt: skip
fig, axes = plt.subplots(1, 2, figsize=(13, 6), sharey=True, layout="constrained")
for ax, (road, accuracies) in zip(axes, PUBLISHED.items(), strict=True):
    counts = [cost("ConvNeXtRoadmap", f"{road}-{step}") for step in STEPS]
    ax.barh(list(STEPS), [macs / 1e3 for _, macs in counts], color="lightsteelblue")
    for step, (size, macs) in zip(STEPS, counts, strict=True):
        ax.text(0, step, f" {macs / 1e3:.2f} G, {size:.1f} M", va="center", fontsize=8)
    ax.set(xlabel="multiply-adds (1e9)", title=f"from ResNet-{road}")
    ax.grid(visible=False)
    dots, spread = ax.twiny(), max(accuracies) - min(accuracies)
    dots.plot(accuracies, list(STEPS), "o-", color="darkorange")
    dots.set_xlim(min(accuracies) - 0.6 * spread, max(accuracies) + 0.1 * spread)  # the text on the left stays free
    dots.set_xlabel("top-1 (%), published", color="darkorange")
axes[0].invert_yaxis()

# %% [markdown]
# See where one network spends its multiply-adds, layer by layer. `zoo show AlexNet owt` prints the same table.

# %%
zoo.summary(zoo.AlexNet("owt"))

# %% [markdown]
# ## A look inside
#
# Train a network with SE and one with CBAM for a few epochs on handwritten digits. Look at the first layer's filters
# and at the feature maps of each stage.

# %%
data = Digits(batch_size=64)


def trained(model: zoo.Classifier) -> zoo.Classifier:
    trainer = Trainer(max_epochs=3, callbacks=[CosineDecay(warmup_epochs=1)], **quiet)
    trainer.fit(model, data)
    print(f"{type(model).__name__}: validation accuracy {trainer.callback_metrics['val/acc']:.3f}")
    return model.eval()


seed_everything(0, verbose=False)
same = {"num_classes": 10, "image_size": 8, "optimizer": "adamw", "lr": 1e-3}
se, cbam = trained(zoo.SENet("18", **same)), trained(zoo.CBAMResNet("18", **same))
data.setup("test")
images, targets = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)


# %%
def outputs(model: torch.nn.Module, images: torch.Tensor, kind: type | None = None) -> dict[str, torch.Tensor]:
    """Return the outputs of the stages, or of all modules of one kind, for the images."""
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
    """Draw the first maps (H, W), or images (H, W, 3), side by side."""
    fig, axes = plt.subplots(1, n, figsize=(0.8 * n, 1), layout="constrained")
    fig.suptitle(title, fontsize=9)
    for ax in axes:
        ax.axis("off")
    for ax, one in zip(axes, maps, strict=False):
        ax.imshow(one, cmap="viridis")


def coloured(x: torch.Tensor) -> torch.Tensor:
    """Scale each image (N, 3, H, W) to 0 to 1 by itself; return (N, H, W, 3)."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return ((x - low) / (high - low)).permute(0, 2, 3, 1)


# %%
first = next(m for m in se.modules() if isinstance(m, torch.nn.Conv2d))
row(coloured(first.weight.detach()), "filters of SENet's first layer")
row(coloured(images), "images")
for stage, maps in [*outputs(se, images).items()][:-1]:  # the last stage has one pixel
    row(maps[0], f"{stage}: the first channels of the first image's map")
    row(maps.abs().mean(1), f"{stage}: mean of |A| over channels, an image each")

# %% [markdown]
# SE weighs the channels of an image. Where the classes differ in a block, its features are less general. On ImageNet
# the paper found that early blocks treat classes alike. See the gates of the first and the last block, averaged by
# class.

# %%
gates = outputs(se, images, torch.nn.Sigmoid)
fig, axes = plt.subplots(1, 2, figsize=(12, 3), sharey=True)
for ax, name in zip(axes, (next(iter(gates)), list(gates)[-1]), strict=True):
    gate = gates[name].flatten(1)
    for k in range(10):
        ax.plot(gate[targets == k].mean(0)[:64], label=str(k), lw=1, color=plt.colormaps["tab10"](k))
    ax.set(title=name, xlabel="channel (first 64)")
axes[0].set_ylabel("gate")
axes[1].legend(fontsize=7, title="class", bbox_to_anchor=(1.02, 1), loc="upper left")

# %% [markdown]
# CBAM also weighs the pixels:

# %%
spatial = {name: gate for name, gate in outputs(cbam, images, torch.nn.Sigmoid).items() if gate.ndim == 4}
row(images[:12, 0], "images")
for name in list(spatial)[:3]:
    row(spatial[name][:12, 0], f"spatial gate of {name}")
