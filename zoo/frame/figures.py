"""Look of all figures, and the pictures that show themselves: one file of each for light and dark pages."""

import base64
import functools
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

P = ParamSpec("P")
R = TypeVar("R")
STYLE = Path(__file__).with_name("figures.mplstyle")  # the data modules read it by its path
COLOURS = ("#666bff", "#e27607", "#00a263", "#b47ac9", "#cb0829", "#72757e")  # those of the style, in its order
WITH, ELSE, WITHOUT = COLOURS[0], COLOURS[1], COLOURS[5]  # with a trick, something else, without it
THEMES = {
    "#1f2329": ("ink", "#e6edf3"),
    "#d0d7df": ("grid", "#3d444d"),
}  # colour on a light page -> name, on a dark one


def style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws and saves in the style of the project."""
    import matplotlib.style  # imported here because training needs no matplotlib

    return matplotlib.style.context(STYLE)


def use_style(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the style of the project."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return function(*args, **kwargs)

    return wrapped


def new_figure(width: float = 6.4, height: float = 2.6) -> "Figure":
    """Make a figure with constrained layout, without pyplot. Sizes in inches; call it inside `style`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


class Picture(ABC):
    """Abstract: a picture with a caption. A notebook shows it; `save` writes it.

    Attributes:
        caption: what is seen, in plain words: the text beside the picture, and for those who cannot see it.
        suffix: of the file that serves light and dark pages, ".svg" or ".webp".
    """

    caption: str
    suffix: str

    @abstractmethod
    def data(self, suffix: str | None = None) -> bytes:
        """Return the bytes of a file.

        Args:
            suffix: ".png", on white, or another that matplotlib or Pillow writes; None: the picture's own, transparent.
        """

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format of the path's suffix, and return the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data(path.suffix))
        return path

    def html(self) -> str:
        """Return an `<img>` that holds the picture, for light and dark pages."""
        kind = {".svg": "svg+xml"}.get(self.suffix, self.suffix[1:])
        source = f"data:image/{kind};base64,{base64.b64encode(self.data()).decode()}"
        return f'<img alt="{html.escape(self.caption)}" style="max-width:100%" src="{source}">'

    def _repr_png_(self) -> bytes:
        return self.data(".png")


class Drawing(Picture):
    """A matplotlib figure as a picture: SVG that follows the reader's theme.

    Args:
        figure: drawn inside `style`.
        caption: see `Picture`.
    """

    suffix = ".svg"

    def __init__(self, figure: "Figure", caption: str):
        self.figure, self.caption = figure, caption
        with style():  # laid out once, so that no format moves anything for the next
            figure.draw_without_rendering()
            figure.set_layout_engine("none")

    def data(self, suffix: str | None = None) -> bytes:
        """Return the bytes of a file, see `Picture`."""
        buffer = io.BytesIO()
        own = suffix in (None, self.suffix)
        with style():
            metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if own else None
            self.figure.savefig(buffer, format=(suffix or self.suffix)[1:], transparent=own, metadata=metadata)
        return follow_theme(buffer.getvalue().decode()).encode() if own else buffer.getvalue()


class Sheet(Picture):
    """A sheet of photographs or maps: lossy or lossless WebP, transparent between its tiles.

    Args:
        image: RGBA.
        caption: see `Picture`.
        exact: lossless, for maps of few pixels.
    """

    suffix = ".webp"

    def __init__(self, image: "Image", caption: str, exact: bool = False):
        self.image, self.caption, self.exact = image, caption, exact

    def data(self, suffix: str | None = None) -> bytes:
        """Return the bytes of a file, see `Picture`."""
        from PIL import Image

        buffer, image = io.BytesIO(), self.image
        if suffix not in (None, self.suffix):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        kind = (suffix or self.suffix)[1:].replace("jpg", "jpeg")
        image.save(buffer, kind, **({"lossless": self.exact, "quality": 80, "method": 4} if kind == "webp" else {}))
        return buffer.getvalue()


def follow_theme(svg: str) -> str:
    """Return an SVG whose text and grid follow the page: a media query in it sees the page's `color-scheme`."""
    light = ";".join(f"--{name}:{colour}" for colour, (name, _) in THEMES.items())
    dark = ";".join(f"--{name}:{colour}" for name, colour in THEMES.values())
    rules = f":root{{color-scheme:light dark;{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    svg = svg[svg.index("<svg") :]
    for colour, (name, _) in THEMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("<defs>", f"<style>{rules}</style><defs>", 1)
