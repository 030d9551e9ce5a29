"""The sheet of pictures in the README: its size, its colours on light and dark pages, the committed files."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.frame import gallery_sheet
from recipes.frame.gallery import example
from zoo.frame.figures import THEMES

ROOT = Path(__file__).parents[3]


def colours(image: Image.Image) -> set[str]:
    """Colours of the opaque pixels."""
    pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    return {"#{:02x}{:02x}{:02x}".format(*pixel[:3]) for pixel in np.unique(pixels[pixels[:, 3] == 255], axis=0)}


def test_the_text_of_a_dark_sheet_is_that_of_dark_pages():
    picture = example("L2").draw()
    light, dark = (colours(gallery_sheet.rasterise(picture, theme)) for theme in (False, True))
    (ink, (_, pale)), *_ = THEMES.items()
    assert ink in light and pale not in light
    assert pale in dark and not {*THEMES} & dark


def test_tiles_stand_in_rows_with_their_names():
    pictures = {name: example(name).draw() for name in ("L2", "DropBlock")}
    page = gallery_sheet.on_sheet(pictures, dark=False)
    assert "L2, DropBlock" in page.caption
    width, height = page.image.size
    assert 2 * gallery_sheet.TILE[0] < width < 2 * gallery_sheet.TILE[0] + 60 and height < gallery_sheet.TILE[1] + 30


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_committed_sheets_are_small_and_in_the_readme(theme):
    path = ROOT / "docs" / f"gallery-{theme}.webp"
    data = path.read_bytes()
    assert len(data) < 400_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "WEBP" and image.width > 1000
    readme = (ROOT / "README.md").read_text()
    assert f"docs/gallery-{theme}.webp" in readme
    assert all(name in readme for name in gallery_sheet.SHOWN)
    assert re.search(r'<img alt="[^"]+"', readme)
