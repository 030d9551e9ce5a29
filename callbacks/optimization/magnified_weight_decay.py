"""Magnified weight decay: multiply weight decay by a factor at random optimizer steps.

Paper:    FocusedDropout for Convolutional Neural Network (Xie, Liu, Zhang, Jiang; 2021)
          https://arxiv.org/abs/2103.15425, section 3: larger weight decay at the batches on which dropout acts
Code:     https://github.com/yuranusduke/FocusedDropoutCNN (unofficial)
Equation: lambda_t = factor lambda with probability p, else lambda
Shapes:   none
Defaults: probability = .1, the paper's participation rate; factor = 2, ours: the paper finds 1e-3 best and does not
          name the base, the unofficial code has 5e-4
Differs:  works without FocusedDropout. It counts optimizer steps, not batches: they differ where gradients accumulate.
          The draw is a function of (seed, step), the same on all ranks.
"""

import lightning as L
from torch.optim import Optimizer

from callbacks.frame.chance import is_drawn
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick
from zoo.frame.seeds import global_seed


class MagnifiedWeightDecay(Trick):
    """Multiply weight decay at random optimizer steps, in every parameter group of any LightningModule.

    Args:
        probability: p, that a step has the larger weight decay, in [0, 1], or a `Schedule`.
        factor: what weight decay is multiplied by at these steps, > 0.

    Raises:
        ValueError: for an argument out of its range.
    """

    picture = "rates"
    needs = (Range("probability", 0, 1), Range("factor", 0, open_low=True))
    examples = ({"probability": Linear(0, 0.5), "factor": 3.0},)
    taxonomy = "penalty"
    _seed: int = 0  # of the run
    _magnified: tuple = ()  # (group, its weight decay) of the step that is being made

    def __init__(self, probability: Rate = 0.1, factor: float = 2.0):
        self.probability = probability
        self.factor = factor

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._seed = global_seed()

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.remove_hooks()  # the learning-rate finder starts twice in one fit
        self._restore()
        self.keep_hooks(*(o.register_step_post_hook(lambda *_: self._restore()) for o in trainer.optimizers))

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        self._restore()  # a step that 16-bit scaling skipped never reached its hook
        if is_drawn(self._seed, trainer.global_step, rate_now(self.probability, trainer)):
            self._magnified = tuple((group, group["weight_decay"]) for group in optimizer.param_groups)
            for group, decay in self._magnified:
                group["weight_decay"] = self.factor * decay

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_) -> None:
        self._restore()

    def _restore(self) -> None:
        for group, decay in self._magnified:
            group["weight_decay"] = decay
        self._magnified = ()

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._restore()

    def on_train_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self.remove_hooks()
        self._restore()

    def state_dict(self) -> dict:
        return {"seed": self._seed}

    def load_state_dict(self, state: dict) -> None:
        self._seed = state["seed"]
