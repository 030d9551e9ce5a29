"""Images of other numbers and channels than photographs': from arrays and files to checkpoints and predictions."""

import numpy as np
import onnxruntime
import pytest
import tifffile
import torch

import zoo
from datamodules import Arrays, Digits, ImageFolder
from datamodules.transforms import Whitening
from zoo import Preprocessing, ResNet
from zoo.frame.numbers import read_numbers
from zoo.frame.pictures import Named, Unreadable

NAMES = ("ant", "bee", "cat")
TARGETS = np.arange(12) % 3


def bands(channels, kind, low=0.0, high=1.0):
    """Images (12, 8, 8, C) of a type, in [low, high]."""
    numbers = low + (high - low) * np.random.default_rng(channels).random((12, 8, 8, channels))
    return numbers.astype(kind)


def trained(data, run, path, channels):
    """Train two steps, save and load; return the loaded model and the run's own predictions (n, K)."""
    torch.manual_seed(0)
    model = ResNet("20", num_classes=data.num_classes, image_size=8, in_chans=channels, lr=0.001)
    run.fit(model, data)
    run.save_checkpoint(path / "model.ckpt")
    return zoo.load(path / "model.ckpt"), torch.cat(run.predict(model, data))


def probabilities(rows):
    return torch.tensor(
        [[dict(zip(row.classes, row.probabilities, strict=True))[name] for name in NAMES] for row in rows]
    )


@pytest.mark.parametrize(
    ("images", "scale"),
    [
        (bands(4, np.uint8, 0, 255), None),
        pytest.param(bands(1, np.uint16, 300, 4000), 4095, marks=pytest.mark.slow),
        (bands(13, np.uint16, 0, 60000), 10000),
        pytest.param(bands(2, np.float32, -3, 400), (1.0, 50.0), marks=pytest.mark.slow),
    ],
    ids=["4 of uint8", "1 of uint16", "13 of uint16", "2 of float32"],
)
def test_from_arrays_to_predictions(images, scale, trainer, tmp_path):
    data = Arrays(images, TARGETS, 4, test=(images, TARGETS), classes=NAMES, scale=scale, val_split=0)
    model, wanted = trained(data, trainer(max_epochs=1), tmp_path, images.shape[3])
    assert wanted.std(0).min() > 1e-5  # images are told apart
    torch.testing.assert_close(probabilities(model.predict(images)), wanted, atol=1e-5, rtol=0)
    np.save(tmp_path / "0.npy", images[5])
    (row,) = model.predict(tmp_path / "0.npy")
    torch.testing.assert_close(probabilities([row])[0], wanted[5], atol=1e-5, rtol=0)
    model.export(tmp_path / "model.onnx", preprocessing=True)
    pictures = images if scale is None else images.astype(np.float32)
    (found,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"pictures": pictures})
    torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-5, rtol=0)


def test_from_a_folder_of_bands_to_predictions(trainer, tmp_path):
    for i, image in enumerate(bands(5, np.uint16, 0, 60000)):
        for part in ("train", "test"):
            (tmp_path / part / NAMES[i % 3]).mkdir(parents=True, exist_ok=True)
            planes = image.repeat(2, 0).repeat(2, 1).transpose(2, 0, 1)  # 16 px
            tifffile.imwrite(tmp_path / part / NAMES[i % 3] / f"{i}.tif", planes, photometric="minisblack")
    options = {"image_size": 8, "num_workers": 0, "val_split": 0, "channels": 5, "transform": ["center-crop"]}
    data = ImageFolder(tmp_path, 4, scale=65535, mean=(0.4,) * 5, std=(0.3,) * 5, **options)
    model, wanted = trained(data, trainer(max_epochs=1), tmp_path, 5)
    torch.testing.assert_close(probabilities(model.predict(tmp_path / "test")), wanted, atol=1e-5, rtol=0)
    assert ImageFolder(tmp_path, like=model).scale == (65535,) * 5


def test_whitened_images_to_predictions(trainer, tmp_path):
    data = Digits(64)
    data.whitening = Whitening.fit(data, epsilon=0.01)
    model, wanted = trained(data, trainer(max_epochs=1, limit_train_batches=2), tmp_path, 3)
    raw = torch.cat([images for images, _ in data.predict_dataloader()])[:20]
    found = torch.tensor([sorted(row.probabilities) for row in model.predict(raw, top=10)])
    torch.testing.assert_close(found, wanted[:20].sort().values, atol=1e-5, rtol=0)
    model.export(tmp_path / "model.onnx", preprocessing=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"pictures": raw.permute(0, 2, 3, 1).numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted[:20], atol=1e-5, rtol=0)
    assert "a matrix (192, 192)" in session.get_modelmeta().custom_metadata_map["preprocessing"]
    with pytest.raises(ValueError, match="only a checkpoint keeps"):
        model.save_pretrained(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"images are whitened: set data\.whitening"):
        Digits(like=model)
    assert model.preprocessing.at(8, 3).whitening is not None and model.preprocessing.at(16, 3).whitening is None


@pytest.mark.parametrize(
    ("pixels", "scale", "words"),
    [
        (np.zeros((8, 8, 3), np.uint8), 1, r"it holds uint8 \(8, 8, 3\), not 4 channels"),
        (np.zeros((8, 8, 4), np.uint16), None, "uint16, the model was trained on bytes: train it with scale="),
        (np.full((4, 8, 8), np.nan), 1, "NaN or infinite numbers: repair it"),
        (np.full((8, 8, 4), "a"), 1, "not 4 channels of numbers"),
    ],
)
def test_files_that_are_refused(pixels, scale, words, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    with pytest.raises(Unreadable, match=rf"a\.npy cannot be read \(.*{words}"):
        read_numbers(Named("a.npy", tmp_path / "a.npy"), 4, scale and (scale,) * 4)


def test_sixteen_bits_of_colours_are_not_read_as_eight(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(
        bytes.fromhex("89504e470d0a1a0a0000000d494844520000000100000001100200000002f2d80000000c49444154")
        + bytes.fromhex("789c6360606060f80f00010401005fe5c34b0000000049454e44ae426082")
    )
    with pytest.raises(Unreadable, match="cannot be read"):
        read_numbers(Named("a.png", path), 3, (65535,) * 3)


def test_a_scale_of_a_channel_each():
    with pytest.raises(ValueError, match=r"scale \(1,\): one number a channel"):
        Preprocessing(8, 8, (0, 0), (1, 1), scale=(1,))
    how = Preprocessing(2, 2, (0.5, 0.0), (0.5, 2.0), scale=(10, 100))
    image = torch.tensor([10.0, 200.0]).view(2, 1, 1).expand(2, 2, 2)
    assert how([image])[0, :, 0, 0].tolist() == [1, 1]
