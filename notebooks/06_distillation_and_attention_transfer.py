# %% [markdown]
# # Distillation and attention transfer
#
# Listen to what a teacher says: its soft targets. See where it looks: its attention maps. Then train students on the
# one, the other, or both: KD, AT, AT + KD. Teacher and students are small, and learn handwritten digits. It takes a
# minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

from textwrap import fill

import matplotlib.pyplot as plt
import torch
from lightning import Callback, Trainer, seed_everything

import zoo
from callbacks import AttentionTransfer, CosineDecay, KnowledgeDistillation, Linear
from callbacks.distillation.attention import attention, attention_loss
from callbacks.distillation.knowledge import soft_loss
from callbacks.frame.feature_hooks import FeatureHooks
from datamodules import Digits
from recipes import History, attention_transfer_cifar
from recipes.frame import catalogue, records
from zoo import wide_resnet

# %% [markdown]
# ## Digits that must be found
#
# Put digits of 8 x 8 pixels somewhere in an image of 16 x 16, over faint noise. Then it can be seen where a network
# looks. The networks are those of the paper (Zagoruyko, Komodakis 2017, https://arxiv.org/abs/1612.03928), less deep.
# Each is a row of a table with one block in each of the three groups. The teacher is twice as wide.

# %%
SIDE = 16
for variant in ("10-1", "10-2"):
    depth, width = map(int, variant.split("-"))
    wide_resnet.CIFAR[variant] = wide_resnet.VARIANTS[variant] = wide_resnet.cifar(depth, width)


class LostDigits(Digits):
    image_size = SIDE

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
        training = getattr(self.trainer, "training", False)
        generator = None if training else torch.Generator().manual_seed(len(images))  # the same positions in every test
        free = SIDE - images.shape[-1] + 1
        rows, columns = torch.randint(free, (2, len(images)), generator=generator)
        large = 0.2 * torch.randn(len(images), 3, SIDE, SIDE, generator=generator) + images.amin()
        for canvas, image, y, x in zip(large, images, rows, columns, strict=True):
            canvas[:, y : y + image.shape[1], x : x + image.shape[2]] += image - images.amin()
        return [large, targets]


data = LostDigits(batch_size=64, padding=0)


def network(variant: str, seed: int) -> zoo.Classifier:
    seed_everything(seed, verbose=False)
    return zoo.WideResNet(variant, 10, SIDE, optimizer="momentum", lr=0.1, weight_decay=5e-4)


def train(name: str, model: zoo.Classifier, epochs: int, *tricks) -> History:
    history, tricks = History(), [CosineDecay(warmup_epochs=0.5), *tricks]
    trainer = Trainer(max_epochs=epochs, callbacks=tricks, log_every_n_steps=10, **{**quiet, "logger": history})
    trainer.fit(model, data)
    accuracy = trainer.test(model, data, verbose=False)[0]["test/acc"]
    error = (accuracy * (1 - accuracy) / len(data.test_set)) ** 0.5
    print(f"{name}: test accuracy {accuracy:.3f} (standard error of {len(data.test_set)} images: {error:.3f})")
    return history


teacher = network("10-2", seed=1000)
train("teacher", teacher, 6)
batches = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
images, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))

# %% [markdown]
# ## Soft targets
#
# See the teacher's probabilities softmax(v / T) of the test images that it is least sure of. At T = 1 it names a class.
# At a higher temperature it tells which other classes the image is like. A student can learn that beside the label. The
# title has the label. H is the entropy of each row. It grows towards that of a uniform guess.

# %%
TEMPERATURES = (1, 2, 4, 10, 20)
teacher.eval()
with torch.inference_mode():
    v = teacher(images)
unsure = v.softmax(1).amax(1).argsort()[:4]
fig, axes = plt.subplots(2, len(unsure), figsize=(11, 4), layout="constrained")
for above, below, n in zip(*axes, unsure, strict=True):
    above.imshow(images[n, 0], cmap="gray")
    above.set(title=f"a {targets[n]}", xticks=[], yticks=[])
    soft = torch.stack([(v[n] / T).softmax(0) for T in TEMPERATURES])
    entropies = torch.special.entr(soft).sum(1)
    below.grid(visible=False)
    below.imshow(soft, cmap="magma", vmin=0, vmax=soft.max(), aspect="auto")
    labels = [f"T = {T}, H = {H:.2f}" for T, H in zip(TEMPERATURES, entropies.tolist(), strict=True)]
    below.set_yticks(range(len(TEMPERATURES)), labels, fontsize=7)
    below.set_xticks(range(10), data.classes)

# %% [markdown]
# Why is the soft term multiplied by T squared? The gradient of KL alone falls with the square of the temperature. With
# the factor, `weight` balances the two terms alike at every T. Read the length of the gradient with respect to the
# logits of an untrained student:

# %%
for T in TEMPERATURES:
    z = torch.zeros_like(v, requires_grad=True)
    (gradient,) = torch.autograd.grad(soft_loss(z, v.clone(), T), z)
    print(f"T = {T:<3} with the factor {gradient.norm():.4f}, without {gradient.norm() / T**2:.6f}")

# %% [markdown]
# ## Attention maps
#
# Add up the powers of all channels at each pixel, or take the largest. Where the features are strong, the network
# looks. See the maps of the teacher's three groups:


# %%
@torch.inference_mode()
def features(model: zoo.Classifier, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the features (N, C, H, W) of every group, in eval mode."""
    training = model.training
    hooks = FeatureHooks(model.stages, [*model.stages])
    model.eval()(images)
    found = hooks.take()
    hooks.remove()
    model.train(training)
    return found


def show(rows: dict[str, list[torch.Tensor]], columns: list[str]) -> None:
    """Draw images (C, H, W) or maps (H, W) in a grid."""
    fig, axes = plt.subplots(len(rows), len(columns), figsize=(1.6 * len(columns), 1.6 * len(rows)), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            ax.imshow(picture[0] if picture.ndim == 3 else picture, cmap="gray" if picture.ndim == 3 else "viridis")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=8)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, fontsize=8)


SHOWN = images[:3]
theirs = features(teacher, SHOWN)
forms = {"sum, p = 1": (1, "sum"), "sum, p = 2": (2, "sum"), "max, p = 2": (2, "max")}
for name, (p, mapping) in forms.items():
    maps = [attention(A, p, mapping) for A in theirs.values()]
    show({f"{name}\na {targets[0]}": [SHOWN[0], *(each[0] for each in maps)]}, ["image", *theirs])

# %% [markdown]
# ## Four students
#
# Train four students from the same weights: alone, with KD (T = 4, a = .9, as in the recipe), with AT, and with both.
# With both, AT decays, as in the paper. `BETA` is smaller than the authors'. It multiplies a mean over the pixels of a
# map, of which there are fewer here, and in a run this short theirs drowns the labels.
#
# After each epoch we look at the students' maps. We measure how far they are from the teacher's on the whole test set.
# That is the AT loss without beta. Only two of the students are told about it.


# %%
class Looks(Callback):
    """Keep the maps of a few images and the distance from the teacher, after each epoch and before the first."""

    def __init__(self):
        self.maps, self.distances = [], []
        self.theirs = features(teacher, images)

    def on_train_start(self, trainer, model):
        self.look(model)

    def on_train_epoch_end(self, trainer, model):
        self.look(model)

    def look(self, model):
        own = features(model, images)
        self.maps.append({name: attention(A[: len(SHOWN)]) for name, A in own.items()})
        self.distances.append(sum(attention_loss(A, self.theirs[name]).item() for name, A in own.items()))


EPOCHS, BETA = 6, 100.0
students = {
    "alone": [],
    "KD": [KnowledgeDistillation(teacher, T=4.0, weight=0.9)],
    "AT": [AttentionTransfer(teacher, beta=BETA)],
    "AT + KD": [
        KnowledgeDistillation(teacher, T=4.0, weight=0.9),
        AttentionTransfer(teacher, beta=Linear(BETA, 0.0)),
    ],
}
looks, histories = {}, {}
for name, tricks in students.items():
    looks[name] = Looks()
    histories[name] = train(name, network("10-1", seed=0), EPOCHS, *tricks, looks[name])

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.5), layout="constrained")
for name in students:
    left.plot(*histories[name].curve("val/acc"), "o-", label=name)
    right.semilogy(looks[name].distances, "o-", label=name)
left.set(xlabel="epoch", ylabel="validation accuracy, one seed")
right.set(xlabel="epoch", ylabel="distance from the teacher's maps")
left.legend()
for ax in (left, right):
    ax.xaxis.get_major_locator().set_params(integer=True)

# %% [markdown]
# One seed of a few epochs shows how the four are trained. It takes more to say which is better, and by how much: see
# the end.
#
# ## Where they look, over the epochs
#
# Follow the middle group's maps from the first weights to the last. The teacher's do not change.

# %%
group = [*theirs][1]
epochs = [0, 1, 2, 4, EPOCHS]
for n in range(len(SHOWN)):
    grid = {"teacher": [SHOWN[n], *[attention(theirs[group])[n]] * len(epochs)]}
    for name in ("alone", "AT"):
        grid[f"student, {name}"] = [SHOWN[n], *(looks[name].maps[epoch][group][n] for epoch in epochs)]
    show(grid, [f"a {targets[n]}", *(f"epoch {epoch}" for epoch in epochs)])

# %% [markdown]
# See all three groups after the last epoch:

# %%
for n in range(len(SHOWN)):
    grid = {"teacher": [SHOWN[n], *(attention(A)[n] for A in theirs.values())]}
    for name in students:
        grid[f"student, {name}"] = [SHOWN[n], *(A[n] for A in looks[name].maps[-1].values())]
    show(grid, [f"a {targets[n]}", *theirs])

# %% [markdown]
# ## On CIFAR-10
#
# Ours come from `results/`: the recipe `attention_transfer_cifar`, mean and sample standard deviation over the seeds.
# The teacher is one run. The last picture has **published numbers, not ours**: the paper's table 1, WRN-16-2 to
# WRN-16-1, median of 5 runs, where we could check it. Where images or epochs are others, compare the two in their order
# alone.

# %%
METHODS = ("student", "KD", "AT", "AT+KD", "teacher")
columns = {}
for runs in records.groups(records.read("attention_transfer_cifar")):
    arguments = {k: v for k, v in runs[0]["arguments"].items() if k not in ("method", "published")}
    pair = arguments.pop("pair")
    budget = ", ".join([*(f"{k} {v}" for k, v in arguments.items()), runs[0]["hardware"]["device"]])
    accuracy = records.summary(run["metrics"]["test/acc"] for run in runs)
    columns.setdefault(f"ours: {pair}\n{fill(budget, 36)}", {})[runs[0]["arguments"]["method"]] = accuracy
published = {method: (float(value), 0.0) for method, value in attention_transfer_cifar.PAPER.items()}
columns["PUBLISHED, not ours:\nWRN-16-2 -> WRN-16-1, CIFAR-10"] = published
fig, axes = plt.subplots(
    1, len(columns), figsize=(3.4 * len(columns), 3), sharey=True, squeeze=False, layout="constrained"
)
for ax, (title, points) in zip(axes[0], columns.items(), strict=True):
    values, spreads = zip(*(point[:2] for point in points.values()), strict=True)
    positions = [METHODS.index(method) for method in points]
    ours = title.startswith("ours")
    ax.errorbar(
        values, positions, xerr=spreads, fmt="o", capsize=3, color="C0" if ours else "gray", mfc=None if ours else "w"
    )
    ax.set_yticks(range(len(METHODS)), METHODS)
    ax.set(xlabel="test accuracy", ylim=(len(METHODS) - 0.5, -0.5))
    ax.set_title(title, fontsize=7)
    ax.locator_params(axis="x", nbins=4)
if len(columns) == 1:
    command = catalogue.field(attention_transfer_cifar.__doc__, "Command")
    print(f"Not measured here yet: there is no results/attention_transfer_cifar.jsonl. To make it: {command}")
