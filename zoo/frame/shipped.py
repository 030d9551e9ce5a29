"""Weights that are installed with the package, for `weights="zoo"`: files of half precision in zoo/weights.

Each has a card beside it: data, accuracy on its test images, seed, command and commit. `recipes/frame/ship.py` makes
both from a run.
"""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "weights"
NAME = "zoo"  # the value of `weights`


def file_name(model: Any) -> str:
    """Return the name of the file of a model's weights, such as "ResNet-20.safetensors"."""
    return f"{type(model).__name__}-{str(model.hparams.get('variant', '')).replace('/', '_')}.safetensors"


def find(model: Any) -> Path:
    """Return the file of a model's weights. Raises ValueError with the variants that have one."""
    file = FOLDER / file_name(model)
    if file.is_file():
        return file
    names = [path.stem.split("-", 1) for path in sorted(FOLDER.glob("*.safetensors"))]
    there = ", ".join(f"{kind}({variant.replace('_', '/')!r})" for kind, variant in names) or "none"
    asked = f"{type(model).__name__}({str(model.hparams.get('variant', ''))!r})"
    raise ValueError(
        f"no weights come with the package for {asked}; there are: {there}. Others: weights='timm:NAME', "
        "'torchvision:WEIGHTS', 'hf:USER/REPO' or a file"
    )
