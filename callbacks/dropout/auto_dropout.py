"""AutoDropout: the shape of what is dropped is itself searched for, among rectangles that repeat, turned and sheared.

Paper:    AutoDropout: Learning Dropout Patterns to Regularize Deep Networks (Pham, Le; AAAI 2021)
          https://arxiv.org/abs/2101.01761, section 3 and equation 1
Code:     none by the authors: the folder that they announce is not there
Equation: y = x m Size(m) / Sum(m) for each example;  m = 0 in repeat x repeat tiles of h x w cells, `stride` cells
          apart, turned and sheared about their common centre, at a random place; 1 elsewhere
Shapes:   maps (N, C, H, W), tokens (N, L, D): `size` neighbours, `repeat` times -> same
Defaults: 2 tiles of 2 x 2, 3 apart, at every residual branch's end, which is a batch norm in a ResNet: ours. The paper
          has no single policy
Differs:  The paper's controller is a Transformer that learns by reinforcement; here Optuna searches (`propose`,
          `recipes.command.search`), and no result of the paper stands for that. Its lists of values were not
          found: those of `propose` are ours. Angles and shears are the policy's; whether the paper draws them up to
          those is not known to us, nor where its patterns may lie: here inside the map, or over all of it where they
          are larger. `residual` multiplies the block's output, behind ReLU or not the same as branch and shortcut both.
          A class token counts as a token. Where nothing is left, all is 0.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from callbacks.dropout.stochastic_depth import branch_ends
from callbacks.frame.feature_dropout import FeatureDropout, Where, draws, float32
from callbacks.frame.schedule import Rate

Sides = int | tuple[int, int]


class Pattern(NamedTuple):
    """Tiles of features that are dropped. On tokens, lengths are the first of two, and nothing is turned or sheared.

    Attributes:
        size: height and width of a tile in cells, or one number for both, >= 0; 0: nothing is dropped.
        stride: cells between two tiles below and beside each other, >= 0.
        repeat: how many tiles below and beside each other, >= 1.
        rotate: degrees, clockwise.
        shear_x, shear_y: cells that a row (column) is moved by for each row (column) from the centre.
        shared: one place for all channels of an example, or one for each.
        residual: the shortcut is dropped as its branch is.
    """

    size: Sides = 2
    stride: Sides = 3
    repeat: Sides = 2
    rotate: float = 0.0
    shear_x: float = 0.0
    shear_y: float = 0.0
    shared: bool = True
    residual: bool = False

    def sides(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Size, stride and repeat, each down and across."""
        return tuple((v, v) if isinstance(v, int) else tuple(v) for v in self[:3])

    def extent(self) -> tuple[int, int]:
        """Height and width of all tiles together, before they are turned."""
        return tuple(r * (s + gap) - gap for s, gap, r in zip(*self.sides(), strict=True))

    def on_tokens(self) -> "Pattern":
        """Along a map of L x 1."""
        size, stride, repeat = (v[0] for v in self.sides())
        return Pattern((size, min(size, 1)), (stride, 0), (repeat, 1), shared=self.shared)


DEFAULT = Pattern()


def offsets(u: Tensor, pattern: Pattern, shape: tuple[int, int]) -> Tensor:
    """Where the first tile begins, down and across, so that all are in the map, or the map in them.

    u: (..., 2), draws in [0, 1).
    """

    def begin(u: Tensor, room: int) -> Tensor:
        return (u * (abs(room) + 1)).long().clamp_max(abs(room)) + min(room, 0)

    rooms = (side - extent for side, extent in zip(shape, pattern.extent(), strict=True))
    return torch.stack([begin(*pair) for pair in zip(u.unbind(-1), rooms, strict=True)], -1)


def kept(offset: Tensor, pattern: Pattern, shape: tuple[int, int]) -> Tensor:
    """The mask m: offsets (..., 2) -> (..., H, W), 0 in the tiles and 1 elsewhere. Each cell is asked for its tile."""
    (size, stride, _), extent = pattern.sides(), pattern.extent()
    if 0 in size:
        return torch.ones(*offset.shape[:-1], *shape, device=offset.device)
    cells = (torch.arange(n, device=offset.device) + 0.5 for n in shape)
    y, x = (c - o[..., None] - e / 2 for c, o, e in zip(cells, offset.unbind(-1), extent, strict=True))
    y, x = y[..., :, None], x[..., None, :]  # from the common centre
    if pattern.rotate or pattern.shear_x or pattern.shear_y:  # else rows and columns are told apart by themselves
        y, x = upright(y, x, pattern)
    rows, columns = (inside(*axis) for axis in zip((y, x), size, stride, extent, strict=True))
    return (~(rows & columns)).float()


def upright(y: Tensor, x: Tensor, pattern: Pattern) -> tuple[Tensor, Tensor]:
    """Where cells at these distances from the centre were before the pattern was sheared and turned."""
    cos, sin = math.cos(math.radians(pattern.rotate)), math.sin(math.radians(pattern.rotate))
    x, y = cos * x + sin * y, cos * y - sin * x
    det = 1 - pattern.shear_x * pattern.shear_y
    return (y - pattern.shear_y * x) / det, (x - pattern.shear_x * y) / det


def inside(along: Tensor, size: int, stride: int, extent: int) -> Tensor:
    """Whether distances from the centre, along one side, are in one of the tiles."""
    cell = (along + extent / 2).floor()
    return (cell >= 0) & (cell < extent) & (cell.remainder(size + stride) < size)


def scaled(mask: Tensor) -> Tensor:
    """m Size(m) / Sum(m), of each example (N, ...)."""
    share = mask.mean(tuple(range(1, mask.ndim)), keepdim=True)
    return mask / share.clamp_min(1 / mask[0].numel())


class AutoDropout(FeatureDropout):
    """Drops patterns at the ends of residual branches, or where you say.

    Args:
        policy: a `Pattern`, or one for each place, in the order of the network.
        where: "branches", or see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError: as `FeatureDropout`; for a pattern that cannot be, another number of patterns than places, or a
            shortcut that cannot be reached.
        TypeError: for a network without residual branches, where `where` does not say more.
    """

    acts_on = (3, 4)

    def __init__(
        self, policy: Pattern | tuple[Pattern, ...] = DEFAULT, where: Where = "branches", participation: Rate = 1.0
    ):
        super().__init__(0.5, where, participation)  # how much is dropped is the pattern's
        self.policy = policy if isinstance(policy, Pattern) else tuple(policy)
        for pattern in self._patterns(None):
            size, stride, repeat = pattern.sides()
            if min(*size, *stride) < 0 or min(repeat) < 1 or pattern.shear_x * pattern.shear_y == 1:
                raise ValueError(f"AutoDropout: needs size, stride >= 0, repeat >= 1, shear_x shear_y != 1: {pattern}")
            if pattern.residual and where != "branches":
                raise ValueError("AutoDropout: residual is for where='branches'; name the blocks themselves instead")

    def _patterns(self, count: int | None) -> tuple[Pattern, ...]:
        if isinstance(self.policy, Pattern):
            return (self.policy,) * (count or 1)
        if count not in (None, len(self.policy)):
            raise ValueError(f"AutoDropout: {len(self.policy)} patterns for {count} places: one each, or one for all")
        return self.policy

    def named_modules(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        found = branch_ends(model) if self.where == "branches" else super().named_modules(model)
        if not found and self.where == "branches":
            raise TypeError(
                f"AutoDropout: {type(model).__name__} has no residual block that it knows: name modules, "
                "where=('path.of.module', ...)"
            )
        patterns = self._patterns(len(found) or 1)
        blocks = [name.rpartition(".")[0] for name, _ in found]
        for (name, _), pattern in zip(found, patterns, strict=False):
            if pattern.residual and "drop_path" in name:
                raise ValueError(f"AutoDropout: behind {name!r} there may be more branches: leave out residual=True")
        return [
            (block, model.get_submodule(block)) if pattern.residual else place
            for place, block, pattern in zip(found, blocks, patterns, strict=False)
        ]

    def factors(self, count: int) -> list[Pattern]:
        return [*self._patterns(count)] if count else []

    def _at(self, name: str, x: Tensor, factor: Pattern | float) -> Tensor:
        if getattr(x, "ndim", None) not in self.acts_on:
            return super()._at(name, x, 1.0)  # which says so
        return self._masked(x, factor if isinstance(factor, Pattern) else self._patterns(None)[0])

    def drop(self, x: Tensor, p: float) -> Tensor:
        return self._masked(x, self._patterns(None)[0])

    def _masked(self, x: Tensor, pattern: Pattern) -> Tensor:
        with torch.no_grad(), float32(x):
            scale = multiplier(x, pattern)
        return self.multiply(x, scale)


def multiplier(x: Tensor, pattern: Pattern) -> Tensor:
    """What maps or tokens are multiplied by."""
    tokens = x.ndim == 3
    n, channels = x.shape[0], x.shape[2 if tokens else 1]
    shape = (x.shape[1], 1) if tokens else tuple(x.shape[2:])
    pattern = pattern.on_tokens() if tokens else pattern
    u = draws(x, n, 1 if pattern.shared else channels, 2)
    scale = scaled(kept(offsets(u, pattern, shape), pattern, shape))
    return scale.squeeze(3).transpose(1, 2) if tokens else scale


def propose(trial: Any, places: int = 1, largest: int = 8, shortcuts: bool = False) -> Pattern | tuple[Pattern, ...]:
    """A policy, drawn by an Optuna trial.

    Args:
        trial: `optuna.Trial`, or anything with its `suggest_int`, `suggest_float` and `suggest_categorical`.
        places: how many patterns; 1: one for all places.
        largest: of sizes and strides, in cells.
        shortcuts: whether they may be dropped too, see `Pattern.residual`.
    """

    def pattern(at: str) -> Pattern:
        numbers = [
            trial.suggest_int(f"{at}{name}", low, high)
            for name, low, high in (("size", 0, largest), ("stride", 0, largest), ("repeat", 1, 4))
        ]
        steps = (("rotate", 45.0, 15.0), ("shear_x", 0.5, 0.25), ("shear_y", 0.5, 0.25))
        angles = [trial.suggest_float(f"{at}{name}", 0.0, high, step=step) for name, high, step in steps]
        flags = [
            trial.suggest_categorical(f"{at}{name}", [False, True]) for name in ("shared", "residual")[: 1 + shortcuts]
        ]
        return Pattern(*numbers, *angles, *flags)

    return pattern("") if places == 1 else tuple(pattern(f"{i}.") for i in range(places))
