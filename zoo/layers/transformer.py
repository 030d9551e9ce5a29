"""The block of a transformer encoder, with layer norms first.

Papers:   Attention Is All You Need (Vaswani et al.; NeurIPS 2017) https://arxiv.org/abs/1706.03762, section 3.3;
          An Image is Worth 16x16 Words (Dosovitskiy et al.; ICLR 2021) https://arxiv.org/abs/2010.11929, equations 2, 3
"""

from torch import Tensor, nn

from zoo.layers.attention import Attention
from zoo.layers.drop_path import DropPath


class MLP(nn.Module):
    """Two linear layers on each token, MLP(x) = W2 GELU(W1 x). Shapes: (N, L, D) -> (N, L, D_out).

    Args:
        width: D.
        hidden: width between the two layers.
        out: D_out. None: D.
    """

    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class BlockLayers(nn.Module):
    """The layers of a block: what every kind of block here shares. It has no `forward`.

    Args:
        width: D.
        attn: the attention.
        drop_path: probability that an example skips the block's branches, in [0, 1).
        hidden: width inside the MLP. None: 4 D.
        eps: epsilon of the layer norms.
        extra: features that the second norm and the MLP see beside the D.
    """

    attn: nn.Module
    mlp: nn.Module  # a model may put another one in its place

    def __init__(
        self,
        width: int,
        attn: nn.Module,
        drop_path: float,
        hidden: int | None = None,
        eps: float = 1e-6,
        extra: int = 0,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = attn
        self.norm2 = nn.LayerNorm(width + extra, eps=eps)
        self.mlp = MLP(width + extra, 4 * width if hidden is None else hidden, width)
        self.drop_path = DropPath(drop_path)


class Block(BlockLayers):
    """Attention between tokens, then an MLP on each: z' = z + MSA(LN(z)), z'' = z' + MLP(LN(z')).

    Shapes: (N, L, D) -> (N, L, D).

    Args:
        width: D.
        heads: H, a divisor of D.
        drop_path: probability that an example skips the block's branches, in [0, 1).
        attn: the attention. None: `Attention(width, heads)`.
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0, attn: nn.Module | None = None):
        super().__init__(width, Attention(width, heads) if attn is None else attn, drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SoftenedBlock(BlockLayers):
    """The block of LV-ViT: each branch is divided by a, Q, K, V have no bias, and the MLP is 3 D wide.

    z' = z + MSA(LN(z)) / a, z'' = z' + MLP(LN(z')) / a. Shapes: (N, L, D) -> (N, L, D).

    Args:
        width: D.
        heads: H, a divisor of D.
        drop_path: probability that an example skips the block's branches, in [0, 1).
        a: divisor, > 0.
        attn: the attention. None: `Attention(width, heads, qkv_bias=False)`.
    """

    def __init__(self, width: int, heads: int, drop_path: float, a: float, attn: nn.Module | None = None):
        attn = Attention(width, heads, qkv_bias=False) if attn is None else attn
        super().__init__(width, attn, drop_path, hidden=3 * width, eps=1e-5)
        self.a = a

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), mask)) / self.a
        return x + self.drop_path(self.mlp(self.norm2(x))) / self.a
