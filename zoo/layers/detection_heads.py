"""torchvision's three detectors over a `Pyramid`, which also tell which predicted box was matched to which true one.

Paper:    Faster R-CNN (Ren, He, Girshick, Sun; NeurIPS 2015) https://arxiv.org/abs/1506.01497
          Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He, Dollar; ICCV 2017), RetinaNet
          https://arxiv.org/abs/1708.02002
          FCOS: Fully Convolutional One-Stage Object Detection (Tian, Shen, Chen, He; ICCV 2019)
          https://arxiv.org/abs/1904.01355
Code:     torchvision.models.detection, used here: heads, anchors, matching, losses, non-maximum suppression
Defaults: torchvision's, but for the thresholds of scores (.05 for all, 100 boxes an image); anchors in units of the
          stride, 8 for Faster R-CNN, 4 times 1, 2^1/3, 2^2/3 for RetinaNet, 1 for FCOS, which are torchvision's of
          strides 4 to 128
Differs:  images are neither resized nor normalised, but padded to a multiple of the coarsest stage's stride. FCOS and
          RetinaNet count classes from 0, without a background.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from zoo.layers.pyramid import Pyramid

Target = dict[str, Tensor]  # "boxes" (n, 4) as x1, y1, x2, y2 in pixels, "labels" (n,)
SCORE, MOST = 0.05, 100  # a detection's least score; detections an image


@dataclass
class Matches:
    """The P predicted boxes of a training step that were matched to a true one, over the whole batch.

    Attributes:
        boxes, truth: predicted and true boxes (P, 4) as x1, y1, x2, y2 in pixels.
        anchors: what the boxes were predicted from (P, 4): anchors, squares of the stride (FCOS), proposals (R-CNN).
        labels, image: class in [0, K) and place of the image in the batch, int64 (P,).
        codes, wanted: boxes and truth as the head writes them, in units of its anchors (P, 4).
        weights: (P,), of each pair in the head's sum.
        term: name of the head's loss of boxes.
    """

    boxes: Tensor
    truth: Tensor
    anchors: Tensor
    labels: Tensor
    image: Tensor
    codes: Tensor
    wanted: Tensor
    weights: Tensor
    term: str


@dataclass
class Seen:
    """What a head saw in its last training step: class logits (N, A, K) or (R, K + 1), and its `Matches`."""

    logits: Tensor
    matches: Matches


class Whole(GeneralizedRCNNTransform):
    """Take a batch as it is: pad it with 0 to a multiple of `size_divisible` pixels below and to the right."""

    def __init__(self, multiple: int):
        super().__init__(1, 1, [0.0], [1.0], size_divisible=multiple)

    def forward(self, images: Tensor, targets: list[Target] | None = None) -> tuple[ImageList, list[Target] | None]:
        """Images (N, C, H, W) -> the list that torchvision's heads take; targets unchanged."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.size_divisible, 0, -height % self.size_divisible))
        return ImageList(padded, [(height, width)] * len(images)), targets

    def postprocess(self, result: list[Target], *sizes: Any) -> list[Target]:
        """Return the detections, whose boxes are in the images' pixels already."""
        return result


def spread(values: Sequence[float], counts: list[int], device: torch.device) -> Tensor:
    """Repeat the value of each image for its matches: (N,), N counts -> (P,)."""
    return torch.tensor(values).repeat_interleave(torch.tensor(counts)).to(device)


@dataclass
class Coder:
    """How a head writes boxes, and how its sum weighs them.

    Attributes:
        decode, encode: codes (P, 4), anchors (P, 4) -> boxes (P, 4); boxes, anchors -> codes.
        weights: numbers of matches by image -> the weight of each image's matches.
    """

    decode: Callable[[Tensor, Tensor], Tensor]
    encode: Callable[[Tensor, Tensor], Tensor]
    weights: Callable[[list[int]], list[float]]


def of_anchors(
    targets: list[Target], outputs: Target, anchors: list[Tensor], matched: list[Tensor], coder: Coder
) -> Matches:
    """Collect the matched anchors of a batch: `matched` has the true box of each anchor, or a negative number."""
    found = [torch.where(index >= 0)[0] for index in matched]
    own = [index[at] for index, at in zip(matched, found, strict=True)]
    truth, labels = (
        torch.cat([target[name][index] for target, index in zip(targets, own, strict=True)])
        for name in ("boxes", "labels")
    )
    codes, chosen = (
        torch.cat([each[at] for each, at in zip(values, found, strict=True)])
        for values in (outputs["bbox_regression"], anchors)
    )
    counts, device = [len(at) for at in found], codes.device
    image, weights = spread(range(len(counts)), counts, device), spread(coder.weights(counts), counts, device)
    boxes, wanted = coder.decode(codes, chosen), coder.encode(truth, chosen)
    return Matches(boxes, truth, chosen, labels, image, codes, wanted, weights, "bbox_regression")


class SeeingFCOSHead(FCOSHead):
    """torchvision's head of FCOS, which keeps what it saw: `seen`."""

    seen: Seen | None = None

    def compute_loss(
        self, targets: list[Target], head_outputs: Target, anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Target:
        box, share = self.box_coder, lambda counts: [1 / max(1, sum(counts))] * len(counts)
        coder = Coder(box.decode, lambda truth, anchors: box.encode(anchors, truth), share)
        matches = of_anchors(targets, head_outputs, anchors, matched_idxs, coder)
        self.seen = Seen(head_outputs["cls_logits"], matches)
        losses: Target = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return losses


class SeeingRetinaNetHead(RetinaNetHead):
    """torchvision's head of RetinaNet, which keeps what it saw: `seen`."""

    seen: Seen | None = None

    def compute_loss(
        self, targets: list[Target], head_outputs: Target, anchors: list[Tensor], matched_idxs: list[Tensor]
    ) -> Target:
        box, share = self.regression_head.box_coder, lambda counts: [1 / (max(1, n) * len(counts)) for n in counts]
        coder = Coder(box.decode_single, box.encode_single, share)
        matches = of_anchors(targets, head_outputs, anchors, matched_idxs, coder)
        self.seen = Seen(head_outputs["cls_logits"], matches)
        losses: Target = super().compute_loss(targets, head_outputs, anchors, matched_idxs)
        return losses


class SeeingPredictor(FastRCNNPredictor):
    """torchvision's last layers of Faster R-CNN, which keep their output."""

    output: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (R, D) -> logits (R, K + 1) and codes (R, 4 (K + 1))."""
        self.output = super().forward(x)
        return self.output


class SeeingRoIHeads(RoIHeads):
    """torchvision's second part of Faster R-CNN, which keeps what it saw: `seen`."""

    seen: Seen | None = None
    _chosen: Any = None

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Do as torchvision does, then keep the matched boxes."""
        result = super().forward(*arguments, **keywords)
        (logits, codes), self.box_predictor.output = self.box_predictor.output, None
        if self.training:
            (proposals, _, labels, wanted), self._chosen = self._chosen, None
            counts = [len(each) for each in labels]
            label, proposal, wanted = torch.cat(labels), torch.cat(proposals), torch.cat(wanted)
            image = spread(range(len(counts)), counts, label.device)
            at = torch.where(label > 0)[0]
            label, proposal, wanted, image = label[at], proposal[at], wanted[at], image[at]
            codes = codes.unflatten(1, (-1, 4))[at, label]
            boxes, truth = (self.box_coder.decode_single(c, proposal) for c in (codes, wanted))
            weights = codes.new_full((len(at),), 1 / sum(counts))
            matches = Matches(boxes, truth, proposal, label - 1, image, codes, wanted, weights, "loss_box_reg")
            self.seen = Seen(logits, matches)
        return result

    def select_training_samples(self, *arguments: Any) -> Any:
        self._chosen = super().select_training_samples(*arguments)
        return self._chosen


def fcos(body: Any, num_classes: int, width: int, image_size: int) -> FCOS:
    """Build FCOS over the stages of a network of stride 8 and more."""
    pyramid = Pyramid(body, image_size, 8, width, LastLevelP6P7(width, width), 2)
    anchors = AnchorGenerator(tuple((s,) for s in pyramid.strides), ((1.0,),) * len(pyramid.strides))
    head = SeeingFCOSHead(width, 1, num_classes)
    detector = FCOS(
        pyramid, num_classes, anchor_generator=anchors, head=head, score_thresh=SCORE, detections_per_img=MOST
    )
    detector.transform = Whole(multiple_of(pyramid))
    return detector


def retinanet(body: Any, num_classes: int, width: int, image_size: int) -> RetinaNet:
    """Build RetinaNet over the stages of a network of stride 8 and more."""
    pyramid = Pyramid(body, image_size, 8, width, LastLevelP6P7(width, width), 2)
    sizes = tuple((4 * s, int(4 * s * 2 ** (1 / 3)), int(4 * s * 2 ** (2 / 3))) for s in pyramid.strides)
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    head = SeeingRetinaNetHead(width, 9, num_classes, norm_layer=partial(nn.GroupNorm, 32))
    detector = RetinaNet(
        pyramid, num_classes, anchor_generator=anchors, head=head, score_thresh=SCORE, detections_per_img=MOST
    )
    detector.transform = Whole(multiple_of(pyramid))
    return detector


def faster_rcnn(body: Any, num_classes: int, width: int, image_size: int) -> GeneralizedRCNN:
    """Build Faster R-CNN over the stages of a network of stride 4 and more."""
    pyramid = Pyramid(body, image_size, 4, width, LastLevelMaxPool(), 1)
    sizes = tuple((8 * s,) for s in pyramid.strides)
    anchors, proposals = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)), RPNHead(width, 3)
    before, after = {"training": 2000, "testing": 1000}, {"training": 2000, "testing": 1000}
    rpn = RegionProposalNetwork(anchors, proposals, 0.7, 0.3, 256, 0.5, before, after, 0.7)
    pool = MultiScaleRoIAlign([str(i) for i in range(len(pyramid.names))], output_size=7, sampling_ratio=2)
    hidden, predictor = TwoMLPHead(width * 49, 4 * width), SeeingPredictor(4 * width, num_classes + 1)
    heads = SeeingRoIHeads(pool, hidden, predictor, 0.5, 0.5, 512, 0.25, None, SCORE, 0.5, MOST)
    return GeneralizedRCNN(pyramid, rpn, heads, Whole(multiple_of(pyramid)))


def multiple_of(pyramid: Pyramid) -> int:
    """Return the stride of the network's last stage, in pixels."""
    return int(pyramid.strides[len(pyramid.names) - 1])


HEADS: dict[str, Callable[[Any, int, int, int], nn.Module]] = {
    "faster-rcnn": faster_rcnn,
    "retinanet": retinanet,
    "fcos": fcos,
}


def take_seen(network: Any) -> Seen:
    """Return what the head of one of these saw in the training step, and let it forget."""
    head = network.roi_heads if hasattr(network, "roi_heads") else network.head
    seen, head.seen = head.seen, None
    assert isinstance(seen, Seen)  # the network ran in training, with targets
    return seen
