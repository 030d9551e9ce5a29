"""Check names that a user writes; errors show the nearest valid ones."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(name: str, names: Iterable[str]) -> str:
    """Return "did you mean 'x' or 'y'? " for a misspelt name, "" if no name is near."""
    near = get_close_matches(name.lower(), names)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def validate_choice(name: str, names: Iterable[str], what: str) -> str:
    """Return the name if it is in `names`. Raise a ValueError that shows the nearest ones, then all.

    Args:
        name: the user's choice.
        names: the valid names.
        what: their kind in the plural, such as "transforms".
    """
    names = list(names)
    if name in names:
        return name
    raise ValueError(f"there is no {name!r} among the {what}; {suggest(name, names)}there are: {', '.join(names)}")
