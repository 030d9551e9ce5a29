"""ADCM: weight channels, then pixels, by attention, and drop those with little attention more often.

Paper:    Attention dropout convolutional module, ADCM (Neurocomputing, 2020), known to us from a summary alone: neither
          its authors nor its address were found. The attention is similar to CBAM's (Woo, Park, Lee, Kweon; ECCV
          2018) https://arxiv.org/abs/1807.06521
Code:     none found
Equation: channels: s = sigmoid(F(avg) + F(max) + F(stoch)), poolings over the map, F two linear layers;
          pixels: s = sigmoid(conv3x3(conv1x1(x))), 3 channels between;  each: y = s m x, m = 1 for ceil((1 - p) n) of
          n, drawn in proportion to s without replacement, else 0;  evaluation: m = 1
Shapes:   maps (N, C, H, W) -> same, after a module of the network; m for each example
Defaults: p = .1, hidden layer of C / 16, after the last two stages: ours
Differs:  the order of the two, how masks are drawn from attention, the sum over the poolings, p and the stages are
          ours: the summary has none of them. No scale. Stochastic pooling is that of `StochasticPooling`, over the
          whole map. Attention starts near 1/2 for all, so features start at about a quarter of their size.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.masks import draws
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.shapes import output_shapes
from callbacks.frame.trick import Trick
from callbacks.frame.where import Where, modules_at
from callbacks.network.stochastic_pooling import draw
from zoo.frame.surgery import operate, operation


def mask(s: Tensor, r: Tensor, count: int) -> Tensor:
    """Return 1 for `count` entries of s, drawn in proportion to s without replacement, else 0.

    Args:
        s: attention > 0, (N, n).
        r: uniform draws in [0, 1), (N, n).
        count: number of entries kept in each row.
    """
    drawn = (-r.log() / s).topk(count, dim=1, largest=False).indices
    return torch.zeros_like(s).scatter(1, drawn, 1.0)


class AttentionDropout(nn.Module):
    """Weigh and drop channels, then pixels. Shapes: (N, C, H, W) -> (N, C, H, W).

    Args:
        c: C.
        p: fraction of channels, and of pixels, to be dropped, in (0, 1).
    """

    def __init__(self, c: int, p: float):
        super().__init__()
        self.p = p
        self.squeeze, self.excite = nn.Linear(c, max(1, c // 16)), nn.Linear(max(1, c // 16), c)
        self.reduce, self.spread = nn.Conv2d(c, 3, 1), nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.drop(self.channels(x)).to(x.dtype)[:, :, None, None]
        s = self.spread(self.reduce(x)).sigmoid().flatten(1)
        return x * self.drop(s).to(x.dtype).unflatten(1, x.shape[2:])[:, None]

    def channels(self, x: Tensor) -> Tensor:
        """Return the attention of each channel, (N, C)."""
        flat = x.flatten(2)
        pooled = flat.mean(2), flat.amax(2), self.draw_activation(flat.relu())
        return torch.stack([self.excite(F.relu(self.squeeze(v))) for v in pooled]).sum(0).sigmoid()

    def draw_activation(self, a: Tensor) -> Tensor:
        """Draw one activation per channel (N, C, H W), in proportion to its value >= 0; in evaluation: the mean."""
        if self.training:
            return draw(a, torch.empty_like(a, dtype=torch.float32).exponential_().clamp_min_(1e-30))
        a = a.float()
        return ((a * a).sum(2) / a.sum(2).clamp_min(1e-30)).to(self.squeeze.weight.dtype)

    def drop(self, s: Tensor) -> Tensor:
        """Return the attention (N, n); in training, with some of it set to 0."""
        if not self.training:
            return s
        with torch.no_grad():
            count = math.ceil((1 - self.p) * s.shape[1] - 1e-9)
            m = mask(s.float().clamp_min(1e-12), draws(s, *s.shape), count)
        return s * m.to(s.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class WithADCM(nn.Module):
    """A module whose output goes through its `adcm`."""

    adcm: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.adcm(super().forward(*args, **kwargs))


@functools.cache
def with_adcm(kind: type) -> type:
    """Return a subclass of a module's class whose output goes through `adcm`."""
    return type(f"{kind.__name__}WithADCM", (WithADCM, kind), {})


@operation("ADCM")
def add_attention(network: nn.Module, where: Sequence[tuple[str, int]], p: float) -> None:
    """Add attention after modules, in place, without new names. `where`: path and number of channels of each."""
    for path, channels in where:
        module = network.get_submodule(path)
        weight = next(iter(network.parameters()))
        new = AttentionDropout(channels, p).to(weight.device, weight.dtype).train(module.training)
        if type(module).forward is not nn.Sequential.forward and not isinstance(module, WithADCM):
            kind: type = type(module)
            module.__class__ = with_adcm(kind)  # a plain Sequential runs what is put into it anyway
        module.adcm = new


class ADCM(Trick):
    """Add attention with dropout before training, after the last two stages or the modules of `where`.

    Changes the network. Checkpoints remember it, and `zoo.load` gives the changed network. Its masks act whenever the
    network trains, as those of an `nn.Dropout`.

    Args:
        p: fraction of channels, and of pixels, to be dropped, in (0, 1).
        where: names of stages or paths of modules that give maps; None: the last two stages.
        image_size: side of the images in pixels, where the model does not know it.

    Raises:
        ValueError: for p out of its range, a name that the model does not have, or a second ADCM.
        TypeError: for a module that gives no maps; without `where`, for a model without stages.
    """

    picture = "maps"
    needs = (Claims("add attention with dropout"), Range("p", 0, 1, open_low=True))
    examples = ({"p": 0.3, "where": ("stage2",), "image_size": 8},)
    taxonomy = "architecture"
    default_stages = slice(-2, None)

    def __init__(self, p: float = 0.1, where: Where = None, image_size: int = 224):
        if p == 1 or where in ("input", "classifier"):
            raise ValueError(f"ADCM: needs p < 1 and a module that gives maps, got {p} and {where!r}")
        self.p, self.image_size = p, image_size
        self.where = where if isinstance(where, str | None) else tuple(where)

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        paths = {module: path for path, module in model.named_modules()}
        where = [paths[module] for _, module in modules_at(self, model, self.where, self.default_stages)]
        shapes = output_shapes(model, where, getattr(model, "image_size", None) or self.image_size)
        for path, shape in shapes.items():
            if len(shape) != 4:
                raise TypeError(
                    f"ADCM acts on maps (N, C, H, W), and {path!r} gives {shape}: choose others with where="
                )
        operate(model, "ADCM", where=[[path, shape[1]] for path, shape in shapes.items()], p=self.p)
