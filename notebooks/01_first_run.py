# %% [markdown]
# # First run
#
# Train ResNet-20 on handwritten digits, swap tricks, look at curves, save, reload, predict. A minute on two cores.

# %%
import logging
import warnings

import matplotlib.pyplot as plt
import torch
from lightning import Trainer

from callbacks import EMA, CosineDecay, CutMix, LabelSmoothing, MixUp, NoBiasDecay, ZeroGamma
from datamodules import Digits
from recipes import History, digits_resnet20
from zoo import ResNet, load

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # what a Trainer says of the machine
warnings.filterwarnings("ignore")

# %% [markdown]
# A model, data and tricks. The data module shows what the network will see, with augmentation.

# %%
data = Digits(batch_size=64)
data.show_batch()

# %%
model = ResNet("20", num_classes=10, image_size=8, lr=0.1)
tricks = [CosineDecay(warmup_epochs=2), MixUp(0.2), LabelSmoothing(0.1), NoBiasDecay(), ZeroGamma(), EMA(0.98)]
history = History()
quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 10}
trainer = Trainer(max_epochs=15, callbacks=tricks, logger=history, **quiet)
trainer.fit(model, data)

# %% [markdown]
# Under mixup the training accuracy counts each of the two classes by its weight; it is a curve of its own, `acc_mixed`.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3))
for ax, names in zip(
    axes, (["train/loss", "val/loss"], ["train/acc_mixed", "val/acc", "val/acc_ema0.98"]), strict=True
):
    for name in names:
        ax.plot(*history.curve(name), label=name)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()

# %% [markdown]
# ## The same as a recipe
#
# A recipe holds model, data, tricks and trainer arguments together. `without` and `plus` swap tricks.

# %%
recipe = digits_resnet20.recipe(epochs=15, seed=1)
print(recipe)

# %%
swapped = recipe.without(MixUp).plus(CutMix(1.0))
metrics = swapped.run(save=False)
metrics["test/acc"], metrics["seconds"]

# %% [markdown]
# ## Save, reload, predict
#
# A checkpoint knows its class and arguments. It holds the averaged weights too.

# %%
trainer.save_checkpoint("digits.ckpt", weights_only=False)
reloaded = load("digits.ckpt")
averaged = load("digits.ckpt", average="EMA(0.98)")

data.setup("test")
images, targets = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
with torch.inference_mode():
    assert torch.equal(reloaded(images), model.eval()(images))
    guesses, smooth = reloaded(images).argmax(1), averaged(images).argmax(1)
print(f"first {len(targets)} test images: {(guesses == targets).float().mean():.3f} right", end=", ")
print(f"{(smooth == targets).float().mean():.3f} with averaged weights")

# %%
fig, axes = plt.subplots(1, 10, figsize=(12, 1.6))
for ax, image, guess, truth in zip(axes, images, guesses, targets, strict=False):
    ax.imshow(image[0], cmap="gray")
    ax.set_title(data.classes[guess], color="green" if guess == truth else "red")
    ax.axis("off")
