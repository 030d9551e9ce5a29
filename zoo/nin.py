"""NIN: after each large convolution, a small network over the channels of every pixel (1x1 convolutions).

Paper:    Network In Network (Lin, Chen, Yan; ICLR 2014) https://arxiv.org/abs/1312.4400; "thin" and "wide" are student
          and teacher of Paying More Attention to Attention (Zagoruyko, Komodakis; ICLR 2017)
          https://arxiv.org/abs/1612.03928, table 1
Code:     https://github.com/szagoruyko/cifar.torch, models/nin.lua (with batch norm; by the second paper's author)
Block:    mlpconv = conv k x k, then 1x1 convolutions, each followed by BN and ReLU; the last 1x1 makes one map a class,
          and the maps' means are the logits
Shapes:   (N, 3, H, W) -mlpconv, max pool, dropout-> (N, 96, H/2, W/2) -mlpconv, average pool, dropout-> (N, 192, H/4,
          W/4) -mlpconv-> (N, 192, H/4, W/4) -1x1-> (N, K, H/4, W/4) -mean-> (N, K); "thin": half of these channels
Defaults: training arguments of `Classifier`; dropout 0.5 and batch norm epsilon 1e-3 from nin.lua; He initialisation,
          fan-in
Differs:  The first paper has no batch norm. The second gives no widths, only 0.2 and 1 million parameters: "wide" is
          nin.lua (0.97), "thin" half of each of its widths (0.25). The maps of the classes have neither BN nor ReLU,
          which nin.lua has there: means of rectified, normalised maps are never below 0 and hardly leave 1, so that the
          loss falls slowly. nin.lua draws from N(0, 0.05^2), which halves the signal in most layers until the batch
          norms have their statistics. Keys are our own: neither library has it.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier
from zoo.layers.init import he_fan_in

#        channels of the layers in the first, second and third mlpconv; the ninth layer is the classes
VARIANTS = {
    "thin": ((96, 80, 48), (96, 96, 96), (96, 96)),
    "wide": ((192, 160, 96), (192, 192, 192), (192, 192)),
}


class NIN(Classifier):
    """`NIN("thin", num_classes=10)`, for images of up to 64 px.

    Args:
        variant: a key of `VARIANTS`: "thin" or "wide".
        num_classes: K.
        image_size: side of the images in pixels, at most 64. None: 32.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or images of more than 64 px.
    """

    def __init__(
        self,
        variant: str = "wide",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        first, second, third = VARIANTS[validate_choice(variant, VARIANTS, "NIN")]
        image_size = image_size or 32
        if image_size > SMALL:
            raise ValueError(f"NIN is for images of up to {SMALL} px, got image_size={image_size}")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.mlpconv1 = mlpconv(3, first, size=5)
        self.pool1 = nn.Sequential(nn.MaxPool2d(3, stride=2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv2 = mlpconv(first[-1], second, size=5)
        self.pool2 = nn.Sequential(nn.AvgPool2d(3, stride=2, ceil_mode=True), nn.Dropout(0.5))
        self.mlpconv3 = mlpconv(second[-1], third, size=3)
        self.classes = nn.Conv2d(third[-1], num_classes, kernel_size=1)
        self.stage_paths = {f"stage{i}": f"mlpconv{i}" for i in (1, 2, 3)}
        self.apply(he_fan_in)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.mlpconv1(x))
        x = self.pool2(self.mlpconv2(x))
        x = self.classes(self.mlpconv3(x))  # (N, K, H/4, W/4): one map a class
        return x.mean((2, 3))


def mlpconv(c_in: int, channels: tuple[int, ...], size: int) -> nn.Sequential:
    """Return a convolution of size x size, then 1x1 convolutions: (N, C_in, H, W) -> (N, channels[-1], H, W)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, c_out in enumerate(channels, 1):
        layers[f"conv{i}"] = nn.Conv2d(c_in, c_out, size, padding=size // 2)
        layers[f"bn{i}"] = nn.BatchNorm2d(c_out, eps=1e-3)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        c_in, size = c_out, 1
    return nn.Sequential(layers)
