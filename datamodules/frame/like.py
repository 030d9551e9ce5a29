"""Preprocess images as a model's weights require: `ImageFolder(root, like=model)`."""

from collections.abc import Mapping
from typing import Any

from datamodules.transforms import Center, TenCrop


def wanted_by(model: Any) -> dict[str, Any] | None:
    """Return a model's preprocessing (size, short side, mean, std, ...) as plain values; None for no model.

    Args:
        model: has `preprocessing` with a method `plain()`, as `zoo.Classifier` does; or the plain values themselves.

    Raises:
        ValueError: the model does not know its preprocessing, or it has whitened images.
    """
    if model is None or isinstance(model, Mapping):
        return model if model is None else dict(model)
    how = getattr(model, "preprocessing", None)
    if how is None:
        raise ValueError(
            f"like={type(model).__name__}: this model has no preprocessing, since it has no pretrained weights: give "
            "image_size, mean and std instead"
        )
    plain: dict[str, Any] = how.plain()
    if plain.get("whitening") is not None:
        raise ValueError(
            "like=: the model's images are whitened: set data.whitening to the one that it was trained with"
        )
    return plain


def evaluation_of(how: Mapping[str, Any]) -> Center:
    """Return the transform that crops a picture by the plain values."""
    kind = TenCrop if how["views"] == "10-crop" else Center
    return kind(how["size"], None if how["keeps_small"] else how["short_side"], how["interpolation"])
