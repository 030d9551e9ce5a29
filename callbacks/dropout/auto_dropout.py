"""AutoDropout: search for the shape of what is dropped, among rectangles that are tiled, rotated and sheared.

Paper:    AutoDropout: Learning Dropout Patterns to Regularize Deep Networks (Pham, Le; AAAI 2021)
          https://arxiv.org/abs/2101.01761, section 3 and equation 1
Code:     none by the authors: the folder that they announced does not exist
Equation: y = x m Size(m) / Sum(m) for each example;  m = 0 in repeat x repeat tiles of h x w cells, `stride` cells
          apart, rotated and sheared about their common centre, at a random position; 1 elsewhere
Shapes:   maps (N, C, H, W), tokens (N, L, D): `size` neighbours, `repeat` times -> same
Defaults: policy = Pattern(2, 3, 2), tiles of 2 x 2 cells, 3 apart, twice each way; where = "branches", the ends of
          residual branches, which are batch norms in a ResNet: ours, the paper has no single policy
Differs:  The paper's controller is a Transformer that learns by reinforcement. Here Optuna searches (`propose`,
          `recipes.command.search`), so the paper's results do not apply; the lists of values of `propose` are
          ours. Angles and shears are fixed by the policy, and patterns lie inside the map, or cover it if larger: ours.
          `residual` multiplies the block's output, after its ReLU if any, which equals multiplying branch and shortcut.
          A class token counts as a token. Where nothing is left, all is 0.
"""

from typing import Any

from torch import Tensor, nn

from callbacks.dropout.stochastic_depth import branch_ends
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.masks import draws
from callbacks.frame.pattern import Pattern, offsets, tile_mask
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where
from zoo.frame.figures import Picture

DEFAULT = Pattern()


def scale(mask: Tensor) -> Tensor:
    """Return m Size(m) / Sum(m), of each example (N, ...)."""
    kept = mask.mean(tuple(range(1, mask.ndim)), keepdim=True)  # Sum(m) / Size(m)
    return mask / kept.clamp_min(1 / mask[0].numel())


class AutoDropout(FeatureDropout):
    """Drop patterns at the ends of residual branches, or in the modules of `where`.

    Args:
        policy: a `Pattern`, or one for each module, in the order of the network.
        where: "branches", or see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError: as `FeatureDropout`; for an impossible pattern, another number of patterns than modules, or a
            shortcut that cannot be reached.
        TypeError: for a network without residual branches, where `where` is "branches".
    """

    examples = ({"policy": (Pattern(1, 1), Pattern(1, 1, 1, residual=True)), "participation": 0.5},)
    acts_on = (3, 4)

    def __init__(
        self, policy: Pattern | tuple[Pattern, ...] = DEFAULT, where: Where = "branches", participation: Rate = 1.0
    ):
        super().__init__(0.5, where, participation)  # not used: the pattern decides how much is dropped
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
            raise ValueError(
                f"AutoDropout: {len(self.policy)} patterns for {count} modules: give one each, or one for all"
            )
        return self.policy

    def _pattern_at(self, name: str) -> Pattern:
        if isinstance(self.policy, Pattern):
            return self.policy
        return self.policy[[*self._numbers].index(name) if name in self._numbers else 0]

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
                raise ValueError(f"AutoDropout: there may be more branches after {name!r}: leave out residual=True")
        return [
            (block, model.get_submodule(block)) if pattern.residual else end
            for end, block, pattern in zip(found, blocks, patterns, strict=False)
        ]

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return multiplier(x, self._pattern_at(self._place))

    def draw(self) -> Picture:
        """Draw the first pattern, on the maps of a stage."""
        from callbacks.frame.pictures.features import draw

        return draw(AutoDropout(self._patterns(None)[0]._replace(residual=False), "stage1"))


def multiplier(x: Tensor, pattern: Pattern) -> Tensor:
    """Return what maps (N, C, H, W) or tokens (N, L, D) are multiplied by, of a shape that broadcasts to theirs."""
    tokens = x.ndim == 3
    n, channels = x.shape[0], x.shape[2 if tokens else 1]
    shape = (x.shape[1], 1) if tokens else (x.shape[2], x.shape[3])
    pattern = pattern.on_tokens() if tokens else pattern
    u = draws(x, n, 1 if pattern.shared else channels, 2)
    y = scale(tile_mask(offsets(u, pattern, shape), pattern, shape))
    return y.squeeze(3).transpose(1, 2) if tokens else y


def propose(trial: Any, modules: int = 1, largest: int = 8, shortcuts: bool = False) -> Pattern | tuple[Pattern, ...]:
    """Draw a policy with an Optuna trial.

    Args:
        trial: `optuna.Trial`, or anything with its `suggest_int`, `suggest_float` and `suggest_categorical`.
        modules: how many patterns; 1: one for all modules.
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

    return pattern("") if modules == 1 else tuple(pattern(f"{i}.") for i in range(modules))
