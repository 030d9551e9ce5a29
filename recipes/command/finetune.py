"""`zoo finetune FOLDER --model timm:NAME`: fine-tune a pretrained network on your own photographs."""

import sys
from pathlib import Path

from rich.console import Console

from recipes.command.run import Options, Parser, be_quiet, run
from recipes.finetune_folder import recipe
from recipes.frame.errors import UsageError
from recipes.frame.folder import folder_of
from recipes.frame.mistakes import answers, draw_confusion, draw_reliability, draw_worst
from recipes.frame.recipe import Recipe

USAGE = "zoo finetune FOLDER [--model timm:resnet18] [--similar false] [--epochs N] [--save FOLDER]"


def main(arguments: list[str]) -> None:
    """Fine-tune, then write model.ckpt, confusion.png, reliability.png, mistakes.png and model.onnx."""
    parser = Parser(prog="zoo finetune FOLDER", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_function_arguments(recipe, skip={"folder"})
    parser.add_argument("--save", type=Path, help="folder for what is written; by default runs/NAME/TIME")
    parser.add_argument("--resume", type=Path, help="the last.ckpt of a run that was stopped, to go on from")
    if not arguments or arguments[0] in ("-h", "--help"):
        return parser.print_help()
    if arguments[0].startswith("-"):
        raise UsageError(f"name the folder of photographs first; usage: {USAGE}")
    folder = Path(arguments[0]).expanduser()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: it should hold one folder of photographs a class")
    options = parser.parse(arguments[1:])
    be_quiet()
    resumed = options["resume"].parent if options["resume"] else None
    save = options.pop("save") or resumed or folder_of(folder.resolve().name)
    finetune(folder, save, **options)


def finetune(folder: Path, save: Path, resume: Path | None = None, **options: object) -> Recipe:
    """Fine-tune on a folder and write everything that is needed to predict.

    Args:
        folder: photographs, a folder a class.
        save: folder for model.ckpt, report.png, confusion.png, reliability.png, mistakes.png and model.onnx.
        resume: a last.ckpt of the same run to go on from.
        options: of `recipes.finetune_folder.recipe`.
    """
    made: list[Recipe] = []

    def build(**given: object) -> Recipe:
        made.append(recipe(folder, **given))  # type: ignore[arg-type]  # parsed by the same signature
        return made[-1]

    run(build, Options(save=save, resume=resume), **options)  # type: ignore[arg-type]  # `seed` is among the options
    tell(made[-1], save)
    return made[-1]


def tell(one: Recipe, save: Path) -> None:
    """Draw the mistakes, export the graph, and say how to predict."""
    classes = one.data.classes
    found = answers(one.model, one.data)
    pictures = {
        "confusion.png": draw_confusion(found, classes),
        "reliability.png": draw_reliability(found),
        "mistakes.png": draw_worst(found, classes),
    }
    for name, picture in pictures.items():
        picture.savefig(save / name, dpi=110)
    drawn = ", ".join(("report.png", *pictures))
    lines = []
    try:
        one.model.export(save / "model.onnx", image_size=one.data.image_size)
        lines.append(f"{save}: model.ckpt, model.onnx, {drawn}")
    except ModuleNotFoundError as error:
        lines.append(f"{save}: model.ckpt, {drawn} (no model.onnx: {error})")
    lines.append(f"zoo predict {save / 'model.ckpt'} PHOTOS --csv predictions.csv")
    Console(file=sys.stdout, soft_wrap=True).print("\n".join(lines), highlight=False)
