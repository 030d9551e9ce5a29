"""The console command `zoo`.

`zoo --help` and `zoo --version` are plain strings, and names are read from the source: torch, which takes seconds to
import, is loaded only by commands that train.
"""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from recipes.frame import catalogue
from recipes.frame.errors import UsageError, meant_for_the_user, refuse_other_packages, unknown

HELP = """\
usage: zoo COMMAND [options]

Lightning Zoo: image classifiers and training tricks for PyTorch Lightning.

  zoo recipes                      what can be run, one line each
  zoo run NAME [options]           train and test a recipe; `zoo run NAME --help` lists its options
  zoo search NAME [options]        the recipe with other numbers: random from coarse to fine, or a grid
  zoo compare NAME [options]       the recipe with other tricks, over seeds: --without MixUp --plus "CutMix(1.0)"
  zoo worker STORAGE               do runs of a comparison that another machine has queued
  zoo models                       the models, one line each, with parameters and multiply-adds
  zoo show MODEL [VARIANT]         a model: its paper, what each stage and layer costs, what it sees
  zoo tricks                       the callbacks, by room, one line each; --by taxonomy: by where they regularise
  zoo card TRICK                   a trick: its paper, what it brought and cost here, what it does not go with
  zoo data                         the data modules, one line each
  zoo data show NAME [options]     a data set: parts, classes, how many of each; --batch FILE.png draws some
  zoo data verify FOLDER           photographs made small: whether a byte has changed since they were written
  zoo prepare NAME [options]       photographs made small, once: three times as many a second from then on
  zoo reproduce [NAME] [options]   rows of papers run again: inside, outside or undecided
  zoo verify FILE [options]        a checkpoint that others published, evaluated in our network

  zoo finetune FOLDER [options]    a pretrained network on your own photographs, a folder a class
  zoo predict MODEL.ckpt PHOTOS    classes of photographs, folders of them too; --csv FILE; several models: their mean

  zoo fit|validate|test|predict    any model, trick and data module by name (LightningCLI), for example
      zoo fit --model ResNet --model.variant 20 --model.num_classes 10 --data Digits \\
              --trainer.callbacks+=MixUp --trainer.callbacks.alpha=0.2 --trainer.max_epochs 20
  zoo fit --print_config           every option with its value, as YAML for `zoo fit --config FILE`

  zoo --version, zoo --help

ZOO_TRACEBACK=1 shows where an error came from."""
LIGHTNING = ("fit", "validate", "test", "predict")
FILES = (
    "search",
    "compare",
    "worker",
    "show",
    "card",
    "prepare",
    "reproduce",
    "verify",
    "finetune",
)  # one in `command` each


def main() -> None:
    """Run the command line `zoo`."""
    arguments = sys.argv[1:]
    try:
        refuse_other_packages()
        _dispatch(arguments)
        sys.stdout.flush()
    except UsageError as error:
        _fail(error)
    except BrokenPipeError:  # `zoo models | head`: the pipe is closed, and Python's flush at exit must not fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        _end("Ctrl-C", 130)
    except SystemExit as error:
        if type(error).__name__ == "SIGTERMException":  # Lightning's, which would end with the code 0
            _end("SIGTERM", 143)
        if isinstance(error.__context__, KeyboardInterrupt):  # the second Ctrl-C of a run, which is Lightning's
            _end("Ctrl-C", 130)
        raise
    except Exception as error:
        message = meant_for_the_user(error)
        if message is None or os.environ.get("ZOO_TRACEBACK"):
            raise
        _fail(message)


def _dispatch(arguments: list[str]) -> None:
    command, rest = (arguments or ["--help"])[0], arguments[1:]
    if command in ("--help", "-h"):
        print(HELP)
    elif command == "--version":
        print(f"lightning-zoo {version('lightning-zoo')}")
    elif command == "models":
        _print_models()
    elif command == "run":
        _run(rest)
    elif command == "tricks" and rest:
        _print_entries(_tricks_by(rest))
    elif command in FILES or _has_arguments_of_its_own(command, rest):
        import_module(f"recipes.command.{command}").main(rest)
    elif command in LISTS:
        _print_entries(LISTS[command]())
    elif command in LIGHTNING:
        _check_names(rest)
        import_module("recipes.command.lightning").main()
    else:
        raise unknown("command", command, [*LISTS, "run", *FILES, *LIGHTNING])


def _has_arguments_of_its_own(command: str, rest: list[str]) -> bool:
    """Return whether it is `zoo data show ...`, not the list, or `zoo predict MODEL.ckpt ...`, not Lightning's."""
    return bool(rest) and (command == "data" or command == "predict" and not rest[0].startswith("--"))


LISTS: dict[str, Callable[[], list[catalogue.Entry]]] = {
    "recipes": catalogue.recipes,
    "models": catalogue.models,
    "tricks": catalogue.every_trick,
    "data": catalogue.datamodules,
}


def _print_models() -> None:
    """Print the models with parameters and multiply-adds of the default variant."""
    rows = [[e.name, *catalogue.cost(e.name), e.line] for e in catalogue.models()]
    _print_columns([[name, variant, p and f"{p:>6}", m and f"{m:>6} MACs", line] for name, variant, p, m, line in rows])


def _tricks_by(arguments: list[str]) -> list[catalogue.Entry]:
    """Return the tricks in the order of `--by room` or `--by taxonomy`; the place in the taxonomy is shown as room."""
    option, _, by = " ".join(arguments).replace("=", " ", 1).partition(" ")
    orders = {"room": catalogue.every_trick, "taxonomy": _by_taxonomy}
    if option != "--by" or by not in orders:
        raise UsageError(f"zoo tricks [--by {'|'.join(orders)}], not {' '.join(arguments)!r}")
    return orders[by]()


def _by_taxonomy() -> list[catalogue.Entry]:
    places = catalogue.taxonomy().items()
    return [entry._replace(room=place or "-") for place, entries in places for entry in entries]


def _print_entries(entries: list[catalogue.Entry]) -> None:
    _print_columns([[e.name, e.room, e.line] if any(x.room for x in entries) else [e.name, e.line] for e in entries])


def _print_columns(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _run(arguments: list[str]) -> None:
    """Run a recipe: `zoo run NAME [options]`; the signature of its `recipe()` or `main()` gives the options."""
    known = [entry.name for entry in catalogue.recipes()]
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: zoo run NAME [options]\n")
        return _print_entries(catalogue.recipes())
    name, rest = arguments[0], arguments[1:]
    if name not in known:
        raise unknown("recipe", name, known)
    import_module("recipes.command.run").main(import_module(f"recipes.{name}"), name, rest)


def _check_names(arguments: list[str]) -> None:
    """Refuse a wrong short name before anything is imported. Names with a dot are import paths and pass."""
    kinds = {
        "--model": ("model", catalogue.models, ["Classifier", "Segmenter"]),
        "--data": ("data module", catalogue.datamodules, []),
        "--trainer.callbacks": ("trick", catalogue.every_trick, []),
    }
    for i, argument in enumerate(arguments):
        option, given, value = argument.partition("=")
        value = value if given else (arguments + [""])[i + 1]
        if option.removesuffix("+") not in kinds or not value.isidentifier():
            continue
        kind, entries, more = kinds[option.removesuffix("+")]
        names = [entry.name for entry in entries()] + more
        if value not in names and not (kind == "trick" and _is_lightnings(value)):
            raise unknown(kind, value, names)


def _is_lightnings(name: str) -> bool:
    return hasattr(import_module("lightning.pytorch.callbacks"), name)


def _end(by: str, code: int) -> NoReturn:
    go_on = "with --resume FOLDER/last.ckpt, one of `zoo fit` with --ckpt_path FILE, a comparison with the same command"
    print(f"zoo: stopped by {by}; a run with --save FOLDER goes on {go_on}", file=sys.stderr)
    sys.exit(code)


def _fail(error: BaseException) -> NoReturn:
    print(f"zoo: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
