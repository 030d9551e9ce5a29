import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import TokenLabeling
from callbacks.frame.score_maps import compress, expand, relabel
from datamodules import ImageFolder
from datamodules.score_maps import MappedImageFolder, MappedImageNet
from tests.callbacks.conftest import At, SeenSteps
from zoo import LVViT, lvvit

HEIGHT, WIDTH, CELLS = 64, 96, 16


def coordinates() -> torch.Tensor:
    """Scores of three classes at each cell: its row, its column, and 0."""
    rows, columns = torch.meshgrid(torch.arange(float(CELLS)), torch.arange(float(CELLS)), indexing="ij")
    return torch.stack([rows, columns, torch.zeros(CELLS, CELLS)])


@pytest.fixture
def pictures(tmp_path):
    """Images whose red says the row and green the column, and maps that say the same, laid out as the authors' are."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([2 * rows, 2 * columns, 0 * rows], 2).astype(np.uint8)
    for part, count in (("train", 12), ("val", 2)):
        for name in ("n01440764", "n01443537", "n01484850"):
            images, maps = tmp_path / "images" / part / name, tmp_path / "maps" / name
            images.mkdir(parents=True)
            maps.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(picture).save(images / f"{name}_{i}.v2.PNG")
                if part == "train":
                    torch.save(compress(coordinates(), 3), maps / f"{name}_{i}.pt")
    return tmp_path


def module(pictures, **options):
    return MappedImageFolder(
        pictures / "images", pictures / "maps", **{"batch_size": 12, "image_size": 32, "num_workers": 0} | options
    )


def first_batch(data):
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    return batch, data.on_after_batch_transfer(batch, 0)


def test_maps_stay_on_the_places_of_the_image(pictures):
    """What a label says of a patch, and the patch's own colours: rows and columns, in cells, also of turned images."""
    (images, _, _, _), (_, _, maps, crops) = first_batch(module(pictures, batch_size=36))
    y = relabel(expand(maps, 3), crops, 8).log().unflatten(1, (8, 8))
    said = (y[..., :2] - y[..., 2:]).permute(0, 3, 1, 2)
    seen = torch.nn.functional.avg_pool2d(images[:, :2].float(), 4) / 2 + 0.5
    seen = seen / torch.tensor([HEIGHT, WIDTH]).view(2, 1, 1) * CELLS - 0.5
    inside = (seen > 0.5) & (seen < CELLS - 1.5)  # the border's cells have no neighbour to be mixed with
    turned = said[:, 1, 0, 0] > said[:, 1, 0, -1]
    assert turned.any() and not turned.all() and inside.float().mean() > 0.7
    assert (said - seen)[inside].abs().max() < 0.2


def test_images_are_those_of_the_plain_data_module(pictures):
    batch, _ = first_batch(module(pictures))
    plain = ImageFolder(pictures / "images", 12, image_size=32, num_workers=0)
    plain.setup("fit")
    images, targets = next(iter(plain.train_dataloader()))
    assert torch.equal(batch[0], images) and torch.equal(batch[1], targets)
    assert batch[0].stride() == images.stride()


def test_turning_mirrors_the_crop(pictures):
    """The same draws with and without: only the left edge moves, to 1 - left - width."""
    (never, *_, a), (always, *_, b) = (first_batch(module(pictures, flip=p))[1] for p in (0.0, 1.0))
    assert torch.equal(never.flip(-1), always)
    torch.testing.assert_close(b[:, [0, 2, 3]], a[:, [0, 2, 3]])
    torch.testing.assert_close(b[:, 1], 1 - a[:, 1] - a[:, 3])


def test_evaluation_is_as_without(pictures):
    data = module(pictures)
    data.setup("fit")
    images, targets = next(iter(data.val_dataloader()))
    assert images.shape == (6, 3, 32, 32) and targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data.on_after_batch_transfer([images, targets], 0)) == 2
    split = MappedImageFolder(pictures / "images" / "train", pictures / "maps", batch_size=4, val_split=6)
    split.setup("fit")
    assert len(next(iter(split.val_dataloader()))) == 2


def test_further_transforms_come_after_the_crop(pictures):
    plain, _ = first_batch(module(pictures))
    dark, _ = first_batch(module(pictures, after=[lambda image: image // 2]))
    assert torch.equal(dark[0], plain[0] // 2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_token_labeling_reads_the_files(precision, pictures, trainer, monkeypatch):
    """Also in bf16, which would round the numbers of classes."""
    monkeypatch.setitem(lvvit.VARIANTS, "nano", lvvit.Row(8, 4, 2, stem=8, a=1, drop_path=0.1))
    torch.manual_seed(0)
    model, trick, seen, brought = LVViT("nano", num_classes=3, image_size=32), TokenLabeling(), SeenSteps(), []
    look = At("on_before_backward", lambda *_: brought.append(trick._maps_and_crops))
    run = trainer(callbacks=[trick, seen, look], max_epochs=1, precision=precision)
    run.fit(model, module(pictures))
    assert len(brought) == 3 and seen.steps[0].loss.isfinite()
    assert run.callback_metrics["val/loss"].isfinite()
    for maps, crops in brought:
        assert maps.dtype == torch.float16 and crops.dtype == torch.float32
        assert {*maps[:, 1].flatten().tolist()} == {0.0, 1.0, 2.0}
        flipped = [torch.equal(m, compress(coordinates(), 3).flip(-1)) for m in maps]
        kept = [torch.equal(m, compress(coordinates(), 3)) for m in maps]
        assert all(a != b for a, b in zip(flipped, kept, strict=True))


def test_says_which_map_is_missing_or_of_another_kind(pictures):
    path = pictures / "maps" / "n01443537" / "n01443537_3.pt"
    torch.save(torch.zeros(3, 18, 18), path)
    with pytest.raises(ValueError, match=r"n01443537_3.pt is torch.float32 \(3, 18, 18\), not float16"):
        first_batch(module(pictures, batch_size=36))
    path.unlink()
    with pytest.raises(ValueError, match="there is no score map .*n01443537_3.pt"):
        first_batch(module(pictures, batch_size=36))


@pytest.mark.parametrize("options", [{"transform": "resize"}, {"cache": "memory"}])
def test_refuses_what_would_move_the_image_alone(options, pictures):
    with pytest.raises(ValueError, match="crops images and maps together, from files"):
        module(pictures, **options)


def test_imagenet_takes_the_same(pictures):
    options = {"batch_size": 8, "image_size": 32, "num_workers": 0, "val_split": 6}
    data = MappedImageNet(pictures / "images", pictures / "maps", **options)
    _, batch = first_batch(data)
    assert [tuple(part.shape[1:]) for part in batch] == [(3, 32, 32), (), (2, 3, CELLS, CELLS), (4,)]
