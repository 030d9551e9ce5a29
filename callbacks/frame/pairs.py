"""Which tricks go together: read off their classes, and tried pair by pair in tests/callbacks/frame/test_pairs.py."""

from callbacks.frame.trick import Trick, adds_to_loss

PATCHES = "one needs every patch, the other takes some out"
SIZE = "one needs images of one size, the other changes it"


def refusal(first: type[Trick], second: type[Trick]) -> str | None:
    """Why two tricks cannot train together when listed in this order, in the words of their refusal; None: they can."""
    if first.claims and first.claims == second.claims:
        return f"both {first.claims}: take one of them out"
    if second.replaces_loss and adds_to_loss(first):
        return f"list it before {first.__name__}"
    if getattr(first, "doubles_batch", False) and second.__module__.startswith("callbacks.data."):
        return f"list {first.__name__} after {second.__name__}"
    if getattr(first, "keeps_the_head", False) and second.claims == "choose the head's pooling":
        return f"list {first.__name__} after"
    for resizing, labeling in ((first, second), (second, first)):
        if resizing.resizes and labeling.needs_one_size:
            return f"{labeling.__name__} needs images of one size, and {resizing.__name__} changes it"
    for dropping, labeling in ((first, second), (second, first)):
        if dropping.drops_patches and labeling.needs_patches:
            return f"{labeling.__name__} needs every patch, and {dropping.__name__} takes some out"
    return None


def limits(trick: type[Trick], others: list[type[Trick]]) -> dict[str, list[str]]:
    """Where a trick does not go with all others: reason -> their names."""
    found: dict[str, list[str]] = {}
    for other in others:
        after, before = refusal(trick, other), refusal(other, trick)
        if other is trick or not (after or before):
            continue
        if after and before:
            sizes = (trick.resizes, trick.needs_one_size) == (other.needs_one_size, other.resizes) != (False, False)
            why = SIZE if sizes else PATCHES
            why = f"not both {trick.claims}" if trick.claims and trick.claims == other.claims else why
        else:
            why = "must stand after" if after else "must stand before"
        found.setdefault(why, []).append(other.__name__)
    return found
