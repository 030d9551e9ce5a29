"""Localization-aware pruning: boxes and losses by hand, the greedy choice beside numpy, dead channels of a detector."""

import copy
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from tests.zoo.frame.test_detector import batch
from zoo import Detector, ResNet, prune_detector
from zoo.layers.detection_heads import Matches
from zoo.layers.pyramid import collect_maps
from zoo.tools.channels import Channels
from zoo.tools.prune import choose
from zoo.tools.prune_detector import (
    GAMMA,
    AuxiliaryHead,
    Reader,
    Selection,
    around,
    auxiliary_loss,
    choose_channels,
    contextual_roi_align,
    freeze,
    learn_heads,
    look,
    readers_of,
    scores,
)


def pairs(boxes, truth, anchors=None, labels=(0,), image=(0,)):
    boxes, truth, anchors = (torch.tensor(each).float() for each in (boxes, truth, anchors or truth))
    labels, image = torch.tensor(labels), torch.tensor(image)
    return Matches(boxes, truth, anchors, labels, image, boxes, truth, torch.ones(len(boxes)), "bbox_regression")


def make(head="fcos"):
    """In evaluation, with statistics of what its norms see, so that all channels are alive."""
    torch.manual_seed(5)
    model = Detector(ResNet("20", image_size=32), head, 3, 32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(noise()[0])
    return model.eval()


def noise(n=4):
    """Boxes on images of noise, which are not square."""
    images, targets = batch(n, 32, 40)
    return torch.randn_like(images), targets


@cache
def structure():
    return Channels(make(), 32)


# ---- the auxiliary network


def test_the_smallest_box_around_both_by_hand():
    anchors = torch.tensor([[0.0, 2, 4, 9], [1, 1, 2, 2], [5, 5, 9, 6]])
    truth = torch.tensor([[1.0, 3, 6, 8], [0, 0, 3, 4], [1, 7, 3, 9]])
    expected = torch.tensor([[0.0, 2, 6, 9], [0, 0, 3, 4], [1, 5, 9, 9]])
    torch.testing.assert_close(around(anchors, truth), expected)


def test_regions_of_a_plane_have_the_heights_of_the_boxes_middles():
    """A map that rises by 1 a column and by 10 a row, of stride 2; a plane's mean over a box is that at its middle."""
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    maps = torch.stack([torch.zeros(12, 16), 10 * rows + columns])[:, None]
    found = pairs([[0, 0, 1, 1]], [[4, 6, 12, 10]], [[8, 4, 20, 12]], image=(1,))  # around both: 4, 4, 20, 12
    regions = contextual_roi_align(maps, found, 1 / 2)
    near, wide = 10 * (4 - 0.5) + (4 - 0.5), 10 * (4 - 0.5) + (6 - 0.5)  # the first pixel's middle is at .5
    assert regions.shape == (1, 1, 7, 7)
    assert regions.mean().item() == pytest.approx(near + wide, rel=1e-5)
    steps = regions[0, 0].diff(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 4 / 7 + 8 / 7), rtol=1e-4, atol=1e-4)


def test_the_auxiliary_loss_by_hand():
    """Equal logits of three classes; unit squares in the corner of 2 x 2, GIoU 1/4, and equal boxes, GIoU 1."""
    found = pairs([[0, 0, 1, 1], [0, 0, 5, 3]], [[0, 0, 2, 2], [0, 0, 5, 3]], labels=(0, 2), image=(0, 0))
    assert auxiliary_loss(torch.zeros(2, 3), found).item() == pytest.approx(math.log(3) + 0.75 / 2, abs=1e-5)
    nothing = Matches(*(torch.zeros(0, 4) for _ in range(3)), *2 * [torch.zeros(0).long()], *3 * [torch.zeros(0)], "")
    assert auxiliary_loss(torch.zeros(0, 3), nothing).item() == 0


def test_heads_learn_the_classes_of_aligned_regions():
    torch.manual_seed(0)
    model, (images, targets) = freeze(make()), batch(4)
    heads = learn_heads(model, [(images, targets)])
    assert list(heads) == ["stage1", "stage2", "stage3"] and not heads["stage1"].training
    found = look(model, (images, targets))
    with torch.no_grad(), collect_maps(model.stages) as maps:
        model.network.backbone(images)
    logits = heads["stage1"](contextual_roi_align(maps["stage1"], found, 1.0))
    assert nn.functional.cross_entropy(logits, found.labels) < 0.7 * math.log(3)


# ---- the greedy choice


def test_scores_by_hand():
    """Two layers read two channels, the second one a stranger's too; squares of a column's gradients are summed."""
    one = torch.tensor([[1.0, 2], [3, 4]])[..., None, None]
    other = torch.tensor([[9.0, 5, 6]])  # of a linear layer
    found = scores([one, other], [torch.tensor([0, 1]), torch.tensor([2, 1, 0])], 2)
    torch.testing.assert_close(found, torch.tensor([1.0 + 9 + 36, 4 + 16 + 25]))


def planted(x, weight, keep, chunk=1, owner=None, n=None):
    """Choose from a 1x1 convolution that rebuilds its own map, on each x (N, C, h, w); returns choice and weight."""
    owner, n = (torch.arange(weight.shape[1]), weight.shape[1]) if owner is None else (owner, n)
    target = [nn.functional.conv2d(each, weight) for each in x]
    moving = nn.Parameter(weight.clone())

    def loss(each, wanted):
        return lambda: (nn.functional.conv2d(each, moving) - wanted).square().mean() / 2

    losses = [loss(each, wanted) for each, wanted in zip(x, target, strict=True)]
    return choose_channels([Reader("", moving, owner)], n, keep, chunk, losses), moving.detach()


def test_the_channel_that_makes_the_map_stays_though_its_weights_are_small():
    torch.manual_seed(1)
    x = torch.randn(2, 2, 5, 7) * torch.tensor([10.0, 0.1])[:, None, None]
    weight = torch.tensor([[0.2, 1.0], [-0.3, 1.0]])[..., None, None]
    stays, after = planted([x], weight, 1)
    assert stays.tolist() == [True, False] and weight.abs().sum((0, 2, 3)).argmax() == 1  # l1 would choose the other
    assert (after[:, 1] == 0).all() and (after[:, 0] - weight[:, 0]).abs().max() < 0.01


def test_of_two_copies_one_leaves():
    torch.manual_seed(2)
    x = torch.randn(4, 3, 6, 6)
    x[:, 2] = x[:, 0]
    weight = torch.tensor([[1.0, 0.5, 0.0]])[..., None, None]
    assert planted([x], weight, 2)[0].tolist() == [True, True, False]
    assert planted([x], weight, 2, chunk=2)[0].tolist() == [True, False, True]  # both at once: not greedy


def test_the_choice_is_that_of_numpy():
    """An independent writing of the algorithm for a linear map, two batches, one channel at a time."""
    torch.manual_seed(4)
    scale = torch.tensor([2, 0.5, 1, 3, 1, 2]).view(-1, 1, 1)
    x, weight = [torch.randn(2, 6, 3, 4) * scale for _ in range(2)], torch.randn(3, 6)
    flat = [each.transpose(0, 1).flatten(1).double().numpy() for each in x]  # (C, pixels)
    whole = weight.double().numpy()
    now, chosen, norms = np.zeros_like(whole), [], []

    def slope(each):
        return (now @ each - whole @ each) @ each.T / (3 * each.shape[1])

    for _ in range(3):
        score = (sum(map(slope, flat)) ** 2).sum(0)
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        now[:, chosen[-1]] = whole[:, chosen[-1]]
        for each in flat:
            step = slope(each)[:, chosen]
            norms.append(np.linalg.norm(step))
            now[:, chosen] -= GAMMA * step / max(1, norms[-1])
    stays, after = planted(x, weight[..., None, None], 3)
    assert stays.nonzero().flatten().tolist() == sorted(chosen)
    np.testing.assert_allclose(after[..., 0, 0].numpy(), now, atol=1e-6)
    assert min(norms) < 1 < max(norms)  # some are clipped, some are not


def test_channels_of_other_groups_stay_as_they_are():
    torch.manual_seed(3)
    x, weight = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 1, 1)
    stays, after = planted([x], weight, 1, owner=torch.tensor([2, 0, 1, 2]), n=2)
    assert torch.equal(after[:, [0, 3]], weight[:, [0, 3]])
    assert len(stays) == 2 and ((after[:, 1:3] != 0).any(0).flatten() == stays).all()


# ---- a detector


def selected(model, place, alpha=1.0):
    """The readers of a group, and its loss on a batch."""
    working = freeze(model)
    heads = {name: AuxiliaryHead(width, 3).eval() for name, width in zip(model.stages, (16, 32, 64), strict=True)}
    readers = readers_of(working, structure(), structure().groups(working)[place])
    for reader in readers:
        reader.weight.requires_grad_()
    selection = Selection(working, freeze(model), heads, alpha)
    return selection, readers, selection.losses(readers, [noise()])


def test_the_look_at_objects_reaches_masked_weights_and_leaves_them_masked():
    model = make()
    (_, (reader,), (plain,)), (_, (other,), (whole,)) = (selected(model, 4, alpha) for alpha in (0.0, 2.0))
    assert reader.path == "network.backbone.body.layer2.1.conv2"
    assert plain().item() == 0 < whole().item()  # nothing is masked yet
    with torch.no_grad():
        other.weight.zero_(), reader.weight.zero_()
        with collect_maps({"map": model.get_submodule(reader.path)}) as maps:
            model.network.backbone(noise()[0])
    assert plain().item() == pytest.approx(maps["map"].square().sum().item() / (2 * maps["map"].numel()), rel=1e-4)
    rebuilt, both = torch.autograd.grad(plain(), reader.weight)[0], torch.autograd.grad(whole(), other.weight)[0]
    auxiliary = (both - rebuilt) / 2
    assert (auxiliary.abs().sum((0, 2, 3)) > 0).all() and (rebuilt.abs().sum((0, 2, 3)) > 0).all()
    with torch.no_grad():
        other.weight.copy_(model.get_parameter(f"{other.path}.weight"))
    stays = choose_channels([other], 32, 5, 2, [whole])
    assert stays.sum() == 5 and ((other.weight != 0).any(0).flatten(1).any(1) == stays).all()


def test_the_head_of_the_last_stage_with_a_reader_judges():
    model = make()
    selection = Selection(model, model, {}, 1.0)
    readers = [readers_of(model, structure(), group) for group in structure().groups(model)]
    stages = [selection.stage_of(each) for each in readers]
    assert stages == [f"stage{i}" for i in (1, 1, 1, 2, 2, 2, 3, 3, 3, 3)]  # the last group is of the pyramid
    assert selection.stage_of([*readers[3], *readers[-1]]) == "stage2"


@torch.no_grad()
def kill(model, removed):
    """Make channels dead: their filters, gammas and betas are 0; their readers' weights large."""
    channels, state = structure(), model.state_dict()
    gone = {channels.places[f"{path}.weight", 0][i] for path, places in removed.items() for i in places}
    for (name, dim), numbers in channels.places.items():
        dead = torch.tensor([channels.find(number) in gone for number in numbers])
        if dim == 0 and name.endswith(("weight", "bias")):
            state[name][dead] = 0
        elif dim == 1:
            state[name][:, dead] *= 100


def test_dead_channels_leave_without_a_trace_however_large_their_readers_weights_are(monkeypatch):
    model = make()
    removed = choose(model, structure(), 0.5, "l1")
    kill(model, removed)
    monkeypatch.setattr("zoo.tools.prune_detector.PASSES", 1)
    before, images = copy.deepcopy(model.state_dict()), torch.randn(2, 3, 32, 40)
    with torch.no_grad():
        expected = model.network.backbone(images)
    torch.manual_seed(0)
    smaller = prune_detector(model, [noise()], 0.5, alpha=0, chunk=64)
    assert {path: sorted(places) for path, places in removed.items()} == smaller.surgery[0][1]["removed"]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items()) and not smaller.training
    with torch.no_grad():
        for name, value in smaller.network.backbone(images).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in smaller.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("head", ["retinanet", "faster-rcnn"])
def test_other_heads_lose_channels_and_train_on(head):
    torch.manual_seed(0)
    model = make(head)
    images, targets = batch(3, 32, 40)
    smaller = prune_detector(model, [(images, targets)], 0.7, chunk=16)
    assert smaller.network.backbone.body.layer3[0].conv1.out_channels == 20
    before, after = (one.network.backbone.body.layer3[0].conv2.weight for one in (model, smaller))
    gone = smaller.surgery[0][1]["removed"]["network.backbone.body.layer3.0.conv1"]
    moved = after - before[:, [i for i in range(64) if i not in gone]]
    assert 0 < moved.norm() < 0.2 * after.norm()  # descent goes on from where they were
    losses = smaller.train()(images, targets)
    sum(losses.values()).backward()
    assert all(math.isfinite(value.item()) for value in losses.values())


def test_refusals():
    model = make()
    with pytest.raises(TypeError, match=r"prunes a Detector; of a ResNet, zoo\.prune_channels does"):
        prune_detector(ResNet("20", num_classes=3), [batch()])
    for wrong in ({"fraction": 1.0}, {"alpha": -1.0}, {"chunk": 0}):
        with pytest.raises(ValueError, match=r"fraction must be in \(0, 1\), alpha >= 0 and chunk >= 1"):
            prune_detector(model, [batch()], **wrong)
    images, targets = batch(2)
    for nothing in ([], [(images[1:], targets[1:])]):
        with pytest.raises(ValueError, match="no object of the batches is matched"):
            prune_detector(model, nothing)
    with pytest.raises(TypeError, match="targets of a Detector"):
        prune_detector(model, [(images, torch.zeros(2))])
