"""Frame of dropout methods: multiply features by a mask, in training only. Methods differ in their masks.

`FeatureDropout` finds the modules, hooks them during a fit, follows the schedule of the rate and draws the steps at
which the method acts. A subclass defines the mask: see `multiplier`.
"""

from functools import partial
from math import prod
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from callbacks.frame.chance import is_drawn
from callbacks.frame.masks import draws, float32
from callbacks.frame.needs import Need, Range
from callbacks.frame.schedule import Rate, rate_now, rate_values
from callbacks.frame.trick import Trick
from callbacks.frame.where import Where, modules_at
from zoo.frame import seeds
from zoo.frame.seeds import global_seed, mix, mix_text

KINDS = {2: "vectors (N, D)", 3: "tokens (N, L, D)", 4: "maps (N, C, H, W)"}
MAPS, ANY = (4,), (2, 3, 4)
COMMON = 0x434F4D  # "COM": separates these draws from others made of (seed, step)
WORD = (1 << 32) - 1


class FeatureDropout(Trick):
    """Abstract. Hooks modules during a fit, and removes its hooks afterwards.

    Works on any LightningModule, compiled and checkpointed.

    Args:
        p: the method's rate, in (0, 1), or a `Schedule` between numbers in [0, 1).
        where: modules whose outputs are dropped: names of stages or paths; "classifier": drop its input; "input": drop
            the images; None: `default_stages`.
        participation: fraction of the optimizer steps at which it acts, in (0, 1], or a `Schedule`. The steps depend on
            (seed, step) alone: all ranks, and `MagnifiedWeightDecay`, act at the same ones.

    Attributes:
        acts_on: numbers of dimensions that features may have, see `KINDS`.
        default_stages: the stages that `where=None` selects.
        draws_once: whether all ranks share the draws of a batch, by `shared_draws`.

    Raises:
        ValueError: for a number out of its range, a name that the model does not have or, at the first step, features
            of a kind that the method does not act on.
        TypeError: without `where`, for a model without stages.
    """

    picture = "features"
    needs: ClassVar[tuple[Need, ...]] = (
        Range("p", 0, 1, off_at_low=True),
        Range("participation", 0, 1, off_at_low=True),
    )
    acts_on: ClassVar[tuple[int, ...]] = MAPS
    default_stages: ClassVar[slice] = slice(None)
    draws_once: ClassVar[bool] = False

    _model: nn.Module | None = None
    _acts, _now = False, 0.0
    _seed: int = 0  # of the run
    _shared: Tensor | None = None  # of the draws of this step that all ranks share
    _place = ""  # name of the module whose features are being dropped
    _from_norm = False  # whether they are the output of a batch norm
    _numbers: dict[str, int] = {}  # by module

    def __init__(self, p: Rate, where: Where = None, participation: Rate = 1.0):
        if max(rate_values(p)) == 1:
            raise ValueError(f"{type(self).__name__}: p must be below 1, where nothing would be left")
        self.p, self.participation = p, participation
        self.where = where if isinstance(where, str | None) else tuple(where)

    # ---- the method

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        """Return what features are multiplied by, of a shape that broadcasts to theirs.

        Runs without gradient or autocast.

        Args:
            x: features (N, D), (N, L, D) or (N, C, H, W), as `acts_on` allows.
            p: the rate at this step.
        """
        raise NotImplementedError

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Return the features after dropout, in training."""
        with torch.no_grad(), float32(x):
            scale = self.multiplier(x.detach(), p)
        return self.multiply(x, scale)

    def multiply(self, x: Tensor, scale: Tensor) -> Tensor:
        """Return x times scale. In place after a batch norm, whose backward pass does not need x: saves one tensor."""
        scale = scale.to(x.dtype)
        return x.mul_(scale) if self._from_norm else x * scale

    def shared_draws(self, x: Tensor, *shape: int) -> Tensor:
        """Draw random numbers shared by all ranks: a function of (seed, step, trick, module).

        Batches whose gradients accumulate to one step share them too. Outside a run, torch's generator draws them.
        """
        if self._shared is None:
            return draws(x, *shape)
        key = self._shared.to(x.device) + self._numbers.get(self._place, 0)
        return seeds.draws(key, prod(shape)).view(shape)

    def factors(self, count: int) -> list[float]:
        """Return a factor of the rate for each of `count` modules."""
        return [1.0] * count

    # ---- modules

    def named_modules(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """Return the modules that get a hook, with their names; none for the input. Raises as the class."""
        return modules_at(self, model, self.where, self.default_stages)

    def register_hook(self, name: str, module: nn.Module, factor: float) -> RemovableHandle:
        """Register the hook on one module."""
        if self.where == "classifier":
            return module.register_forward_pre_hook(partial(self._before, name, factor))
        return module.register_forward_hook(partial(self._after, name, factor))

    def _after(self, name: str, factor: float, module: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> Tensor:
        self._from_norm = type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm)
        return self._at(name, x, factor) if self.is_active(module) else x

    def _before(self, name: str, factor: float, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self._from_norm = False
        return (self._at(name, inputs[0], factor), *inputs[1:]) if self.is_active(module) else inputs

    def is_active(self, module: nn.Module) -> bool:
        """Return whether features of a module are dropped now: not while SWA recomputes batch-norm statistics."""
        alone = self._model is not None and not self._model.training and hasattr(module, "running_mean")
        return module.training and not alone and self._acts

    def _at(self, name: str, x: Tensor, factor: float) -> Tensor:
        ndim = getattr(x, "ndim", None)
        if ndim not in self.acts_on:
            kinds = " or ".join(KINDS[n] for n in self.acts_on)
            given = KINDS.get(ndim or 0, type(x).__name__ if ndim is None else f"{ndim} dimensions")
            raise ValueError(
                f"{type(self).__name__} acts on {kinds}, and {name!r} gives {given}: "
                "choose other modules with where=, or another method"
            )
        self._place = name
        return self.drop(x, self._now * factor)

    # ---- the run

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        self.named_modules(model)
        if stage == "fit":
            self._seed = global_seed()

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.remove_hooks()
        self._model, modules = model, self.named_modules(model)
        factors = self.factors(len(modules))
        mine = mix_text(self.state_key)  # two tricks draw different numbers
        self._numbers = {name: mix(mine, i) & WORD for i, (name, _) in enumerate(modules)}
        self.keep_hooks(*(self.register_hook(*pair, factor) for pair, factor in zip(modules, factors, strict=True)))

    def on_train_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        self._now = float(rate_now(self.p, trainer))
        self._acts = self._now > 0 and is_drawn(self._seed, trainer.global_step, rate_now(self.participation, trainer))
        if self.draws_once and self._acts:
            self._shared = torch.full((), mix(self._seed, trainer.global_step, COMMON) & WORD, device=model.device)
        if self.where == "input" and self._acts:
            batch[0] = self._at("input", batch[0], 1.0)

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._model, self._acts, self._shared, self._place, self._from_norm = None, False, None, "", False

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seed = state["seed"]
