"""Goals of speed: what figures of benchmarks/ should be, and why one that misses its goal does."""

from typing import NamedTuple


class Goal(NamedTuple):
    """One row.

    Attributes:
        what: ours, in words.
        by: what it is measured by, or the unit.
        goal: largest figure that meets it; with `least`, the smallest.
        why: what a profiler shows where the goal is missed.
        least: whether more is better.
        source: the benchmark whose last run has the figure.
        metric: its name there; "": the row's.
    """

    what: str
    by: str
    goal: float
    why: str = ""
    least: bool = False
    source: str = "goals"
    metric: str = ""

    def is_met(self, figure: float) -> bool:
        return figure >= self.goal if self.least else figure <= self.goal


MASK = "the mask takes some calls from Python more; on the maps the same kernels run"
SILU = "SiLU takes an exponential forward and backward and keeps its input; ReLU is done in place"
FUSED = "the fused networks run the same operations, and take as long; our unfused one is the faster"
GOALS = {
    "step": Goal("a step with the six tricks of this page", "a loop written by hand", 1.02),
    "speed run": Goal("a step of the 94 % run", "the authors' loop", 1.03, source="speedrun_step", metric="ratio"),
    "logging": Goal(
        "loss and accuracy of each step, logged",
        "microseconds",
        70,
        "two metrics pass through Lightning's logging; it varies with what else runs on the core",
    ),
    "SpatialDropout": Goal("`SpatialDropout` on maps of 8 MB", "`torch.nn.Dropout2d`", 1.00, MASK),
    "SpatialDropout, 26 MB": Goal("`SpatialDropout` on maps of 26 MB", "`torch.nn.Dropout2d`", 1.00, MASK),
    "StochasticDepth": Goal("`StochasticDepth` on maps of 8 MB", "timm's `DropPath`", 1.00, MASK),
    "StochasticDepth, 26 MB": Goal("`StochasticDepth` on maps of 26 MB", "timm's `DropPath`", 1.00, MASK),
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
        SILU,
    ),
    "Activation bf16": Goal(
        "the same in bf16, `channels_last`",
        "one with ReLU",
        1.10,
        SILU,
    ),
    "SENet": Goal("a step of SENet-18", "one of CBAM-18", 1.00),
    "SKNet": Goal("a step of SKNet-50 in bf16", "one in float32", 1.00),
    "RepVGG, 1 image": Goal("what fusing RepVGG-A0 gains, 1 image", "timm's", 1.00, FUSED, least=True),
    "RepVGG, 8 images": Goal("what fusing RepVGG-A0 gains, 8 images", "timm's", 1.00, FUSED, least=True),
    "RepVGG, 32 images": Goal("what fusing RepVGG-A0 gains, 32 images", "timm's", 1.00, FUSED, least=True),
    "Tiny-ImageNet": Goal(
        "images a second of Tiny-ImageNet, held in memory",
        "torchvision's from files, in two workers",
        20,
        "the gather of the crops and the writing of floats take most of it, bound by memory; theirs has two cores",
        least=True,
        source="loader_tiny",
        metric="ratio to files",
    ),
    "JPEG": Goal(
        "images a second of ImageNet's files, cropped and resized",
        "decoding them alone",
        0.85,
        "the resize with antialiasing is a third of what is not decoding; small calls, such as draws, are the rest",
        least=True,
        source="loader_jpeg",
        metric="bytes / decoding",
    ),
    "levels": Goal(
        "their pixels, of 255 levels",
        "levels from PIL",
        1,
        "torch's resize has weights of 16 bits and two passes, each of which may round; few pixels differ by two",
        source="loader_jpeg",
        metric="levels from PIL",
    ),
    "workers": Goal(
        "a batch from two workers that wait for their files",
        "one from one worker",
        0.55,
        source="saturation",
        metric="two workers / one",
    ),
}
