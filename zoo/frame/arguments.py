"""Arguments of models: typed once, shown in full, checked by name and saved as hyper-parameters."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, get_args, get_origin, get_type_hints

import numpy as np
from torch import nn

from zoo.frame.by_name import SOURCES
from zoo.frame.checks import did_you_mean

Init = TypeVar("Init", bound=Callable[..., None])


class Training(TypedDict, total=False):
    """Training arguments of every model, passed on to `Classifier`, which documents them."""

    optimizer: str
    lr: float
    weight_decay: float
    optimizer_options: dict[str, Any] | None
    channels_last: bool
    compile: bool
    in_chans: int | None


DEFAULTS: Training = {
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 1e-4,
    "optimizer_options": None,
    "channels_last": False,
    "compile": False,
    "in_chans": None,
}


# AdamW of DeiT, Swin and ConvNeXt. Their rates are one for 256 images: 5e-4 for 512, 1e-3 for 1024, 4e-3 for 4096.
ADAMW: Training = {"optimizer": "adamw", "lr": 2.5e-4, "weight_decay": 0.05}


def constructor(init: Init, defaults: Training = DEFAULTS) -> Init:
    """Decorate the `__init__` of a `Classifier`; subclasses are decorated automatically.

    The signature lists the arguments of `**training: Unpack[Training]` one by one, for `help`, the command line and
    IPython. An unknown keyword is refused, and the error names the nearest known one. All arguments become
    hyper-parameters. After the outermost constructor, `model.finish_construction()` is called.
    """
    signature = write_out_training(inspect.signature(init), defaults)

    @functools.wraps(init)
    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        refuse_unknown(kwargs, signature, type(self).__name__)
        levels = vars(self).setdefault("_levels", [])
        outermost = not levels
        levels.append(bind(signature, self, args, kwargs))
        init(self, *args, **kwargs)
        if outermost:
            del vars(self)["_levels"]
            self.finish_construction()

    construct.__signature__ = signature  # type: ignore[attr-defined]  # read by inspect, not declared for functions
    return construct  # type: ignore[return-value]  # has the signature of `init`


def write_out_training(signature: inspect.Signature, defaults: Training) -> inspect.Signature:
    """Replace `**training: Unpack[Training]` in a signature by the arguments of `Training`, with these defaults."""
    parameters = [p for p in signature.parameters.values() if not unpacks_training(p)]
    if len(parameters) == len(signature.parameters):
        return signature
    kinds, hidden = get_type_hints(Training), {p.name for p in parameters}
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name])
        for name, default in defaults.items()
        if name not in hidden
    ]
    return signature.replace(parameters=parameters)


def unpacks_training(parameter: inspect.Parameter) -> bool:
    """Return whether the parameter is `**name: Unpack[Training]`."""
    annotation = parameter.annotation
    return get_origin(annotation) is Unpack and get_args(annotation) == (Training,)


def plain_signature(init: Callable[..., None]) -> inspect.Signature:
    """Return a constructor's signature without its `**keywords`."""
    signature = inspect.signature(init)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    return signature.replace(parameters=named)


def refuse_unknown(given: Mapping[str, Any], signature: inspect.Signature, owner: str) -> None:
    """Raise TypeError for a keyword that is not in the signature; name the nearest one that is."""
    parameters = signature.parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    names = [name for name in parameters if name != "self"]
    for name in given:
        if name not in names:
            raise TypeError(f"{owner} takes no {name!r}; {did_you_mean(name, names)}it takes: {', '.join(names)}")


def bind(signature: inspect.Signature, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name, with defaults; those in `**keywords` at the same level."""
    bound = signature.bind(self, *args, **kwargs)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for parameter in [*signature.parameters.values()][1:]:
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= value
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            found[parameter.name] = value
    return found


def hyperparameters(levels: Sequence[Mapping[str, Any]], network: nn.Module | str | None) -> dict[str, Any]:
    """Return the arguments that a checkpoint keeps, from all constructors; the outermost one wins.

    A network is left out: its weights are in the state dict.
    """
    arguments: dict[str, Any] = {}
    for level in reversed(levels):
        arguments |= level
    if isinstance(arguments.get("variant"), int):
        arguments["variant"] = str(arguments["variant"])  # a variant is a string, but may be given as a number
    # a checkpoint holds its weights: loading it must not read the pretrained file again
    ignored = ["weights", *SOURCES] if isinstance(network, str) else ["weights", "network"]
    ignored += ["stages"] if network is None else []  # a model names its own
    return {name: plain(value) for name, value in arguments.items() if name not in ignored}


def plain(value: Any) -> Any:
    """Convert numpy's numbers and arrays, which searches return, to Python's: checkpoints hold nothing else."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
