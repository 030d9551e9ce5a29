"""The look of figures: one file for both themes, colours that colour-blind readers tell apart, formats."""

import io
import itertools
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from datamodules.frame import show
from zoo.frame import figures, html
from zoo.frame.figures import COLOURS, Drawing, Sheet, follow_theme, new_figure, style

# Machado, Oliveira, Fernandes (2009), severity 1: what protanopes, deuteranopes and tritanopes see, of linear RGB
BLIND = {
    "none": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritan": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def linear(colour: str) -> np.ndarray:
    c = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab under D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-6))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(a: str, b: str) -> float:
    high, low = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", BLIND)
def test_colours_stay_apart_for_colour_blind_readers(kind):
    seen = [lab(BLIND[kind] @ linear(c)) for c in COLOURS]
    apart = {(a, b): np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(range(len(seen)), 2)}
    assert min(apart.values()) > 20, min(apart, key=apart.get)


def test_colours_are_seen_on_light_and_dark_pages():
    for colour in COLOURS:
        assert contrast(colour, "#ffffff") > 3 and contrast(colour, "#14181e") > 3
    for light, (_, dark) in figures.THEMES.items():
        if light != "#d0d7df":  # the grid is faint on purpose
            assert contrast(light, "#ffffff") > 7 and contrast(dark, "#14181e") > 7


def test_the_style_file_has_these_colours():
    with style():
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == [*COLOURS]
        assert matplotlib.rcParams["text.color"] in next(iter(figures.THEMES))


def drawing() -> Drawing:
    with style():
        figure = new_figure()
        figure.subplots().plot([0, 1], [2, 3], label="a")
    return Drawing(figure, 'A "line"')


def test_an_svg_follows_the_theme_and_is_the_same_each_time():
    svg = drawing().data().decode()
    assert svg.startswith("<svg") and "prefers-color-scheme:dark" in svg and "var(--ink)" in svg
    assert len(re.findall("#1f2329", svg)) == 1  # in the rule alone
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg).replace("http://www.w3.org", "")
    assert svg == drawing().data().decode()
    assert follow_theme("<?xml?><svg><defs></defs></svg>").startswith("<svg><style>")


def test_formats(tmp_path):
    for suffix, kind in ((".png", "PNG"), (".webp", "WEBP"), (".jpg", "JPEG")):
        for picture in (drawing(), Sheet(Image.new("RGBA", (20, 10), (255, 0, 0, 0)), "A sheet")):
            with Image.open(picture.save(tmp_path / "new" / f"x{suffix}")) as found:
                assert found.format == kind
    assert drawing().save(tmp_path / "x.svg").read_bytes() == drawing().data()
    opaque = Image.open(io.BytesIO(Sheet(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "A sheet").data(".png")))
    assert opaque.mode == "RGB" and opaque.getpixel((4, 4)) == (255, 255, 255)


def test_lossless_sheets_keep_every_pixel():
    noise = np.random.default_rng(3).integers(0, 256, (30, 17, 3), np.uint8)
    page = Image.fromarray(noise).convert("RGBA")
    again = Image.open(io.BytesIO(Sheet(page, "A sheet", exact=True).data())).convert("RGB")
    assert np.array_equal(np.asarray(again), noise)


def test_html_escapes_the_caption():
    assert 'alt="A &quot;line&quot;"' in drawing().html()
    assert drawing()._repr_png_().startswith(b"\x89PNG")


def test_a_styled_function_draws_in_the_style_and_leaves_it():
    before = matplotlib.rcParams["axes.grid"]
    assert figures.use_style(lambda: matplotlib.rcParams["axes.grid"])() is True
    assert matplotlib.rcParams["axes.grid"] == before


def test_data_modules_read_the_same_style():
    assert show.STYLE == figures.STYLE and show.STYLE.exists()


def test_tables_are_escaped():
    left = '<td style="text-align:left">'
    assert html.table([("<b>", "a\nb")]) == f"<table><tr></tr><tr>{left}&lt;b&gt;</td>{left}a<br>b</td></tr></table>"
