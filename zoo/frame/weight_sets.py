"""Choose the weights of a training file: the entry asked for, else its average, else its raw weights."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

State = dict[str, Tensor]
KNOWN = (
    "state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module", "student"
)  # fmt: skip
AVERAGED = re.compile(r"(^|[._])(ema|avg|averaged?|swa)([._]|$)", re.IGNORECASE)
OF_TRICKS = "averages."  # the entry of our checkpoints with their averages
OTHERS = ("optim", "lr_sched", "sched", "scaler", "loops", "callbacks", "hyper_parameters", "half_gradients")  # entries
DEEPEST = 2  # levels of dictionaries that are searched for weights


def choose(content: Mapping[str, Any], which: str | None, path: str | Path) -> State:
    """Return one set of weights of a file's content; if it has several, log which.

    Args:
        content: of the file.
        which: key of an entry, such as "model" or "model_ema", or the name of a trick's average, such as
            "EMA(0.999)". None: the average if there is one, as in timm; from our own checkpoints, which may have
            several averages, the raw weights.
        path: of the file, for errors.

    Raises:
        ValueError: there is no such entry, none at all, or several with unknown keys; the error names those found.
    """
    sets = dict(_sets(content, ""))
    if len(sets) > 1:
        sets.pop("", None)  # numbers at the same level
    if which is not None:
        name = which if which in sets else f"{OF_TRICKS}{which}"
        if name not in sets:
            raise ValueError(f"{path} has no weights {which!r}; it has {_list_names(sets) or 'none'}")
        return sets[name]
    name = _choose_by_default(sets, content, path)
    if len(sets) > 1:
        rank_zero_info(
            f"{path}: loading the weights {_short(name)!r}; the file also has "
            f"{_list_names(other for other in sets if other != name)}: choose with load_weights(path, which=...)"
        )
    return sets[name]


def _choose_by_default(sets: Mapping[str, State], content: Mapping[str, Any], path: str | Path) -> str:
    averages = [name for name in sets if AVERAGED.search(name) and not name.startswith(OF_TRICKS)]
    raw = [name for name in sets if name not in averages and not name.startswith(OF_TRICKS)]
    known = [name for key in KNOWN for name in raw if name.split(".")[0] == key]
    found = averages or known or raw or list(sets)
    if not found:
        raise ValueError(f"{path} holds no weights; its keys are {', '.join(map(repr, list(content)[:8])) or 'none'}")
    if len(found) > 1 and not averages and not known:
        raise ValueError(f"{path} holds several sets of weights, {_list_names(found)}: load_weights(path, which=...)")
    return found[0]


def _sets(content: Mapping[str, Any], name: str, depth: int = 0) -> Iterator[tuple[str, State]]:
    """Yield every dictionary of tensors with the keys that lead to it."""
    state = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if any(value.ndim for value in state.values()):
        yield name, state
    if depth == DEEPEST:
        return
    for key, inner in content.items():
        if isinstance(key, str) and isinstance(inner, Mapping) and not key.lower().startswith(OTHERS):
            yield from _sets(inner, f"{name}.{key}" if name else key, depth + 1)


def _short(name: str) -> str:
    return name.removeprefix(OF_TRICKS)


def _list_names(names: Any) -> str:
    return ", ".join(repr(_short(name)) for name in names)
