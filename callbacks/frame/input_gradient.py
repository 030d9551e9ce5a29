"""Frame of losses on the gradient by the images, which training differentiates a second time."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from callbacks.frame.trick import Trick
from zoo.frame.fast import decompile, is_compiled


def loss_scale(model: L.LightningModule) -> Tensor:
    """Return the loss scale of 16-bit training, which keeps small gradients from rounding to 0; 1 without scaling.

    The result is a scalar tensor: converting it to a number would wait for the device.
    """
    one = torch.ones((), device=model.device)
    scaler = getattr(model.trainer.precision_plugin, "scaler", None)
    return one if scaler is None else scaler.scale(one)


def input_gradient(
    logits: Tensor, targets: Tensor, images: Tensor, scale: Tensor | float = 1.0, create_graph: bool = True
) -> Tensor:
    """Return J = dL/dx. L is the cross-entropy summed over the batch, so that J of an image does not depend on N.

    The cross-entropy of an image is the mean over its pixels where each pixel has a class.

    Args:
        logits: (N, K), or (N, K, H, W), made of `images`, which require gradients.
        targets: (N,) or (N, H, W) classes, or probabilities of the shape of `logits`.
        images: (N, C, H, W).
        scale: see `loss_scale`; J is divided by it.
        create_graph: whether J itself will be differentiated.

    Returns:
        (N, C, H, W).
    """
    losses = F.cross_entropy(logits.float(), targets, reduction="none")  # (N,) or (N, H, W)
    loss = losses.sum() * len(losses) / losses.numel()
    return torch.autograd.grad(loss * scale, images, create_graph=create_graph)[0] / scale


def gradient_distance(J: Tensor, other: Tensor) -> Tensor:
    """Return ||J - J'||_2^2 / 2, mean over the batch: (N, C, H, W), (N, C, H, W) -> scalar."""
    return (J.float() - other.float()).flatten(1).square().sum(1).mean() / 2


class DoubleBackward(Trick):
    """Abstract. Trains with images that require gradients, kernels with second derivatives, and no compiled graph.

    A subclass defines `on_loss` and calls `input_gradient(step.logits, step.targets, step.images, loss_scale(model))`
    there.
    """

    whole_weights = True
    _kernel = None
    _compiled: Mapping[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        if is_compiled(model):
            rank_zero_info(f"{type(self).__name__}: torch.compile has no second derivatives; this fit is not compiled")
            self._compiled = decompile(model)
        self.keep_hooks(model.register_forward_pre_hook(_require_gradients))  # after all tricks that change the images

    def on_train_batch_start(
        self, trainer: L.Trainer, model: L.LightningModule, batch: list[Tensor], batch_idx: int
    ) -> None:
        if not _is_math_alone():  # the one kernel of attention that can be differentiated twice
            self._kernel = sdpa_kernel(SDPBackend.MATH)
            self._kernel.__enter__()

    def on_train_batch_end(self, trainer: L.Trainer, model: L.LightningModule, *_: Any) -> None:
        if self._kernel is not None:
            self._kernel.__exit__(None, None, None)
            self._kernel = None

    def leave(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        super().leave(trainer, model)
        self.on_train_batch_end(trainer, model)
        vars(model).update(self._compiled)
        self._compiled = {}


def _is_math_alone() -> bool:
    """Return whether another trick has switched the kernels already. The second of two would restore the wrong ones."""
    cuda = torch.backends.cuda
    return not (cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled() or cuda.cudnn_sdp_enabled())


def _require_gradients(model: L.LightningModule, inputs: tuple[Any, ...]) -> None:
    images = inputs[0]  # or the batch: under DDP Lightning calls the training step through the module itself
    if isinstance(images, Tensor) and model.training and torch.is_grad_enabled():
        images.requires_grad_()
