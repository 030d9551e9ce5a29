"""Pictures of tricks, a file each: for the site and for the command line."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from torch import nn

from callbacks.frame.trick import Trick, parameters
from zoo import Classifier

# what these cannot be made without; a teacher is found by the argument's name
NEEDED: Mapping[str, Mapping[str, object]] = {"Specialist": {"classes": (1, 2)}, "CachedLogits": {"path": "logits"}}


def example(name: str) -> Trick:
    """Make a trick of `callbacks` with its default arguments; with an untrained teacher where it needs one."""
    kind: Callable[..., Trick] = getattr(import_module("callbacks"), name)
    needed = dict(NEEDED.get(name, {}))
    teacher = parameters(kind).get("teacher")
    if teacher is not None and teacher.default is teacher.empty:
        layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
        needed["teacher"] = Classifier(layers, num_classes=3)
    return kind(**needed)


def write(name: str, folder: Path) -> Path:
    """Write the picture of a trick, such as `MixUp.webp` or `CosineDecay.svg`, and return its path.

    Its words are in a file beside it, `MixUp.txt`. Files that would not change are left alone.

    Args:
        name: of the trick.
        folder: made if need be.
    """
    picture = example(name).draw()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{picture.suffix}"
    for file, data in ((path, picture.data()), (path.with_suffix(".txt"), picture.caption.encode())):
        if not file.exists() or file.read_bytes() != data:
            file.write_bytes(data)
    return path
