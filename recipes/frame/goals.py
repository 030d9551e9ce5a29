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


SAME = "the same kernels run; why it takes longer is not known"
GOALS = {
    "step": Goal("a step with the six tricks of this page", "a loop written by hand", 1.02),
    "logging": Goal(
        "loss and accuracy of each step, logged",
        "microseconds",
        70,
        "two metrics pass through Lightning's logging; it varies with what else runs on the core",
    ),
    "SpatialDropout": Goal("`SpatialDropout`", "`torch.nn.Dropout2d`", 1.00, SAME),
    "StochasticDepth": Goal("`StochasticDepth`", "timm's `DropPath`", 1.00, SAME),
    "Norm": Goal('a step with `Norm("group")`', "one with batch norm", 1.10),
    "Norm bf16": Goal(
        "the same in bf16, `channels_last`",
        "one with batch norm",
        1.10,
        "torch's group norm is fast on contiguous maps alone, so they are copied twice",
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
        "does not, and is slow, as a batch norm's is, where the two are mixed",
    ),
    "SENet": Goal("a step of SENet-18", "one of CBAM-18", 1.00),
    "SKNet": Goal("a step of SKNet-50 in bf16", "one in float32", 1.00),
}
