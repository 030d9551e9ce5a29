"""Put pictures of some tricks on one sheet, for the README: `python -m recipes.frame.gallery_sheet docs`.

It writes `gallery-light.webp` and `gallery-dark.webp` into the folder.
"""

import io
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from callbacks.frame.pictures.photographs import sheet
from recipes.frame.gallery import example
from zoo.frame.figures import THEMES, Drawing, Picture, Sheet, style

SHOWN = (
    *("MixUp", "CutMix", "GridMask"),
    *("PatchDropout", "DropBlock", "StochasticDepth"),
    *("WarmRestarts", "OneCycle", "SWA"),
    *("FocalLoss", "Xavier", "AttentionTransfer"),
)
COLUMNS, TILE, NEAR = 3, (390, 230), 14  # pixels; largest distance of a colour from one that is replaced
INCHES = (3.9, 2.1)  # of a figure on the sheet: smaller than alone, so that its letters are larger


def write_sheets(folder: str | Path) -> list[Path]:
    """Write the sheets for light and for dark pages, and return their paths."""
    pictures = {name: example(name).draw() for name in SHOWN}
    themes = {"light": False, "dark": True}
    return [on_sheet(pictures, dark).save(Path(folder) / f"gallery-{theme}.webp") for theme, dark in themes.items()]


def on_sheet(pictures: Mapping[str, Picture], dark: bool) -> Sheet:
    """Paste pictures in rows of three, with their names, on a transparent ground."""
    names = [*pictures]
    rows = [names[i : i + COLUMNS] for i in range(0, len(names), COLUMNS)]
    page = sheet([[tile(pictures[name], dark) for name in row] for row in rows], [""] * len(rows), rows)
    return Sheet(page, f"What {len(names)} of the tricks do: {', '.join(names)}.")


def tile(picture: Picture, dark: bool) -> Image.Image:
    """Return a picture in the middle of a transparent tile, in the colours of a light or a dark page."""
    assert isinstance(picture, Drawing | Sheet)
    image = rasterise(picture, dark) if isinstance(picture, Drawing) else picture.image.copy()
    image.thumbnail(TILE, Image.Resampling.LANCZOS)
    page = Image.new("RGBA", (TILE[0], image.height), (0, 0, 0, 0))
    page.paste(image, ((TILE[0] - image.width) // 2, 0))
    return page


def rasterise(picture: Drawing, dark: bool) -> Image.Image:
    """Return a figure as pixels on a transparent ground; on dark pages, text and grid have the colours of `THEMES`."""
    buffer, figure = io.BytesIO(), picture.figure
    with style():
        figure.set_size_inches(*INCHES)
        figure.set_layout_engine("constrained")
        figure.savefig(buffer, format="png", dpi=100, transparent=True)
    pixels = np.asarray(Image.open(buffer).convert("RGBA")).copy()
    if dark:
        near = {c: abs(pixels[..., :3].astype(int) - ImageColor.getrgb(c)).max(-1) < NEAR for c in THEMES}
        for colour, (_, other) in THEMES.items():
            pixels[..., :3][near[colour]] = ImageColor.getrgb(other)
    return Image.fromarray(pixels)


if __name__ == "__main__":
    print(*write_sheets(sys.argv[1]), sep="\n")
