"""Draw the tricks into docs/made/pictures, which their pages show, where code of callbacks/ changed."""

from pathlib import Path

from recipes.frame import catalogue, gallery
from recipes.frame.errors import ROOT

CALLBACKS = ROOT / "callbacks"


def draw(folder: Path, names: list[str] | None = None) -> list[str]:
    """Draw the tricks whose picture is older than their code, and return their names.

    Args:
        folder: made if it is not there.
        names: of tricks; None: all.
    """
    shared = max(path.stat().st_mtime for path in (CALLBACKS / "frame").rglob("*.py"))
    drawn = []
    for name in names or [entry.name for entry in catalogue.every_trick()]:
        words = folder / f"{name}.txt"
        if not words.exists() or words.stat().st_mtime < max(
            shared, catalogue.file_of("callbacks", name).stat().st_mtime
        ):
            gallery.write(name, folder)
            words.touch()
            drawn.append(name)
    return drawn
