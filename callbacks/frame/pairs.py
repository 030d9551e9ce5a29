"""Tell which tricks can train together, by their `needs`. Pairs are tried in tests/callbacks/frame/test_pairs.py."""

from collections.abc import Iterator
from typing import NamedTuple

from callbacks.frame.pair_needs import OthersTakeBoxes, PairNeed
from callbacks.frame.trick import Trick

STRANGERS = OthersTakeBoxes.reason  # the limit of most tricks with those that need boxes


class Refusal(NamedTuple):
    """The need that forbids two tricks in this order, and the full error message."""

    need: PairNeed
    sentence: str


def refusals(first: type[Trick], second: type[Trick]) -> Iterator[Refusal]:
    """Yield the refusals of two tricks listed in this order, in the order in which a run meets them."""
    for trick, other, after in ((first, second, True), (second, first, False)):
        for need in trick.needs:
            if isinstance(need, PairNeed) and (why := need.refuses(trick, other, after)):
                yield Refusal(need, why)


def refusal(first: type[Trick], second: type[Trick]) -> str | None:
    """Say why two tricks cannot train together when listed in this order, in the words of the error; None: they can."""
    return next((found.sentence for found in refusals(first, second)), None)


def limits(trick: type[Trick], others: list[type[Trick]]) -> dict[str, list[str]]:
    """Return the tricks that a trick cannot train with: reason -> their names."""
    found: dict[str, list[str]] = {}
    for other in others:
        after, before = list(refusals(trick, other)), list(refusals(other, trick))
        if other is trick or not (after or before):
            continue
        one_way = "must stand after" if after else "must stand before"
        why = after[0].need.reason if after and before else one_way
        found.setdefault(why, []).append(other.__name__)
    return found
