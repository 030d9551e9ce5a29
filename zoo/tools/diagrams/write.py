"""Write the diagrams of all models, for a site."""

from pathlib import Path

import torch

from zoo.frame.classifier import MODELS
from zoo.tools.diagrams.diagram import diagram
from zoo.tools.diagrams.drawing import Drawing
from zoo.tools.diagrams.family import family


def write_diagrams(folder: str | Path) -> dict[str, Path]:
    """Write `NAME.svg` for the default variant of every model, and `family.svg`; about 20 seconds.

    A file whose text would be the same is left alone.

    Args:
        folder: made if it is not there.

    Returns:
        Name of the model, or "family" -> file.

    Raises:
        FileNotFoundError: Graphviz's program `dot` is not installed.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return {name: _write(draw(name), folder / f"{name}.svg") for name in [*sorted(MODELS), "family"]}


def draw(name: str) -> Drawing:
    """Draw a model's default variant, by name, without memory for its weights; or the "family"."""
    if name == "family":
        return family()
    with torch.device("meta"):
        return diagram(MODELS[name]())


def _write(drawing: Drawing, path: Path) -> Path:
    same = path.exists() and path.read_text(encoding="utf-8") == drawing.svg + "\n"
    return path if same else drawing.save(path)
