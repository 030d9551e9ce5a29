"""Convert batches of any loader to the list `[images, targets]` that models and tricks share."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

IMAGES = ("images", "image", "pixel_values", "img", "x")  # names in batches that are dicts
TARGETS = ("targets", "target", "labels", "label", "y")


def as_list(batch: Any) -> Any:
    """Convert a tuple or a dict to a list, which tricks can change in place; return anything else unchanged.

    Raises:
        TypeError: a dict without a known name for its images.
    """
    if isinstance(batch, Mapping):
        return _of_dict(batch)
    return list(batch) if isinstance(batch, tuple) else batch


def _of_dict(batch: Mapping[str, Any]) -> list[Any]:
    found = [next((batch[name] for name in names if name in batch), None) for names in (IMAGES, TARGETS)]
    if found[0] is None:
        raise TypeError(
            f"the batch is a dict of {', '.join(map(str, batch))}: call its parts 'images' and 'targets', or let the "
            "loader's collate_fn return a list [images, targets]"
        )
    return [part for part in found if part is not None]


def images_and_targets(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the two parts of a batch. Raise TypeError unless they are two tensors."""
    if isinstance(batch, list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        return batch[0], batch[1]
    parts = ", ".join(type(part).__name__ for part in batch) if isinstance(batch, list) else type(batch).__name__
    raise TypeError(
        f"a batch must be a list of two tensors [images, targets], got {parts}: let the loader's collate_fn return that"
    )
