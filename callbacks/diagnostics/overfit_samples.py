"""Overfitting a few samples: check that a network can memorise eight images.

Paper:    "controlled overfitting" in Practical Recommendations for Gradient-Based Training of Deep Architectures
          (Bengio; 2012) https://arxiv.org/abs/1206.5533; "overfit one batch" in A Recipe for Training Neural Networks
          (Karpathy; 2019) https://karpathy.github.io/2019/04/25/recipe/
Code:     Lightning's `overfit_batches` trains the model itself on a few batches; here a copy is trained
Equation: accuracy of a copy of the network on `samples` images after `steps` steps of Adam on these images; should be 1
Shapes:   images (samples, C, H, W), the first of the first batch; of mixed targets, the largest class counts
Defaults: samples = 8, steps = 100 of Adam, lr = 1e-3, no weight decay: ours
Differs:  no reference
"""

import copy

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from callbacks.frame.diagnostic import Diagnostic
from callbacks.frame.needs import Range
from zoo.frame.fast import decompile
from zoo.frame.outputs import split_outputs


def memorise(network: torch.nn.Module, images: Tensor, targets: Tensor, steps: int, lr: float) -> list[float]:
    """Train a network on these images only.

    Args:
        network: images -> logits; changed in place.
        images: (N, C, H, W).
        targets: (N,) class indices.
        steps: of Adam.
        lr: learning rate.

    Returns:
        The accuracy in each step, in training mode.
    """
    optimizer, hits = torch.optim.Adam(network.parameters(), lr), []
    for _ in range(steps):
        logits, _ = split_outputs(network(images))
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        hits.append((logits.argmax(1) == targets).float().mean())
    return torch.stack(hits).tolist()


class OverfitSamples(Diagnostic):
    """Train a copy of the network on a few images of the first batch, once a fit.

    The network itself and the random numbers of the run do not change. Resumed runs are skipped.

    Args:
        samples: number of images, >= 2.
        steps: steps of Adam, >= 1.
        lr: learning rate of Adam, > 0.

    Raises:
        ValueError: if an argument is out of its range.
    """

    needs = (Range("samples", 2), Range("steps", 1), Range("lr", 0, open_low=True))
    whole_weights = True
    one_label = True
    examples = ({"samples": 3, "steps": 5},)

    def __init__(self, samples: int = 8, steps: int = 100, lr: float = 1e-3):
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
            accuracy = memorise(plain_copy(model), images, targets, self.steps, self.lr)
        self.measured = "accuracy on the samples", accuracy
        self._judge(accuracy, len(images))

    def _judge(self, accuracy: list[float], count: int) -> None:
        if max(accuracy) == 1:
            self.say(True, f"the network memorised {count} images in {accuracy.index(1) + 1} steps")
        else:
            self.say(
                False,
                f"the network could not memorise {count} images in {self.steps} steps (accuracy {accuracy[-1]:.2f}): "
                "check the labels, the path from images to loss, the strength of dropout and the initial weights",
            )


def plain_copy(model: L.LightningModule) -> L.LightningModule:
    """Return a deep copy that can be trained alone: without hooks of other tricks, gradients or compiled code."""
    plain = copy.deepcopy(model)  # parameters without their gradients
    for module in plain.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()
        decompile(module)
    return plain
