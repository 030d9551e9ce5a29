"""Refuse another package `zoo` that hides ours, before anything is imported from it.

Python finds a folder `zoo/` beside the user's script first. Without this check, an error deep inside would follow.
"""

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def refuse_another(name: str) -> None:
    """Raise ImportError with the folder's path if the package of this name is not the one beside this package."""
    spec = find_spec(name)
    found = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    if found and Path(found[0]).resolve().parent != ROOT:
        raise ImportError(
            f"{found[0]} hides the package {name!r} of Lightning Zoo ({ROOT / name}): give it another name, or start "
            "Python in another folder"
        )


refuse_another("zoo")
