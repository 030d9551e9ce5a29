# %% [markdown]
# # Transformers
#
# See what a vision transformer looks at. See which patches DynamicViT, EViT and AttentionPatchDropout leave out, and
# when. Compare accuracy with multiply-adds. Let easy images leave early, with DVT. A small ViT learns handwritten
# digits for it. It takes a minute and a half.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

from math import ceil

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from lightning import Trainer, seed_everything

import zoo
from callbacks import CosineDecay, NoBiasDecay, TokenDistillation, TokenRatio
from callbacks.dropout.attention_patch_dropout import choose, class_attention
from datamodules import Digits
from recipes.frame import records
from zoo import dvt, dynamic_vit, evit, vit
from zoo.layers.token_classifier import TokenRow
from zoo.tools import early_exit

# %% [markdown]
# ## A small ViT
#
# Add a row to the table of variants: 12 blocks, as in DeiT, but of width 64. Digits of 8 x 8 pixels are enlarged to
# 64 x 64 and put in the middle of 96 x 96. So a patch of 16 pixels has two of the digit's pixels in each direction. The
# patches around the digit tell nothing.

# %%
SIDE, PATCH = 96, 16
vit.VARIANTS["small"] = evit.VARIANTS["small"] = TokenRow(width=64, depth=12, heads=4, patch=PATCH)
dynamic_vit.VARIANTS["small"] = dynamic_vit.Row(width=64, depth=12, heads=4)
dvt.VARIANTS["small"] = dvt.Row(width=64, depth=12, heads=4, ratio=4)


class LargeDigits(Digits):
    image_size = SIDE

    def on_after_batch_transfer(self, batch, dataloader_idx):
        images, targets = super().on_after_batch_transfer(batch, dataloader_idx)
        black = images.amin()
        images = F.interpolate(images, scale_factor=8, mode="bicubic").clamp(min=black)
        return [F.pad(images, (16, 16, 16, 16), value=black), targets]


data = LargeDigits(batch_size=32, padding=0)
same = {"num_classes": 10, "image_size": SIDE, "drop_path": 0.0, "optimizer": "adamw", "weight_decay": 0.05}


def train(model: zoo.Classifier, epochs: int, *tricks) -> zoo.Classifier:
    tricks = [CosineDecay(warmup_epochs=0.5), NoBiasDecay(), *tricks]
    trainer = Trainer(max_epochs=epochs, limit_val_batches=0, gradient_clip_val=1.0, callbacks=tricks, **quiet)
    trainer.fit(model, data)
    accuracy = trainer.test(model, data, verbose=False)[0]["test/acc"]
    print(f"{type(model).__name__}: test accuracy {accuracy:.3f}")
    return model.eval()


seed_everything(0, verbose=False)
dense = zoo.ViT("small", lr=1e-3, **same)
# DeiT's N(0, .02) is for 300 epochs; with this it learns in nine.
torch.nn.init.normal_(dense.pos_embed, std=0.2)
for weight in dense.blocks.parameters():
    if weight.ndim == 2:
        torch.nn.init.xavier_uniform_(weight)
dense = train(dense, 9)
images, targets = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
LOW, HIGH = images.min().item(), images.max().item()

# %% [markdown]
# ## What the class token looks at
#
# Look at each block's attention map: the class token's row, the mean of the heads, over the image. Below it stands the
# *rollout* (Abnar, Zuidema 2020, https://arxiv.org/abs/2005.00928). It multiplies the maps of all blocks up to there,
# half of each the identity for the residual. So it says which patches of the *image* reach the class token.


# %%
@torch.inference_mode()
def attention_maps(model: zoo.ViT, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the attention maps (N, L, L) of every block, the mean over heads."""
    x, maps = model.embed(images), []
    for block in model.blocks:
        maps.append(block.attn.map(block.norm1(x)).mean(1))
        x = block(x)
    return maps


def rollout(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the rollout (N, L, L) after every block; its rows sum to 1."""
    total, so_far = torch.eye(maps[0].shape[-1]), []
    for A in maps:
        total = (A + torch.eye(A.shape[-1])) / 2 @ total
        so_far.append(total)
    return so_far


def show(rows: dict[str, list[torch.Tensor]], columns: list[str]) -> None:
    """Draw images (C, H, W) or maps (H, W) in a grid."""
    fig, axes = plt.subplots(len(rows), len(columns), figsize=(1.5 * len(columns), 1.6 * len(rows)), squeeze=False)
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=True):
            if picture.ndim == 3:
                ax.imshow(picture.mean(0), cmap="gray", vmin=LOW, vmax=HIGH)
            else:
                ax.imshow(picture, cmap="viridis")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name, fontsize=8)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, fontsize=8)


def as_grid(row: torch.Tensor) -> torch.Tensor:
    return row.reshape(dense.grid, dense.grid)


maps = attention_maps(dense, images[:3])
shown, rolled = (2, 5, 8, 11), rollout(maps)
for n in range(3):
    rows = {f"attention, a {targets[n]}": maps, "rollout": rolled}
    show(
        {name: [images[n], *(as_grid(each[i][n, 0, 1:]) for i in shown)] for name, each in rows.items()},
        ["image", *(f"block {i + 1}" for i in shown)],
    )

# %% [markdown]
# ## Which patches go
#
# - DynamicViT learns it. It has a predictor before the 4th, 7th and 10th block, trained with the dense network as a
#   teacher.
# - EViT needs no training for it, but gains by it. In these blocks the patches that the class token looks at most go
#   on. The others become one token.
#
# Both keep .7 of what is left, three times: 36, 25, 17, 12 patches, in EViT with the fused token 36, 26 + 1, 19 + 1,
# 14 + 1.

# %%
dynamic = zoo.DynamicViT("small", lr=3e-4, **same)
dynamic.load_state_dict(dynamic.adapt(dense.state_dict()))
dynamic = train(dynamic, 2, TokenRatio(), TokenDistillation(dense))
fusing = zoo.EViT("small", **same).eval()
fusing.load_state_dict(dense.state_dict())


# %%
@torch.inference_mode()
def outputs(modules, model: zoo.ViT) -> list:
    """Return the outputs of these modules, in order."""
    seen = []
    hooks = [module.register_forward_hook(lambda m, inputs, output: seen.append(output)) for module in modules]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


def patches_of_dynamic(model: zoo.DynamicViT) -> list[torch.Tensor]:
    """Return the positions of the patches that are left after each predictor: three of (N, K)."""
    positions = torch.arange(model.grid**2).expand(len(images), -1)
    kept = []
    for log_pi, ratio in zip(outputs(model.score_predictor, model), model.ratios, strict=True):
        positions = positions.gather(1, log_pi[..., 0].topk(int(model.grid**2 * ratio), 1).indices)
        kept.append(positions)
    return kept


def patches_of_fusing(model: zoo.EViT) -> list[torch.Tensor]:
    """Return the positions of the patches that are left after each fusing block; a fused token has position -1."""
    positions, kept = torch.arange(model.grid**2).expand(len(images), -1), []
    for _, scores in outputs([block.attn for block in model.dropping_blocks], model):
        order = scores.argsort(1, descending=True)[:, : ceil(model.keep * scores.shape[1])]
        positions = F.pad(positions.gather(1, order), (0, 1), value=-1)
        kept.append(positions)
    return kept


def without(image: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Grey out the patches of an image (C, H, W) that are not in `positions`."""
    mask = torch.zeros(dense.grid**2).index_fill_(0, positions[positions >= 0], 1)
    mask = as_grid(mask).repeat_interleave(PATCH, 0).repeat_interleave(PATCH, 1)
    return torch.where(mask > 0, image, torch.tensor((LOW + HIGH) / 2))


stages = ["image", "block 4", "block 7", "block 10"]
for name, kept in (("DynamicViT", patches_of_dynamic(dynamic)), ("EViT", patches_of_fusing(fusing))):
    show({f"{name}, {targets[n]}": [images[n], *(without(images[n], k[n]) for k in kept)] for n in range(4)}, stages)

# %% [markdown]
# `AttentionPatchDropout` acts in training alone, after the third block. Here half of the patches go.
#
# - "high" drops what is looked at most, so the network must learn from the rest. "low" drops what is looked at least.
# - tau = 1 draws the patches, tau = 0 does not. With tau = infinity attention does not matter: that is PatchDropout.

# %%
block = dense.blocks[2]
(qkv,) = outputs([block.attn.qkv], dense)
scores = class_attention(qkv, block.attn, prefix=1)
torch.manual_seed(0)
u, count = torch.rand_like(scores), scores.shape[1] // 2
ways = {f'"{drop}", tau {tau}': choose(scores, u, count, drop, tau) for drop in ("high", "low") for tau in (0.0, 1.0)}
ways["tau infinity"] = choose(scores, u, count, "high", float("inf"))
show(
    {str(targets[n].item()): [images[n], *(without(images[n], kept[n]) for kept in ways.values())] for n in range(4)},
    ["image", *ways],
)

# %% [markdown]
# ## Accuracy against multiply-adds
#
# - On the left are **published numbers, not ours**: DeiT-S on ImageNet, multiply-adds as printed. DynamicViT's are from
#   Rao et al. 2021, table 2, EViT's from the authors' README at 5ca95a7, fused.
# - On the right are ours: a small ViT on CIFAR-10-JPEG, from `results/token_reduction_cifar.jsonl`. The recipe's header
#   says how, and how to make it again.

# %%
PUBLISHED = {
    "DynamicViT": {1.0: (4.6, 79.8), 0.9: (4.0, 79.8), 0.8: (3.4, 79.6), 0.7: (2.9, 79.3)},
    "EViT": {0.9: (4.0, 79.8), 0.8: (3.5, 79.8), 0.7: (3.0, 79.5), 0.6: (2.6, 78.9), 0.5: (2.3, 78.5)},
}
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for name, points in PUBLISHED.items():
    left.plot(*zip(*points.values(), strict=True), "o-", label=name)
    for keep, point in points.items():
        left.annotate(f"{keep:g}", point, fontsize=8)
left.set(xlabel="multiply-adds (G)", ylabel="ImageNet top-1 (%), published", title="DeiT-S, fraction of patches kept")
left.legend()
runs = records.read("token_reduction_cifar")
for run in runs:
    point = run["metrics"]["MACs"] / 1e6, run["metrics"]["test/acc"]
    right.plot(*point, "o", color="steelblue")
    right.annotate(f"  {run['arguments']['version']}", point, fontsize=8, va="center")
title = "ViT-Ti/4, CIFAR-10-JPEG" if runs else "ViT-Ti/4, CIFAR-10-JPEG: not measured yet"
right.set(xlabel="multiply-adds (M)", ylabel="test accuracy, one seed", title=title)

# %% [markdown]
# ## Easy images leave early
#
# DVT is a cascade of three ViTs on ever more patches, here 3 x 3, 5 x 5 and 6 x 6. Each is given what the one before
# has found. All three start from the ViT above. Thresholds for a budget are searched on training images. An image
# leaves at the first exit that is confident enough.
#
# Two epochs are few: the later exits have not yet learned to be better than the first, so more multiply-adds need not
# help here. The paper trains for hundreds.

# %%
cascade = zoo.DVT("small", lr=5e-4, **same)
cascade.load_state_dict(cascade.adapt(dense.state_dict()))
cascade = train(cascade, 2)
costs = cascade.macs()
batches = zip(data.train_dataloader(), range(12), strict=False)
training = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch, _ in batches])
with torch.inference_mode():
    logits = torch.stack(cascade.exits(training))
budgets = [costs[0] + fraction * (costs[-1] - costs[0]) for fraction in (0.1, 0.3, 0.5, 0.7, 0.9)]
batches = [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]
testing, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
points = []
for budget in budgets:
    eta = early_exit.search_thresholds(logits, costs, budget)
    answers, exits = cascade.early_exit(testing, eta)
    cost = torch.tensor(costs, dtype=torch.float)[exits].mean().item()
    points.append((cost / 1e6, (answers.argmax(1) == labels).float().mean().item()))
fig, ax = plt.subplots(figsize=(6, 3.5))
ax.plot(*zip(*points, strict=True), "o-")
ax.set(xlabel="multiply-adds of a test image, mean (M)", ylabel="test accuracy", title="one network, several budgets")

# %% [markdown]
# See the images that leave first, and those that all three had to look at:

# %%
eta = early_exit.search_thresholds(logits, costs, budgets[2])
answers, exits = cascade.early_exit(testing, eta)
sure = early_exit.confidences(answers)
print("images that leave at each exit:", exits.bincount(minlength=3).tolist(), "of", len(exits))
easy, hard = (testing[exits == i][(sign * sure[exits == i]).argsort()][:8] for i, sign in ((0, -1), (2, 1)))
for name, chosen in (("easy", easy), ("hard", hard)):
    if len(chosen):
        show({name: list(chosen)}, [""] * len(chosen))
