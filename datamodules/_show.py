"""A grid of images with their classes above, as a matplotlib figure."""

import math

from torch import Tensor


def title(target: Tensor, classes: tuple[str, ...]) -> str:
    """A class (), or probabilities (K,): the classes of more than half a percent, the three most probable at most."""
    if not target.is_floating_point():
        return classes[target]
    shares, order = target.float().sort(descending=True, stable=True)
    parts = [(classes[k], p) for p, k in zip(shares[:3].tolist(), order[:3].tolist(), strict=True) if p > 0.005]
    return parts[0][0] if len(parts) == 1 else ", ".join(f"{name} {p:.0%}" for name, p in parts)


def draw(images: Tensor, targets: Tensor, classes: tuple[str, ...]):
    """uint8 (N, 3, H, W) and targets (N,) or (N, K) -> `matplotlib.figure.Figure`, about as wide as high."""
    from matplotlib.figure import Figure  # here because training needs no matplotlib

    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, target in zip(axes, images, targets, strict=False):  # fewer images than places in the grid
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title(target, classes), fontsize=8)
    return figure
