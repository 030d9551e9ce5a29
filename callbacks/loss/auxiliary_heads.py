"""Auxiliary heads: train a classifier on inner stages too, so that these stages get a direct gradient.

Paper:    Deeply-Supervised Nets (Lee, Xie, Gallagher, Zhang, Tu; AISTATS 2015) https://arxiv.org/abs/1409.5185
          Going Deeper with Convolutions (Szegedy et al.; CVPR 2015) https://arxiv.org/abs/1409.4842, section 5
Code:     none; torchvision's `googlenet` and `inception_v3` have auxiliary heads built in
Equation: L' = L(z) + w sum_j L(z_j),   z_j = A_j mean(F_j) + b_j,   F_j the features of stage j, mean over positions
Shapes:   F (N, C, H, W) or tokens (N, L, D) -> z_j (N, K)
Defaults: weight = .3 (w), GoogLeNet's; all stages but the last, which the network's own head reads
Differs:  the head is a linear layer on the mean. GoogLeNet's has a convolution and two linear layers; Lee et al. use a
          squared hinge loss. Lee et al. decrease w during training: Linear(0.3, 0).
"""

from collections.abc import Sequence

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.feature_hooks import FeatureHooks
from callbacks.frame.model_needs import stage_names, stages_of
from callbacks.frame.needs import Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.schedule import Linear, Rate, rate_now
from callbacks.frame.trick import Trick, names_of
from zoo import Step
from zoo.frame.checks import classes_of
from zoo.frame.evaluation import evaluating, in_channels
from zoo.frame.outputs import split_outputs
from zoo.frame.run import image_size_of
from zoo.frame.seeds import global_seed, mix

NAME = "auxiliary_heads"


def pool(features: Tensor) -> Tensor:
    """Average over positions: maps (N, C, H, W) -> (N, C), tokens (N, L, D) -> (N, D), vectors (N, D) -> same."""
    if features.ndim == 2:
        return features
    return features.mean((2, 3) if features.ndim == 4 else 1)


class Heads(nn.Module):
    """A linear layer for each stage: a parameter of the model that its state dict does not hold.

    The optimizer trains it, it moves with the model, and it is equal on all ranks. Files and averages of the model do
    not contain it.

    Args:
        widths: name of the stage -> C or D.
        num_classes: K.
    """

    def __init__(self, widths: dict[str, int], num_classes: int):
        super().__init__()
        self.names = tuple(widths)
        generator = torch.Generator().manual_seed(mix(global_seed(), num_classes, *widths.values()))
        for i, width in enumerate(widths.values()):  # numbers, because names of stages may contain dots
            weight = torch.empty(num_classes, width).uniform_(-1, 1, generator=generator) / width**0.5
            self.register_parameter(f"weight{i}", nn.Parameter(weight))
            self.register_parameter(f"bias{i}", nn.Parameter(torch.zeros(num_classes)))

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """Return the logits (N, K) of each stage, from its features."""
        inputs = [pool(features[name]) for name in self.names]
        return [F.linear(x, getattr(self, f"weight{i}"), getattr(self, f"bias{i}")) for i, x in enumerate(inputs)]

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        pass

    def _load_from_state_dict(self, *args) -> None:
        pass


@torch.no_grad()
def widths_of(model: L.LightningModule, names: Sequence[str], image_size: int) -> dict[str, int]:
    """Return C or D of each stage, measured on one black image in evaluation mode."""
    hooks, p = FeatureHooks(stages_of(model), names), next(model.parameters())
    try:
        with evaluating(model):
            shape = (1, in_channels(model), image_size, image_size)
            model.forward(torch.zeros(shape, device=p.device, dtype=p.dtype))
        features = hooks.take()
        return {name: features[name].shape[2 if features[name].ndim == 3 else 1] for name in names}
    finally:
        hooks.remove()


class AuxiliaryHeads(Trick):
    """Train a linear head on each of several stages, and add their losses.

    The heads have the same loss as the network (`LabelSmoothing`, `FocalLoss`, ...). They are in the trick's state, so
    that a run can be resumed exactly. Files, averages and evaluation of the model leave them out. List it after tricks
    that replace the loss.

    Args:
        stages: names of the stages; None: all but the last.
        weight: w, weight of each head's loss, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range, or the model does not have a stage of that name.
        TypeError: if the LightningModule has no stages or no `on_loss`; the message says what to add.
    """

    picture, partner, meets = "diagram", "labels", (("stage 2", "mean, linear head", "w times the loss", "labels"),)
    needs = (Claims("put heads on stages"), Range("weight", 0, off_at_low=True))
    whole_weights = True
    examples = ({"stages": ("stage1", "stage2"), "weight": Linear(0.3, 0)},)
    needs_labels = True
    _heads: Heads | None = None

    def __init__(self, stages: Sequence[str] | None = None, weight: Rate = 0.3):
        self.stages, self.weight = names_of(stages), weight

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        names = stage_names(self, model, self.stages)
        names = names[:-1] if self.stages is None else names
        if not names:
            raise ValueError("AuxiliaryHeads: the model has one stage, which has a head already: name it in `stages`")
        if stage == "fit":
            size = image_size_of(trainer, model) or 32
            self._heads = Heads(widths_of(model, names, size), classes_of(model))
            model.add_module(NAME, self._heads)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        assert self._heads is not None, "made by `prepare`"
        self._feature_hooks = FeatureHooks(stages_of(model), self._heads.names)
        self.keep_hooks(self._feature_hooks, model.register_forward_hook(self._add))

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        self._now = rate_now(self.weight, trainer)

    @torch.compiler.disable  # otherwise torch.compile traces this hook as a graph of its own, which gains nothing
    def _add(self, model: L.LightningModule, inputs: tuple, output: Tensor | tuple) -> tuple | None:
        assert self._heads is not None, "made by `prepare`"
        features = self._feature_hooks.take()
        if not features or not model.training:  # no features: DDP calls the hook again around its training step
            return None
        logits, extras = split_outputs(output)
        heads = [(self._now, z) for z in self._heads(features)]
        return logits, {**extras, "aux": [*extras.get("aux", ()), *heads]}

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        if "aux" not in step.extras:
            raise TypeError(
                f"AuxiliaryHeads: the training_step of {type(model).__name__} must call the model as `self(images)`, "
                "and pass the extras to its Step, as zoo.Classifier does"
            )

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self._heads is None else {name: p.detach() for name, p in self._heads.named_parameters()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if self._heads is not None:
            with torch.no_grad():
                for name, p in self._heads.named_parameters():
                    p.copy_(state[name])

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        model._modules.pop(NAME, None)
