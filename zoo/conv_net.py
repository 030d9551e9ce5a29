"""ConvNet: a small convolutional network, written as the line that papers have for theirs.

Paper:    Gradient-Based Learning Applied to Document Recognition (LeCun, Bottou, Bengio, Haffner; 1998)
          https://doi.org/10.1109/5.726791; "LeNet" is Caffe's, with which https://arxiv.org/abs/1803.09820 trains
Code:     https://github.com/BVLC/caffe at 9b891540, examples/mnist/lenet_train_test.prototxt ("LeNet");
          https://github.com/fastai/course22p2 at df932323, nbs/11_initializing.ipynb ("stride2")
Block:    the words of the line, from left to right, each followed by a ReLU where it has weights:
          20@5      convolution to 20 channels, kernel 5 x 5; 20@1x3: kernel 1 x 3
          20@5/2+1  the same with stride 2 and 1 pixel of zeros around (along sides of the kernel longer than 1)
          max2 avg2 lp2    pooling over 2 x 2 pixels, stride 2: largest, mean, root of the sum of squares; max1x2: 1 x 2
          gap gmp   mean, or largest, of each channel's map
          500       linear layer to 500 units, after the maps are put in a row
          drop0.5   dropout
          K@3/2+1   last word: convolution to the classes, whose maps' means are the logits; else a linear layer follows
Shapes:   (N, C, H, W) -convolutions, poolings-> (N, C', H', W') -rows-> (N, C' H' W') -linear layers-> (N, K)
Defaults: training arguments of `Classifier`; no batch norm; weights and biases as torch draws them
Differs:  LeNet's own is older than ReLUs: Caffe's has one, behind its linear layer. Here it is behind each layer of
          weights, as in most; `linear_convolutions` leaves it out behind convolutions. Keys are our own.
"""

import re
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.frame.classifier import Classifier

VARIANTS = {
    "LeNet": "20@5 max2 50@5 max2 500",
    "stride2": "8@3/2+1 16@3/2+1 32@3/2+1 64@3/2+1 K@3/2+1",
}
CONVOLUTION = re.compile(r"(\d+|K)@(\d+)(?:x(\d+))?(?:/(\d+))?(?:\+(\d+))?")
POOLING = re.compile(r"(max|avg|lp)(\d+)(?:x(\d+))?")
DROPOUT = re.compile(r"drop(0?\.\d+)")
GLOBAL = {"gap": nn.AdaptiveAvgPool2d, "gmp": nn.AdaptiveMaxPool2d}
Norm = Literal["before", "after"]


class ConvNet(Classifier):
    """`ConvNet("LeNet", num_classes=10, image_size=28, channels=1)`, or the line itself, `ConvNet("8@5 max2 500")`.

    Args:
        variant: a key of `VARIANTS`, or words as the module's docstring has them.
        num_classes: K.
        image_size: side of the images, in pixels. None: 28.
        weights: see `Classifier.load_weights`; None: random.
        channels: C.
        height: H, of images that are not square, such as signals; None: `image_size`.
        norm: a batch norm behind each convolution but the one to the classes, "before" or "after" its ReLU.
        linear_convolutions: no ReLU behind convolutions.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for a word that is none, or images of which nothing is left.
    """

    def __init__(
        self,
        variant: str = "LeNet",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        *,
        channels: int = 3,
        height: int | None = None,
        norm: Norm | None = None,
        linear_convolutions: bool = False,
        **training,
    ):
        words = VARIANTS.get(variant, variant).split()
        image_size = image_size or 28
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        shape = torch.Size([1, channels, height or image_size, image_size])
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, word in enumerate(words, 1):
            layer = read_word(word, shape, num_classes, norm, linear_convolutions)
            shape = shape_after(layer, shape, word, image_size)
            layers[f"layer{i}"] = layer
            if CONVOLUTION.fullmatch(word):
                self.stage_paths = (*self.stage_paths, f"layers.layer{i}")
        self.layers = nn.Sequential(layers)
        self.head: nn.Module = nn.Linear(shape[1:].numel(), num_classes)
        if words[-1].startswith("K@"):
            self.head = nn.AdaptiveAvgPool2d(1)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x)
        return self.head(x.flatten(1) if isinstance(self.head, nn.Linear) else x).flatten(1)


def read_word(word: str, shape: torch.Size, num_classes: int, norm: Norm | None, linear: bool) -> nn.Module:
    """Build the layer that a word names, for what a layer of output `shape` gives it. Raises ValueError."""
    if match := CONVOLUTION.fullmatch(word):
        return convolution(shape[1], num_classes, norm, linear, *match.groups())
    if match := POOLING.fullmatch(word):
        size = (int(match[2]), int(match[3] or match[2]))
        if match[1] == "lp":
            return nn.LPPool2d(2, size)
        return nn.MaxPool2d(size) if match[1] == "max" else nn.AvgPool2d(size)
    if match := DROPOUT.fullmatch(word):
        return nn.Dropout(float(match[1]))
    if word in GLOBAL:
        return GLOBAL[word](1)
    if word.isdecimal():
        linear_layer = nn.Linear(shape[1:].numel(), int(word))
        return nn.Sequential(OrderedDict(rows=nn.Flatten(), linear=linear_layer, act=nn.ReLU()))
    raise ValueError(
        f"ConvNet: {word!r} is no word of a network; there are 20@5/2+1, max2, avg2, lp2, gap, gmp, 500, drop0.5"
    )


def convolution(c_in: int, classes: int, norm: Norm | None, linear: bool, c_out: str, *sizes: str | None) -> nn.Module:
    """Build convolution, batch norm and ReLU; to the classes, "K", the convolution alone.

    Args:
        c_in: channels that come in.
        classes: K.
        norm: see `ConvNet`.
        linear: leave the ReLU out.
        c_out: channels that go out, or "K".
        sizes: kernel, its width where that differs, stride and padding, as digits.
    """
    high, wide, stride, padding = sizes
    kernel = int(high or 1), int(wide or high or 1)
    along_sides = lambda value, otherwise: tuple(value if k > 1 else otherwise for k in kernel)  # noqa: E731
    strides, paddings = along_sides(int(stride or 1), 1), along_sides(int(padding or 0), 0)
    channels = classes if c_out == "K" else int(c_out)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(c_in, channels, kernel, strides, paddings))
    if c_out != "K":
        act = [] if linear else [("act", nn.ReLU())]
        bn = [] if norm is None else [("bn", nn.BatchNorm2d(channels))]
        layers.update([*bn, *act] if norm == "before" else [*act, *bn])
    return nn.Sequential(layers)


@torch.no_grad()
def shape_after(layer: nn.Module, shape: torch.Size, word: str, image_size: int) -> torch.Size:
    """Return the shape (1, ...) that a layer gives. Raises ValueError where nothing is left of the images."""
    device = next((p.device for p in layer.parameters()), None)
    training = layer.training
    try:
        shape = layer.eval()(torch.zeros(shape, device=device)).shape
    except RuntimeError as error:
        raise ValueError(f"ConvNet: nothing is left of images of {image_size} px at {word!r}") from error
    layer.train(training)
    if 0 in shape:
        raise ValueError(f"ConvNet: nothing is left of images of {image_size} px at {word!r}")
    return shape
