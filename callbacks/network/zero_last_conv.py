"""Zero last conv: residual blocks that end in a convolution or linear layer start as the identity.

Paper:    Fixup Initialization: Residual Learning Without Normalization (Zhang, Dauphin, Ma; ICLR 2019)
          https://arxiv.org/abs/1901.09321, section 3, first of its three rules
Code:     https://github.com/hongyi-zhang/Fixup (the authors'): `nn.init.constant_(m.conv2.weight, 0)`
Equation: y = s(x) + F(x),  F = W_L f_{L-1}(...) + b_L,  W_L = 0 and b_L = 0 at the start: F(x) = 0, so that the
          variance of y is that of s(x), where with He's draw it doubles at each block
Shapes:   W_L (C_out, C_in, k, k) or (D_out, D_in), the last layer of each residual branch
Defaults: none to choose
Differs:  The paper has no norms and zeroes the last linear layer of the network too; its second rule (scale the other
          layers of a branch by L^(-1/(2m-2))) and third (learned scalars) are not here. A branch that ends in a norm
          stays as it is: behind a zero convolution a batch norm divides by sqrt(eps), its gradient is 1 / sqrt(eps) =
          316 times too large, and after one step the branch is back at full size. There it is ZeroGamma that helps.
"""

import lightning as L
import torch
from torch import nn

from callbacks._trick import Trick
from callbacks.network._initialise import is_fresh
from zoo._trace import Call, Trace, Value, trace

LAYERS = ("convolution", "addmm", "mm")
# what a branch's output may pass on its way from the last layer to the sum
PASSED = ("view", "_unsafe_view", "permute", "transpose", "clone", "roll", "slice", "mul", "add")


class ZeroLastConv(Trick):
    """Zeroes the last layers in a fresh network. Weights that were loaded or trained are left alone, with a message.

    Works in any order beside a trick that draws the weights.

    Args:
        image_size: side of the images in pixels, where the model does not know it.

    Raises:
        TypeError: for a network without residual branches that end in a convolution or linear layer.
    """

    taxonomy = "optimisation"

    def __init__(self, image_size: int = 224):
        self.image_size = image_size

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit" and is_fresh(self, model):
            self.zero_after_drawing(model)

    def zero_after_drawing(self, model: L.LightningModule) -> None:
        """Zeroes them; a trick that draws the weights calls this after its own work."""
        for path in last_layers(model, getattr(model, "image_size", None) or self.image_size):
            layer = model.get_submodule(path)
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model.fresh = False  # a Classifier knows by itself, other modules do not


@torch.no_grad()
def last_layers(network: nn.Module, image_size: int) -> list[str]:
    """Paths of the layers that end a residual branch, seen in one pass. Raises TypeError where there are none."""
    seen = trace(network, image_size)
    graph = _Graph(seen)
    found = []
    for call in seen.calls:
        terms = [leaf for leaf in call.args[:2] if isinstance(leaf, Value)] if call.name == "add" else []
        if len(terms) == 2 and terms[0].shape == terms[1].shape:
            for branch, shortcut in (terms, terms[::-1]):
                if (name := graph.ends_in(branch)) and graph.leaves_and_joins(branch, shortcut):
                    found.append(name.removesuffix(".weight"))
    if not found:
        raise TypeError(
            f"{type(network).__name__} has no residual branch that ends in a convolution or linear layer: take "
            "ZeroLastConv out (ZeroGamma is for branches that end in a norm)"
        )
    return list(dict.fromkeys(found))


class _Graph:
    """Who made what, in a trace."""

    def __init__(self, seen: Trace):
        self.maker: dict[int, Call] = {out.number: call for call in seen.calls for out in call.outputs}
        self.transposed = {c.outputs[0].number: c.weights()[0] for c in seen.calls if c.name == "t" and c.weights()}

    def ends_in(self, value: Value) -> str | None:
        """The weight of the layer that gave a value, where nothing but reshaping and scaling came after it."""
        call = self.maker.get(value.number)
        if call is None:
            return None
        if call.name in LAYERS:
            names = [*call.weights(), *(self.transposed.get(v.number, "") for v in call.values())]
            return next((name for name in names if name.endswith(".weight")), None)
        inputs = list(call.values())
        return self.ends_in(inputs[0]) if call.name in PASSED and len(inputs) == 1 else None

    def leaves_and_joins(self, branch: Value, shortcut: Value) -> bool:
        """Whether the branch starts at the shortcut, or where it comes from with one layer at most, by more layers."""
        before = self.ancestors(branch)
        further = before - self.ancestors(branch, layers=1)
        return shortcut.number in before or bool(further & self.ancestors(shortcut, layers=1))

    def ancestors(self, value: Value, layers: float = float("inf")) -> set[int]:
        """The values from which one was made, behind as many layers at most."""
        found: set[int] = set()
        waiting = [(value, layers)]
        while waiting:
            now, left = waiting.pop()
            call = self.maker.get(now.number)
            if call is None or (left := left - (call.name in LAYERS)) < 0:
                continue
            new = [v for v in call.values() if v.number not in found and v.number not in self.transposed]
            found |= {v.number for v in new}
            waiting += [(v, left) for v in new]
        return found
