"""One Python file a claimed result. `recipes/digits_resnet20.py` is the first to read.

`frame` has what recipes are made of: `Recipe` and `History`, which are exported here; `command` is the command line
`zoo`; `papers` has one file a published row.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.frame.history import History as History
    from recipes.frame.recipe import Recipe as Recipe

EXPORTS = {"History": "recipes.frame.history", "Recipe": "recipes.frame.recipe"}


def __getattr__(name: str) -> Any:
    """Import what is exported at its first use: `zoo models` needs neither torch nor Lightning."""
    if name in EXPORTS:
        return getattr(import_module(EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
