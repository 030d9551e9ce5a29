"""Make a file of `weights="zoo"` and its card from a run: `python -m recipes.command.ship runs/NAME/model.ckpt`.

The weights are rounded to half precision, and tested as they are then: the card has the accuracy of the file.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L

import zoo
from datamodules import ImageData
from recipes.command.run import Options, groups_of, parse
from recipes.frame import catalogue, records
from zoo.frame import shipped
from zoo.frame.about import metadata
from zoo.frame.classifier import Classifier
from zoo.frame.model_card import Facts, write_card
from zoo.frame.weight_files import read_checkpoint, write

COMMAND = "python -m recipes.command.ship FOLDER/model.ckpt"


def ship(checkpoint: Path, arguments: Sequence[str] = (), commit: str | None = None) -> Path:
    """Write weights and card into zoo/weights.

    Args:
        checkpoint: `model.ckpt` of `zoo run NAME --save FOLDER`.
        arguments: options of that run that say where its images are, such as `--folder CIFAR-10-JPEG`.
        commit: of the code that trained; None: of this checkout.

    Returns:
        The file of weights.

    Raises:
        ValueError: the file is not a recipe's.
    """
    origin = dict(read_checkpoint(checkpoint).get("origin", {}))
    if "recipe" not in origin:
        raise ValueError(f"{checkpoint} does not name a recipe: make it with `zoo run NAME --save FOLDER`")
    name = origin.pop("recipe")
    module = import_module(f"recipes.{name}")
    groups = groups_of(module.recipe).values()
    options = {*signature(module.recipe).parameters, *(field for default in groups for field in vars(default))}
    words = [word for key, value in origin.items() if key in options for word in (f"--{key}", str(value))]
    chosen = {k: v for k, v in parse(module, name, [*words, *arguments]).items() if k not in vars(Options())}
    made, model = module.recipe(**chosen), zoo.load(checkpoint)
    facts: Facts = {
        "data": f"{origin.get('data', type(made.data).__name__)}: {catalogue.field(module.__doc__ or '', 'Data')}",
        "tricks": [repr(trick) for trick in made.callbacks],
        "metrics": measure(model, made.data),
        "seeds": [origin["seed"]],
        "command": " ".join(["zoo run", name, *words, *arguments, "--save FOLDER;", COMMAND, *arguments]),
        "commit": commit or records.commit() or "",
        "license": "apache-2.0",
    }
    return _write(model, facts)


def measure(model: Classifier, data: ImageData) -> dict[str, float]:
    """Round the model's weights to half precision, and return its scores on the test images."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.half().to(tensor.dtype) if tensor.is_floating_point() else tensor.data
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
    return {key: float(value) for key, value in trainer.test(model, data, verbose=False)[0].items()}


def _write(model: Classifier, facts: Facts) -> Path:
    file = shipped.FOLDER / shipped.file_name(model)
    file.parent.mkdir(exist_ok=True)
    state = model.plain_state_dict()
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    write(halves, file, metadata(model))
    sizes = f"num_classes={model.num_classes}, image_size={model.image_size}"
    opens = f'model = zoo.{type(model).__name__}("{model.hparams["variant"]}", {sizes}, weights="zoo")'
    file.with_suffix(".md").write_text(write_card(model, file.stem, facts, "lightning-zoo", [opens]))
    return file


if __name__ == "__main__":
    print(ship(Path(sys.argv[1]), sys.argv[2:]))
