"""Symmetry attention: make the input gradient of a mirrored image the mirrored input gradient. No teacher.

Paper:    Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017) https://arxiv.org/abs/1612.03928,
          section 3.2
Code:     none of the authors'
Equation: L_sym = L + beta / 2 ||J(x) - flip(J(flip(x)))||_2^2,   J(x) = dL(W, x) / dx, flip mirrors left and right
Shapes:   images (N, C, H, W) -> J (N, C, H, W) -> scalar, mean over images
Defaults: beta = 1, ours
Differs:  the square of the norm, as in gradient attention transfer. The flipped images go through the network in a
          second pass, which updates batch norm's averages too. Hooks of other tricks, such as dropout, do not act in
          it. A step takes about four times as long, and is not compiled: torch.compile has no second derivatives.
"""

import lightning as L

from callbacks.frame.input_gradient import DoubleBackward, gradient_distance, input_gradient, loss_scale
from callbacks.frame.needs import Range
from callbacks.frame.schedule import Rate, rate_now
from callbacks.frame.unsaved_parameters import without_hooks
from zoo import Step
from zoo.frame.outputs import split_outputs


class SymmetryAttention(DoubleBackward):
    """Add the distance between the input gradients of an image and of its mirror image to the loss.

    Args:
        beta: weight, > 0, or a `Schedule`.

    Raises:
        ValueError: if the weight is out of its range.
        TypeError: if the LightningModule does not call `on_loss`; the message says what to add.
    """

    picture, partner = "diagram", "on its mirror image"
    meets = (("image", "gradient dL/dx", "squared distance", "mirrored gradient"),)
    needs = (Range("beta", 0, off_at_low=True),)
    one_label = True
    examples = ({"beta": 0.5},)
    taxonomy = "penalty"

    def __init__(self, beta: Rate = 1.0):
        self.beta = beta

    def on_loss(self, model: L.LightningModule, step: Step) -> None:
        scale = loss_scale(model)
        J = input_gradient(step.logits, step.targets, step.images, scale)
        flipped = step.images.detach().flip(3).requires_grad_()
        with without_hooks(model):
            logits, _ = split_outputs(model(flipped))
        mirrored = input_gradient(logits, step.targets, flipped, scale).flip(3)
        step.loss = step.loss + rate_now(self.beta, model.trainer) * gradient_distance(J, mirrored)
