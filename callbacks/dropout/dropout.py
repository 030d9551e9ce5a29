"""Dropout: set each feature to zero with probability p.

Paper:    Improving neural networks by preventing co-adaptation of feature detectors (Hinton, Srivastava, Krizhevsky,
          Sutskever, Salakhutdinov; 2012) https://arxiv.org/abs/1207.0580; the 2014 form is section 4 of Dropout: A
          Simple Way to Prevent Neural Networks from Overfitting (JMLR 15),
          https://jmlr.org/papers/v15/srivastava14a.html
Code:     torch `nn.Dropout` is the inverted form
Equation: inverted: y = m x / (1 - p),  evaluation y = x;  2014: y = m x,  evaluation y = (1 - p) x;
          m ~ Bernoulli(1 - p)
Shapes:   any -> same
Defaults: p = .5 (the papers' rate of hidden units), where = "classifier", form = "inverted". On the input the papers
          have .2, `Dropout(0.2, "input")`, and Dropout Regularization for Automatic Segmented Dental Images (ACIIDS
          2021) .3
Differs:  The 2014 papers scale the weights that read y. We scale y while the trick is attached: after the fit, the
          network is the plain one. A model's own `nn.Dropout` layers stay.
"""

from typing import Literal, get_args

import lightning as L
from torch import Tensor, nn

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.masks import draws, scale_by_rate
from callbacks.frame.needs import Choice
from callbacks.frame.schedule import Linear, Rate, rate_values
from callbacks.frame.where import Where

Form = Literal["inverted", "2014"]


def mask(u: Tensor, p: float, form: Form = "inverted") -> Tensor:
    """Return 0 where u < p, else 1 / (1 - p), or 1 in the form of 2014. `u`: uniform draws in [0, 1)."""
    return scale_by_rate(u >= p, p) if form == "inverted" else (u >= p).float()


class Dropout(FeatureDropout):
    """Drop single features, before the classifier or in the modules of `where`.

    Args:
        p: probability to be dropped, in (0, 1), or a `Schedule`.
        where: see `FeatureDropout`.
        form: "inverted", or "2014", which scales in evaluation instead: for study, see Differs; not on the input.
        participation: fraction of the steps at which it acts, see `FeatureDropout`; 1 in the form of 2014.

    Raises:
        ValueError, TypeError: as `FeatureDropout`.
    """

    needs = (Choice("form", get_args(Form)),)
    examples = ({"p": Linear(0, 0.5), "where": ("stage1", "stage2"), "form": "2014"},)
    acts_on = ANY

    def __init__(self, p: Rate = 0.5, where: Where = "classifier", form: Form = "inverted", participation: Rate = 1.0):
        super().__init__(p, where, participation)
        self.form = form
        if form == "2014" and participation != 1:
            raise ValueError(
                "Dropout: the form of 2014 scales evaluation for a mask at every step: leave out participation"
            )
        if form == "2014" and where == "input":
            raise ValueError("Dropout: the form of 2014 scales evaluation, where images stay: take inverted")

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        return mask(draws(x, *x.shape), p, self.form)

    # ---- the form of 2014 in evaluation

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        if self.form == "2014":
            self._now = rate_values(self.p)[0 if stage == "fit" else -1]  # before training, or after it
            if stage != "fit":
                self.on_fit_start(trainer, model)

    def _after(self, name: str, factor: float, module: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        return self._expect(x) if self._expects(module) else super()._after(name, factor, module, inputs, x)

    def _before(self, name: str, factor: float, module: nn.Module, inputs: tuple) -> tuple:
        if self._expects(module):
            return (self._expect(inputs[0]), *inputs[1:])
        return super()._before(name, factor, module, inputs)

    def _expects(self, module: nn.Module) -> bool:
        return self.form == "2014" and not module.training

    def _expect(self, x: Tensor) -> Tensor:
        """Return the expectation of y: (1 - p) x."""
        return x * (1 - self._now)
