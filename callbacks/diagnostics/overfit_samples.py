"""Overfitting a few samples: a network that cannot learn eight images by heart will not learn eight thousand.

Paper:    "controlled overfitting" in Practical Recommendations for Gradient-Based Training of Deep Architectures
          (Bengio; 2012) https://arxiv.org/abs/1206.5533; "overfit one batch" in A Recipe for Training Neural Networks
          (Karpathy; 2019) https://karpathy.github.io/2019/04/25/recipe/; the first of the notes' checks
Code:     Lightning's `overfit_batches` trains the model itself on them; here a copy does, and the run goes on
Equation: accuracy of the copy on `samples` images after `steps` steps of Adam on them; should be 1
Shapes:   the first images of the first batch; mixed targets count as their largest class
Defaults: 8 samples, the notes' ("7 or 8"); 100 steps of Adam, rate 1e-3, without weight decay: ours
Differs:  nothing to differ from
"""

import copy

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from callbacks.frame.diagnostic import Look
from callbacks.frame.trick import needs_range
from zoo.frame.classifier import split_outputs


def learn_by_heart(network: torch.nn.Module, images: Tensor, targets: Tensor, steps: int, lr: float) -> list[float]:
    """Trains the network on these images alone -> its accuracy in each step, in training mode.

    Args:
        network: changed in place.
        images: (N, C, H, W).
        targets: (N,) class indices.
    """
    optimizer, hits = torch.optim.Adam(network.parameters(), lr), []
    for _ in range(steps):
        logits, _ = split_outputs(network(images))
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        hits.append((logits.argmax(1) == targets).float().mean())
    return torch.stack(hits).tolist()


class OverfitSamples(Look):
    """Trains a copy of the network on a few images of the first batch. The network itself, and the run's draws, stay.

    A copy is made and trained once a fit, which takes `steps` steps of so few images.

    Args:
        samples: number of images, >= 2.
        steps: of Adam, >= 1.
        lr: its rate, > 0.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(self, samples: int = 8, steps: int = 100, lr: float = 1e-3):
        needs_range(self, "samples", samples, 2, float("inf"))
        needs_range(self, "steps", steps, 1, float("inf"))
        needs_range(self, "lr", lr, 0, float("inf"), open_low=True)
        self.samples, self.steps, self.lr = samples, steps, lr

    def on_train_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._due = trainer.global_step == 0  # not resumed

    def on_train_batch_start(self, trainer: L.Trainer, model: L.LightningModule, batch: list, batch_idx: int) -> None:
        if not self._due:
            return
        self._due = False
        images, targets = (x[: self.samples] for x in batch[:2])
        targets = targets.argmax(1) if targets.is_floating_point() else targets
        with isolate_rng(), trainer.precision_plugin.forward_context():
            accuracy = learn_by_heart(plain_copy(model), images, targets, self.steps, self.lr)
        self._judge(accuracy, len(images))

    def _judge(self, accuracy: list[float], count: int) -> None:
        if max(accuracy) == 1:
            self.say(True, f"{count} images were learned by heart in {accuracy.index(1) + 1} steps")
        else:
            self.say(
                False,
                f"{count} images could not be learned by heart in {self.steps} steps (accuracy {accuracy[-1]:.2f}): "
                "look at labels, at the way from images to loss, for dropout that is too strong, or for a bad start",
            )


def plain_copy(model: L.LightningModule) -> L.LightningModule:
    """A deep copy that can be trained alone: no trainer, no hooks of other tricks, not compiled."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()
        module._compiled_call_impl = None
    for p in twin.parameters():
        p.grad = None
    return twin
