"""Exported files stand alone: pictures of any size in, probabilities out, names and numbers inside."""

import io
import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from zoo import Classifier, Preprocessing

CLASSES = ("ant", "bee", "cat", "dog")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = Preprocessing(32, 37, MEAN, STD)


def model(how: Preprocessing = HOW) -> Classifier:
    """A network whose probabilities depend much on every part of the picture and every colour."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(216, 4))
    nn.init.normal_(network[3].weight, std=0.5)
    found = Classifier(network)
    found.classes, found.preprocessing = CLASSES, how
    return found


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    """Blobs of colour and a little noise, through JPEG: uint8 (H, W, 3)."""
    generator = np.random.default_rng(seed)
    blobs = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = np.array(Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC), np.int64)
    noisy = (smooth + generator.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=85)
    return np.array(Image.open(file))


def run(path, pictures: np.ndarray) -> np.ndarray:
    (found,) = onnxruntime.InferenceSession(path).run(None, {"pictures": pictures})
    return found


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(32, 64, MEAN, STD, keeps_small=True),
        pytest.param(HOW, marks=pytest.mark.slow),
        pytest.param(Preprocessing(32, 48, MEAN, STD, "bicubic"), marks=pytest.mark.slow),
    ],
    ids=["keeps small", "bilinear", "bicubic"],
)
def test_bytes_of_any_size_give_the_probabilities_of_predict(how, tmp_path):
    here = model(how)
    here.export(tmp_path / "x.onnx", preprocessing=True)
    seen = []
    for height, width in ((60, 47), (41, 90), (37, 37), (32, 32), (20, 55), (150, 211), (8, 900)):
        pictures = np.stack([photograph(height, width, seed) for seed in range(3)])
        there = run(tmp_path / "x.onnx", pictures)
        ours = [dict(zip(row.classes, row.probabilities, strict=True)) for row in here.predict(pictures)]
        wanted = np.array([[row[name] for name in CLASSES] for row in ours])
        np.testing.assert_allclose(there, wanted, atol=5e-3)
        seen.append(wanted)
    assert np.concatenate(seen).std(0).mean() > 0.2  # the pictures make a difference


def test_names_size_mean_and_std_are_in_every_file(tmp_path):
    here, extra = model(), {"classes": "", "preprocessing": ""}
    for name in ("plain.onnx", "x.pt2", "x.safetensors"):
        here.export(tmp_path / name, image_size=32)
    here.export(tmp_path / "whole.onnx", preprocessing=True)
    torch.export.load(tmp_path / "x.pt2", extra_files=extra)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        headers = [extra, file.metadata()]
    for name in ("plain.onnx", "whole.onnx"):
        headers.append(onnxruntime.InferenceSession(tmp_path / name).get_modelmeta().custom_metadata_map)
    for header in headers:
        assert tuple(json.loads(header["classes"])) == CLASSES
        assert Preprocessing.of(json.loads(header["preprocessing"])) == HOW


def test_what_cannot_be_exported_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"goes into .onnx only"):
        model().export(tmp_path / "x.pt2", preprocessing=True)
    with pytest.raises(ValueError, match="the export takes one view, the model uses 10-crop"):
        model(Preprocessing(32, 37, MEAN, STD, views="10-crop")).export(tmp_path / "x.onnx", preprocessing=True)
    unknown = Classifier(nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)))
    with pytest.raises(ValueError, match="does not know how its images are prepared"):
        unknown.export(tmp_path / "x.onnx", preprocessing=True)
