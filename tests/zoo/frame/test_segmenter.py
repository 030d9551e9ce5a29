"""What every model of `zoo.SEGMENTERS` owes; `Segmenter` itself: scores by hand, tricks that work or refuse."""

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import callbacks
import zoo
from callbacks import EMA, CutMix, Dice, FocalLoss, HeuristicDropout, LabelSmoothing, MixUp, MultiScale, Tversky
from callbacks.loss.dice import dice_loss
from tests.conftest import TEACHERS, build_trick, collate
from zoo.frame.scores import RunningMean, Scores

K, SIDE = 4, 16
every_model = pytest.mark.parametrize("name", zoo.SEGMENTERS)


def make(name="UNet", **arguments):
    torch.manual_seed(0)
    return getattr(zoo, name)("8", num_classes=K, image_size=SIDE, **{"lr": 0.01, **arguments})


def batch(n=4, side=SIDE):
    torch.manual_seed(1)
    return [torch.randn(n, 3, side, side), torch.randint(K, (n, side, side))]


def loader(n=4, side=SIDE):
    """Batches of two."""
    return DataLoader(list(zip(*batch(n, side), strict=True)), batch_size=2, collate_fn=collate)


class Pixels(nn.Module):
    """The smallest network that says something of each pixel."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, K, 1)

    def forward(self, x):
        return self.net(x)


# ---- every model


@every_model
def test_starts_near_chance(name):
    images, masks = batch(8)
    with torch.no_grad():
        loss = F.cross_entropy(make(name)(images), masks)
    assert loss.item() == pytest.approx(math.log(K), abs=1)


@every_model
def test_learns_one_batch_by_heart_and_trains_all_of_itself(name):
    model, (images, _) = make(name, optimizer="adamw", lr=3e-3), batch(2)
    masks = (images[:, 0] > 0).long() + 2 * (images[:, 1] > 0).long()
    optimizer, trained = model.configure_optimizers(), set()
    for _ in range(150):
        loss = F.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trained |= {key for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        if loss < 0.4:
            break
    assert loss < 0.4 and trained == {key for key, _ in model.named_parameters()}


@every_model
def test_examples_do_not_see_each_other_and_sizes_are_free(name):
    model, (images, _) = make(name).eval(), batch(3)
    model(images.requires_grad_())[0].sum().backward()
    assert images.grad[0].any() and not images.grad[1:].any()
    assert model(torch.randn(1, 3, 32, 48)).shape == (1, K, 32, 48)


@every_model
def test_stages_go_down_and_up(name, map_sizes):
    down = [(8, 32), (16, 16), (32, 8), (64, 4)]
    assert map_sizes(functools.partial(make, name), 32) == [*down, (128, 2), *reversed(down)]
    model = make(name)
    up, levels = [f"decoder{i}" for i in (4, 3, 2, 1)], [f"encoder{i}" for i in (1, 2, 3, 4)]
    assert [*model.stages] == [*levels, "bottleneck", *up]
    assert all(isinstance(stage.relu1, nn.ReLU) for stage in model.stages.values())


@every_model
def test_files(name, trainer, tmp_path):
    model, run, images = make(name), trainer(max_epochs=1), batch()[0]
    run.fit(model, loader(), loader())
    assert {"train/loss", "train/acc", "val/loss", "val/acc", "val/dice", "val/iou"} <= {*run.callback_metrics}
    run.save_checkpoint(tmp_path / "model.ckpt")
    expected, loaded = model.eval()(images), zoo.load(tmp_path / "model.ckpt")
    assert type(loaded) is type(model) and torch.equal(loaded(images), expected)
    model.export(tmp_path / "model.safetensors")
    again = make(name, weights=str(tmp_path / "model.safetensors")).eval()
    assert torch.equal(again(images), expected) and torch.equal(copy.deepcopy(model)(images), expected)
    probabilities = torch.cat(run.predict(model, loader()))
    torch.testing.assert_close(probabilities, expected.softmax(1))


@pytest.mark.slow
@every_model
@pytest.mark.parametrize(
    "switch", [{"channels_last": True}, {"compile": True}, {"precision": "bf16-mixed"}], ids=lambda s: next(iter(s))
)
def test_switches_change_no_number(name, switch, trainer, monkeypatch):
    runs = []
    monkeypatch.setattr(zoo.Segmenter, "compile", functools.partialmethod(zoo.Segmenter.compile, backend="aot_eager"))
    for on in ({}, switch):
        model = make(name, lr=1e-3, **{key: value for key, value in on.items() if key != "precision"})
        runs.append(trainer(max_epochs=1, **{key: value for key, value in on.items() if key == "precision"}))
        runs[-1].fit(model, loader(), loader())
    close = 0.1 if "precision" in switch else 1e-3
    torch.testing.assert_close(*(run.callback_metrics["val/loss"] for run in runs), rtol=close, atol=0)


@pytest.mark.slow
@every_model
def test_exports_as_a_graph(name, tmp_path):
    model, images = make(name), batch()[0]
    model.export(tmp_path / "model.pt2")
    graph = torch.export.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(graph(images), model.eval()(images), rtol=1e-5, atol=1e-5)


# ---- scores


def counted(said, so):
    """Dice and IoU of each class from sets of pixels, over classes that there are, and their means."""
    dice, iou = [], []
    for k in range(K):
        a, b = ({i for i, value in enumerate(mask.flatten().tolist()) if value == k} for mask in (said, so))
        if a | b:
            dice.append(2 * len(a & b) / (len(a) + len(b)))
            iou.append(len(a & b) / len(a | b))
    return sum(dice) / len(dice), sum(iou) / len(iou)


def test_dice_and_iou_by_hand():
    """Said 0 0 / 1 1, so is 0 1 / 1 1: class 0 2/3 and 1/2, class 1 4/5 and 2/3; nobody has classes 2 and 3."""
    logits = F.one_hot(torch.tensor([[[0, 0], [1, 1]]]), K).movedim(-1, 1) * 9.0
    scores = Scores(K, torch.device("cpu"), masks=True)
    scores.update(logits, torch.tensor([[[0, 1], [1, 1]]]))
    found = scores.compute()
    assert [*found] == ["loss", "acc", "dice", "iou"]
    expected = (3 / 4, (2 / 3 + 4 / 5) / 2, (1 / 2 + 2 / 3) / 2)
    assert [found[name].item() for name in ("acc", "dice", "iou")] == pytest.approx(expected)


def test_dice_and_iou_are_over_all_pixels_of_all_batches(trainer):
    """A last batch of one: scores of batches may not be averaged."""
    model, (images, masks) = make(), batch(3)
    masks[masks == 3] = 0  # a class that nobody has, although it may be said
    data = DataLoader(list(zip(images, masks, strict=True)), batch_size=2, collate_fn=collate)
    found = trainer().validate(model, data, verbose=False)[0]
    with torch.no_grad():
        logits = model.eval()(images)
    dice, iou = counted(logits.argmax(1), masks)
    assert (found["val/dice"], found["val/iou"]) == pytest.approx((dice, iou), rel=1e-5)
    assert found["val/acc"] == pytest.approx((logits.argmax(1) == masks).float().mean().item())
    assert found["val/loss"] == pytest.approx(F.cross_entropy(logits, masks).item(), rel=1e-5)


def test_accuracy_in_training_is_of_pixels():
    mean, (_, masks) = RunningMean(), batch(2)
    logits = torch.randn(2, K, SIDE, SIDE)
    mean.update(torch.tensor(1.0), logits, masks)
    soft = logits.softmax(1)
    mean.update(torch.tensor(3.0), logits, soft)
    found = mean.compute(lambda x: x)
    assert found["loss"] == 2
    torch.testing.assert_close(found["acc"], (logits.argmax(1) == masks).float().mean())
    torch.testing.assert_close(found["acc_mixed"], soft.amax(1).mean())


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (torch.arange(4), r"masks must be \(N, 16, 16\), got \(4,\)"),
        (torch.zeros(4, 8, 8).long(), r"masks must be \(N, 16, 16\), got \(4, 8, 8\)"),
        (torch.full((4, SIDE, SIDE), K), "model has 4 classes"),
        (torch.rand(4, SIDE, SIDE, K), r"soft targets must be \(N, 4, 16, 16\), got \(4, 16, 16, 4\)"),
    ],
)
def test_wrong_masks_are_refused(masks, said, trainer):
    data = DataLoader(list(zip(batch()[0], masks, strict=True)), batch_size=4, collate_fn=collate)
    with pytest.raises(ValueError, match=said):
        trainer().fit(make(), data)


# ---- tricks


class Seen(callbacks.frame.trick.Trick):
    looks_only = True

    def __init__(self):
        self.steps = []

    def on_loss(self, model, step):
        self.steps.append(step)


def run(trainer, *tricks, epochs=1):
    """Steps as the tricks left them, and the metrics."""
    seen, model = Seen(), zoo.Segmenter(Pixels(), num_classes=K)
    fit = trainer(max_epochs=epochs, callbacks=[*tricks, seen])
    fit.fit(model, loader(), loader())
    return seen.steps, fit.callback_metrics


def test_the_loss_is_the_mean_over_pixels(trainer):
    steps, _ = run(trainer)
    for step in steps:
        picked = -step.logits.log_softmax(1).gather(1, step.targets[:, None])
        torch.testing.assert_close(step.loss, picked.mean())


@pytest.mark.parametrize("trick", [Dice(2.0), Tversky(0.5, 0.5, 2.0)], ids=["Dice", "Tversky"])
def test_dice_and_tversky_are_of_masks(trick, trainer):
    for step in run(trainer, trick)[0]:
        torch.testing.assert_close(step.loss, dice_loss(step.logits, step.targets, 2.0))


def test_smoothing_and_focus_are_those_of_each_pixel(trainer):
    def rows(x):
        return x.movedim(1, -1).reshape(-1, K)

    for step in run(trainer, LabelSmoothing(0.1))[0]:
        torch.testing.assert_close(step.loss, F.cross_entropy(rows(step.logits), rows(step.targets)))
        assert step.targets.amax() == pytest.approx(0.9 + 0.1 / K)
    focal = FocalLoss(2.0, alpha=(1.0, 2.0, 3.0, 4.0))
    for step in run(trainer, focal)[0]:
        expected = focal.loss(rows(step.logits), step.targets.flatten())
        torch.testing.assert_close(step.loss, expected)


def test_mixup_mixes_the_classes_of_each_pixel(trainer):
    plain, mixed = run(trainer)[0][0], run(trainer, MixUp(1.0))[0][0]
    assert mixed.targets.shape == (2, K, SIDE, SIDE)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(2, SIDE, SIDE))
    other = F.one_hot(plain.targets, K).movedim(-1, 1).float()
    lam = mixed.targets[0][:, plain.targets[0] != plain.targets[1]].amax()
    options = [share * other + (1 - share) * other[[1, 0]] for share in (lam, 1 - lam)]
    assert any(torch.allclose(mixed.targets, option) for option in options)


def test_averages_are_scored_as_the_model_is(trainer):
    _, metrics = run(trainer, EMA(0.5))
    assert {"val/dice", "val/iou", "val/dice_ema0.5", "val/iou_ema0.5"} <= {*metrics}


@pytest.mark.parametrize(
    ("trick", "why"), [(CutMix(), "CutMix needs one label an image"), (MultiScale(), "MultiScale resizes images only")]
)
def test_tricks_for_labels_are_refused(trick, why, trainer):
    with pytest.raises(TypeError, match=f"{why}, and the targets of UNet are masks: take {type(trick).__name__} out"):
        trainer(callbacks=[trick]).fit(make(), loader())


def test_heuristic_dropout_acts_between_the_convolutions(trainer):
    model, acted = make(), []
    where = tuple(f"{stage}.relu1" for stage in model.stages)
    trick = HeuristicDropout(0.25, where=where)
    fit = trainer(max_epochs=1, callbacks=[trick])
    before = {stage: module.conv2 for stage, module in model.stages.items()}
    for stage, conv2 in before.items():
        conv2.register_forward_pre_hook(lambda m, a, stage=stage: acted.append((stage, (a[0] < 0).any().item())))
    fit.fit(model, loader(2, 32))
    assert {stage for stage, edges in acted if edges} == {*model.stages}  # edges are negative too, ReLUs are not
    acted.clear()
    model.eval()(batch()[0])
    assert not any(edges for _, edges in acted)


@pytest.mark.slow
@pytest.mark.parametrize("name", callbacks.__all__)
@pytest.mark.one_in(3)
def test_every_trick_trains_or_says_why_not(name, trainer):
    """In words: with TypeError or ValueError of its own, before or at the first step."""
    if name in TEACHERS and not getattr(callbacks, name).needs_labels:
        pytest.skip("its teacher here is of images")
    model = zoo.UNet("8", num_classes=10, image_size=SIDE, lr=1e-3)
    images, masks = torch.randn(4, 3, SIDE, SIDE), torch.randint(10, (4, SIDE, SIDE))
    data = DataLoader(list(zip(images, masks, strict=True)), batch_size=2, collate_fn=collate)
    # the place that the tests' Maxout has is of another network
    fit = trainer(max_epochs=1, callbacks=[callbacks.Maxout() if name == "Maxout" else build_trick(name)])
    try:
        fit.fit(model, data, data)
        fit.test(model, data, verbose=False)
    except TypeError as refusal:
        assert name in str(refusal) and "UNet" in str(refusal)
    else:
        assert fit.callback_metrics["test/loss"].isfinite()
