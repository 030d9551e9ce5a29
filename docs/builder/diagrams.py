"""Draw the models into docs/made/diagrams, which their pages show, where the code of zoo/ changed."""

import shutil
from pathlib import Path

from zoo.tools.diagrams.write import write_diagrams

ZOO = Path(__file__).resolve().parents[2] / "zoo"


def draw(folder: Path, code: Path = ZOO) -> bool:
    """Draw all models, in about 20 seconds; return whether they were drawn. Without Graphviz, nothing is drawn."""
    if shutil.which("dot") is None:
        return False
    drawn = folder / ".drawn"
    if drawn.exists() and drawn.stat().st_mtime > max(path.stat().st_mtime for path in code.rglob("*.py")):
        return False
    write_diagrams(folder)
    drawn.touch()
    return True
