"""Gradual unfreezing: train the head of a pretrained network first, then one more stage every epoch.

Paper:    Universal Language Model Fine-tuning for Text Classification (Howard, Ruder; ACL 2018)
          https://arxiv.org/abs/1801.06146, sections 3.2 (discriminative rates) and 3.3 (gradual unfreezing)
Code:     fastai `freeze_to`; Lightning `BackboneFinetuning`, which freezes again after a resume
Equation: at step t the last 1 + floor(t / k) parts learn, part l at the rate eta_l = eta_L / r^(L - l)
Shapes:   parts: what comes after the last stage (the head), then the stages from last to first, the stem with the first
Defaults: every = 1 epoch and ratio = 2.6 (r), the paper's
Differs:  a part is a stage, where the paper's is a layer of an LSTM. Batch norms of frozen parts keep their statistics.
"""

from collections.abc import Sequence

import lightning as L
from torch import nn
from torch.optim import Optimizer

from callbacks.frame.depth import parts
from callbacks.frame.groups import regroup
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Time, in_steps, parse_time
from callbacks.frame.trick import Trick
from callbacks.optimization.layer_decay import split


def count_learning(step: int, starts: list[int]) -> int:
    """Return how many parts learn at an optimizer step. `starts`: the step at which each part after the head starts."""
    return 1 + sum(start <= step for start in starts)


class GradualUnfreezing(Trick):
    """Freeze all but the head of any LightningModule, then unfreeze one stage at a time. A resume continues.

    The optimizer step alone decides what is frozen. The optimizer holds every parameter from the start; a frozen one
    has no gradient, and is neither moved nor decayed. In one process its gradient is not computed either. Under DDP,
    which needs all gradients, it is dropped before the step.

    Args:
        every: k, time between two unfreezings: epochs, or "0.1dur", "500st".
        ratio: r, learning rate of a part divided by that of the part before it, >= 1; 1: all the same.

    Raises:
        ValueError: if `every` is not a time or shorter than a step, for a ratio below 1, or with LayerDecay.
    """

    picture = "rates"
    needs = (Claims("scale the learning rate by depth"), Range("ratio", 1))
    examples = ({"every": "2st", "ratio": 10},)
    _frozen: Sequence[nn.Parameter] = ()
    _held: Sequence[nn.Module] = ()
    _learning: int | None = None  # how many parts learn now

    def __init__(self, every: Time = 1, ratio: float = 2.6):
        parse_time(every)
        self.every = every
        self.ratio = ratio

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        names, scale = dict(model.named_parameters()), dict[nn.Parameter, float]()
        for distance, part in enumerate(reversed(parts(model))):
            scale |= {names[name]: self.ratio**-distance for name in part}
        regroup(trainer, lambda group: split(group, scale))

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._release()  # the learning-rate finder starts twice in one fit
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        last_first = [[name for name in part if name in trained] for part in reversed(parts(model))]
        self._parts = [[trained[name] for name in part] for part in last_first]
        self._norms = [_batch_norms(model, part) for part in last_first]
        self._starts, self._learning = self._times(len(self._parts) - 1, trainer), None

    def _times(self, number: int, trainer: L.Trainer) -> list[int]:
        time, unit = parse_time(self.every)
        starts = [in_steps(f"{time * i:f}{unit}", trainer) for i in range(1, number + 1)]
        if starts and starts[0] < 1:
            raise ValueError(f"GradualUnfreezing: every={self.every!r} is less than one optimizer step: make it longer")
        return starts

    def on_train_epoch_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        for norm in self._held:  # a module's own hooks may have called `train`
            norm.eval()

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._follow(trainer)

    def _follow(self, trainer: L.Trainer) -> None:
        n = count_learning(trainer.global_step, self._starts)
        if n == self._learning:
            return
        self._learning = n
        self._release()
        self._frozen = [p for part in self._parts[n:] for p in part]
        for p in self._frozen:
            p.requires_grad_(trainer.world_size > 1)
            p.grad = None
        self._held = [norm for part in self._norms[n:] for norm in part if norm.training]
        for norm in self._held:
            norm.eval()

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        if trainer.world_size > 1:
            for p in self._frozen:
                p.grad = None

    def _release(self) -> None:
        for p in self._frozen:
            p.requires_grad_(True)
        for norm in self._held:
            norm.train()
        self._frozen, self._held = (), ()

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._release()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._release()


def _batch_norms(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """Return the modules that own one of these parameters and keep running statistics."""
    owners = dict.fromkeys(model.get_submodule(name.rpartition(".")[0]) for name in names)
    return [module for module in owners if getattr(module, "running_mean", None) is not None]
