# %% [markdown]
# # First run
#
# Train ResNet-20 on handwritten digits. Swap tricks. Look at curves and mistakes. Save, reload, predict. It takes half
# a minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

import matplotlib.pyplot as plt
import torch
from lightning import Trainer

from callbacks import EMA, CosineDecay, CutMix, LabelSmoothing, MixUp, NoBiasDecay, ZeroGamma
from datamodules import Digits
from recipes import History, digits_resnet20
from recipes.frame.mistakes import answers, draw_confusion, draw_reliability
from zoo import ResNet, load

# %% [markdown]
# Name a model, data and tricks. The data module shows what the network will see, augmented.

# %%
data = Digits(batch_size=64)
data.show_batch()

# %%
model = ResNet("20", num_classes=10, image_size=8, lr=0.1)
tricks = [CosineDecay(warmup_epochs=2), MixUp(0.2), LabelSmoothing(0.1), NoBiasDecay(), ZeroGamma(), EMA(0.98)]
history = History()
trainer = Trainer(max_epochs=12, callbacks=tricks, log_every_n_steps=10, **{**quiet, "logger": history})
trainer.fit(model, data)

# %% [markdown]
# Look at the curves. Under mixup an image has two classes. `acc_mixed` counts each of them by its weight.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
curves = {"loss": ["train/loss", "val/loss"], "accuracy": ["train/acc_mixed", "val/acc", "val/acc_ema0.98"]}
for ax, (title, names) in zip(axes, curves.items(), strict=True):
    for name in names:
        ax.plot(*history.curve(name), label=name)
    ax.set(xlabel="epoch", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()

# %% [markdown]
# ## Where it is wrong
#
# Count the test images by true and predicted class. All is right on the diagonal.

# %%
found = answers(model, data)
draw_confusion(found, data.classes)

# %% [markdown]
# Compare confidence with accuracy. A network above the dashed line is right more often than it claims. Label smoothing
# and mixup do that: they never ask for certainty.

# %%
draw_reliability(found)

# %% [markdown]
# ## The same as a recipe
#
# A recipe holds model, data, tricks and trainer arguments together. `without` takes a trick out, `plus` puts one in.

# %%
recipe = digits_resnet20.recipe(epochs=12, seed=1)
print(recipe)

# %%
swapped = recipe.without(MixUp).plus(CutMix(1.0))
metrics = swapped.run(save=False)
print(f"test accuracy {metrics['test/acc']:.3f}")

# %% [markdown]
# ## Save, reload, predict
#
# Save a checkpoint: it keeps the class and its arguments, and the averaged weights too.

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
fig, axes = plt.subplots(1, 10, figsize=(10, 1.4), layout="constrained")
for ax, image, guess, truth in zip(axes, images, guesses, targets, strict=False):
    ax.imshow(image[0], cmap="gray")
    ax.set_title(data.classes[guess], color="green" if guess == truth else "red")
    ax.axis("off")
