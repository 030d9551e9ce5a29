# %% [markdown]
# # Your photographs
#
# Go from a folder of photographs to predictions. Put the photographs into one folder a class, fine-tune a network on
# them, look at its mistakes, and name new photographs. It takes half a minute.
#
# Nothing is downloaded here: handwritten digits, written as small colour files, stand in for your photographs. Change
# the two folders, and the rest works on yours.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import zoo
from datamodules import ImageFolder
from recipes import finetune_folder
from recipes.frame.mistakes import answers, confusion, draw_confusion, draw_reliability, draw_worst, worst_pairs
from zoo.frame.prediction import write_csv

# %% [markdown]
# ## One folder a class
#
# Write the files. `first` has the digits zero to four: a network will learn to see from them. `photos` has the digits
# five to nine, 130 of each. `new` has some that nobody has named.

# %%
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
generator = np.random.default_rng(0)


def photograph(digit: np.ndarray) -> Image.Image:
    """Draw a digit (8, 8) of values 0 to 16 with dark ink on pale paper of a random colour."""
    paper, ink = generator.integers(150, 256, 3), generator.integers(0, 100, 3)
    strength = digit[..., None] / 16
    return Image.fromarray((paper * (1 - strength) + ink * strength).astype(np.uint8)).resize((32, 32), Image.BICUBIC)


digits = load_digits()
for k, name in enumerate(NAMES):
    images = digits.images[digits.target == k]
    folder = Path("first" if k < 5 else "photos", name)
    for path in (folder, Path("new")):
        path.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images[:130]):
        photograph(image).save(folder / f"{i}.png")
    for i, image in enumerate(images[150:153] if k >= 5 else []):
        photograph(image).save(Path("new", f"{3 * k + i}.png"))
print(*sorted(str(path) for path in Path().glob("*/*/0.png")), sep="\n")

# %% [markdown]
# Look at what was found, cropped, flipped and coloured as the network will see it. In a shell, `zoo data show
# ImageFolder --root photos` does the same.

# %%
data = ImageFolder("photos", batch_size=20, image_size=32)
data.show_batch(10)

# %% [markdown]
# ## Fine-tune
#
# Give the recipe a folder and a network. In a shell this is `zoo finetune photos --model timm:resnet18`, with a network
# that others have trained on millions of photographs. Here the network is our own: it first learns the digits zero to
# four from nothing.

# %%
first = finetune_folder.recipe(Path("first"), "ResNet:20", epochs=8, lr=3e-3, image_size=16)
metrics = first.run(save=Path("runs/first"))

# %% [markdown]
# Then go on from its checkpoint with the five other digits. The recipe counts them: there are many, and they are
# different from the first ones, so all stages learn from the start. Of few it would train the new head first.

# %%
tuned = finetune_folder.recipe(Path("photos"), "runs/first/model.ckpt", similar=False, epochs=7, lr=3e-3)
print(tuned)
metrics = tuned.run(save=Path("runs/photos"))

# %% [markdown]
# ## Look at the mistakes
#
# The photographs that were kept for validation tell how well it works. Count them by true and predicted class.

# %%
found = answers(tuned.model, tuned.data)
pairs = worst_pairs(confusion(found.probabilities, found.targets), tuned.data.classes)
print("most often confused:", "; ".join(pairs) or "nothing")
draw_confusion(found, tuned.data.classes)

# %% [markdown]
# Ask whether it is right as often as it says. A bar above the dashed line is right more often.

# %%
draw_reliability(found)

# %% [markdown]
# See the mistakes of which it was most sure. Often the label is wrong, or the photograph.

# %%
draw_worst(found, tuned.data.classes)

# %% [markdown]
# ## Name new photographs
#
# Load the checkpoint. It knows the classes and how photographs are prepared, so a folder is all that it needs. In a
# shell: `zoo predict runs/photos/model.ckpt new --csv predictions.csv`.

# %%
rows = zoo.load("runs/photos/model.ckpt").predict("new", top=3)
fig, axes = plt.subplots(1, 10, figsize=(10, 1.6), layout="constrained")
for ax, row in zip(axes, rows, strict=False):
    ax.imshow(Image.open(row.file))
    ax.set_title(f"{row.label}\n{row.probability:.0%}", fontsize=8)
    ax.axis("off")

# %% [markdown]
# Write them as a table for another program.

# %%
write_csv(rows, Path("predictions.csv"))
with open("predictions.csv", newline="") as file:
    for line in list(csv.reader(file))[:4]:
        print(*line, sep=" | ")
