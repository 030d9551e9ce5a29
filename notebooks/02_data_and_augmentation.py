# %% [markdown]
# # Data and augmentation
#
# A gallery of every transform and of every trick on batches, on two photographs, made from the code's own lists; how
# data modules are looked at; and how fast the loaders are. A minute on two cores.

# %%
import logging
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
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

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what a Trainer says of the machine
warnings.filterwarnings("ignore")

SIDE, TRIES = 224, 6
photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in load_sample_images().images]


def row(images, title: str) -> None:
    """Draw images uint8 (3, H, W) side by side."""
    fig, axes = plt.subplots(1, len(images), figsize=(2 * len(images), 2.2), layout="constrained")
    fig.suptitle(title, fontsize=9, x=0.01, ha="left", family="monospace")
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image.permute(1, 2, 0))
        ax.axis("off")
    plt.show()


# %% [markdown]
# ## Transforms of one image
#
# The names are those that data modules take: `ImageFolder("photos", transform=["resized-crop", "flip", "lighting"])`.
# Beside each name, the operation with its parameters: for others, give the object instead of the name. All draws come
# from torch's generator, which a data module seeds for each image from (seed, epoch, index).

# %%
photograph = photographs[1]
for name, make in OPERATIONS.items():
    torch.manual_seed(0)
    change = operation(name, SIDE)
    row([photograph, *(change(photograph) for _ in range(TRIES))], f"{name}: {change}\n{make.__doc__}")

# %% [markdown]
# ## Presets: the pipelines of papers

# %%
for name in PRESETS:
    torch.manual_seed(0)
    change = train_transform(name, SIDE)
    row([photograph, *(change(photograph) for _ in range(TRIES))], f"{name}\n{', '.join(PRESETS[name])}")

# %% [markdown]
# ## Evaluation: one view of an image, ten, or more
#
# The classifier takes the mean of the softmaxes over the views: `ImageFolder("photos", evaluation="10-crop")`.

# %%
for name, make in PROTOCOLS.items():
    views = make(SIDE)(photograph)
    views = views if views.ndim == 4 else views[None]
    row([photograph, *views[:: max(1, len(views) // 10)][:10]], f"{name}: {len(views)} views an image: {make(SIDE)}")

# %% [markdown]
# ## Tricks on batches
#
# Callbacks of the room `data` change a batch on the network's device: images and targets. Here each meets a batch of
# the two photographs, through a real `Trainer`. Above each image, its targets.


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
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
for entry in catalogue.tricks():
    if entry.room != "data":
        continue
    seed_everything(0, verbose=False)
    trick, seen = getattr(callbacks, entry.name)(), Seen()
    Trainer(max_steps=1, limit_val_batches=0, callbacks=[trick, seen], **quiet).fit(zoo.Classifier(network, 2), data)
    figure = data.show_batch(8, [seen.images, seen.targets])
    figure.set_size_inches(6, 6)
    display(Markdown(f"**{trick!r}**: {entry.line}"), figure)  # noqa: F821

# %% [markdown]
# ## Looking at data
#
# `show_batch` draws what the network will see. From a shell, `zoo data show Digits` prints the parts, the classes and
# their counts.

# %%
digits = Digits(batch_size=16, cutout=3)
digits.show_batch()

# %%
digits.class_counts

# %% [markdown]
# ## How fast
#
# From `results/`, with the command that makes each number again:

# %%
Markdown(tables.benchmarks())
