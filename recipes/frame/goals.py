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


GOALS = {
    "step": Goal("a step with the six tricks of the first page", "a loop written by hand", 1.02),
    "logging": Goal("loss and accuracy of each step, logged", "microseconds", 70),
    "SpatialDropout": Goal("`SpatialDropout`", "`torch.nn.Dropout2d`", 1.00),
    "StochasticDepth": Goal("`StochasticDepth`", "timm's `DropPath`", 1.00),
    "Norm": Goal('a step with `Norm("group")`', "one with batch norm", 1.10),
    "Norm bf16": Goal("the same, `channels_last` and bf16", "one with batch norm", 1.10),
    "Activation": Goal('a step with `Activation("silu")`', "one with ReLU", 1.10),
    "Activation bf16": Goal("the same, `channels_last` and bf16", "one with ReLU", 1.10),
    "SENet": Goal("a step of SENet-18", "one of CBAM-18", 1.00),
    "SKNet": Goal("a step of SKNet-50 in bf16", "one in float32", 1.00),
}
