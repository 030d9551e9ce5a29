"""Networks that tricks have changed: what was done is written into checkpoints and done again when one is loaded.

A trick of surgery registers its operation, a function of a network and plain arguments, and calls `operate`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

OPERATIONS: dict[str, Callable[..., None]] = {}  # by the name of the trick
Record = list[tuple[str, dict[str, Any]]]  # what was done to a network, in order


def operation(function_of: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`@operation("Activation")`: makes a function known as what that trick does to a network."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        OPERATIONS[function_of] = function
        return function

    return register


def operate(network: nn.Module, name: str, **arguments: Any) -> bool:
    """Change a network in place, once. Return False if this was the trick's last change already."""
    record = recorded(network)
    if next((theirs for trick, theirs in reversed(record) if trick == name), None) == arguments:
        return False
    OPERATIONS[name](network, **arguments)
    vars(network)["surgery"] = [*record, (name, arguments)]
    return True


def recorded(network: Any) -> Record:
    """Return the surgery done to a network."""
    return getattr(network, "surgery", [])


def follow(network: nn.Module, record: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Repeat the surgery that a file records. Raises ValueError if other surgery was done already."""
    mine, theirs = recorded(network), [(name, dict(arguments)) for name, arguments in record]
    if mine != theirs[: len(mine)]:
        raise ValueError(f"the file's network was changed by {words(theirs)}, this one by {words(mine)}")
    for name, arguments in theirs[len(mine) :]:
        if name not in OPERATIONS:
            raise ValueError(f"the file's network was changed by {words(theirs)}: `import callbacks` before loading it")
        operate(network, name, **arguments)


def words(record: Record) -> str:
    """As the calls that make the tricks."""
    calls = (f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})" for name, arguments in record)
    return ", ".join(calls) or "nothing"


def replace(network: nn.Module, path: str, module: nn.Module) -> None:
    """Replace the module at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
