"""Data sets of Hugging Face: local files in their layouts stand for the Hub, which no test asks."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import HuggingFace

OPTIONS = {"image_size": 8, "num_workers": 0, "transform": ["center-crop"]}


def pixels(i) -> np.ndarray:
    """uint8 (8, 8, 3), another one for each i."""
    return np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def parquet(tmp_path, hf_datasets):
    """`parquet(kind, split=labels, ...)`: a folder of Parquet files with PNGs and labels of a kind."""

    def write(kind, image="image", folder=tmp_path / "photos", **splits):
        features = hf_datasets.Features({image: hf_datasets.Image(), "label": kind, "size": hf_datasets.Value("int32")})
        folder.mkdir(parents=True)
        for split, labels in splits.items():
            images = [Image.fromarray(pixels(i)) for i in range(len(labels))]
            rows = {image: images, "label": labels, "size": [8] * len(labels)}
            hf_datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
        return folder

    return write


@pytest.fixture
def names(hf_datasets):
    return hf_datasets.ClassLabel(names=["wasp", "ant"])  # in no alphabetical order


def test_images_classes_and_parts(parquet, names):
    data = HuggingFace(parquet(names, train=[0, 1, 1, 0, 1], validation=[1, 0], test=[1]), 2, **OPTIONS)
    data.setup()
    assert data.classes == ("wasp", "ant") and data.train_set.targets.tolist() == [0, 1, 1, 0, 1]
    assert data.val_set.targets.tolist() == [1, 0] and data.test_set.targets.tolist() == [1]
    for i in range(5):
        assert torch.equal(data.train_set.picture(i), torch.from_numpy(pixels(i)).permute(2, 0, 1))
    assert data.train_set.source.size(3) == len(data.train_set.source.read(3)) > 100


def test_test_images_without_classes_are_to_predict(parquet, names):
    data = HuggingFace(parquet(names, train=[0, 1] * 10, test=[-1, -1, -1]), 2, val_split=2, **OPTIONS)
    data.setup("predict")
    images, targets = (torch.cat(parts) for parts in zip(*data.predict_dataloader(), strict=True))
    assert torch.equal(images[2], torch.from_numpy(pixels(2)).permute(2, 0, 1)) and targets.tolist() == [-1, -1, -1]
    data.setup()
    assert data.test_set is None and len(data.val_indices) == 2
    with pytest.raises(RuntimeError, match="have no class: predict them"):
        data.test_dataloader()


@pytest.mark.parametrize(
    ("kind", "labels", "classes", "targets"),
    [("string", ["b", "a", "b"], ("a", "b"), [1, 0, 1]), ("uint8", [0, 2, 0], ("0", "1", "2"), [0, 2, 0])],
)
def test_words_and_numbers_are_classes(kind, labels, classes, targets, parquet, hf_datasets):
    data = HuggingFace(parquet(hf_datasets.Value(kind), train=labels), **OPTIONS)
    assert data.classes == classes and data.source("train")[1].tolist() == targets


def test_a_folder_of_images_as_the_library_reads_it(tmp_path, hf_datasets):
    for i, name in enumerate(("ant", "wasp", "wasp")):
        (tmp_path / "in" / "train" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(tmp_path / "in" / "train" / name / f"{i}.png")
    data = HuggingFace(tmp_path / "in", **OPTIONS)
    rows, targets = data.source("train")
    assert data.classes == ("ant", "wasp") and targets.tolist() == [0, 1, 1]
    assert rows.read(2) == (tmp_path / "in" / "train" / "wasp" / "2.png").read_bytes()


def test_a_tilde_is_the_home_folder(parquet, names, tmp_path, monkeypatch):
    parquet(names, train=[0, 1])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert HuggingFace("~/photos", **OPTIONS).name == str(tmp_path / "photos")


def test_unreadable_images_are_left_out(parquet, names, monkeypatch):
    data = HuggingFace(parquet(names, train=[0, 1, 0, 1]), 2, val_split=0, skip_unreadable=True, **OPTIONS)
    read = type(data.rows("train")).read
    monkeypatch.setattr(type(data.rows("train")), "read", lambda self, i: b"" if i == 2 else read(self, i))
    with pytest.warns(UserWarning, match=r"1 of 4 images cannot be read .*photos, train, image 2"):
        data.prepare_data()
    data.setup("fit")
    assert data.train_set.targets.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"image": "picture"},
            r"no column 'picture' of images: it has img \(Image\); label \(ClassLabel\); size \(int32",
        ),
        ({"image": "label"}, "no column 'label' of images"),
        ({"label": "class"}, r"no column 'class' of one class an image: it has img \(Image\); label \(Class"),
        ({"label": "img"}, "no column 'img' of one class an image"),
    ],
)
def test_columns_of_other_names_are_named(options, words, parquet, names):
    folder = parquet(names, image="img", train=[0, 1])
    with pytest.raises(ValueError, match=words):
        HuggingFace(folder, **{"image": "img", **options, **OPTIONS})


def test_what_is_missing_is_said(parquet, names, hf_datasets, tmp_path):
    with pytest.raises(ValueError, match="photos, train: image 1 has no class, its label is -1"):
        HuggingFace(parquet(names, train=[0, -1]), **OPTIONS)
    with pytest.raises(ValueError, match="no part of the name train: it has test"):
        HuggingFace(parquet(names, folder=tmp_path / "other", test=[0, 1]), **OPTIONS)


def test_a_configuration_is_chosen(parquet, names, tmp_path):
    for name, labels in (("small", [0, 1]), ("large", [0, 1, 1])):
        parquet(names, folder=tmp_path / "both" / name, train=labels)
    files = "\n".join(f"- config_name: {name}\n  data_files: {name}/*.parquet" for name in ("small", "large"))
    (tmp_path / "both" / "README.md").write_text(f"---\nconfigs:\n{files}\n---\n")
    with pytest.raises(ValueError, match="several configurations, choose one: config='small' or 'large'"):
        HuggingFace(tmp_path / "both", **OPTIONS)
    assert len(HuggingFace(tmp_path / "both", config="large", **OPTIONS).source("train")[0]) == 3


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install lightning-zoo\[huggingface\]"):
        HuggingFace("user/name")
