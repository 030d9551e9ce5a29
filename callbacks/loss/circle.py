"""Circle loss: pull features of one class together and push others apart, more strongly the farther off they are.

Paper:    Circle Loss: A Unified Perspective of Pair Similarity Optimization (Sun, Cheng, Zhang, Zhang, Zheng, Wang,
          Wei; CVPR 2020) https://arxiv.org/abs/2002.10857, equations 4 to 6 and 8
Code:     https://github.com/TinyZeaMays/CircleLoss at d002ecd (not the authors'; theirs is not published)
Equation: L = log(1 + sum_j exp(g a_n^j (s_n^j - m)) sum_i exp(-g a_p^i (s_p^i - 1 + m))),
          a_p = [1 + m - s_p]_+, a_n = [s_n + m]_+ without gradient
          s the cosines between an image's features and the K rows of the head ("class") or the features of the other
          images ("pair"); s_p those of the same class, s_n the others
Shapes:   features x (N, D), head W (K, D), targets (N,) or, in "class", y (N, K) -> scalar, mean over images
Defaults: m = .25, gamma = 256 (g; section 4.1, for faces; .4 and 80 for retrieval); weight = .005, ours: about 1 / g,
          so that gradients are as large as those of the cross-entropy; form = "class": ours
Differs:  added to the cross-entropy, which trains the head as evaluation uses it, with biases and without normalised
          rows. Mixed targets mix the losses of their classes. "pair" skips images without another of their class.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from callbacks.frame.head import head_of
from callbacks.frame.loss import Adding
from callbacks.frame.needs import Choice, Range
from callbacks.frame.schedule import Rate, rate_values
from callbacks.frame.targets import probabilities
from zoo import Step
from zoo.frame.figures import Picture

FORMS = ("class", "pair")
NONE = -1e9  # stands for log 0, with a gradient of 0


def exponents(s: Tensor, m: float, g: float) -> tuple[Tensor, Tensor]:
    """Return the exponents of similarities s (any shape) for pairs of the same class, and for pairs of two classes."""
    a_p, a_n = (1 + m - s.detach()).clamp(min=0), (s.detach() + m).clamp(min=0)
    return -g * a_p * (s - 1 + m), g * a_n * (s - m)


def sum_of_others(e: Tensor) -> Tensor:
    """Return log sum_{j != k} exp(e_nj) for each k: (N, K) -> (N, K).

    The sum over all j minus the term of k, except for the largest term: there the difference would lose precision, so
    the sum of the others is computed directly.
    """
    total, top = e.logsumexp(1, keepdim=True), e.argmax(1, keepdim=True)
    rest = e.scatter(1, top, NONE).logsumexp(1, keepdim=True)
    fraction = (e - total).exp().scatter(1, top, 0)
    return (total + torch.log1p(-fraction)).scatter(1, top, rest)


def class_form(s: Tensor, y: Tensor, m: float, g: float) -> Tensor:
    """Return L of the cosines s (N, K) with the classes and probabilities y (N, K), a scalar.

    L = log(1 + sum_j exp(b_j) exp(a)) = softplus(a + log sum_j exp(b_j)), a and b the exponents of the equation.
    """
    alike, unlike = exponents(s, m, g)
    return (y * F.softplus(alike + sum_of_others(unlike))).sum(1).mean()


def pair_form(s: Tensor, targets: Tensor, m: float, g: float) -> Tensor:
    """Return L of the cosines s (N, N) between all images and their classes (N,), a scalar.

    L = softplus(log sum_i exp(a_i) + log sum_j exp(b_j)), a and b the exponents of the equation.
    """
    same = targets[:, None] == targets
    others = ~torch.eye(len(s), dtype=torch.bool, device=s.device)
    alike, unlike = exponents(s, m, g)
    alike = torch.where(same & others, alike, NONE).logsumexp(1)
    unlike = torch.where(same, NONE, unlike).logsumexp(1)
    counted = (same & others).any(1)
    return (F.softplus(alike + unlike) * counted).sum() / counted.sum().clamp(min=1)


class CircleLoss(Adding):
    """Add the circle loss of the features that enter the network's last linear layer.

    Args:
        weight: weight of the term, > 0, or a `Schedule`.
        m: margin, in (0, 1].
        gamma: g, scale of the cosines, > 0.
        form: compare each image with the classes ("class") or with the other images of the batch ("pair").

    Raises:
        ValueError: if an argument is out of its range; with "pair", at the first batch of mixed targets.
        TypeError: if the LightningModule does not call `on_loss`, or does not end in a linear layer.
    """

    needs = (Range("m", 0, 1, open_low=True), Range("gamma", 0, open_low=True), Choice("form", FORMS))
    one_label = True
    examples = ({"weight": 0.01, "m": 0.4, "gamma": 80.0, "form": "pair"},)
    _head: nn.Linear | None = None
    _seen: dict[str, Tensor]

    def __init__(self, weight: Rate = 0.005, m: float = 0.25, gamma: float = 256.0, form: str = "class"):
        self.weight = weight
        self.m, self.gamma = m, gamma
        self.form = form

    def prepare(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        super().prepare(trainer, model, stage)
        head_of(self, model)

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._head, self._seen = head_of(self, model), {}
        self.keep_hooks(self._head.register_forward_pre_hook(self._catch))

    def _catch(self, head: nn.Linear, inputs: tuple[Tensor]) -> None:
        if inputs[0].ndim == 2:  # some networks also apply the head to each token, (N, L, D)
            self._seen["features"] = inputs[0]

    def term(self, model: L.LightningModule, step: Step) -> Tensor:
        assert self._head is not None, "found in `on_fit_start`"
        with torch.autocast(model.device.type, enabled=False):
            x = F.normalize(self._seen.pop("features").float())
            if self.form == "class":
                s = x @ F.normalize(self._head.weight.float()).T
                return class_form(s, probabilities(step.targets, s.shape[1]), self.m, self.gamma)
            if step.targets.is_floating_point():
                raise ValueError('CircleLoss: form="pair" needs class indices, but targets are mixed: use "class"')
            return pair_form(x @ x.T, step.targets, self.m, self.gamma)

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        self._head = None

    def draw(self) -> Picture:
        """Draw the term over the cosine with the own class, for three cosines with another class."""
        from callbacks.frame.pictures.curves import panels

        own, factor, y = torch.linspace(-1, 1, 81), max(rate_values(self.weight)), torch.tensor([[1.0, 0.0]])
        lines = {}
        for other in (-0.5, 0.0, 0.5):
            s = torch.stack([own, torch.full_like(own, other)], 1)
            terms = [factor * class_form(row[None], y, self.m, self.gamma).item() for row in s]
            lines[f"other class {other:g}"] = (own.tolist(), terms)
        return panels({"term of the loss": lines}, "cosine with the own class", f"What {self!r} adds to the loss.")
