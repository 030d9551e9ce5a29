"""Localization-aware channel pruning: keep the channels of a detector by which objects are recognised and placed.

Paper:    Localization-aware Channel Pruning for Object Detection (Xie et al.; 2019), LCP
          https://arxiv.org/abs/1911.02237, whose equations were read as others quote them
          Discrimination-aware Channel Pruning (Zhuang et al.; NeurIPS 2018), DCP https://arxiv.org/abs/1810.11809
Code:     https://github.com/SCUT-AILab/DCP at 8d7da8c, the authors' of DCP: the greedy choice. None of LCP's authors
          was found
Equation: L_re = 1 / (2 Q) ||F - X * W_C||^2, F the map of the whole network, of Q numbers, C the chosen channels
          F_O = RoIAlign(F; B) + RoIAlign(F; C'), B a true box, C' the smallest box around B and its anchor
          L_ac = cross-entropy of FC(pool(ReLU(BN(F_O)))),  L_ar = m (1 - GIoU(b, B)), b the detector's box
          L = L_re + alpha (L_ac + L_ar);   S_k = sum over readers of ||dL / dW_k||^2
          greedily: the largest S_k joins C, W_k is what it was, and then W_C <- W_C - gamma dL / dW_C on each batch
Shapes:   W (C_out, C_in, k, k) of the layers that read the channels; F_O (P, C, 7, 7) of P matched boxes
Defaults: alpha = 1, m = 1, gamma = .1 and chunk = C / 16 channels at a time: ours, the paper's were not found; DCP has
          chunk = 1. Heads learn by SGD for 50 passes, momentum .9, the rate divided by 10 at thirds, as in a port to
          YOLOv3 (linsongxue/PowerfulLCP); their rate of .1 is ours. RoIAlign has 7 x 7 cells of 2 x 2 samples: ours
Differs:  A head stands at the end of each of the network's stages, and learns while the detector is frozen. The network
          is not tuned between stages: fine-tune the pruned one. Means over matches stand for sums. dL / dW_C is clipped
          at a norm of 1, because group norms behind an empty map have gradients without a bound. Matches are the
          detector's own, without a second limit of their IoU; FCOS has squares of its stride in the place of anchors.
          Tied layers lose channels together, as in `zoo.prune_channels`, and S_k sums over all that read them
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss, roi_align

from zoo.frame.detector import Detector, check_boxes
from zoo.frame.surgery import operate
from zoo.layers.detection_heads import Matches, Target, take_seen
from zoo.layers.pyramid import collect_maps
from zoo.tools.channels import Channels

Batch = tuple[Tensor, list[Target]]
SIDE, SAMPLES = 7, 2  # of RoIAlign: cells, and samples in a cell, along each side
PASSES, HEAD_RATE = 50, 0.1  # of the heads' training
M, GAMMA = 1.0, 0.1


# ---- the auxiliary network


def around(anchors: Tensor, truth: Tensor) -> Tensor:
    """Return C', the smallest box around both: (P, 4), (P, 4) -> (P, 4), as x1, y1, x2, y2."""
    low, high = torch.minimum(anchors, truth), torch.maximum(anchors, truth)
    return torch.cat([low[:, :2], high[:, 2:]], 1)


def contextual_roi_align(maps: Tensor, pairs: Matches, scale: float) -> Tensor:
    """Return F_O of each match, (P, C, 7, 7), of maps (N, C, h, w). `scale` is 1 / stride."""
    image = pairs.image[:, None].to(maps)
    both = torch.cat([torch.cat([image, box], 1) for box in (pairs.truth, around(pairs.anchors, pairs.truth))])
    each, of = both.unique(dim=0, return_inverse=True)  # the matches of an object share its box
    near, wide = roi_align(maps, each, SIDE, scale, SAMPLES, aligned=True)[of].chunk(2)
    context: Tensor = near + wide
    return context


class AuxiliaryHead(nn.Module):
    """FC(pool(ReLU(BN(F_O)))): (P, C, 7, 7) -> (P, K).

    Args:
        channels: C, of the stage's maps.
        num_classes: K.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.bn, self.fc = nn.BatchNorm2d(channels), nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.bn(x).relu().mean((2, 3)))
        return logits


def auxiliary_loss(logits: Tensor, pairs: Matches) -> Tensor:
    """Return L_ac + L_ar, means over the matches; 0 without any."""
    classes = F.cross_entropy(logits, pairs.labels, reduction="sum")
    places: Tensor = generalized_box_iou_loss(pairs.boxes, pairs.truth, reduction="sum")
    return (classes + M * places) / max(1, len(logits))


# ---- the detector


def look(model: Detector, batch: Batch) -> Matches:
    """Run the detector on a batch, and return which of its boxes it matched to which true ones."""
    model(*batch)
    return take_seen(model.network).matches


def freeze(model: Detector) -> Detector:
    """Return a copy that matches boxes as in training, while its backbone runs as in evaluation, without gradients."""
    working = copy.deepcopy(model).requires_grad_(False).train()
    working.network.backbone.body.eval()
    return working


def learn_heads(model: Detector, batches: Sequence[Batch]) -> dict[str, AuxiliaryHead]:
    """Train an auxiliary head for the maps of each stage; the detector is a `frozen` one.

    Raises:
        ValueError: no true box of the batches is matched.
    """
    seen: list[tuple[dict[str, Tensor], Tensor]] = []  # by batch: F_O of each stage, labels
    for images, targets in batches:
        with torch.no_grad(), collect_maps(model.stages) as maps:
            pairs = look(model, (images, targets))
        scales = {name: each.shape[-1] / images.shape[-1] for name, each in maps.items()}
        if len(pairs.labels):
            regions = {name: contextual_roi_align(maps[name], pairs, scale) for name, scale in scales.items()}
            seen.append((regions, pairs.labels))
    if not seen:
        raise ValueError("prune_detector: no object of the batches is matched: give it batches with more objects")
    return {name: _learn([(found[name], labels) for found, labels in seen], model.num_classes) for name in seen[0][0]}


def _learn(examples: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> AuxiliaryHead:
    """Train a head on pairs of F_O (P, C, 7, 7) and labels (P,)."""
    first = examples[0][0]
    head = AuxiliaryHead(first.shape[1], num_classes).to(first.device)
    optimizer = torch.optim.SGD(head.parameters(), HEAD_RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [PASSES // 3, 2 * PASSES // 3])
    for _ in range(PASSES):
        for regions, labels in examples:
            optimizer.zero_grad()
            F.cross_entropy(head(regions), labels).backward()
            optimizer.step()
        schedule.step()
    return head.eval().requires_grad_(False)


# ---- the greedy choice


@dataclass
class Reader:
    """A layer that reads the channels of a group.

    Attributes:
        path: of the layer in the network.
        weight: its weight, whose dimension 1 is the channels that it reads.
        owner: (C_in,) int64, place of each read channel in the group; n, one past the last place: of another group.
    """

    path: str
    weight: nn.Parameter
    owner: Tensor


def scores(gradients: Sequence[Tensor], owners: Sequence[Tensor], n: int) -> Tensor:
    """Return S_k of each of the n channels of a group, (n,): squared norms of the readers' gradients of its columns."""
    total = gradients[0].new_zeros(n + 1)
    for gradient, owner in zip(gradients, owners, strict=True):
        total.index_add_(0, owner, gradient.square().transpose(0, 1).flatten(1).sum(1))
    return total[:n]


def choose_channels(
    readers: Sequence[Reader], n: int, keep: int, chunk: int, losses: Sequence[Callable[[], Tensor]]
) -> Tensor:
    """Choose the channels that stay, and change the readers' weights in place: columns of others become 0.

    Args:
        readers: of the group, whose weights require gradients.
        n: channels of the group.
        keep: how many stay, in 1..n.
        chunk: channels that join at a time.
        losses: L of each batch, as a function of the weights as they stand.

    Returns:
        Which channels stay, bool (n,).
    """
    weights, owners = [reader.weight for reader in readers], [reader.owner for reader in readers]
    whole = [weight.detach().clone() for weight in weights]
    chosen = torch.zeros(n + 1, dtype=torch.bool, device=weights[0].device)
    _write(weights, whole, owners, torch.arange(n + 1, device=chosen.device) < n, 0.0)
    for count in range(0, keep, chunk):
        gradients = [torch.autograd.grad(loss(), weights) for loss in losses]
        score = scores([torch.stack(each).sum(0) for each in zip(*gradients, strict=True)], owners, n)
        order = score.masked_fill(chosen[:n], -1).argsort(descending=True, stable=True)
        new = torch.zeros_like(chosen)
        new[order[: min(chunk, keep - count)]] = True
        _write(weights, whole, owners, new, 1.0)
        chosen |= new
        for loss in losses:
            _descend(weights, torch.autograd.grad(loss(), weights), owners, chosen)
    return chosen[:n]


@torch.no_grad()
def _write(
    weights: Sequence[Tensor], whole: Sequence[Tensor], owners: Sequence[Tensor], which: Tensor, factor: float
) -> None:
    """Set the columns of the channels `which` (n + 1,) to those of the whole network, times a factor."""
    for weight, old, owner in zip(weights, whole, owners, strict=True):
        columns = which[owner].view(1, -1, *[1] * (weight.ndim - 2))
        weight.copy_(torch.where(columns, factor * old, weight))


@torch.no_grad()
def _descend(weights: Sequence[Tensor], gradients: Sequence[Tensor], owners: Sequence[Tensor], chosen: Tensor) -> None:
    """Do a step of gradient descent on the chosen channels' columns alone, each layer's clipped at a norm of 1."""
    for weight, gradient, owner in zip(weights, gradients, owners, strict=True):
        step = gradient * chosen[owner].view(1, -1, *[1] * (weight.ndim - 2))
        weight.sub_(GAMMA * step / step.norm().clamp(min=1))


# ---- all of it


@dataclass
class Selection:
    """The selection loss L of a group, on a batch.

    Attributes:
        model: the network as it is pruned.
        whole: the network as it was.
        heads: by stage.
        alpha: weight of the auxiliary loss.
    """

    model: Detector
    whole: Detector
    heads: Mapping[str, AuxiliaryHead]
    alpha: float

    def losses(self, readers: Sequence[Reader], batches: Sequence[Batch]) -> list[Callable[[], Tensor]]:
        """Return L of each batch, as a function of the weights as they stand."""
        stage = self.stage_of(readers)
        return [self._loss(readers, stage, batch) for batch in batches]

    def stage_of(self, readers: Sequence[Reader]) -> str:
        """Return the last stage with a reader of the group, whose head judges it; the last of all without one."""
        inside = {stage: {*module.modules()} for stage, module in self.model.stages.items()}
        layers = {self.model.get_submodule(reader.path) for reader in readers}
        having = [stage for stage, modules in inside.items() if modules & layers]
        return (having or [*inside])[-1]

    def _loss(self, readers: Sequence[Reader], stage: str, batch: Batch) -> Callable[[], Tensor]:
        images = batch[0]
        with torch.no_grad(), collect_maps({r.path: self.whole.get_submodule(r.path) for r in readers}) as wanted:
            self.whole.network.backbone(images)
        layers: dict[str, nn.Module] = {r.path: self.model.get_submodule(r.path) for r in readers}
        layers["stage"] = self.model.stages[stage]

        def loss() -> Tensor:
            with collect_maps(layers) as maps:
                pairs = look(self.model, batch)
            rebuilt = [(maps[path] - value).square().mean() / 2 for path, value in wanted.items()]
            scale = maps["stage"].shape[-1] / images.shape[-1]
            logits = self.heads[stage](contextual_roi_align(maps["stage"], pairs, scale))
            return torch.stack(rebuilt).sum() + self.alpha * auxiliary_loss(logits, pairs)

        return loss


def readers_of(model: Detector, channels: Channels, group: Iterable[int]) -> list[Reader]:
    """Return the layers that read the channels of a group, numbers of `channels`, in the order in which they run."""
    place, found = {number: i for i, number in enumerate(group)}, []
    for (name, dim), numbers in channels.places.items():
        owner = [place.get(channels.find(number), len(place)) for number in numbers]
        if dim == 1 and min(owner) < len(place):
            weight: Any = model.get_parameter(name)
            found.append(Reader(name.removesuffix(".weight"), weight, torch.tensor(owner, device=weight.device)))
    return found


def prune_detector(
    model: Detector, batches: Iterable[Any], fraction: float = 0.5, alpha: float = 1.0, chunk: int | None = None
) -> Detector:
    """Return a copy of a detector with fewer channels, chosen by localization-aware pruning; fine-tune it.

    As with `zoo.prune_channels`, checkpoints record the removed channels, the maps that the head reads keep theirs, and
    each layer loses the same part; weights that read what is left have moved. For n channels it takes about
    2 n (1 - fraction) / chunk passes over the batches. Draw weights of the heads from a seed: they start at random.

    Args:
        model: trained; unchanged.
        batches: a few of training, [images, targets] as in `Detector`, normalised, on the model's device.
        fraction: of the channels of each layer that leave, in (0, 1).
        alpha: weight of the auxiliary loss, >= 0; 0: channels are chosen by reconstruction alone.
        chunk: channels that join at a time, >= 1; None: a sixteenth of the layer's.

    Raises:
        TypeError: the model is not a `Detector`, or has no channels that can leave.
        ValueError: an argument out of range; no batches, or none with a matched object.
    """
    if not isinstance(model, Detector):
        raise TypeError(f"prune_detector prunes a Detector; of a {type(model).__name__}, zoo.prune_channels does")
    if not 0 < fraction < 1 or alpha < 0 or (chunk is not None and chunk < 1):
        raise ValueError(
            f"prune_detector: fraction must be in (0, 1), alpha >= 0 and chunk >= 1, got {fraction}, {alpha}, {chunk}"
        )
    given = [_pad(model, *batch) for batch in batches]
    size: Any = model.image_size
    channels, working = Channels(model, size), freeze(model)
    removed = _select(working, given, channels, fraction, alpha, chunk)
    smaller = copy.deepcopy(model)
    smaller.load_state_dict(working.state_dict())
    count = sum(p.numel() for p in model.parameters())
    operate(smaller, "prune_channels", removed=removed, image_size=size, parameters=count)
    return smaller


def _select(
    working: Detector, batches: Sequence[Batch], channels: Channels, fraction: float, alpha: float, chunk: int | None
) -> dict[str, list[int]]:
    """Choose group by group, and change the weights in place: path of a layer -> its output channels that leave."""
    groups = channels.groups(working)
    if not groups:
        raise TypeError("prune_detector: this backbone has no channels that can leave, see zoo.prune_channels")
    selection = Selection(working, whole := copy.deepcopy(working), learn_heads(whole, batches), alpha)
    removed: dict[str, list[int]] = defaultdict(list)
    for group in groups:
        n, readers = len(group), readers_of(working, channels, group)
        for reader in readers:
            reader.weight.requires_grad_()
        keep = max(1, n - int(fraction * n))
        stay = choose_channels(readers, n, keep, chunk or max(1, n // 16), selection.losses(readers, batches))
        working.requires_grad_(False)
        for made, there in zip(group.values(), stay.tolist(), strict=True):
            if not there:
                removed[made[0][0].removesuffix(".weight")].append(made[0][1])
    return {path: sorted(places) for path, places in removed.items()}


def _pad(model: Detector, images: Tensor, targets: list[Target]) -> Batch:
    """Check a batch, and pad its images as the detector does, so that strides divide their sides."""
    check_boxes(targets, len(images), model.num_classes, read=True)
    padded: Tensor = model.network.transform(images)[0].tensors
    return padded, targets
