"""Classes of Tiny-ImageNet and ImageNet: WordNet's synsets, with a number (wnid) and several names."""

import re
from collections import Counter
from collections.abc import Iterable

WNID = re.compile(r"n\d{8}")


def first_names(wnids: Iterable[str], words: dict[str, str]) -> tuple[str, ...]:
    """Return a name per class: the first of "tench, Tinca tinca"; with the wnid if two classes share it (cranes).

    Args:
        wnids: the classes.
        words: wnid -> its names, separated by commas; a class that is missing is named by its wnid.
    """
    names = {wnid: words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids}
    often = Counter(names.values())
    return tuple(name if often[name] == 1 else f"{name} ({wnid})" for wnid, name in names.items())


def check_owners(files: dict[str, list[str]]) -> None:
    """Raise a ValueError if a training image is in another class's folder.

    Both data sets name training images after the class: n01440764_10026.JPEG. Other names are left alone.

    Args:
        files: wnid -> names of its images.
    """
    strange = [
        f"{name} under {wnid}"
        for wnid, names in files.items()
        for name in sorted(names)
        if _owner(name) not in ("", wnid)
    ]
    if strange:
        raise ValueError(
            f"the labels look shuffled: {len(strange)} training images have the name of another class, such as "
            f"{', '.join(strange[:3])}: unpack the official archive again"
        )


def _owner(name: str) -> str:
    start, _, rest = name.partition("_")
    return start if rest and WNID.fullmatch(start) else ""
