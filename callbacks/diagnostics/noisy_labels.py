"""Noisy labels: how many of the wrong labels has the network learned by heart, and how many does it correct?

Paper:    Early-Learning Regularization Prevents Memorization of Noisy Labels (Liu, Niles-Weed, Razavian,
          Fernandez-Granda; NeurIPS 2020) https://arxiv.org/abs/2007.00151, figure 1
Code:     none used
Equation: over the training images whose label y' is not their class y:
          fitted = mean [argmax_k f(x)_k = y'];   corrected = mean [argmax_k f(x)_k = y]
Shapes:   logits (n, K), labels (n,), classes (n,) -> two numbers in [0, 1]
Defaults: none to choose
Differs:  measured once, at the test, on images that are not augmented
"""

import lightning as L
import torch
from torch import Tensor

from callbacks.frame.diagnostic import Diagnostic
from zoo.frame.evaluation import evaluating
from zoo.frame.log import log_shared
from zoo.frame.outputs import over_views
from zoo.frame.run import datamodule_of

IMAGES = 256  # at a time


def fitted_and_corrected(logits: Tensor, labels: Tensor, classes: Tensor) -> tuple[float, float]:
    """Return both shares of logits (n, K) for wrong labels (n,) of images of `classes` (n,)."""
    guess = logits.argmax(1)
    return (guess == labels).double().mean().item(), (guess == classes).double().mean().item()


class NoisyLabels(Diagnostic):
    """Log `test/wrong_fitted` and `test/wrong_corrected`, shares of the training images with planted wrong labels.

    Needs a data module that planted them (`label_noise`) and was trained on; else it does nothing. Averages of the
    weights are not scored.
    """

    needs_labels = True

    def __init__(self):
        pass

    def on_test_epoch_end(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        data, self.findings = datamodule_of(trainer), ()
        images = getattr(data, "train_set", None)
        if images is None or not data.label_noise:
            return
        labels, classes = (y[data.train_indices] for y in (images.targets, data.clean_targets))
        wrong = (labels != classes).nonzero()[:, 0]
        logits = self._logits(trainer, model, images.without_augmentation(), data.train_indices[wrong])
        fitted, corrected = fitted_and_corrected(logits, labels[wrong], classes[wrong])
        log_shared(model, {"test/wrong_fitted": torch.tensor(fitted), "test/wrong_corrected": torch.tensor(corrected)})
        self.say(True, f"of {len(wrong):,} wrong labels {fitted:.1%} are fitted and {corrected:.1%} corrected")

    @staticmethod
    def _logits(trainer, model, images, indices: Tensor) -> Tensor:
        found = []
        with evaluating(model), torch.no_grad(), trainer.precision_plugin.forward_context():
            for part in indices.split(IMAGES):
                batch = trainer.precision_plugin.convert_input(images.__getitems__(part.tolist()))
                batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                found.append(over_views(model, batch[0]).float().cpu())
        return torch.cat(found)
