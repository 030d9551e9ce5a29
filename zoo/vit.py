"""ViT: an image as a sequence of patches, read by a transformer encoder.

Paper:    An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale (Dosovitskiy et al.; ICLR 2021)
          https://arxiv.org/abs/2010.11929, equations 1 to 4, Table 1 (B, L, H); Ti and S: Training data-efficient image
          transformers (Touvron et al.; ICML 2021) https://arxiv.org/abs/2012.12877, Table 1; the block: Attention Is
          All You Need (Vaswani et al.; NeurIPS 2017) https://arxiv.org/abs/1706.03762, section 3.2
Code:     https://github.com/google-research/vision_transformer at c6de1e5 (the authors', JAX); keys and functions of
          timm 1.0 `vit_*_patch*` and `deit_*_patch16_*`
Block:    z' = z + MSA(LN(z)),  z = z' + MLP(LN(z')),   MSA(x) = W_o concat_h(softmax(Q_h K_h^T / sqrt(d)) V_h),
          d = D / H;  MLP(x) = W2 GELU(W1 x),  W1: D -> 4D,  W2: 4D -> D
Shapes:   (N, 3, S, S) -patches of P px-> (N, (S/P)^2, D) -class token, + E_pos-> (N, 1 + (S/P)^2, D) -blocks-> same
          -LN of the class token-> (N, D) -> (N, K)
Defaults: drop_path 0 (the paper has none; DeiT .1); weights, E_pos and tokens N(0, .02), biases 0 (DeiT's
          code); LN's epsilon 1e-6 (both). lr 1.875e-4 for 256 images and weight decay .3: Table 3's 3e-3 for 4096, of
          ImageNet; AdamW, as DeiT's Table 9 says of it, where Table 3 says Adam
Differs:  no dropout; the paper takes .1 after dense layers when it trains on ImageNet alone: use a dropout trick. The
          head is one linear layer, as in the paper's fine-tuning; `representation_size` puts the tanh layer of its
          pre-training before it, with the authors' start (LeCun's normal; the head at 0). Up to
          64 px, patches are an eighth of the image (CIFAR: 4 px, Tiny-ImageNet: 8), whatever the variant says. That,
          Ti/32 and 96/16, of a quarter of the image, are ours.
"""

from collections import OrderedDict
from typing import Unpack

from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.layers.drop_path import linear_rates
from zoo.layers.token_classifier import SMALL, TokenClassifier, TokenRow
from zoo.layers.transformer import Block

# Table 1 of both papers: width D, blocks L, heads H, patch P in pixels
VARIANTS = {
    "Ti/16": TokenRow(192, 12, 3, 16),
    "Ti/32": TokenRow(192, 12, 3, 32),
    "S/16": TokenRow(384, 12, 6, 16),
    "S/32": TokenRow(384, 12, 6, 32),
    "B/16": TokenRow(768, 12, 12, 16),
    "B/32": TokenRow(768, 12, 12, 32),
    "L/16": TokenRow(1024, 24, 16, 16),
    "L/32": TokenRow(1024, 24, 16, 32),
    "H/14": TokenRow(1280, 32, 16, 14),
    "96/16": SMALL,
}


class ViT(TokenClassifier):
    """`ViT("B/16")` for ImageNet, `ViT("Ti/16", num_classes=10, image_size=32)` for CIFAR-10, with patches of 4 px.

    The stages are the four quarters of the blocks; their features are tokens (N, 1 + L, D), the class token first.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.
        representation_size: width of the tanh layer before the head, > 0, for pre-training (D on ImageNet-21k); None:
            no such layer. Weights that have one load without it, with a new head.

    Raises:
        ValueError: an image size that is no multiple of the patch.
    """

    variants = VARIANTS
    training_defaults = {"optimizer": "adamw", "lr": 1.875e-4, "weight_decay": 0.3}
    timm_names = {
        "Ti/16": ("vit_tiny_patch16_224", "vit_tiny_patch16_384", "deit_tiny_patch16_224"),
        "S/16": ("vit_small_patch16_224", "vit_small_patch16_384", "deit_small_patch16_224"),
        "S/32": ("vit_small_patch32_224", "vit_small_patch32_384"),
        "B/16": ("vit_base_patch16_224", "vit_base_patch16_384", "deit_base_patch16_224", "deit_base_patch16_384"),
        "B/32": ("vit_base_patch32_224", "vit_base_patch32_384"),
        "L/16": ("vit_large_patch16_224", "vit_large_patch16_384"),
        "L/32": ("vit_large_patch32_224", "vit_large_patch32_384"),
        "H/14": ("vit_huge_patch14_224",),
    }

    def __init__(
        self,
        variant: str | int = "B/16",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.0,
        representation_size: int | None = None,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        rates = linear_rates(drop_path, (row.depth,))[0]
        self.add_layers((Block(row.width, row.heads, rate) for rate in rates), row.width)
        self.initialise()
        self.pre_logits = None if representation_size is None else tanh_layer(row.width, representation_size)
        if representation_size is not None:
            self.head = nn.Linear(representation_size, num_classes)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.embed(x)))[:, 0]  # equations 2 to 4
        return self.head(x if self.pre_logits is None else self.pre_logits(x))

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave the layers of pre-training out where this network has none; then as `TokenClassifier`."""
        if self.pre_logits is None and any(key.startswith("pre_logits.") for key in state):
            state = {key: value for key, value in state.items() if not key.startswith(("pre_logits.", "head."))}
        return super().adapt(state)


def tanh_layer(width: int, size: int) -> nn.Sequential:
    """Return a linear layer, N(0, 1/D) and biases 0, and tanh behind it. Shapes: (N, D) -> (N, size)."""
    fc = nn.Linear(width, size)
    nn.init.normal_(fc.weight, std=width**-0.5)
    nn.init.zeros_(fc.bias)
    return nn.Sequential(OrderedDict(fc=fc, act=nn.Tanh()))
