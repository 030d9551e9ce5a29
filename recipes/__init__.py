"""Recipes: one Python file for each claimed result. Read `recipes/digits_resnet20.py` first.

`frame` holds what recipes share. `Recipe` and `History` are exported here. `command` is the command line `zoo`.
`papers` has one file for each published row.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.frame.history import History as History
    from recipes.frame.recipe import Recipe as Recipe

EXPORTS = {"History": "recipes.frame.history", "Recipe": "recipes.frame.recipe"}


def __getattr__(name: str) -> Any:
    """Import an exported name at its first use: `zoo models` needs neither torch nor Lightning."""
    if name in EXPORTS:
        return getattr(import_module(EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
