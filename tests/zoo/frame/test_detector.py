"""`Detector`: torchvision's numbers on the same weights, scores by hand, files, tricks that work or refuse."""

import copy
from functools import partial

import lightning as L
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import callbacks
import zoo
from callbacks import (
    EMA,
    BoxCrop,
    BoxFlip,
    BoxLoss,
    CopyPaste,
    CosineDecay,
    FrozenBatchNorm,
    GradualUnfreezing,
    LabelSmoothing,
    Mosaic,
    NoBiasDecay,
)
from datamodules import ShapeBoxes
from tests.conftest import TEACHERS, build_trick
from zoo import Classifier, Detector, ResNet
from zoo.frame.detection_scores import DetectionScores
from zoo.layers.detection_heads import HEADS, Matches

K, SIDE = 3, 32
every_head = pytest.mark.parametrize("head", HEADS)
no_map = pytest.importorskip


def make(head="fcos", **arguments):
    torch.manual_seed(0)
    return Detector(ResNet("20", image_size=SIDE), head, K, 32, **{"optimizer": "adamw", "lr": 1e-3, **arguments})


def batch(n=2, height=SIDE, width=SIDE):
    """Noise with a bright square at the box of the class; the last image has nothing."""
    torch.manual_seed(1)
    images, targets = 0.1 * torch.randn(n, 3, height, width), []
    for i in range(n):
        x, side, label = 3 + 2 * i, 12 + i, i % K
        images[i, label, 4 : 4 + side, x : x + side] += 2
        box = [[x, 4, x + side, 4 + side]]
        targets.append({"boxes": torch.tensor(box).float(), "labels": torch.tensor([label])})
    images[-1] = 0
    targets[-1] = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    return [images, targets]


def loader(n=4):
    """Batches of two."""
    return DataLoader(
        list(zip(*batch(n), strict=True)),
        batch_size=2,
        collate_fn=lambda items: [torch.stack([x for x, _ in items]), [t for _, t in items]],
    )


# ---- torchvision's numbers


def theirs(head):
    """Of the stock classes, over torchvision's ResNet-18."""
    stages = {"layer1": "0", "layer2": "1", "layer3": "2", "layer4": "3"}
    as_they_are = {"min_size": 64, "max_size": 64, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    network = torchvision.models.resnet18()
    if head == "faster-rcnn":
        heads = {"box_detections_per_img": 100, "rpn_anchor_generator": None}
        body = BackboneWithFPN(network, stages, [64, 128, 256, 512], 32)
        box_head = torchvision.models.detection.faster_rcnn.TwoMLPHead(32 * 49, 128)
        predictor = torchvision.models.detection.faster_rcnn.FastRCNNPredictor(128, K + 1)
        return FasterRCNN(body, box_head=box_head, box_predictor=predictor, **heads, **as_they_are)
    del stages["layer1"]
    body = BackboneWithFPN(network, stages, [128, 256, 512], 32, LastLevelP6P7(32, 32))
    if head == "fcos":
        return FCOS(body, K, score_thresh=0.0, **as_they_are)
    sizes = tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    towers = RetinaNetHead(32, 9, K, norm_layer=partial(nn.GroupNorm, 32))
    numbers = {"score_thresh": 0.0, "detections_per_img": 100, **as_they_are}
    return RetinaNet(body, K, anchor_generator=anchors, head=towers, **numbers)


def frozen(network):
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@every_head
def test_losses_and_boxes_are_torchvisions(head):
    torch.manual_seed(0)
    model, other, first = Detector(ResNet("18", image_size=224), head, K, 32), theirs(head), head == "faster-rcnn"
    other.load_state_dict(model.network.state_dict())  # the same keys, strictly
    images, targets = batch(3, 64, 64)
    frozen(model), frozen(other)
    torch.manual_seed(3)
    torch.rand(3).uniform_(), torch.manual_seed(3)
    for _ in images:
        torch.empty(1).uniform_()  # as torchvision's transform does, whose draw chooses among one size
    losses = model(images, targets)
    torch.manual_seed(3)
    expected = other([*images], [{**t, "labels": t["labels"] + first} for t in targets])
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)
    model.eval(), other.eval()
    getattr(model.network, "roi_heads", model.network).score_thresh = 0.05 if first else 0.0
    for found, right in zip(model(images), other([*images]), strict=True):
        assert len(found["boxes"]) > 0 and torch.equal(found["labels"] + first, right["labels"])
        torch.testing.assert_close(found["boxes"], right["boxes"])
        torch.testing.assert_close(found["scores"], right["scores"])


@every_head
def test_matches_explain_the_loss_of_boxes(head, trainer):
    """The head's own loss of boxes, from the pairs that it tells: GIoU, L1 of codes, smooth L1 of codes."""
    steps = run(trainer, make(head))[0]
    for step in steps:
        pairs = step.extras["matches"]
        assert isinstance(pairs, Matches) and len(pairs.boxes) == len(pairs.truth) == len(pairs.codes) > 0
        if head == "fcos":
            each = torchvision.ops.generalized_box_iou_loss(pairs.boxes, pairs.truth)
        elif head == "retinanet":
            each = (pairs.codes - pairs.wanted).abs().sum(1)
        else:
            each = nn.functional.smooth_l1_loss(pairs.codes, pairs.wanted, reduction="none", beta=1 / 9).sum(1)
        torch.testing.assert_close((each * pairs.weights).sum(), step.extras["losses"][pairs.term])
        known = torch.cat([t["boxes"] for t in step.targets])
        distance = torch.cdist(pairs.truth, known)
        assert distance.amin(1).max() < 1e-3  # true boxes, through their codes too
        place = torch.tensor([i for i, target in enumerate(step.targets) for _ in target["labels"]])
        label = torch.cat([target["labels"] for target in step.targets])
        assert torch.equal(pairs.image, place[distance.argmin(1)]) and torch.equal(pairs.labels, label[pairs.image])
        middle = (pairs.anchors[:, :2] + pairs.anchors[:, 2:]) / 2
        assert ((pairs.truth[:, :2] < middle) & (middle < pairs.truth[:, 2:])).all()  # of a matched anchor


# ---- it learns, scores, and is kept


@pytest.mark.slow
@every_head
@pytest.mark.one_in(2)
def test_learns_one_batch_by_heart_and_trains_all_of_itself(head):
    model, (images, targets) = make(head, lr=3e-3), batch(3)
    optimizer, trained = model.configure_optimizers(), set()
    for _ in range(60):
        losses = model.train()(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        trained |= {key for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {key for key, _ in model.named_parameters()}
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model(images, targets)
        found = model.eval()(images)
    for i in (0, 1):
        best = found[i]["boxes"][:1]
        assert torchvision.ops.box_iou(best, targets[i]["boxes"]).item() > 0.5 and found[i]["labels"][0] == i


def test_scores_by_hand():
    """One of two objects is found: precision 1 to a recall of .5, and COCO's 101 points; a crowd does not count."""
    no_map("pycocotools", reason="counts mean average precision")
    scores, box = DetectionScores(2), torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    one = {"boxes": box, "labels": torch.tensor([0]), "scores": torch.tensor([0.9])}
    none = {name: value[:0] for name, value in one.items()}
    target = {"boxes": box, "labels": torch.tensor([0]), "iscrowd": torch.tensor([0])}
    crowd = {**target, "iscrowd": torch.tensor([1])}
    scores.update([one, none, none], [target, target, crowd])
    scores.update([none], [{name: value[:0] for name, value in target.items()}], 1)
    found = scores.compute()
    assert found["map"].item() == found["map_50"].item() == pytest.approx(51 / 101)
    assert found["map/dataloader_idx_1"] == -1  # nothing to find
    assert [len(seen) for seen in scores.seen] == [0, 0]


def test_without_pycocotools_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("zoo.frame.detection_scores.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-zoo\[detection\]'.*limit_val_batches=0"):
        DetectionScores()


class Seen(callbacks.frame.trick.Trick):
    looks_only = takes_boxes = True

    def __init__(self):
        self.steps = []

    def on_loss(self, model, step):
        self.steps.append(step)


def run(trainer, model, *tricks, **options):
    """Steps as the tricks left them, and the trainer."""
    seen = Seen()
    fit = trainer(max_epochs=1, callbacks=[*tricks, seen], **options)
    fit.fit(model, loader())
    return seen.steps, fit


def test_the_loss_is_the_sum_of_the_heads_and_is_logged(trainer):
    steps, fit = run(trainer, make())
    assert [*steps[0].extras["losses"]] == ["classification", "bbox_regression", "bbox_ctrness"]
    for step in steps:
        torch.testing.assert_close(step.loss, sum(step.extras["losses"].values()))
        assert step.logits.shape == (2, 64 + 16 + 4, K)  # maps of strides 4, 8, 16
    mean = sum(step.loss.item() for step in steps) / len(steps)
    assert fit.callback_metrics["train/loss"].item() == pytest.approx(mean) and "train/acc" not in fit.callback_metrics


def test_files_copies_and_predictions(trainer, tmp_path):
    model = make("faster-rcnn", lr=1e-3)
    _, fit = run(trainer, model)
    fit.save_checkpoint(tmp_path / "model.ckpt")
    images = batch(2)[0]
    model.network.roi_heads.score_thresh = 0.0
    expected, loaded = model.eval()(images), zoo.load(tmp_path / "model.ckpt")
    assert type(loaded) is Detector and loaded.hparams == model.hparams
    for again in (loaded, copy.deepcopy(model)):
        again.network.roi_heads.score_thresh = 0.0
        for a, b in zip(again.eval()(images), expected, strict=True):
            assert len(a["boxes"]) and all(torch.equal(a[name], b[name]) for name in ("boxes", "labels", "scores"))
    model.export(tmp_path / "model.safetensors")
    other = make("faster-rcnn")
    other.load_weights(str(tmp_path / "model.safetensors"))
    assert torch.equal(other.eval()(images)[0]["boxes"][:0], expected[0]["boxes"][:0])
    for key, value in other.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])
    found = trainer().predict(model, loader())
    assert len(found) == 2 and found[0][0].keys() == {"boxes", "labels", "scores"}
    with pytest.raises(ValueError, match="a Detector has no graph for .*onnx"):
        model.export(tmp_path / "model.onnx")
    with pytest.raises(TypeError, match="a Detector gives boxes"):
        model.predict("a.png")


def test_a_timm_backbone_comes_back_and_your_own_does_not():
    model = Detector(Classifier("resnet18", num_classes=10), "fcos", K, 32)
    again = Detector(**model.hparams)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    own = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Flatten(), nn.Linear(8 * 16, 2))
    model = Detector(Classifier(own, stages={"stage1": "0", "stage2": "1"}, image_size=32), "fcos", K, 32)
    assert model.network.backbone.strides == [8, 16, 32] and isinstance(own[3], nn.Identity)
    with pytest.raises(ValueError, match="a network of your own, which only you can build: pass backbone="):
        Detector(**model.hparams)


def test_images_of_any_size_and_of_no_object():
    model = make().eval()
    model.network.score_thresh, model.network.nms_thresh, model.network.detections_per_img = 0.0, 1.0, 10000
    images = batch(2, 44, 58)[0]
    found = model(images)
    assert all((d["boxes"][:, 2] <= 58).all() and (d["boxes"][:, 3] <= 44).all() and len(d["boxes"]) for d in found)
    assert found[0]["boxes"][:, 2].max() > 44


def test_an_examples_boxes_do_not_depend_on_the_others():
    model, (images, _) = make("retinanet").eval(), batch(3)
    model.network.score_thresh = 0.0
    alone, together = model(images[:1])[0], model(images)[0]
    torch.testing.assert_close(alone["scores"], together["scores"])


def test_boxes_stay_float32_in_bf16(trainer):
    exact, _ = run(trainer, make())
    rough, _ = run(trainer, make(), precision="bf16-mixed")
    for a, b in zip(exact, rough, strict=True):
        assert b.extras["matches"].boxes.dtype == b.logits.dtype == torch.float32
        torch.testing.assert_close(a.extras["matches"].truth, b.extras["matches"].truth)
    assert rough[0].loss.item() == pytest.approx(exact[0].loss.item(), rel=0.1)
    assert rough[0].loss != exact[0].loss  # the backbone was in bf16
    with pytest.raises(ValueError, match="rounds the boxes of a Detector: take 'bf16-mixed'"):
        run(trainer, make(), precision="bf16-true")


# ---- refusals


def target(boxes=((1.0, 1.0, 5.0, 5.0),), labels=(0,), dtype=torch.float32):
    return {"boxes": torch.tensor(boxes, dtype=dtype), "labels": torch.tensor(labels)}


@pytest.mark.parametrize(
    ("targets", "error", "said"),
    [
        (torch.zeros(2).long(), TypeError, "a list of 2 dicts, one an image, .* got Tensor: take data of boxes"),
        ([target()], TypeError, "a list of 2 dicts"),
        ([target(), target(dtype=torch.int64)], ValueError, r"boxes must be float32 \(n, 4\)"),
        (
            [target(), target(labels=(0, 1))],
            ValueError,
            r"and labels int64 \(n,\), got .*\(1, 4\) and torch.int64 \(2,\)",
        ),
        ([target(), target(((3.0, 1.0, 3.0, 5.0),))], ValueError, "a box has no area"),
        ([target(), target(labels=(3,))], ValueError, "labels go from 0 to 3, but the model has 3 classes, 0 to 2"),
    ],
)
def test_wrong_targets_are_refused(targets, error, said, trainer):
    data = [[batch(2)[0], targets]]
    with pytest.raises(error, match=said):
        trainer().fit(make(), DataLoader(data, batch_size=None, collate_fn=lambda x: x))


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="Detector has no 'focs'; did you mean 'fcos'"):
        make("focs")
    with pytest.raises(ValueError, match="width must be a multiple of 32.* got 48"):
        Detector(ResNet("20"), width=48)
    with pytest.raises(TypeError, match=r"needs maps \(N, C, h, w\), and stage1 of ViT gives none"):
        Detector(zoo.ViT("Ti/16", image_size=32))
    with pytest.raises(TypeError, match="Classifier has no stages to build on"):
        Detector(Classifier(nn.Linear(2, 2)))


# ---- tricks


def test_tricks_act_on_the_backbone(trainer):
    model = make()
    tricks = [EMA(0.5), CosineDecay(), NoBiasDecay(), GradualUnfreezing(every="1st"), FrozenBatchNorm()]
    before = copy.deepcopy(model.state_dict())
    run(trainer, model, *tricks)
    moved = {key.split(".")[1] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"backbone", "head"}
    assert [*model.stages] == ["stage1", "stage2", "stage3"]
    assert model.stages["stage1"] is model.network.backbone.body.layer1


def test_the_pyramid_sees_what_a_trick_makes_of_a_stage():
    model, images = make(), batch(2)[0]
    with torch.no_grad():
        model.stages["stage3"].register_forward_hook(lambda m, a, out: torch.full_like(out, 7.0))
        inner = model.network.backbone.fpn.inner_blocks[0][0]
        got = []
        inner.register_forward_pre_hook(lambda m, a: got.append(a[0]))
        model.network.backbone(images)
    assert (got[0] == 7).all()


def test_tricks_that_know_no_boxes_are_refused(trainer):
    with pytest.raises(TypeError, match="LabelSmoothing knows nothing of boxes, .* take LabelSmoothing out"):
        run(trainer, make(), LabelSmoothing())


def test_averages_are_scored_beside_the_model(trainer):
    no_map("pycocotools", reason="counts mean average precision")
    fit = trainer(max_epochs=1, callbacks=[EMA(0.5)])
    fit.fit(make(), loader(), loader())
    assert {"val/map", "val/map_50", "val/map_75", "val/map_ema0.5"} <= {*fit.callback_metrics}


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(trainer, tmp_path):
    """Stopped in the middle of an epoch, with tricks that draw and move boxes."""

    def start(epochs, steps=-1):
        torch.manual_seed(0)
        L.seed_everything(7, verbose=False)
        tricks = [BoxFlip(), BoxCrop(), Mosaic(), CopyPaste(), BoxLoss("diou"), EMA(0.9)]
        data = ShapeBoxes(4, images=16, test_images=4, image_size=SIDE, val_split=0)
        return trainer(max_epochs=epochs, max_steps=steps, callbacks=tricks), make("faster-rcnn"), data

    whole, model, data = start(2)
    whole.fit(model, data)
    half, first, data = start(2, 3)
    half.fit(first, data)
    half.save_checkpoint(tmp_path / "half.ckpt")
    rest, second, data = start(2)
    rest.fit(second, data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for key, value in model.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key


@pytest.mark.slow
@pytest.mark.parametrize("name", callbacks.__all__)
@pytest.mark.one_in(3)
def test_every_trick_trains_or_says_why_not(name, trainer):
    """In words: with TypeError or ValueError of its own, before or at the first step."""
    if name in TEACHERS:
        pytest.skip("its teacher here is of images")
    model = make()
    trick = callbacks.Maxout() if name == "Maxout" else build_trick(name)
    fit = trainer(max_epochs=1, callbacks=[trick], limit_val_batches=0)
    try:
        fit.fit(model, loader())
    except (TypeError, ValueError) as refusal:
        assert name in str(refusal)
    else:
        assert fit.callback_metrics["train/loss"].isfinite()
