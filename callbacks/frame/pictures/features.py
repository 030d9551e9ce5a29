"""Kind "features": feature maps before a dropout, its mask, and the maps after it."""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.photographs import batch, sheet
from callbacks.frame.trick import Trick
from zoo import Classifier
from zoo.frame.figures import Sheet

SIDE, ZOOM, SHOWN, STEPS = 28, 3, 8, 12
DROPPED, KEPT, RAISED = (226, 118, 7), (226, 230, 234), (102, 107, 255)  # colours of masks: at 0, at 1, from 2 on
LEGEND = "In the mask, orange is dropped, pale is kept as it is, blue is scaled up."


class Edges(nn.Module):
    """Edges of eight directions at two scales: (N, 3, H, W) -> (N, 16, H, W), positive. Nothing is learned."""

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.at_scale(x.mean(1, keepdim=True), size) for size in (3, 7)]
        return torch.stack(maps, 2).flatten(1, 2) + 0.02

    def at_scale(self, grey: Tensor, size: int) -> Tensor:
        """Return the edges of one scale, divided by their largest: (N, 1, H, W) -> (N, 8, H, W)."""
        r, angles = torch.arange(size) - size // 2, torch.arange(8)[:, None, None] * torch.pi / 4
        bell = torch.exp(-(r[:, None] ** 2 + r**2) / (size / 2.5) ** 2)
        kernels = (angles.cos() * r + angles.sin() * r[:, None]) * bell
        padded = F.pad(grey, (size // 2,) * 4, mode="replicate")
        y = F.conv2d(padded, kernels[:, None].to(grey)).relu()
        return y / y.amax((2, 3), keepdim=True).clamp_min(1e-6)


class Recorder:
    """Stand in for a trick's `drop`: keep the features before and after it."""

    def __init__(self, trick: Any):
        self.drop = trick.drop
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor, p: float) -> Tensor:
        before = x.detach().clone()
        y: Tensor = self.drop(x, p)
        self.calls.append((before, y.detach().clone()))
        return y


def network() -> Classifier:
    """Return a small network whose stage 1 has the edges of the photographs."""
    parts = OrderedDict[str, nn.Module](edges=Edges(), conv=nn.Conv2d(16, 16, 3, padding=1), relu=nn.ReLU())
    parts |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(16, 3))
    return Classifier(nn.Sequential(parts), num_classes=3, stages={"stage1": "edges", "stage2": "relu"}, lr=0.01)


def draw(trick: Trick, where: str = "stage1") -> Sheet:
    """Draw edges of a photograph under the mask with most contrast of twelve. The trick acts at every step.

    Args:
        trick: a `FeatureDropout`.
        where: module that it acts on in the small network here.
    """
    with apart(3):
        copy = fresh(trick, where=where, participation=1.0)
        copy.drop = recorder = Recorder(copy)
        fit(network(), batch(SIDE), [copy], STEPS)
    before, after = max(recorder.calls, key=lambda call: (call[1] / call[0]).std().item())
    caption = f"Edges of a photograph in eight channels, the mask of {trick!r}, and what is left. {LEGEND}"
    return draw_mask(before[1, ::2], after[1, ::2], caption)


def draw_mask(before: Tensor, after: Tensor, caption: str) -> Sheet:
    """Draw maps (n, H, W) before and after, with their quotient as the mask between."""
    b, a = before.double().numpy(), after.double().numpy()
    top = b.max((1, 2), keepdims=True)
    mask = np.divide(a, b, out=np.ones_like(a), where=b > 0)
    rows = [grey(b / top), [tile(m) for m in to_colours(mask)], grey(a / top)]
    return Sheet(sheet(rows, ["before", "mask", "after"]), caption, exact=True)


def grey(maps: NDArray[np.float64]) -> list[Image.Image]:
    """Return maps (n, H, W) in [0, 1] as tiles, dark on pale: legible on light and dark pages. 1 and more is black."""
    return [tile((248 - 228 * np.clip(m, 0, 1) ** 0.6).round().astype(np.uint8)) for m in maps]


def to_colours(mask: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the colours (..., 3) of factors (...): `DROPPED` at 0, `KEPT` at 1, `RAISED` from 2 on."""
    t = np.clip(mask, 0, 2)[..., None]
    dropped, kept, raised = (np.array(colour) for colour in (DROPPED, KEPT, RAISED))
    colours: NDArray[np.float64] = np.where(t < 1, (1 - t) * dropped + t * kept, (2 - t) * kept + (t - 1) * raised)
    return colours.round().astype(np.uint8)


def tile(pixels: NDArray[np.uint8], zoom: int = ZOOM) -> Image.Image:
    """Return pixels (H, W) or (H, W, 3), each drawn as a square of `zoom` pixels."""
    image = Image.fromarray(pixels).convert("RGB")
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)
