"""Refuse another package `zoo` in the place of ours, before anything is imported from it.

A folder `zoo/` beside a user's script comes first for Python. What would follow is an error deep inside.
"""

from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def refuse_another(name: str) -> None:
    """Raise ImportError, which names the folder, if a package of this name is found elsewhere than beside ours."""
    spec = find_spec(name)
    found = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    if found and Path(found[0]).resolve().parent != ROOT:
        raise ImportError(
            f"{found[0]} hides the package {name!r} of Lightning Zoo ({ROOT / name}): give it another name, or start "
            "Python in another folder"
        )


refuse_another("zoo")
