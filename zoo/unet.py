"""UNet: an encoder that shrinks, a decoder that grows back, and the encoder's maps handed across at each level.

Paper:    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597, figure 1 and section 3
Code:     none read (the authors' is Caffe, not on GitHub); keys are ours
Block:    e_i = F(pool e_{i-1}),   d_i = F([e_i, up d_{i+1}]),   F = ReLU conv3x3 ReLU conv3x3
          pool: the maximum of 2x2;  up: a transposed 2x2 convolution of stride 2 that halves the channels;  no norms
Shapes:   (N, 3, H, W) -4 levels-> (N, 16w, H/16, W/16) -4 levels-> (N, w, H, W) -1x1-> (N, K, H, W)
Defaults: w = 64, two classes; weights N(0, 2 / fan_in) (the paper's); images of 512 px (those of its first data)
Differs:  the paper's convolutions have no padding, so that its output is smaller (572 px -> 388) and skips are cropped.
          Here maps are padded with 0, the output is as large as the input, and 16 must divide H and W. Up-convolutions
          and the last layer, which no ReLU follows, start at 1 / fan_in: with 2 the first loss is far above ln K.
          Variants of fewer channels are ours, and images have colour: the paper's are grey. For its drop-out at the end
          of the encoder, take `callbacks.Dropout(0.5, where=...)`. Its weights of pixels near borders are left out.
"""

from torch import Tensor

from zoo.frame.checks import validate_choice
from zoo.layers.unet_levels import VARIANTS, UNetLevels, check_sides, init_weights


class UNet(UNetLevels):
    """`UNet(num_classes=2)` as in the paper, `UNet("16", num_classes=4, image_size=64)` for a CPU.

    Its stages are `encoder1` to `encoder4`, `bottleneck`, `decoder4` to `decoder1`. In each, `relu1` stands between the
    two convolutions: tricks take `where="encoder1.relu1"`.

    Args:
        variant: channels of the first level, a key of `VARIANTS`: "64" "32" "16" "8".
        num_classes: K, background included.
        image_size: side of the images in pixels, for export and counts; any multiple of 16 is taken.
        weights: see `Classifier.load_weights`; None: random.
        training: training arguments of `Classifier`.

    Raises:
        ValueError: for an unknown variant (says which there are) or a size that 16 does not divide.
    """

    def __init__(
        self,
        variant: str | int = "64",
        num_classes: int = 2,
        image_size: int | None = None,
        weights: str | None = None,
        **training,
    ):
        row = VARIANTS[validate_choice(str(variant), VARIANTS, "UNet")]
        image_size = image_size or 512
        check_sides(image_size, image_size, "UNet")
        super().__init__(num_classes=num_classes, image_size=image_size, **training)

        self.add_levels(row)
        self.apply(init_weights)
        if weights is not None:
            self.load_weights(weights)

    def forward(self, x: Tensor) -> Tensor:
        check_sides(*x.shape[-2:], "UNet")
        e1 = self.encoder1(x)
        e2 = self.encoder2(self.pool(e1))
        e3 = self.encoder3(self.pool(e2))
        e4 = self.encoder4(self.pool(e3))
        x = self.bottleneck(self.pool(e4))
        x = self.decoder4(x, e4)
        x = self.decoder3(x, e3)
        x = self.decoder2(x, e2)
        x = self.decoder1(x, e1)
        return self.head(x)
