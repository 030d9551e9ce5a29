"""Detection, boxes with a class: `Detector` trains, scores and takes tricks as `Classifier` does.

A batch is a list `[images, targets]`: images (N, C, H, W), float and normalised; targets a list of N dicts, `"boxes"`
(n, 4) float32 as x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2, `"labels"` (n,) int64 in [0, K). An image without
objects has n = 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

import lightning as L
import torch
from torch import Tensor

from zoo.frame.arguments import Training
from zoo.frame.backbone import be_like, paths, take_over
from zoo.frame.checks import check_images, validate_choice
from zoo.frame.classifier import Classifier
from zoo.frame.detection_scores import DetectionScores, RunningLoss
from zoo.frame.run import callbacks_of, count_loaders
from zoo.frame.step import Step, changes_loss
from zoo.layers.detection_heads import HEADS, Target, take_seen


class Detector(Classifier):
    """A `Classifier` of boxes: one of torchvision's detectors, with a feature pyramid over the backbone's stages.

    `Detector(ResNet("50", weights="torchvision:IMAGENET1K_V2"), "fcos", num_classes=20)`. Images may have any size,
    whatever that of the backbone's. The loss is the sum of the head's losses. Training logs `train/loss`; evaluation
    logs `val/` and `test/` `map`, `map_50` and `map_75` (COCO's mean average precision), and needs pycocotools.

    Stages are those of the backbone, and everything else is as in `Classifier`: `on_loss`, optimizers, files. A
    `Step` has the class logits, (N, A, K) of A anchors or (R, K + 1) of R regions; its extras are `"losses"`, the
    head's losses by name, and `"matches"`, the matched boxes (`zoo.layers.detection_heads.Matches`). Tricks that know
    nothing of boxes (`takes_boxes` false) are refused when the run begins.

    Args:
        backbone: a model of the zoo, or `Classifier(network, stages=...)`, with stages that are maps (N, C, h, w);
            the detector takes it over, without its classifier. Its description in a checkpoint builds it again.
        head: "faster-rcnn", "retinanet" or "fcos".
        num_classes: K, without a background.
        width: channels of the pyramid and the head, a multiple of 32.
        image_size: side of the images in pixels, for counts; None: the backbone's, or 224.
        training: training arguments of `Classifier`.

    Raises:
        TypeError: a backbone without maps.
        ValueError: an unknown head, or an argument out of range.
    """

    task = "detection"
    own_channels = True  # the backbone has its channels
    train_mean = RunningLoss
    behind_outputs = ("network.head.", "network.rpn.", "network.roi_heads.")  # read the pyramid's maps alone
    network: Any

    def __init__(
        self,
        backbone: Classifier | Mapping[str, Any],
        head: str = "fcos",
        num_classes: int = 80,
        width: int = 256,
        image_size: int | None = None,
        **training: Unpack[Training],
    ):
        validate_choice(head, HEADS, "Detector")
        if width < 32 or width % 32:
            raise ValueError(f"Detector: width must be a multiple of 32, for group norm of 32 groups, got {width}")
        body, size = take_over(self, backbone, image_size)
        super().__init__(num_classes=num_classes, image_size=size, **training)
        be_like(self, body)
        self.network = HEADS[head](body, num_classes, width, size)
        self.stage_paths = {name: f"network.backbone.body.{path}" for name, path in paths(body).items()}

    def forward(self, images: Tensor, targets: list[Target] | None = None) -> Any:
        """Images (N, C, H, W) -> in evaluation detections of each image: boxes (n, 4), labels and scores (n,).

        In training with targets, the head's losses by name; without targets, the pyramid's maps.
        """
        device, network = images.device.type, self.network
        if images.is_meta:  # shapes alone: boxes cannot be sorted without numbers
            return network.backbone(images)
        network.backbone.autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.autocast(device, enabled=False):  # bfloat16 would round the boxes
            if self.training and targets is None:
                return network.backbone(images)
            first = int(self.hparams["head"] == "faster-rcnn")  # its class 0 is the background
            if self.training and targets is not None:
                return network(images, [{**t, "labels": t["labels"] + first} for t in map(without_crowds, targets)])
            return [{**found, "labels": found["labels"] - first} for found in network(images)]

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        images, targets = self._check(batch, batch_idx)
        losses = self(images, targets)
        seen = take_seen(self.network)
        extras = {"losses": losses, "matches": seen.matches}
        step = Step(images, targets, seen.logits, sum(losses.values()), extras)
        self._change(step)
        self._count(step.loss, step.logits, targets)
        return step.loss

    def predict_step(self, batch: list[Any] | Tensor, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Return the detections of each image, of images or of a batch."""
        return self(batch if isinstance(batch, Tensor) else batch[0])

    def predict(self, *arguments: Any, **keywords: Any) -> Any:
        """Refuse: a `Prediction` has one class a picture."""
        raise TypeError("a Detector gives boxes: Trainer.predict(model, data), or model.eval()(images)")

    def export(self, path: Any, *arguments: Any, **keywords: Any) -> None:
        """Write the plain weights as `Classifier` does; refuse graphs, which the heads' loops over images break."""
        if str(path).endswith((".onnx", ".pt2")):
            raise ValueError(f"a Detector has no graph for {path}: export('x.safetensors') writes its weights")
        super().export(path, *arguments, **keywords)

    def outputs_for_scores(self, forward: Any, images: Tensor) -> Any:
        return forward(images)

    def new_scores(self) -> DetectionScores:
        return DetectionScores(count_loaders(self.trainer))

    def _evaluate(self, batch: list[Any], batch_idx: int, loader: int) -> Any:
        images, targets = self._check(batch, batch_idx)
        detections = self(images)
        self._score(detections, targets, loader)
        return detections

    def _check(self, batch: list[Any], batch_idx: int, views: bool = False) -> list[Any]:
        """Check the batch. Boxes are read only if the device need not be waited for."""
        images, targets = batch
        check_images(images, None, type(self).__name__)
        check_boxes(targets, len(images), self.num_classes, read=batch_idx == 0 or not images.is_cuda)
        if self.hparams["channels_last"]:
            images = images.contiguous(memory_format=torch.channels_last)
        return [images, targets]

    def setup(self, stage: str) -> None:
        refuse(callbacks_of(self.trainer))
        if self.hparams["compile"]:
            raise ValueError("a Detector is not compiled: its heads break the graph at every image; compile=False")
        if str(self.trainer.precision) in ("bf16-true", "16-true"):
            raise ValueError(f"precision={self.trainer.precision!r} rounds the boxes of a Detector: take 'bf16-mixed'")
        super().setup(stage)


def without_crowds(target: Target) -> Target:
    """Return the boxes to train on: without those of `"iscrowd"` 1, which evaluation leaves out too."""
    if "iscrowd" not in target:
        return target
    keep = target["iscrowd"] == 0
    return {name: target[name][keep] for name in ("boxes", "labels")}


def check_boxes(targets: Any, images: int, num_classes: int, read: bool) -> None:
    """Refuse targets that are not a list of a dict of boxes and labels for each image.

    Args:
        targets: of the batch.
        images: their number.
        num_classes: K.
        read: look at the numbers too.

    Raises:
        TypeError: targets of another kind.
        ValueError: wrong shapes, empty boxes, or labels that are not in [0, K).
    """
    kinds = isinstance(targets, Sequence) and all(
        isinstance(t, Mapping) and {"boxes", "labels"} <= {*t} for t in targets
    )
    if not kinds or len(targets) != images:
        raise TypeError(
            f"targets of a Detector are a list of {images} dicts, one an image, with 'boxes' (n, 4) and 'labels' (n,), "
            f"got {type(targets).__name__}: take data of boxes, such as Shapes(targets='boxes')"
        )
    for boxes, labels in ((t["boxes"], t["labels"]) for t in targets):
        if boxes.shape != (len(labels), 4) or boxes.dtype != torch.float32 or labels.dtype != torch.int64:
            got = f"{boxes.dtype} {tuple(boxes.shape)} and {labels.dtype} {tuple(labels.shape)}"
            raise ValueError(f"boxes must be float32 (n, 4) and labels int64 (n,), got {got}")
    if not read:
        return
    boxes, labels = (torch.cat([t[name] for t in targets]) for name in ("boxes", "labels"))
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("a box has no area: boxes are x1, y1, x2, y2 in pixels with x1 < x2 and y1 < y2")
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, but the model has {num_classes} classes, "
            f"0 to {num_classes - 1}, without a background"
        )


def refuse(callbacks: Iterable[L.Callback]) -> None:
    """Refuse tricks that know nothing of boxes. Raises TypeError."""
    for trick in callbacks:
        if not takes_boxes(type(trick)):
            name = type(trick).__name__
            raise TypeError(f"{name} knows nothing of boxes, and the targets of a Detector are boxes: take {name} out")


def takes_boxes(kind: type[L.Callback]) -> bool:
    """Return whether a class of tricks works where targets are boxes: what it says, else whether it sees no targets."""
    told: bool | None = getattr(kind, "takes_boxes", None)
    if told is not None:
        return told
    sees = any(getattr(kind, name, False) for name in ("changes_batch", "makes_head", "needs_labels", "one_label"))
    return not sees and not changes_loss(kind)
