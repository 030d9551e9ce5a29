"""DeiT: a ViT that learns from a teacher through a token of its own.

Paper:    Training data-efficient image transformers & distillation through attention (Touvron, Cord, Douze, Massa,
          Sablayrolles, Jegou; ICML 2021) https://arxiv.org/abs/2012.12877, section 4, Tables 1 and 9
Code:     https://github.com/facebookresearch/deit at 7e160fe (the authors'); keys and function of timm 1.0
          `deit_*_distilled_patch16_*`
Block:    that of `vit.py`;  z_0 = [x_class; x_distill; x_p E] + E_pos;  two heads, one on each token's output. Training
          returns the logits of both, evaluation their mean
Shapes:   (N, 3, S, S) -> (N, 2 + (S/P)^2, D) -> (N, K), and in training a second (N, K) as `extras["distilled"]`
Defaults: drop_path .1 (Table 9); weights and tokens N(0, .02) (the authors' code). AdamW, lr 2.5e-4 for 256 images
          (Table 9: 5e-4 for 512), weight decay .05
Differs:  evaluation takes the mean of the two heads' logits, as the authors' code and timm do; the paper adds their
          softmaxes. The second head learns from a teacher alone: add `KnowledgeDistillation`. Without distillation,
          DeiT is `ViT`. Up to 64 px, patches are an eighth of the image: ours, not the paper's.
"""

from typing import Unpack

import torch
from torch import Tensor, nn

from zoo.frame.arguments import Training
from zoo.frame.outputs import Outputs
from zoo.layers.drop_path import linear_rates
from zoo.layers.token_classifier import DEIT, TokenClassifier
from zoo.layers.transformer import Block

VARIANTS = {**DEIT}


class DeiT(TokenClassifier):
    """`DeiT("S")` for ImageNet, `DeiT("Ti", num_classes=10, image_size=32)` for CIFAR-10, with patches of 4 px.

    The stages are the four quarters of the blocks. Their features are tokens (N, 2 + L, D): the class token, the
    teacher's token, then the patches.

    Args:
        drop_path: probability that an example skips the last block, in [0, 1), rising linearly from 0 at the first.

    Raises:
        ValueError: an image size that is no multiple of the patch.
    """

    variants = VARIANTS
    timm_names = {
        "Ti": "deit_tiny_distilled_patch16_224",
        "S": "deit_small_distilled_patch16_224",
        "B": ("deit_base_distilled_patch16_224", "deit_base_distilled_patch16_384"),
    }
    prefix = 2

    def __init__(
        self,
        variant: str | int = "S",
        num_classes: int = 1000,
        image_size: int | None = None,
        weights: str | None = None,
        drop_path: float = 0.1,
        **training: Unpack[Training],
    ):
        super().__init__(variant, num_classes, image_size, weights, **training)
        row = VARIANTS[self.variant]
        rates = linear_rates(drop_path, (row.depth,))[0]
        self.add_layers((Block(row.width, row.heads, rate) for rate in rates), row.width)
        self.dist_token = nn.Parameter(nn.init.normal_(torch.zeros(1, 1, row.width), std=0.02))
        self.head_dist = nn.Linear(row.width, num_classes)
        self.initialise()

    def prefix_tokens(self) -> Tensor:
        """Return the class token and the teacher's: (1, 2, D)."""
        return torch.cat([self.cls_token, self.dist_token], 1)

    def forward(self, x: Tensor) -> Outputs:
        x = self.norm(self.blocks(self.embed(x)))
        logits, distilled = self.head(x[:, 0]), self.head_dist(x[:, 1])
        if self.training:  # 0: under DDP every parameter has to have a gradient, with a teacher or without
            return logits + 0 * distilled, {"distilled": distilled}
        return (logits + distilled) / 2
