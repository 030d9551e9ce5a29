"""Draw a grid of images with their classes above, as a matplotlib figure."""

import base64
import html
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

# the style of all figures; data modules import nothing of `zoo`, which is installed beside them
STYLE = Path(__file__).parents[2] / "zoo" / "frame" / "figures.mplstyle"

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def title(target: Any, classes: tuple[str, ...]) -> str:
    """Name a class (), or the three most probable classes of probabilities (K,) above half a percent.

    Class -1 is unknown. For a mask (H, W), name its classes without class 0, the background, if there are others.
    Of a dict of boxes, name the classes of its labels.
    """
    if isinstance(target, dict):
        return ", ".join(classes[k] for k in target["labels"].unique().tolist())
    if target.ndim == 2:
        there = target.unique().tolist()
        return ", ".join(classes[k] for k in there[(there[0] == 0 and len(there) > 1) :])
    if not target.is_floating_point():
        return classes[int(target)] if target >= 0 else "?"
    probabilities, order = target.float().sort(descending=True, stable=True)
    parts = [(classes[k], p) for p, k in zip(probabilities[:3].tolist(), order[:3].tolist(), strict=True) if p > 0.005]
    return parts[0][0] if len(parts) == 1 else ", ".join(f"{name} {p:.0%}" for name, p in parts)


def draw(images: Tensor, targets: Any, classes: tuple[str, ...]) -> "Figure":
    """Draw uint8 (N, C, H, W) with targets (N,) or (N, K) above, as a nearly square figure.

    Masks (N, H, W), or probabilities (N, K, H, W), are drawn over the images, except for class 0;
    so are the boxes of a list of dicts.
    """
    import matplotlib.style  # imported here because training needs no matplotlib
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure that a notebook shows without pyplot."""

        def _repr_png_(self) -> bytes:
            with matplotlib.style.context(STYLE):
                self.savefig(file := io.BytesIO(), format="png")
            return file.getvalue()

    with matplotlib.style.context(STYLE):
        return _fill(Picture, images, targets, classes)


def sheet(title: str, figure: "Figure", counts: list[tuple[str, int]], most: int = 40) -> str:
    """Return HTML with a title, a figure of images, and the number of images of the first classes.

    Args:
        title: of the sheet.
        figure: as `draw` makes it.
        counts: classes and their images.
        most: number of classes that are listed.
    """
    import matplotlib.style

    with matplotlib.style.context(STYLE):
        figure.savefig(file := io.BytesIO(), format="png")
    image = base64.b64encode(file.getvalue()).decode()
    words = ", ".join(f"{html.escape(name)}: {count:,}" for name, count in counts[:most])
    more = f" and {len(counts) - most} more classes" if len(counts) > most else ""
    shown = f'<img alt="training images with their classes" style="max-width:100%" src="data:image/png;base64,{image}">'
    return f"<p><strong>{html.escape(title)}</strong></p>{shown}<p>{words}{more}</p>"


def _fill(kind: type["Figure"], images: Tensor, targets: Any, classes: tuple[str, ...]) -> "Figure":
    """Make a figure of this kind, and draw the images in it."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    targets = targets.argmax(1) if isinstance(targets, Tensor) and targets.ndim == 4 else targets
    figure = kind(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes:
        axis.set_axis_off()
    for axis, image, target in zip(axes, images, targets, strict=False):  # fewer images than cells of the grid
        axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        for x1, y1, x2, y2 in (target["boxes"] - 0.5).tolist() if isinstance(target, dict) else ():
            axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="C1", linewidth=1)
        if isinstance(target, Tensor) and target.ndim == 2:
            veil = 0.5 * (target > 0).float().numpy()
            axis.imshow(target.numpy(), alpha=veil, cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
        axis.set_title(title(target, classes), fontsize=8)
    return figure
