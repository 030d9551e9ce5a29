"""Images prepared as a model wants them: `ImageFolder(root, like=model)`."""

from collections.abc import Mapping
from typing import Any

from datamodules.transforms import Center, TenCrop


def wanted_by(model: Any) -> dict[str, Any] | None:
    """Return size, short side, mean, std, ... that a model's weights ask for, as plain values; None for no model.

    Args:
        model: has `preprocessing`, whose `plain()` gives them, as `zoo.Classifier` does; or is these values.

    Raises:
        ValueError: the model does not know.
    """
    if model is None or isinstance(model, Mapping):
        return model if model is None else dict(model)
    how = getattr(model, "preprocessing", None)
    if how is None:
        raise ValueError(
            f"like={type(model).__name__}: it does not know how its images are prepared, since no weights say so: give "
            "image_size, mean and std instead"
        )
    plain: dict[str, Any] = how.plain()
    return plain


def evaluation_of(how: Mapping[str, Any]) -> Center:
    """Return the transform that cuts a picture as the plain values say."""
    kind = TenCrop if how["views"] == "10-crop" else Center
    return kind(how["size"], None if how["keeps_small"] else how["short_side"], how["interpolation"])
