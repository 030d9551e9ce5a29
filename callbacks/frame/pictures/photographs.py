"""Three real photographs that need no download, and sheets of tiles with words."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image
from torch import Tensor

CLASSES = ("temple", "flower", "portrait")
SIDE, GAP = 224, 8  # pixels
CROPS = ((40, 90, 330), (15, 130, 400), (20, 110, 330))  # top, left and side of the square of each photograph
WORDS = "#7a8088"  # legible on a white and on a dark ground


@cache
def photographs(side: int = SIDE) -> Tensor:
    """Return three photographs, uint8 (3, 3, side, side): scikit-learn's two, matplotlib's portrait."""
    portrait = np.asarray(Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    found = []
    for pixels, (top, left, size) in zip(
        (*map(load_sample_image, ("china.jpg", "flower.jpg")), portrait), CROPS, strict=True
    ):
        crop = Image.fromarray(pixels).crop((left, top, left + size, top + size))
        found.append(np.asarray(crop.resize((side, side), Image.Resampling.LANCZOS)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def batch(side: int = SIDE) -> list[Tensor]:
    """Return the photographs as a batch: images (3, 3, side, side), about normalised, and their classes (3,)."""
    return [(photographs(side).float() / 255 - 0.5) / 0.25, torch.arange(3)]


def picture_of(image: Tensor) -> Image.Image:
    """Return a normalised image (3, H, W) as Pillow's."""
    pixels = ((image.float() * 0.25 + 0.5).clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def sheet(rows: list[list[Image.Image]], labels: list[str], under: list[list[str]] | None = None) -> Image.Image:
    """Paste tiles in rows, on a transparent ground.

    Args:
        rows: tiles, all of a column as wide as its widest.
        labels: at the left of each row.
        under: words under each tile; None: none.
    """
    font = words_font(15)
    left = max(round(font.getlength(line)) for label in labels for line in label.split("\n")) + 2 * GAP
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    below = 22 if under else 0
    heights = [max(tile.height for tile in row) for row in rows]
    size = left + sum(widths) + GAP * (len(widths) - 1), sum(heights) + len(rows) * below + GAP * (len(rows) - 1)
    page = Image.new("RGBA", size, (0, 0, 0, 0))
    pen, y = ImageDraw.Draw(page), 0
    for r, row in enumerate(rows):
        pen.multiline_text((left - GAP, y + heights[r] / 2), labels[r], WORDS, font, "rm", align="right")
        x = left
        for c, tile in enumerate(row):
            page.paste(tile, (x + (widths[c] - tile.width) // 2, y + (heights[r] - tile.height) // 2))
            if under and under[r][c]:
                small = fitting(under[r][c], widths[c] + GAP)
                pen.text((x + widths[c] / 2, y + heights[r] + below / 2), under[r][c], WORDS, small, "mm")
            x += widths[c] + GAP
        y += heights[r] + below + GAP
    return page


def fitting(text: str, width: int) -> ImageFont.FreeTypeFont:
    """Return the largest font of 9 to 13 pixels in which a text is not wider than this."""
    return next((f for f in map(words_font, range(13, 8, -1)) if f.getlength(text) <= width), words_font(8))


@cache
def words_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the figures' font, of a size in pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
