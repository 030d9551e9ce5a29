"""Score maps: crops by hand, the format of the files, and predictions of networks at each position."""

import pytest
import torch
import torch.nn.functional as F

from callbacks.frame.score_maps import compress, expand, relabel, score_maps
from zoo import ConvNeXt, DeiT, LVViT, ResNet, Swin, ViT

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def coordinates(h: int, w: int) -> torch.Tensor:
    """Return a map of two "classes", whose scores at a cell are its row and its column: (1, 2, h, w)."""
    return torch.stack(torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij"))[None]


def crops_of(scores, crop, grid):
    """Return the scores that `relabel` reads, up to a constant: differences of its log-probabilities."""
    return relabel(scores, crop, grid).log()


def test_a_crop_of_the_same_cells_is_the_map_itself():
    scores = torch.randn(2, 5, 4, 4)
    expected = scores.softmax(1).flatten(2).transpose(1, 2)
    torch.testing.assert_close(relabel(scores, None, 4), expected)
    torch.testing.assert_close(relabel(scores, WHOLE.expand(2, 4), 4), expected)


def test_a_quarter_is_that_quarter():
    """Top right of 4 x 4 cells, as (top, left, height, width): rows 0 and 1, columns 2 and 3, not the transposed."""
    scores = torch.randn(1, 5, 4, 4)
    labels = relabel(scores, torch.tensor([[0.0, 0.5, 0.5, 0.5]]), 2)
    torch.testing.assert_close(labels, scores[:, :, :2, 2:].softmax(1).flatten(2).transpose(1, 2))


def test_a_wide_crop_keeps_height_and_width_apart():
    """Two cells high, four wide, read with 4 x 4: columns as they are, rows at .25, .75 ... of a cell's steps."""
    scores = torch.cat([coordinates(4, 4), torch.zeros(1, 1, 4, 4)], 1)
    read = crops_of(scores, torch.tensor([[0.25, 0.0, 0.5, 1.0]]), 4)[0]
    rows, columns = read[:, 0] - read[:, 2], read[:, 1] - read[:, 2]
    torch.testing.assert_close(columns.view(4, 4), torch.arange(4.0).expand(4, 4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows.view(4, 4)[:, 0], torch.tensor([0.75, 1.25, 1.75, 2.25]), rtol=1e-4, atol=1e-4)


def test_the_whole_image_on_a_finer_grid_is_the_plain_resize():
    scores = torch.randn(2, 5, 7, 7)
    expected = F.interpolate(scores, (14, 14), mode="bilinear").softmax(1).flatten(2).transpose(1, 2)
    torch.testing.assert_close(relabel(scores, None, 14), expected)


def test_one_cell_is_the_mean_of_the_crop():
    scores = torch.randn(1, 5, 4, 4)
    torch.testing.assert_close(relabel(scores, None, 1)[:, 0], scores.mean((2, 3)).softmax(1))
    part = relabel(scores, torch.tensor([[0.0, 0.5, 1.0, 0.5]]), 1)[:, 0]
    torch.testing.assert_close(part, scores[..., 2:].mean((2, 3)).softmax(1))


def test_labels_are_probabilities():
    labels = relabel(torch.randn(3, 7, 5, 5), torch.rand(3, 4) / 2, 6)
    assert labels.shape == (3, 36, 7)
    torch.testing.assert_close(labels.sum(-1), torch.ones(3, 36))


def test_files_keep_the_best_scores():
    scores = torch.randn(2, 9, 3, 3)
    kept = compress(scores)
    assert kept.shape == (2, 2, 5, 3, 3) and kept.dtype == torch.float16
    again, order = expand(kept, 9), scores.argsort(1, descending=True)
    torch.testing.assert_close(again.gather(1, order[:, :5]), scores.gather(1, order[:, :5]), rtol=1e-3, atol=1e-3)
    assert not again.gather(1, order[:, 5:]).any()


def test_files_cannot_count_more_classes():
    with pytest.raises(ValueError, match="float16 counts to 2048"):
        compress(torch.zeros(2049, 1, 1))


@pytest.mark.parametrize("kind", [ResNet, ConvNeXt, Swin])
def test_scores_of_a_convolutional_head(kind):
    """If the head is linear after the mean, the maps' mean equals the network's logits; else compare cell by cell."""
    torch.manual_seed(0)
    teacher = kind("20" if kind is ResNet else "T", num_classes=6, image_size=32).eval()
    images, features = torch.randn(2, 3, 32, 32), []
    scores = score_maps(teacher, images)
    assert scores.shape == (2, 6, *([8, 8] if kind is ResNet else scores.shape[2:])) and not scores.requires_grad
    hook = list(teacher.stages.values())[-1].register_forward_hook(lambda m, a, out: features.append(out))
    logits = teacher(images)
    hook.remove()
    if kind is ResNet:
        torch.testing.assert_close(scores.mean((2, 3)), logits)
        expected = F.conv2d(features[0], teacher.fc.weight[..., None, None], teacher.fc.bias)
        torch.testing.assert_close(scores, expected)
    elif kind is ConvNeXt:
        torch.testing.assert_close(scores[:, :, 1, 2], teacher.head(features[0][:, :, 1, 2]))
    else:
        torch.testing.assert_close(scores[:, :, 1, 0], teacher.head(teacher.norm(features[0][:, :, 1, 0])))
    torch.testing.assert_close(teacher(images), logits)  # the hook is gone


@pytest.mark.parametrize(("kind", "variant"), [(ViT, "Ti/16"), (DeiT, "Ti"), (LVViT, "T")])
def test_scores_of_tokens(kind, variant):
    torch.manual_seed(0)
    teacher, images = kind(variant, num_classes=6, image_size=32).eval(), torch.randn(2, 3, 32, 32)
    z = teacher.norm(teacher.blocks(teacher.embed(images)))[:, teacher.prefix :]
    if kind is ViT:
        expected = teacher.head(z)
    elif kind is DeiT:
        expected = (teacher.head(z) + teacher.head_dist(z)) / 2
    else:
        expected = teacher.aux_head(z)
    torch.testing.assert_close(score_maps(teacher, images), expected.transpose(1, 2).view(2, 6, 8, 8))
