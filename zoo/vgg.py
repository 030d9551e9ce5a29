"""VGG: nothing but 3x3 convolutions, 11 to 19 layers deep.

Paper:    Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan, Zisserman; ICLR 2015)
          https://arxiv.org/abs/1409.1556, table 1, columns A, B, D and E
Code:     keys and function of torchvision 0.29 `vgg*` and `vgg*_bn`
Block:    stage = (conv3x3 [BN] ReLU) x n, then max pool 2x2; head: (linear ReLU dropout) x 2, linear
Shapes:   (N, 3, H, W) -> 64 x H -> 128 x H/2 -> 256 x H/4 -> 512 x H/8 -> 512 x H/16 -pool-> (N, 512 (H/32)^2) -> 4096
          -> 4096 -> (N, K)
Defaults: training arguments of `Classifier`; dropout 0.5 (section 3.1). Initialisation of torchvision: convolutions He
          normal by fan-out, linear layers N(0, 0.01^2), biases 0
Differs:  The paper starts the deeper networks from a trained A, itself from N(0, 0.01^2). "-BN" (batch norm before each
          ReLU) is torchvision's, not the paper's. A-LRN and C are left out. Dense evaluation is not here: other sizes
          than 224 px are averaged to 7 x 7, as torchvision does. For up to 64 px the head reads the H/32 x H/32 maps
          that are left; the convolutions and pools stay as they are, as the CIFAR literature has it.
"""

from torch import Tensor, nn

from zoo.frame.checks import SMALL, validate_choice
from zoo.frame.classifier import Classifier

WIDTHS = (64, 128, 256, 512, 512)
#        convolutions per stage: table 1, columns A, B, D, E
PLAIN = {
    "11": (1, 1, 2, 2, 2),
    "13": (2, 2, 2, 2, 2),
    "16": (2, 2, 3, 3, 3),
    "19": (2, 2, 4, 4, 4),
}
#        variant -> convolutions per stage, batch norm
VARIANTS = {name: (depths, False) for name, depths in PLAIN.items()} | {
    f"{name}-BN": (depths, True) for name, depths in PLAIN.items()
}


class VGG(Classifier):
    """`VGG("16")` as in the paper, `VGG("16-BN", num_classes=10, image_size=32)` for CIFAR.

    Args:
        variant: a key of `VARIANTS`: "11" "13" "16" "19", with "-BN" for batch norm.
        num_classes: K.
        image_size: side of the images in pixels, at least 32; up to 64 takes the small head. None: 224.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or images that the pools shrink to nothing.
    """

    torchvision_names = {name: f"vgg{name.replace('-BN', '_bn')}" for name in VARIANTS}

    def __init__(
        self,
        variant: str | int = "16",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        variant = validate_choice(str(variant), VARIANTS, "VGG")
        depths, batch_norm = VARIANTS[variant]
        image_size = image_size or 224
        side = image_size // 32 if image_size <= SMALL else 7
        if side < 1:
            raise ValueError(f"VGG shrinks images of {image_size} px to nothing: use image_size=32 or more")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)
        self.stage_paths: dict[str, str] = {}

        layers, c_in = [], 3
        for i, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
            for _ in range(depth):
                norm = [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [nn.Conv2d(c_in, width, kernel_size=3, padding=1), *norm, nn.ReLU(inplace=True)]
                c_in = width
            self.stage_paths[f"stage{i}"] = f"features.{len(layers) - 1}"  # the last ReLU before the pool
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(side)  # the identity at the paper's image size
        self.classifier = nn.Sequential(
            nn.Linear(512 * side**2, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, num_classes),
        )  # fmt: skip
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))  # (N, 512, 7, 7)
        return self.classifier(x.flatten(1))


def init_weights(module: nn.Module) -> None:
    """Convolutions N(0, 2 / (9 C_out)), linear layers N(0, 0.01^2), biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
