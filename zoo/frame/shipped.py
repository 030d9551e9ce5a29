"""Weights that are installed with the package, for `weights="zoo"`: files of half precision in zoo/weights.

Each has a card beside it: data, accuracy on its test images, seed, command and commit. `recipes/command/ship.py` makes
both from a run.
"""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "weights"
NAME = "zoo"  # the value of `weights`


def file_name(model: Any) -> str:
    """Return the name of the file of a model's weights, such as "ResNet-20-32px.safetensors"."""
    variant = str(model.hparams.get("variant", "")).replace("/", "_")
    return f"{type(model).__name__}-{variant}-{model.image_size}px.safetensors"


def find(model: Any, name: str = "") -> Path:
    """Return the file of a model's weights.

    Args:
        model: decides on class, variant and image size.
        name: of a file, such as "ResNet-20-8px", for a model of another image size.

    Raises:
        ValueError: there is none; the names of those that there are.
    """
    file = FOLDER / (f"{name}.safetensors" if name else file_name(model))
    if file.is_file():
        return file
    there = ", ".join(path.stem for path in sorted(FOLDER.glob("*.safetensors"))) or "none"
    raise ValueError(
        f"no weights {file.stem} come with the package; there are: {there} (class, variant, image size). With other "
        "images take weights='zoo:NAME', of these names. Others: weights='timm:NAME', 'torchvision:WEIGHTS', "
        "'hf:USER/REPO' or a file"
    )
