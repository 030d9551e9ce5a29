"""Segmentation with the backbones of the zoo: `StageSegmenter`."""

from collections.abc import Mapping
from typing import Any, Unpack

from zoo.frame.arguments import Training
from zoo.frame.backbone import be_like, paths, take_over
from zoo.frame.classifier import Classifier
from zoo.frame.outputs import Outputs
from zoo.frame.segmenter import Segmenter
from zoo.layers.segmentation_heads import OverStages


class StageSegmenter(Segmenter):
    """A `Segmenter` over the stages of a classifier: `StageSegmenter(ResNet("50"), "upernet-lite", num_classes=21)`.

    Everything is as in `Segmenter`; its stages are those of the backbone. Images may have any size.

    Args:
        backbone: a model of the zoo, or `Classifier(network, stages=...)`, with stages that are maps (N, C, h, w);
            it is taken over, without its classifier. Its description in a checkpoint builds it again.
        head: "fcn" or "upernet-lite".
        num_classes: K, background included.
        width: channels of UPerNet's levels.
        image_size: side of the images in pixels, for export and counts; None: the backbone's, or 224.
        training: training arguments of `Classifier`.

    Raises:
        TypeError: a backbone without maps.
        ValueError: an unknown head.
    """

    own_channels = True  # the backbone has its channels

    def __init__(
        self,
        backbone: Classifier | Mapping[str, Any],
        head: str = "upernet-lite",
        num_classes: int = 2,
        width: int = 128,
        image_size: int | None = None,
        **training: Unpack[Training],
    ):
        body, size = take_over(self, backbone, image_size)
        super().__init__(num_classes=num_classes, image_size=size, **training)
        be_like(self, body)
        self.network = OverStages(body, head, num_classes, width, size)
        self.stage_paths = {name: f"network.body.{path}" for name, path in paths(body).items()}

    def forward(self, x: Any) -> Outputs:
        """Images (N, C, H, W) -> logits (N, K, H, W)."""
        logits: Outputs = self.network(x)
        return logits
