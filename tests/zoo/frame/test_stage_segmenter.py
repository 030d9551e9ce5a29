"""`StageSegmenter`: torchvision's FCN on the same weights, learning by heart, files, tricks on the backbone."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch.utils.data import DataLoader

import zoo
from callbacks import EMA, Dice, Dropout
from tests.conftest import collate
from zoo import ResNet, StageSegmenter
from zoo.layers.segmentation_heads import HEADS

K = 3
every_head = pytest.mark.parametrize("head", HEADS)


def make(head, **arguments):
    torch.manual_seed(0)
    return StageSegmenter(ResNet("20", image_size=32), head, K, 16, **{"optimizer": "adamw", "lr": 3e-3, **arguments})


def batch(n=2, height=32, width=32):
    torch.manual_seed(1)
    images = torch.zeros(n, 3, height, width)
    masks = torch.zeros(n, height, width, dtype=torch.int64)
    for i in range(n):
        masks[i, 4:20, 8 : 20 + i], masks[i, 20:28, 4:28] = 1, 2
    images[:, 0], images[:, 1] = (masks == 1).float(), (masks == 2).float()
    return [images + 0.05 * torch.randn_like(images), masks]


def loader():
    return DataLoader(list(zip(*batch(4), strict=True)), batch_size=2, collate_fn=collate)


def test_fcn_is_torchvisions():
    """Its FCN on its ResNet-18 without dilation: the same map, the same head, the same enlargement."""
    torch.manual_seed(0)
    model = StageSegmenter(ResNet("18", image_size=224), "fcn", K).eval()
    body = torchvision.models.resnet18().eval()
    missing = body.load_state_dict(model.network.body.state_dict(), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"] and not missing.unexpected_keys
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = torch.nn.Sequential(*list(body.children())[:-2])(x)
        head = torchvision.models.segmentation.fcn.FCNHead(512, K).eval()
        head.load_state_dict(model.network.decoder.head.state_dict())
        expected = F.interpolate(head(maps), (64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(x), expected)


@every_head
def test_learns_by_heart_and_trains_all_of_itself(head):
    model, (images, masks) = make(head), batch()
    optimizer, trained = model.configure_optimizers(), set()
    for _ in range(40):
        loss = F.cross_entropy(model(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trained |= {key for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        if loss < 0.5:
            break
    assert loss < 0.5 and trained == {key for key, _ in model.named_parameters()}
    assert model.eval()(torch.randn(1, 3, 44, 60)).shape == (1, K, 44, 60)


@every_head
def test_files_scores_and_tricks_on_stages(head, trainer, tmp_path):
    model, images = make(head), batch()[0]
    run = trainer(max_epochs=1, callbacks=[EMA(0.5), Dice(), Dropout(0.1, where=("stage3",))])
    run.fit(model, loader(), loader())
    assert {"train/acc", "val/dice", "val/iou", "val/iou_ema0.5"} <= {*run.callback_metrics}
    run.save_checkpoint(tmp_path / "model.ckpt")
    loaded = zoo.load(tmp_path / "model.ckpt")
    assert type(loaded) is StageSegmenter and torch.equal(loaded(images), model.eval()(images))
    assert [*model.stages] == ["stage1", "stage2", "stage3"]


def test_an_unknown_head_is_refused():
    with pytest.raises(ValueError, match="StageSegmenter has no 'fcnn'; did you mean 'fcn'"):
        make("fcnn")
