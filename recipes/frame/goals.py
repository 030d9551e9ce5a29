"""Goals of speed: what a figure of benchmarks/goals.py may be at most, and why one that misses it does."""

from typing import NamedTuple


class Goal(NamedTuple):
    """One row.

    Attributes:
        what: ours, in words.
        by: what it is measured by, or the unit.
        most: largest figure that meets the goal.
        why: what a profiler shows where the goal is missed.
    """

    what: str
    by: str
    most: float
    why: str = ""


SAME = "the same kernels; {} in three runs, with what else ran on the core"
GOALS = {
    "step": Goal("a step with the six tricks of this page", "a loop written by hand", 1.02),
    "logging": Goal(
        "loss and accuracy of each step, logged",
        "microseconds",
        70,
        "54 to 110 in three runs of the same code, with what else ran on the core; earlier ones gave 66 and 73",
    ),
    "SpatialDropout": Goal("`SpatialDropout`", "`torch.nn.Dropout2d`", 1.00, SAME.format("0.98 to 1.05")),
    "StochasticDepth": Goal("`StochasticDepth`", "timm's `DropPath`", 1.00, SAME.format("1.01 to 1.09")),
    "Norm": Goal('a step with `Norm("group")`', "one with batch norm", 1.10),
    "Norm bf16": Goal(
        "the same in bf16, `channels_last`",
        "one with batch norm",
        1.10,
        "torch's group norm is fast on contiguous maps alone, so they are copied twice (without: 2.8)",
    ),
    "Activation": Goal(
        'a step with `Activation("silu")`',
        "one with ReLU",
        1.10,
        "SiLU takes an exponential forward and backward and keeps its input; ReLU is done in place",
    ),
    "Activation bf16": Goal(
        "the same in bf16, `channels_last`",
        "one with ReLU",
        1.10,
        "the pool and the shortcuts give contiguous gradients; ReLU's backward pass makes them `channels_last`, SiLU's "
        "does not, and takes 5 times as long, a batch norm's 3 times, where the two are mixed",
    ),
    "SENet": Goal("a step of SENet-18", "one of CBAM-18", 1.00),
    "SKNet": Goal("a step of SKNet-50 in bf16", "one in float32", 1.00),
}
