"""UNet: an encoder shrinks the maps, a decoder enlarges them again and sees the encoder's maps at each level.

Paper:    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox; MICCAI 2015)
          https://arxiv.org/abs/1505.04597, figure 1 and section 3
Code:     none read (the authors' is Caffe, not on GitHub); keys are ours
Block:    e_i = F(pool e_{i-1}),   d_i = F([e_i, up d_{i+1}]),   F = ReLU conv3x3 ReLU conv3x3
          pool: the maximum of 2x2;  up: a transposed 2x2 convolution of stride 2 that halves the channels;  no norms
Shapes:   (N, 3, H, W) -4 levels-> (N, 16w, H/16, W/16) -4 levels-> (N, w, H, W) -1x1-> (N, K, H, W)
Defaults: w = 64, two classes; weights N(0, 2 / fan_in) (the paper's); images of 512 px (those of its first data)
Differs:  the paper's convolutions have no padding, so that its output is smaller (572 px -> 388) and skips are cropped.
          Here maps are padded with 0, the output is as large as the input, and 16 must divide H and W. Layers without a
          ReLU, the up-convolutions and the last, start from N(0, 1 / fan_in): from 2 / fan_in the first loss is far
          above ln K. Variants of fewer channels are ours. The paper's images have one channel: `in_chans=1`. Its
          dropout at the end of the encoder is `callbacks.Dropout(0.5, where=...)`. Its weighting of pixels near borders
          is left out.
"""

from torch import Tensor

from zoo.layers.unet_levels import VARIANTS, UNetLevels


class UNet(UNetLevels):
    """`UNet(num_classes=2)` as in the paper, `UNet("16", num_classes=4, image_size=64)` for a CPU.

    Its stages are `encoder1` to `encoder4`, `bottleneck`, `decoder4` to `decoder1`. In each, `relu1` stands between the
    two convolutions: tricks take `where="encoder1.relu1"`.

    Args:
        num_classes: K, background included.
        image_size: side of the images in pixels, for export and counts; any multiple of 16 is taken.

    Raises:
        ValueError: a size that 16 does not divide.
    """

    variants = VARIANTS

    def forward(self, x: Tensor) -> Tensor:
        e1, e2, e3, e4, x = self.encode(x)
        x = self.decoder4(x, e4)
        x = self.decoder3(x, e3)
        x = self.decoder2(x, e2)
        x = self.decoder1(x, e1)
        return self.head(x)
