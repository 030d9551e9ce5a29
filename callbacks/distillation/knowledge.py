"""Knowledge distillation: learn from the labels and from the softened probabilities of a teacher.

Paper:    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean; 2015) https://arxiv.org/abs/1503.02531
          "hard", and a separate head for distillation: Training data-efficient image transformers (Touvron et al.;
          ICML 2021) https://arxiv.org/abs/2012.12877, section 4
Code:     https://github.com/szagoruyko/attention-transfer (`distillation` in its utils);
          https://github.com/facebookresearch/deit at 7e160fe (`losses.py`)
Equation: L = (1 - a) CE(y, softmax(z)) + a D,   z student, v teacher, u the student's distillation head, or z
          "soft": D = T^2 KL(softmax(v / T) || softmax(u / T));   "hard": D = CE(argmax v, softmax(u))
Shapes:   logits z, u, v (N, K) -> scalar, mean over the batch
Defaults: T = 4, weight = .9 (a), the first code's for CIFAR; kind = "soft". Bag of Tricks has T = 20, its GluonCV
          script a = .5; DeiT has "soft" with T = 3 and a = .1, "hard" with a = .5
Differs:  KL instead of the cross-entropy in the soft term: the same gradient, but 0 if student and teacher agree.
          DeiT's code divides the soft term by N K instead of N; its paper does not.
"""

from typing import ClassVar, Literal, get_args

import lightning as L
import torch.nn.functional as F
from torch import Tensor

from callbacks.frame.needs import Choice, Need, Range
from callbacks.frame.schedule import Cosine, Rate, rate_now
from callbacks.frame.teacher import Normalization, Source, Taught, Teacher
from zoo import Step
from zoo.frame.checks import classes_of

Kind = Literal["soft", "hard"]


def soft_loss(z: Tensor, v: Tensor, T: float) -> Tensor:
    """Return T^2 KL(softmax(v / T) || softmax(z / T)), mean over the batch: z, v (N, K) -> scalar."""
    z, v = z.float(), v.float()
    return F.kl_div(F.log_softmax(z / T, 1), F.log_softmax(v / T, 1), reduction="batchmean", log_target=True) * T**2


def hard_loss(z: Tensor, v: Tensor) -> Tensor:
    """Return CE(argmax v, softmax(z)), mean over the batch: z, v (N, K) -> scalar."""
    return F.cross_entropy(z, v.argmax(1))


class KnowledgeDistillation(Taught):
    """Mix the loss so far, with weight 1 - a, and the distillation term, with weight a.

    A network with a distillation head (`DeiT`: `extras["distilled"]`) learns with that head, others with their logits.

    Args:
        teacher: a trained network (images -> logits), the path of a zoo model's checkpoint, `"hf:USER/REPO"` with one,
            or `"timm:NAME"`. Kept out of checkpoints.
        T: temperature, > 0, or a `Schedule`.
        weight: a, weight of the teacher's term, in (0, 1], or a `Schedule`.
        normalization: (mean, std) of the teacher's training data, if different.
        kind: learn the teacher's probabilities ("soft") or its predicted classes ("hard", which ignores T).
        image_size: side in pixels of the teacher's images, if different.

    Raises:
        ValueError: if an argument is out of its range, or the teacher has other classes.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    meets = (("logits", "softmax(z / T)", "soft: T² KL; hard: cross-entropy", "softmax(v / T)"),)
    needs: ClassVar[tuple[Need, ...]] = (
        Range("T", 0, open_low=True),
        Range("weight", 0, 1, off_at_low=True),
        Choice("kind", get_args(Kind)),
    )
    examples = ({"T": Cosine(4, 1), "weight": 0.5},)
    needs_labels = True

    def __init__(
        self,
        teacher: Source,
        T: Rate = 4.0,
        weight: Rate = 0.9,
        normalization: Normalization | None = None,
        kind: Kind = "soft",
        image_size: int | None = None,
    ):
        self.teacher, self.T, self.weight, self.kind = teacher, T, weight, kind
        self.normalization, self.image_size = normalization, image_size
        self._teacher = Teacher(teacher, normalization, image_size)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._teacher.join(trainer, model, classes_of(model))

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        a, u, v = rate_now(self.weight, model.trainer), step.extras.get("distilled", step.logits), self._answer(step)
        term = hard_loss(u, v) if self.kind == "hard" else soft_loss(u, v, rate_now(self.T, model.trainer))
        step.loss = (1 - a) * step.loss + a * term

    def _answer(self, step: Step) -> Tensor:
        return self._teacher.logits(step)
