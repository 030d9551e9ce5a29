# %% [markdown]
# # Which is better?
#
# Compare tricks so that the answer holds. One run with a trick and one without differ by chance as well. `compare` runs
# all arms with the same seeds, and says which difference is more than chance. It takes half a minute.

# %%
from recipes.frame.notebook import silence

quiet = silence()  # first, since imports warn too

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.utils.capture import capture_output

from callbacks import Dropout, MixUp
from recipes import Recipe, digits_ladder
from recipes.frame.compare import compare
from recipes.frame.compare_statistics import compare_arms

# %% [markdown]
# ## Arms
#
# Name a recipe and its arms. The first arm is the baseline. Each of the others adds tricks to it. Fix the number of
# seeds before you look: to stop as soon as it looks good is to fool oneself.

# %%
SEEDS = 4


def base(seed: int) -> Recipe:
    """Train ResNet-20 for five epochs on handwritten digits."""
    return digits_ladder.recipe("+ cosine", epochs=5, seed=seed)


arms = {"as it is": [], "MixUp": [MixUp(0.2)], "much dropout": [Dropout(0.8)]}
with capture_output():  # each run has much to say
    found = compare(base, arms, seeds=SEEDS, workers=0, record=False, folder=Path("compare"))
found

# %% [markdown]
# Read the table like this.
#
# - **accuracy** is the mean over the seeds, with their standard deviation.
# - **difference** is the mean of the paired differences from the baseline, in points, with its 95 % interval. The
#   interval holds for all arms at once.
# - **better** and **worse** stand where the interval leaves out zero. Everything else is **undecided**.
#
# In the picture each circle is a seed, each bar an interval.

# %% [markdown]
# ## What undecided means
#
# Undecided does not mean that there is no effect. It means that these runs cannot tell: the true difference may be
# anything within the interval, zero among it. The comparison says about how many more seeds would decide it.

# %%
for arm in found.arms[1:]:
    low, high = (100 * (arm.difference.mean + sign * arm.difference.half) for sign in (-1, 1))
    print(f"{arm.name}: from {low:+.1f} to {high:+.1f} points, {arm.verdict}{', ' * bool(arm.advice)}{arm.advice}")

# %% [markdown]
# See how the intervals shrink with the number of seeds. With two seeds nearly everything is undecided. Small effects
# take many seeds. Large ones take few.

# %%
accuracies = np.array([[arm.accuracies[seed] for seed in range(SEEDS)] for arm in found.arms])
fig, axes = plt.subplots(1, len(arms) - 1, figsize=(8, 2.8), layout="constrained")
numbers = range(2, SEEDS + 1)
for i, (ax, arm) in enumerate(zip(axes, found.arms[1:], strict=True)):
    looks = [compare_arms(accuracies[:, :n])[i] for n in numbers]
    means, halves = ([100 * getattr(look, name) for look in looks] for name in ("mean", "half"))
    ax.axhline(0, color="0.5", linewidth=1)
    ax.errorbar(numbers, means, yerr=halves, fmt="o", capsize=4)
    ax.set(title=f"{arm.name}: {arm.verdict} at {SEEDS} seeds", xlabel="seeds", ylabel="points", xticks=numbers)

# %% [markdown]
# ## In a shell
#
# `zoo compare digits_resnet20 --without MixUp --plus "CutMix(1.0)" --seeds 5` compares a recipe with another version of
# itself. Each run has its own process there. A second call does only the missing runs. `--until-decided` looks after
# each seed, with intervals that stay valid under repeated looks.
