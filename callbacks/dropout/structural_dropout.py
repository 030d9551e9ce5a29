"""Structural dropout: set all features after a random position to zero, so that the first ones carry the most.

Paper:    Structural Dropout for Model Width Compression (Knodt; 2022) https://arxiv.org/abs/2205.06906
Code:     https://github.com/JulianKnodt/structural_dropout at f16c8a7 (the author's); its later versions always cut
Equation: with probability p a width c is drawn uniformly from low, low + step, ... below D, else c = D;
          y_i = x_i D / c for i < c, else 0;  one draw for a batch
Shapes:   vectors (N, D), tokens (N, L, D), or maps (N, C, H, W) by channel -> same
Defaults: p = .5, low = 1, step = 1, where = "classifier": ours
Differs:  zeros instead of shorter tensors, so that every weight has a gradient on every rank. The scale does not keep a
          feature's expectation: the first ones grow. `cut` removes the inputs that the classifier, or another module,
          no longer reads, and the units before it that nothing else reads; the paper cuts between two linear layers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import lightning as L
import torch
from torch import Tensor, nn

from callbacks.frame.feature_dropout import ANY, FeatureDropout
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate
from callbacks.frame.where import Where
from zoo.tools.cut import cut as cut_network


def prefix(u: Tensor, v: Tensor, p: float, width: int, low: int = 1, step: int = 1) -> Tensor:
    """Return what each feature is multiplied by, D / c for the first c and else 0, (width,).

    Args:
        u: a draw in [0, 1), whether to cut.
        v: a draw in [0, 1), where to cut.
        p: probability to cut.
        width: D.
        low: the narrowest width.
        step: between two widths.
    """
    choices = len(range(low, width, step))
    cut = low + step * (v * choices).long().clamp_max(choices - 1)
    c = torch.where(u < p, cut, width) if choices else torch.full_like(u, width)
    return (torch.arange(width, device=u.device) < c) * (width / c)


class StructuralDropout(FeatureDropout):
    """Cut off the features after a random position, before the classifier or in the modules of `where`.

    After training, `curve` has the accuracy of each width, and `cut` gives the network of the width that you choose.

    Args:
        p: probability that there is a cut, in (0, 1), or a `Schedule`.
        low: the narrowest width.
        step: between two widths.
        where: see `FeatureDropout`.
        participation: fraction of the steps at which it acts, see `FeatureDropout`.

    Raises:
        ValueError, TypeError: as `FeatureDropout`; for a width or a step below 1.
    """

    needs = (Range("low", 1), Range("step", 1))
    examples = ({"p": 0.9, "low": 2, "step": 2, "where": ("stage2",), "participation": 0.5},)
    acts_on = ANY
    draws_once = True

    def __init__(
        self, p: Rate = 0.5, low: int = 1, step: int = 1, where: Where = "classifier", participation: Rate = 1.0
    ):
        super().__init__(p, where, participation)
        self.low, self.step = low, step

    def multiplier(self, x: Tensor, p: float) -> Tensor:
        u, v = self.shared_draws(x, 2)
        scale = prefix(u, v, p, _width(x), self.low, self.step)
        return scale if x.ndim < 4 else scale[:, None, None]

    # ---- after training

    @contextmanager
    def at_width(self, model: nn.Module, width: int) -> Iterator[None]:
        """Keep the first `width` features of each module of `where` inside the `with` block; set the others to 0."""

        def first(x: Tensor) -> Tensor:
            d = _width(x)
            scale = (torch.arange(d, device=x.device) < width) * max(d / width, 1)
            return x * (scale if x.ndim < 4 else scale[:, None, None]).to(x.dtype)

        hooks = [
            m.register_forward_pre_hook(lambda _, given: (first(given[0]), *given[1:]))
            if self.where == "classifier"
            else m.register_forward_hook(lambda _, given, x: first(x))
            for _, m in self._modules_to_cut(model)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def curve(self, model: L.LightningModule, data, widths: Iterable[int], **trainer) -> dict[int, float]:
        """Return width -> `val/acc` of the network with that many features in each module. Does not change the model.

        Args:
            model: a `Classifier`.
            data: a dataloader or a data module, as `Trainer.validate` takes it.
            widths: at least 1 each.
            trainer: arguments of the Trainer.
        """
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        run, accuracies = L.Trainer(**quiet | trainer), {}
        for width in widths:
            with self.at_width(model, width):
                accuracies[width] = run.validate(model, data, verbose=False)[0]["val/acc"]
        return accuracies

    def cut(self, model: nn.Module, width: int, image_size: int | None = None) -> nn.Module:
        """Return a smaller copy with the logits that the network has `at_width`. Errors: see `zoo.tools.cut.cut`.

        Args:
            model: not changed.
            width: number of features kept in each module.
            image_size: side of the images in pixels, where the model does not know it.
        """
        paths = {module: name for name, module in model.named_modules()}
        where = [paths[module] for _, module in self._modules_to_cut(model)]
        return cut_network(model, where, width, self.where == "classifier", image_size)

    def _modules_to_cut(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        if self.where == "input":
            raise ValueError("StructuralDropout: images have no width to be cut to; where= must be in the network")
        return self.named_modules(model)


def _width(x: Tensor) -> int:
    return x.shape[-1] if x.ndim == 3 else x.shape[1]
