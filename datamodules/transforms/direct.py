"""Transforms of torchvision's v2 for one tensor, without its search for images in nested inputs."""

from typing import Any

from torch import Tensor


class Direct:
    """Mix into a class of v2: the same random numbers and result, for a single tensor only.

    v2's own `forward` looks through nested inputs of many types. After a decoder has emptied the processor's caches
    that takes 50 us, as long as copying the crop.
    """

    def make_params(self, flat_inputs: list[Tensor]) -> dict[str, Any]:
        """Draw the numbers that `transform` takes."""
        return super().make_params(flat_inputs)  # type: ignore[misc]  # of the class of v2

    def transform(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        """Apply the transform with these numbers."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Transform uint8 (3, H, W) to uint8 (3, S, S)."""
        return self.transform(image, self.make_params([image]))
