"""`like=model`: the data is prepared as the weights want it; what differs is said."""

import pytest
import torch

from datamodules import CIFAR10, Digits, ImageFolder
from tests.conftest import TinyNetwork
from tests.datamodules.conftest import write_folder
from zoo import Classifier, Preprocessing, ResNet

HOWS = [
    Preprocessing(40, 44, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic"),
    Preprocessing(28, 32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), keeps_small=True),
    Preprocessing(24, 30, (0.3,), (0.6,), views="10-crop"),
]


def model(how: Preprocessing | None) -> Classifier:
    found = Classifier(TinyNetwork())
    found.preprocessing = how
    return found


@pytest.mark.parametrize("how", HOWS, ids=["bicubic", "keeps small", "grey, 10-crop"])
def test_a_folder_is_prepared_as_the_model_was_trained(how, tmp_path):
    write_folder(tmp_path, count=4, side=50)
    data = ImageFolder(tmp_path, 2, like=model(how), num_workers=0)
    data.setup()
    assert Preprocessing.of(data.preprocessing) == how and data.channels == how.channels
    images, targets = next(iter(data.test_dataloader()))
    torch.testing.assert_close(data.on_after_batch_transfer([images, targets], 0)[0], how.normalise(images))


def test_what_is_given_counts_more(tmp_path):
    write_folder(tmp_path, count=4, side=50)
    data = ImageFolder(tmp_path, like=model(HOWS[0]), image_size=16, mean=(0.5,) * 3, std=(1.0,) * 3)
    assert data.image_size == 16 and data.mean == (0.5,) * 3 and data.evaluation == "center"


def test_images_in_memory_take_mean_and_std(tmp_path):
    write_folder(tmp_path, count=4, side=50)
    how = HOWS[0]
    folder = ImageFolder(tmp_path, like=model(how), cache="memory")
    folder.setup()
    assert (folder.image_size, folder.mean, folder.std) == (how.size, how.mean, how.std)
    assert CIFAR10(tmp_path, like=model(how)).mean == how.mean


def test_a_model_that_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match="like=Classifier: this model has no preprocessing"):
        CIFAR10(tmp_path, like=model(None))


@pytest.mark.parametrize("trained", [True, False])
def test_a_mismatch_is_said_of_trained_weights_only(trained, trainer):
    network = ResNet("20", num_classes=10, image_size=8)
    network.preprocessing, network.untrained = Preprocessing(8, 8, HOWS[0].mean, HOWS[0].std), not trained
    run = trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    if not trained:
        run.fit(network, Digits())
        return
    with pytest.warns(UserWarning, match=r"differ in mean \(0.1, 0.2, 0.3\) and \(.*make the data with like=model"):
        run.fit(network, Digits())
    network.preprocessing = Preprocessing(8, 8, HOWS[0].mean, HOWS[0].std)
    trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(network, Digits(like=network))


def test_weights_carry_how_images_are_prepared(tmp_path):
    source = ResNet("18", num_classes=10, image_size=224)
    source.preprocessing = Preprocessing(224, 256, HOWS[0].mean, HOWS[0].std)
    source.export(tmp_path / "x.safetensors")
    smaller = ResNet("18", num_classes=10, image_size=112, in_chans=1, weights=tmp_path / "x.safetensors")
    assert smaller.preprocessing == Preprocessing(112, 128, (pytest.approx(0.2),), (pytest.approx(0.5),))
