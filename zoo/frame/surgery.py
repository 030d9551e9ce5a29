"""Record how tricks changed a network: checkpoints store the operations, and loading one repeats them.

A trick that changes the network registers its operation, a function of a network and plain arguments, and calls
`operate`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

OPERATIONS: dict[str, Callable[..., None]] = {}  # by the name of the trick
Record = list[tuple[str, dict[str, Any]]]  # operations done to a network, in order


def operation(function_of: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a trick's operation: `@operation("Activation")`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        OPERATIONS[function_of] = function
        return function

    return register


def operate(network: nn.Module, name: str, **arguments: Any) -> bool:
    """Change a network in place. Return False, without a change, if the trick's last operation was the same."""
    record = surgery_record(network)
    if next((theirs for trick, theirs in reversed(record) if trick == name), None) == arguments:
        return False
    OPERATIONS[name](network, **arguments)
    vars(network)["surgery"] = [*record, (name, arguments)]
    return True


def surgery_record(network: Any) -> Record:
    """Return the operations done to a network."""
    return getattr(network, "surgery", [])


def follow(network: nn.Module, record: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Repeat the operations that a file records. Raises ValueError if the network had others already."""
    mine, theirs = surgery_record(network), [(name, dict(arguments)) for name, arguments in record]
    if mine != theirs[: len(mine)]:
        raise ValueError(f"the file's network was changed by {words(theirs)}, this one by {words(mine)}")
    for name, arguments in theirs[len(mine) :]:
        if name not in OPERATIONS:
            raise ValueError(f"the file's network was changed by {words(theirs)}: `import callbacks` before loading it")
        operate(network, name, **arguments)


def words(record: Record) -> str:
    """Describe a record by the tricks' constructor calls."""
    calls = (f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})" for name, arguments in record)
    return ", ".join(calls) or "nothing"


def replace(network: nn.Module, path: str, module: nn.Module) -> None:
    """Replace the module at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
