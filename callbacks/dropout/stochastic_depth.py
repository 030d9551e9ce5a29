"""Stochastic depth: skip residual branches at random, deeper ones more often.

Paper:    Deep Networks with Stochastic Depth (Huang, Sun, Liu, Sedra, Weinberger; ECCV 2016)
          https://arxiv.org/abs/1603.09382, equations 2 to 4
Code:     timm `DropPath` and torchvision `ops.StochasticDepth` do this for one block
Equation: y = x + b_l F_l(x) / (1 - p_l),  b_l ~ Bernoulli(1 - p_l),  p_l = p l / L at block l of L ("linear"), or p
Shapes:   a branch's output, any -> same
Defaults: p = .5 at the last block, rule = "linear" (the paper's); per = "sample", one draw for each example, as the
          libraries
Differs:  the paper has one draw for a batch, `per="batch"`, and multiplies by 1 - p_l in evaluation. Libraries begin at
          p = 0 for the first block, the paper at p / L. A dropped branch is still computed.
"""

from typing import Literal, get_args

from torch import Tensor, nn

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws, scale_by_rate
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Linear, Rate
from zoo.layers.drop_path import DropPath

Per = Literal["sample", "batch"]
Rule = Literal["linear", "constant"]
SHORTCUTS = ("downsample", "shortcut", "convdim")  # names of shortcuts, which go around the branch
QUIET = ("relu", "act", "drop", "Identity", "Pool")  # in class names of layers that do not end a branch


def branch_ends(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the last layers of residual branches, in order: DropPath where there is one, else a block's last layer."""
    modules = dict(network.named_modules())
    paths = [(n, m) for n, m in modules.items() if "drop_path" in n.rpartition(".")[2] and m is not None]
    if paths:
        return paths
    blocks = {n: m for n, m in modules.items() if any(hasattr(m, name) for name in SHORTCUTS)}
    return [(f"{n}.{end}", m.get_submodule(end)) for n, m in blocks.items() if (end := _end(m))]


def _end(block: nn.Module) -> str | None:
    """Return the name of the last layer of a block's branch; None for a block without a shortcut."""
    if any(getattr(block, name, None) is False for name in SHORTCUTS):
        return None
    names = [n for n, m in block.named_children() if n not in SHORTCUTS and not _is_quiet(m)]
    return names[-1] if names else None


def _is_quiet(layer: nn.Module) -> bool:
    """Return whether a layer has nothing to learn and is an activation, a pool or a dropout."""
    kind = type(layer).__name__
    learns = any(True for _ in layer.parameters())
    return not learns and (isinstance(layer, nn.modules.activation.Module) or any(word in kind for word in QUIET))


class StochasticDepth(FeatureDropout):
    """Drop residual branches of ResNets and models built on them, of networks with DropPath, and of many timm networks.

    Args:
        p: probability at the last block, in (0, 1), or a `Schedule`.
        rule: "linear" in the block's number, or "constant".
        per: "sample" or "batch": one draw for each example, or one for all.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError: as `FeatureDropout`; for a network that drops paths itself.
        TypeError: for a network without residual blocks.
    """

    picture = "parts"
    needs = (Choice("rule", get_args(Rule)), Choice("per", get_args(Per)))
    examples = ({"p": Linear(0, 0.5), "rule": "constant", "per": "batch", "participation": 0.5},)
    taxonomy = "architecture"
    acts_on = ANY
    draws_once = True

    def __init__(self, p: Rate = 0.5, rule: Rule = "linear", per: Per = "sample", participation: Rate = 1.0):
        super().__init__(p, None, participation)
        self.rule = rule
        self.per = per

    def named_modules(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        found = branch_ends(model)
        if not found:
            raise TypeError(f"StochasticDepth: {type(model).__name__} has no residual block that it knows: take it out")
        if any(isinstance(m, DropPath) and m.p > 0 or getattr(m, "drop_prob", 0) for _, m in found):
            raise ValueError(
                f"{type(model).__name__} drops paths itself: give it drop_path=0, or take StochasticDepth out"
            )
        return found

    def factors(self, count: int) -> list[float]:
        return [(i + 1) / count for i in range(count)] if self.rule == "linear" else super().factors(count)

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        u = draws(x, x.shape[0], *[1] * (x.ndim - 1)) if self.per == "sample" else self.shared_draws(x)
        return scale_by_rate(u >= p, p)
