"""The network of the 94 % record on CIFAR-10, its whitened first layer and its six test views.

Paper:    94% on CIFAR-10 in 3.29 Seconds on a Single GPU (Jordan; 2024) https://arxiv.org/abs/2404.00498, sections 3.1
          to 3.5; numbers of the later program with Muon
Code:     https://github.com/KellerJordan/cifar10-airbench (the author's, `airbench94_muon.py` at f1c599c)
Block:    conv 3x3 (c_in -> c), max-pool 2, BN, GELU, conv 3x3 (c -> c), BN, GELU;  BN has a bias and no scale
Shapes:   (N, 3, 32, 32) -whiten, 2x2-> (N, 24, 31, 31) -3 blocks-> (N, 64, 15, 15), (N, 256, 7, 7), (N, 256, 3, 3)
          -max-pool 3-> (N, 256) -> (N, K)
Defaults: see `CifarNet`, `WhitenedPatches`, `SixViews`
Differs:  Nothing but precision: the author's network is float16 with batch norms in float32; here the Trainer's
          `precision` says
"""

from collections import OrderedDict

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from callbacks import TestTimeAugmentation
from callbacks.frame.groups import Group, regroup
from callbacks.frame.schedule import in_steps
from callbacks.network.test_time_augmentation import views_of
from datamodules import ImageData
from zoo.frame.outputs import split_outputs
from zoo.frame.run import datamodule_of

WIDTHS = (64, 256, 256)  # of the three blocks
KERNEL, COLOURS = 2, 3  # of the first layer
PATCH = COLOURS * KERNEL**2  # numbers in a patch


class BatchNorm(nn.BatchNorm2d):
    """Batch norm with a bias alone, whose running average keeps .6 of the old value."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-12, momentum=1 - 0.6)
        self.weight.requires_grad_(False)


class Conv(nn.Conv2d):
    """3x3 convolution whose first filters pass its input on. Shapes: (N, c_in, H, W) -> (N, c, H, W)."""

    def __init__(self, c_in: int, c: int):
        super().__init__(c_in, c, kernel_size=3, padding=1, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weight as torch does, then set the first c_in filters to the identity."""
        super().reset_parameters()
        nn.init.dirac_(self.weight.data[: self.in_channels])


def block(c_in: int, c: int) -> nn.Sequential:
    """Build a block. Shapes: (N, c_in, H, W) -> (N, c, H/2, W/2)."""
    first = {"conv1": Conv(c_in, c), "pool": nn.MaxPool2d(2), "norm1": BatchNorm(c), "act1": nn.GELU()}
    return nn.Sequential(OrderedDict(first, conv2=Conv(c, c), norm2=BatchNorm(c), act2=nn.GELU()))


class CifarNet(nn.Module):
    """The network, for images of 32 px. The keys of its weights are the author's.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.whiten = nn.Conv2d(COLOURS, 2 * PATCH, KERNEL)
        self.whiten.weight.requires_grad_(False)
        blocks = [block(c_in, c) for c_in, c in zip((2 * PATCH, *WIDTHS), WIDTHS, strict=False)]
        self.layers = nn.Sequential(nn.GELU(), *blocks, nn.MaxPool2d(3))
        self.head = nn.Linear(WIDTHS[-1], num_classes, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.whiten(x)).flatten(1)
        logits: Tensor = self.head(x) / x.shape[1]
        return logits


def whitening_filters(images: Tensor, eps: float) -> Tensor:
    """Return filters whose responses to the images' patches are uncorrelated, and these filters negated.

    Filter k is v_k / sqrt(e_k + eps), where the v_k are the eigenvectors of the patches' second moments, and the e_k
    their eigenvalues, rising.

    Args:
        images: normalised, (n, 3, H, W).
        eps: >= 0.

    Returns:
        (24, 3, 2, 2).
    """
    # columns of patches before rows, and the upper triangle: other orders of sums turn the signs of eigenvectors
    patches = images.unfold(2, KERNEL, 1).unfold(3, KERNEL, 1).transpose(1, 3).reshape(-1, PATCH).float()
    e, v = torch.linalg.eigh(patches.T @ patches / len(patches), UPLO="U")
    filters = v.T.reshape(-1, COLOURS, KERNEL, KERNEL) / (e + eps).sqrt().view(-1, 1, 1, 1)
    return torch.cat([filters, -filters])


class WhitenedPatches(L.Callback):
    """Whiten the patches of a new network's first layer, whose weight then stays; its bias learns for three epochs.

    The bias's rate falls linearly to 0 in that time, whatever schedule the others have.

    Args:
        images: number of training images to look at, the first ones, not augmented.
        eps: added to each eigenvalue. 5e-4, as the record.
        bias_epochs: W, the time in which the bias learns, in epochs.
    """

    def __init__(self, images: int = 5000, eps: float = 5e-4, bias_epochs: float = 3):
        self.images, self.eps, self.bias_epochs = images, eps, bias_epochs

    def setup(self, trainer: L.Trainer, model: L.LightningModule, stage: str) -> None:
        """Set the filters, unless the network was trained or has loaded weights."""
        if stage != "fit" or not model.untrained:
            return
        data = datamodule_of(trainer)
        assert isinstance(data, ImageData) and data.train_set is not None
        plain = data.train_set.without_augmentation()
        batch = plain.__getitems__(data.train_indices[: self.images].tolist())
        images = data.on_after_batch_transfer(batch, 0)[0].to(model.device)
        model.get_parameter("network.whiten.weight").data.copy_(whitening_filters(images, self.eps))

    def on_fit_start(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Give the bias a group of its own."""
        self.bias = model.get_parameter("network.whiten.bias")
        self.steps = in_steps(self.bias_epochs, trainer)
        regroup(trainer, self._apart)

    def _apart(self, group: Group) -> list[Group]:
        mine = [p for p in group["params"] if p is self.bias]
        return [{**group, "params": [p for p in group["params"] if p is not self.bias]}, {**group, "params": mine}]

    def on_before_optimizer_step(self, trainer: L.Trainer, model: L.LightningModule, optimizer: Optimizer) -> None:
        """Set the bias's rate, lr_0 (1 - s / W) in step s; from W on it has no gradient, and stays."""
        left = 1 - trainer.global_step / self.steps
        if left <= 0:
            self.bias.grad = None
            return
        group = next(group for group in optimizer.param_groups if group["params"][0] is self.bias)
        group["lr"] = group["initial_lr"] * left


class SixViews(TestTimeAugmentation):
    """Log `test/acc_tta` of six views: the image and two shifts by one pixel, each with its mirror image.

    Logits are averaged. The image has weight .25, each shift .125, and so have their mirror images. `Trainer.predict`
    gives the base class's mean over ten views.
    """

    def __init__(self) -> None:
        super().__init__(flip=True, shift=1)

    @property
    def suffix(self) -> str:
        """Ending of its scores' names."""
        return "tta"

    def mean_logits(self, model: L.LightningModule, images: Tensor) -> Tensor:
        """Return the weighted mean logits (N, K) of images (N, C, H, W)."""
        view, up, *_, down = views_of(images, flip=False, shift=1).unbind(1)
        of_view, of_up, of_down = (self._both(model, x) for x in (view, up, down))
        return 0.5 * of_view + 0.5 * torch.stack([of_up, of_down]).mean(0)

    def _both(self, model: L.LightningModule, images: Tensor) -> Tensor:
        straight, mirrored = (split_outputs(model(x))[0] for x in (images, images.flip(-1)))
        return 0.5 * straight + 0.5 * mirrored
