"""Lay out a drawing with Graphviz, as one SVG for light and dark pages."""

import shutil
import subprocess
from functools import cached_property
from pathlib import Path

INK, SOFT = "#010203", "#040506"  # stand-ins for the colours of text and lines, which follow the page
STYLE = (
    "<style>:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1}}</style>"
)


class Drawing:
    """A drawing in Graphviz's language; notebooks show it.

    Attributes:
        source: in the language of `dot`.
        title: what the drawing shows, for those who do not see it.
    """

    def __init__(self, source: str, title: str):
        self.source = source
        self.title = title

    @cached_property
    def svg(self) -> str:
        """The drawing, with colours that follow the page's.

        Raises:
            FileNotFoundError: Graphviz's program `dot` is not installed.
        """
        program = shutil.which("dot")
        if program is None:
            raise FileNotFoundError(
                "a drawing is laid out by Graphviz, whose program dot was not found: "
                "apt-get install graphviz, brew install graphviz, or https://graphviz.org/download"
            )
        done = subprocess.run([program, "-Tsvg"], input=self.source, capture_output=True, text=True, check=True)
        text = done.stdout[done.stdout.index("<svg") :]
        for stand_in, name in ((INK, "--ink"), (SOFT, "--soft")):
            text = text.replace(stand_in, f"var({name})")
        text = text.replace("<svg", f'<svg role="img" aria-label="{escape(self.title)}"', 1)
        return text.replace(">", f">{STYLE}", 1)

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> Path:
        """Write the drawing to a file, which ends in `.svg`; return its path. Raises ValueError for another ending."""
        path = Path(path).expanduser()
        if path.suffix != ".svg":
            raise ValueError(f"a drawing is saved as .svg, not as {path.name}")
        path.write_text(self.svg + "\n", encoding="utf-8")
        return path


def escape(words: str) -> str:
    """Write words for XML."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def quote(words: str) -> str:
    """Write words as a string of `dot`'s language; lines are centred."""
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
