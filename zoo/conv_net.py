"""ConvNet: a small convolutional network, written as a line of words, as papers write theirs.

Paper:    Gradient-Based Learning Applied to Document Recognition (LeCun, Bottou, Bengio, Haffner; 1998)
          https://doi.org/10.1109/5.726791; "LeNet" is Caffe's, with which https://arxiv.org/abs/1803.09820 trains
Code:     https://github.com/BVLC/caffe at 9b891540, examples/mnist/lenet_train_test.prototxt ("LeNet");
          https://github.com/fastai/course22p2 at df932323, nbs/11_initializing.ipynb ("stride2")
Block:    a layer a word, from left to right; a ReLU follows each layer with weights:
          20@5      convolution to 20 channels, kernel 5 x 5; 20@1x3: kernel 1 x 3
          20@5/2+1  with stride 2 and zero padding 1, in each direction in which the kernel is longer than 1
          max2 avg2 lp2    pooling over 2 x 2 pixels, stride 2: maximum, mean, root of the sum of squares; max1x2: 1 x 2
          gap gmp   global average pooling, global maximum pooling
          500       linear layer to 500 units; maps are flattened first
          drop0.5   dropout
          K@3/2+1   as the last word: convolution to one map a class, whose mean is the logit; after any other last word
                    a linear layer gives the logits
Shapes:   (N, C, H, W) -convolutions, poolings-> (N, C', H', W') -flatten-> (N, C' H' W') -linear layers-> (N, K)
Defaults: training arguments of `Classifier`; no batch norm; weights and biases as torch draws them
Differs:  LeCun's network has no ReLU, and Caffe's has one, after its hidden linear layer. Here one follows each layer
          with weights, as in most networks; `linear_convolutions` leaves it out after convolutions. Keys are our own.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.evaluation import meta_state, run
from zoo.frame.model import Model
from zoo.layers.layout import global_average
from zoo.layers.norm_order import Norm, add_norm


@dataclass(frozen=True)
class Row:
    """A published network."""

    line: str  # its words


VARIANTS = {
    "LeNet": Row("20@5 max2 50@5 max2 500"),
    "stride2": Row("8@3/2+1 16@3/2+1 32@3/2+1 64@3/2+1 K@3/2+1"),
}
CONVOLUTION = re.compile(r"(\d+|K)@(\d+)(?:x(\d+))?(?:/(\d+))?(?:\+(\d+))?")
POOLING = re.compile(r"(max|avg|lp)(\d+)(?:x(\d+))?")
DROPOUT = re.compile(r"drop(0?\.\d+)")
GLOBAL: dict[str, type[nn.Module]] = {"gap": nn.AdaptiveAvgPool2d, "gmp": nn.AdaptiveMaxPool2d}


class ConvNet(Model):
    """`ConvNet("LeNet", num_classes=10, image_size=28, in_chans=1)`, or the line itself, `ConvNet("8@5 max2 500")`.

    Args:
        variant: a key of `VARIANTS`, or words as the module's docstring has them.
        height: H, of images that are not square, such as signals; None: `image_size`.
        norm: place of a batch norm, "before" or "after" the ReLU of each convolution, but for the one to the classes;
            None: no batch norm.
        linear_convolutions: leave out the ReLU of convolutions.

    Raises:
        ValueError: an unknown word, images of which nothing is left, or another place of the norm.
    """

    variants = VARIANTS
    default_size = 28
    own_channels = True

    def __init__(
        self,
        variant: str = "LeNet",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        *,
        height: int | None = None,
        norm: Norm | None = None,
        linear_convolutions: bool = False,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        self.height = height
        shape = torch.Size([1, self.in_chans, height or self.image_size, self.image_size])
        words = words_of(variant)
        self.layers = nn.Sequential()
        for i, word in enumerate(words, 1):
            layer = read_word(word, shape, num_classes, norm, linear_convolutions)
            shape = shape_after(layer, shape, word, self.image_size)
            self.layers.add_module(f"layer{i}", layer)
            if CONVOLUTION.fullmatch(word):
                self.stage_paths = (*self.stage_paths, f"layers.layer{i}")
        self.head = None if words[-1].startswith("K@") else nn.Linear(shape[1:].numel(), num_classes)

    @classmethod
    def check_variant(cls, variant: str) -> None:
        """Raise ValueError for a word that names no layer."""
        for word in words_of(variant):
            patterns = (CONVOLUTION, POOLING, DROPOUT)
            if not (word in GLOBAL or word.isdecimal() or any(pattern.fullmatch(word) for pattern in patterns)):
                known = "20@5/2+1, max2, avg2, lp2, gap, gmp, 500, drop0.5"
                raise ValueError(f"ConvNet: {word!r} is not a layer; layers are written as {known}")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return global_average(x) if self.head is None else self.head(x.flatten(1))


def words_of(variant: str) -> list[str]:
    """Return the words of a row, or of a line."""
    return (VARIANTS[variant].line if variant in VARIANTS else variant).split()


def read_word(word: str, shape: torch.Size, num_classes: int, norm: Norm | None, linear: bool) -> nn.Module:
    """Build the layer that a word names.

    Args:
        word: one that `ConvNet.check_variant` lets pass.
        shape: of one image's features before the layer, (1, ...).
        num_classes: K.
        norm: as in `ConvNet`.
        linear: leave out the ReLU of a convolution.
    """
    if match := CONVOLUTION.fullmatch(word):
        return convolution(match, shape[1], num_classes, norm, linear)
    if match := POOLING.fullmatch(word):
        size = (int(match[2]), int(match[3] or match[2]))
        if match[1] == "lp":
            return nn.LPPool2d(2, size)
        return nn.MaxPool2d(size) if match[1] == "max" else nn.AvgPool2d(size)
    if match := DROPOUT.fullmatch(word):
        return nn.Dropout(float(match[1]))
    if word in GLOBAL:
        return GLOBAL[word](1)
    linear_layer = nn.Linear(shape[1:].numel(), int(word))
    return nn.Sequential(OrderedDict(rows=nn.Flatten(), linear=linear_layer, act=nn.ReLU()))


def convolution(match: re.Match[str], c_in: int, classes: int, norm: Norm | None, linear: bool) -> nn.Sequential:
    """Build convolution, ReLU and batch norm; to the classes, "K", the convolution alone.

    Args:
        match: of `CONVOLUTION`.
        c_in: channels of the input.
        classes: K.
        norm: as in `ConvNet`.
        linear: leave out the ReLU.
    """
    c_out = classes if match[1] == "K" else int(match[1])
    high, wide = int(match[2]), int(match[3] or match[2])
    stride, padding = int(match[4] or 1), int(match[5] or 0)
    strides = (stride if high > 1 else 1, stride if wide > 1 else 1)
    paddings = (padding if high > 1 else 0, padding if wide > 1 else 0)
    conv = nn.Conv2d(c_in, c_out, (high, wide), strides, paddings)
    if match[1] == "K":
        return nn.Sequential(OrderedDict(conv=conv))
    layers = {"conv": conv} if linear else {"conv": conv, "act": nn.ReLU()}
    return add_norm(layers, nn.BatchNorm2d(c_out), norm)


def shape_after(layer: nn.Module, shape: torch.Size, word: str, image_size: int) -> torch.Size:
    """Return the shape (1, ...) of a layer's output. Raises ValueError where nothing is left of the images."""
    try:
        after: torch.Size = run(layer, meta_state(layer), torch.empty(shape, device="meta")).shape
    except RuntimeError as error:
        raise ValueError(f"ConvNet: nothing is left of images of {image_size} px at {word!r}") from error
    if 0 in after:
        raise ValueError(f"ConvNet: nothing is left of images of {image_size} px at {word!r}")
    return after
