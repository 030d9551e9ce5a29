# %% [markdown]
# # Data and augmentation
#
# See every transform and every trick on batches, on two photographs. The lists are the code's own. Look at a data
# module, and at how fast the loaders are. It takes a few seconds.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from lightning import Callback, Trainer, seed_everything
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.utils.data import DataLoader

import callbacks
import zoo
from datamodules import Digits, ImageFolder
from datamodules.transforms import OPERATIONS, PRESETS, PROTOCOLS, operation, train_transform
from recipes.command import tables
from recipes.frame import catalogue

SIDE, TRIES = 60, 3
photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]


def sheet(rows: dict[str, list[tuple[torch.Tensor, str]]]) -> None:
    """Draw a line of images uint8 (3, H, W) for each name: a caption above each image, the name beside them."""
    most = max(map(len, rows.values()))
    fig, axes = plt.subplots(len(rows), most + 3, figsize=(0.6 * (most + 3), 0.74 * len(rows)), squeeze=False)
    fig.subplots_adjust(0, 0, 1, 0.99, wspace=0.03, hspace=0.2)
    for ax in axes.flat:
        ax.axis("off")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, (image, caption) in zip(line, images, strict=False):
            ax.imshow(image.permute(1, 2, 0))
            ax.set_title(caption, fontsize=6, pad=2)
        line[most].text(0.05, 0.5, fill(name, 34), transform=line[most].transAxes, va="center", fontsize=5.5)
    plt.show()


# %% [markdown]
# ## Transforms of one image
#
# A data module takes these names: `ImageFolder("photos", transform=["resized-crop", "flip", "lighting"])`. Beside each
# name stands the operation with its parameters. For other parameters, give the object instead of the name. All draws
# come from torch's generator. A data module seeds it for each image from (seed, epoch, index).

# %%
square = Image.fromarray(photographs[1][:, :, 90:517].permute(1, 2, 0).numpy()).resize((112, 112))
photograph = torch.from_numpy(np.array(square)).permute(2, 0, 1)
square

# %%
rows = {}
for name in OPERATIONS:
    torch.manual_seed(0)
    change = operation(name, SIDE)
    images = [change(photograph) for _ in range(TRIES)]
    draws = any(not torch.equal(image, images[0]) for image in images)  # else one picture says all
    rows[f"{name}: {change}"] = [(image, "") for image in (images if draws else images[:1])]
sheet(rows)

# %% [markdown]
# ## Presets: the pipelines of papers

# %%
rows = {}
for name in PRESETS:
    torch.manual_seed(0)
    change = train_transform(name, SIDE)
    rows[f"{name}: {', '.join(PRESETS[name])}"] = [(change(photograph), "") for _ in range(TRIES)]
sheet(rows)

# %% [markdown]
# ## Evaluation: one view of an image, ten, or more
#
# The classifier averages the softmaxes over the views: `ImageFolder("photos", evaluation="10-crop")`.

# %%
rows = {}
for name, make in PROTOCOLS.items():
    views = make(SIDE)(photograph)
    views = views if views.ndim == 4 else views[None]
    some = views[:: max(1, len(views) // 4)][:4]
    rows[f"{name}: views {len(views)}, {make(SIDE)}"] = [(view, "") for view in some]
sheet(rows)

# %% [markdown]
# ## Tricks on batches
#
# Callbacks of the room `data` change a batch on the network's device: images and targets. Each meets a batch of the two
# photographs here, through a real `Trainer`. The target stands above each image: a class, or the weight of the first
# class, where the rest is the other class.


# %%
class Seen(Callback):
    """Keep the batch as the tricks before it left it."""

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.images, self.targets = (part.clone() for part in batch)


class Pictures(ImageFolder):
    """The two photographs, four times each, in the order of their classes."""

    def train_dataloader(self):
        return DataLoader([self.train_set.without_augmentation().__getitems__([*range(8)])], batch_size=None)


folder = Path("photographs")
for name, image in zip(("temple", "flower"), photographs, strict=True):
    (folder / "train" / name).mkdir(parents=True, exist_ok=True)
    for i in range(4):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / "train" / name / f"{i}.png")
data = Pictures(folder, batch_size=8, image_size=SIDE, val_split=0, num_workers=0)
network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


def words(target: torch.Tensor) -> str:
    """Name the class, or the first of two with its weight."""
    weights = target if target.is_floating_point() else torch.eye(2)[target]
    there = [(name, p) for name, p in zip(data.classes, weights.tolist(), strict=True) if p > 0.005]
    name, p = there[0]
    return name if len(there) == 1 else f"{name} {p:.2f}"


OFTEN = {"p": 1.0}  # by default they leave most images of a short run as they are
options = dict.fromkeys(("ChannelOrder", "GridMask", "Mosaic", "RandomErasing"), OFTEN)
rows = {}
for entry in (entry for entry in catalogue.tricks() if entry.room == "data"):
    seed_everything(0, verbose=False)
    trick, seen = getattr(callbacks, entry.name)(**options.get(entry.name, {})), Seen()
    Trainer(max_steps=1, limit_val_batches=0, callbacks=[trick, seen], **quiet).fit(zoo.Classifier(network, 2), data)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (data.mean, data.std))
    images = [(255 * (image * std + mean)).clamp(0, 255).byte() for image in seen.images[2:6]]
    rows[f"{trick!r}: {entry.line}"] = [*zip(images, map(words, seen.targets[2:6]), strict=True)]
sheet(rows)

# %% [markdown]
# ## Looking at data
#
# `show_batch` draws what the network will see. In a shell, `zoo data show Digits` prints the parts, the classes and
# their counts.

# %%
digits = Digits(batch_size=16, cutout=3)
digits.show_batch()

# %%
digits.class_counts

# %% [markdown]
# ## How fast
#
# Read it from `results/`. The command beside a number makes it again.

# %%
Markdown(tables.benchmarks())
