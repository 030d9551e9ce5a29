"""Score maps: a network's predictions at each position of an image, their file format, and the labels of crops."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

MOST_CLASSES = 2048  # float16 holds whole numbers exactly up to this


def relabel(scores: Tensor, crop: Tensor | None, grid: int) -> Tensor:
    """Return the label of each cell of a crop, row by row: RoIAlign of the score map, then softmax.

    Args:
        scores: S, maps of the whole images (N, K, h, w).
        crop: (N, 4): top, left, height and width as fractions of the image, in [0, 1]; None: the whole image.
        grid: cells per side.

    Returns:
        (N, grid^2, K), each of sum 1.
    """
    n, _, h, w = scores.shape
    if crop is None:
        crop = torch.cat([scores.new_zeros(n, 2), scores.new_ones(n, 2)], 1)
    top, left, height, width = crop.to(scores).T
    corners = torch.stack([left * w, top * h, (left + width) * w, (top + height) * h], 1)
    boxes = torch.cat([torch.arange(n, device=scores.device).to(scores)[:, None], corners], 1)
    aligned: Tensor = roi_align(scores.float(), boxes.float(), grid, aligned=True)
    return aligned.flatten(2).transpose(1, 2).softmax(-1)


def compress(scores: Tensor, k: int = 5) -> Tensor:
    """Keep the k largest scores of each position, as the authors' files do.

    Args:
        scores: (..., K, h, w).
        k: number of classes that are kept.

    Returns:
        (..., 2, k, h, w), float16: scores and class indices.

    Raises:
        ValueError: for more than 2048 classes, whose indices float16 cannot hold.
    """
    if scores.shape[-3] > MOST_CLASSES:
        raise ValueError(
            f"float16 counts to {MOST_CLASSES}, and there are {scores.shape[-3]} classes: save the maps uncompressed"
        )
    values, classes = scores.topk(k, dim=-3)
    return torch.stack([values, classes.to(values)], -4).half()


def expand(compressed: Tensor, num_classes: int) -> Tensor:
    """Invert `compress`, with score 0 for the other classes: (N, 2, k, h, w) -> (N, K, h, w), float32."""
    values, classes = compressed.float().unbind(1)
    maps = values.new_zeros(len(compressed), num_classes, *compressed.shape[-2:])
    return maps.scatter_(1, classes.long(), values)


@torch.no_grad()
def score_maps(network: Any, images: Tensor) -> Tensor:
    """Return the logits of a network at each position of its last stage: images (N, C, H, W) -> (N, K, h, w).

    Every position goes through the layers after the last stage as if it were an image of its own. If these are a mean
    and a linear layer, this applies the linear layer as a 1x1 convolution. In a transformer, each token takes the place
    of the class token. An LV-ViT has a head for tokens, which is used instead.

    Args:
        network: a `Classifier` with stages, in eval mode; its layers are looked up by name.
        images: (N, C, H, W).
    """
    if hasattr(network, "aux_head"):
        tokens: Tensor = network.aux_head(network.norm(network.blocks(network.embed(images)))[:, network.prefix :])
        return as_map(tokens)
    size: list[int] = []
    prefix: int = getattr(network, "prefix", 0)

    def separate(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        out = as_map(out[:, prefix:]) if out.ndim == 3 else out
        size[:] = out.shape[-2:]
        cells = out.permute(0, 2, 3, 1).flatten(0, 2)
        return cells[:, None].expand(-1, prefix, -1) if prefix else cells[:, :, None, None]

    hook = list(network.stages.values())[-1].register_forward_hook(separate)
    try:
        scores = network(images)
    finally:
        hook.remove()
    maps: Tensor = scores.view(len(images), *size, -1).permute(0, 3, 1, 2)
    return maps


def as_map(tokens: Tensor) -> Tensor:
    """Arrange the tokens of a square grid (N, L, D) as a map (N, D, sqrt(L), sqrt(L))."""
    side = round(tokens.shape[1] ** 0.5)
    grid: Tensor = tokens.transpose(1, 2).unflatten(2, (side, side))
    return grid
