"""Prediction: pictures of every kind, equal to the data modules' own evaluation, and errors that say what to do."""

import csv

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from datamodules import Digits, ImageFolder
from datamodules.frame import decode
from zoo import Classifier, Preprocessing, ResNet
from zoo.frame import pictures
from zoo.frame.pictures import Unreadable, find
from zoo.frame.prediction import predict, write_csv

PLAIN = Preprocessing(8, 8, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
NAMES = ("ant", "bee", "cat")


def picture(seed, height=20, width=30):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model():
    torch.manual_seed(3)
    found = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), 3)
    found.classes, found.preprocessing = NAMES, PLAIN
    return found.eval()


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("ant/a.png", "ant/b.png", "bee/c.png", "bee/deep/d.PNG")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i).permute(1, 2, 0).numpy()).save(tmp_path / name)
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    return tmp_path


def test_every_kind_of_picture_gives_the_same_row(model, folder):
    path = folder / "ant" / "a.png"
    x = picture(0)
    array = x.permute(1, 2, 0).numpy()
    kinds = [path, str(path), [path], Image.open(path), array, array[None], x, x[None], PLAIN([x])]
    rows = [model.predict(kind)[0] for kind in kinds]
    assert {row.classes for row in rows} == {rows[0].classes} and set(rows[0].classes) == set(NAMES)
    for row in rows:
        assert row.probabilities == pytest.approx(rows[0].probabilities, abs=1e-6)
        assert sum(row.probabilities) == pytest.approx(1, abs=1e-5)
        assert row.probability == max(row.probabilities) and row.label == row.classes[0]
    assert rows[0].file == str(path) and rows[6].file == "image 0"


def test_the_most_probable_by_hand(model):
    logits = model(PLAIN([picture(0)]))[0]
    row = model.predict(picture(0), top=2)[0]
    values, at = logits.softmax(0).topk(2)
    assert row.classes == tuple(NAMES[i] for i in at) and row.probabilities == pytest.approx(values.tolist())


def test_a_folder_is_searched_to_any_depth_in_order(model, folder):
    rows = model.predict(folder, batch_size=3)
    assert [row.file for row in rows] == sorted(map(str, folder.rglob("*.[pP][nN][gG]")))
    alone = [model.predict(row.file)[0] for row in rows]
    assert [row.label for row in rows] == [row.label for row in alone]


def test_it_is_the_data_modules_own_evaluation(folder):
    (folder / "bee" / "deep" / "d.PNG").unlink()
    data = ImageFolder(folder, 2, image_size=8, num_workers=0, val_split=0)
    data.setup()
    how = Preprocessing.of(data.preprocessing)
    assert (how.size, how.short_side) == (8, 10)
    for path in folder.rglob("*.png"):
        x = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        theirs = data.train_set.evaluate(x)
        torch.testing.assert_close(how.crop(x), theirs, atol=0, rtol=0)
        theirs = data.on_after_batch_transfer([theirs[None], torch.zeros(1, dtype=torch.int64)], 0)[0]
        torch.testing.assert_close(how([x]), theirs)


def test_ten_crops_average_over_their_softmaxes(model, folder):
    ten = Preprocessing(8, 9, PLAIN.mean, PLAIN.std, views="10-crop")
    images = ten([picture(1)])
    assert images.shape == (1, 10, 3, 8, 8)
    expected = model(images[0]).softmax(1).mean(0)
    row = model.predict(picture(1), preprocessing=ten)[0]
    assert row.probabilities == pytest.approx(sorted(expected.tolist(), reverse=True))


def test_several_models_are_averaged(model):
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), 3)
    other.classes, other.preprocessing = NAMES, PLAIN
    x = PLAIN([picture(2)])
    expected = (model(x).softmax(1) + other(x).softmax(1))[0] / 2
    row = predict([model, other], picture(2))[0]
    assert row.probabilities == pytest.approx(sorted(expected.tolist(), reverse=True))
    other.classes = ("ant", "cat", "bee")
    with pytest.raises(ValueError, match="different classes"):
        predict([model, other], picture(2))


def test_a_model_is_in_its_own_mode_afterwards(model):
    model.train()
    model.predict(picture(0))
    assert model.training


def test_unreadable_files_are_named_and_left_out_on_demand(model, folder):
    (folder / "ant" / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(Unreadable, match=r"broken\.jpg cannot be read.*skip_unreadable=True"):
        model.predict(folder)
    with pytest.warns(UserWarning, match=r"left out: .*broken\.jpg"):
        assert len(model.predict(folder, skip_unreadable=True)) == 4


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ("nowhere.png", FileNotFoundError, "no picture or folder nowhere.png"),
        (3.5, TypeError, "float is no picture"),
        (np.zeros((4, 4, 3), np.float32), TypeError, "is no picture: give a path"),
    ],
)
def test_what_is_no_picture_is_said(wrong, error, words):
    with pytest.raises(error, match=words):
        find(wrong)


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no pictures; supported are .*\.jpg"):
        find(tmp_path)


def test_formats_that_can_run_programs_are_never_opened(model, tmp_path):
    (tmp_path / "evil.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(Unreadable, match="cannot be read"):
        model.predict(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
def test_modes_become_the_channels_of_the_network(model, tmp_path, mode):
    grey = np.arange(400, dtype=np.uint16).reshape(20, 20) * 160
    image = Image.fromarray(grey) if mode == "I;16" else Image.fromarray((grey >> 8).astype(np.uint8)).convert(mode)
    image.save(tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png"))
    rows = model.predict(tmp_path)
    expected = model.predict(torch.from_numpy((grey >> 8).astype(np.uint8))[None])
    assert rows[0].probabilities == pytest.approx(expected[0].probabilities, abs=0.02 if mode == "CMYK" else 1e-6)


def test_twelve_bits_in_sixteen_would_be_black(model, tmp_path):
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 10).save(tmp_path / "x.png")
    for asked in (tmp_path, Image.open(tmp_path / "x.png")):
        with pytest.raises(Unreadable, match="brightest value is 3,990 of 65,535, nearly black"):
            model.predict(asked)


def test_suffixes_are_those_of_the_data_modules():
    assert pictures.SUFFIXES == decode.SUFFIXES and pictures.FORMATS == decode.FORMATS


def test_without_preprocessing_it_says_what_to_pass():
    bare = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), 3)
    with pytest.raises(ValueError, match=r"preprocessing=zoo.Preprocessing"):
        bare.predict(picture(0))
    row = bare.predict(picture(0), preprocessing=PLAIN)[0]
    assert set(row.classes) == {"0", "1", "2"}  # numbers, where there are no names


def test_timm_says_how_its_weights_want_pictures():
    how = Classifier("resnet18", 10).preprocessing
    assert how == Preprocessing(224, 235, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic")


def test_a_line_of_a_picture_takes_little_memory():
    thin = torch.zeros(3, 1, 300_000, dtype=torch.uint8)
    assert PLAIN.crop(thin).shape == (3, 8, 8)


def test_a_checkpoint_stands_alone(tmp_path):
    torch.manual_seed(0)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_train_batches=2, limit_val_batches=1,
    )  # fmt: skip
    data = Digits(32)
    trainer.fit(ResNet("20", num_classes=10, image_size=8), data)
    trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    loaded = zoo.load(tmp_path / "x.ckpt")
    assert loaded.classes == data.classes and loaded.preprocessing.size == 8
    said = torch.load(tmp_path / "x.ckpt", weights_only=True)["about"]
    assert said["versions"]["torch"] == torch.__version__ and said["tricks"] == []
    row = loaded.predict(np.zeros((30, 40), np.uint8))[0]
    assert row.label in data.classes and len(row.classes) == 5


def test_csv(tmp_path, model):
    write_csv(model.predict([picture(0), picture(1)], top=2), tmp_path / "x.csv")
    rows = list(csv.reader((tmp_path / "x.csv").read_text().splitlines()))
    assert rows[0] == ["file", "class", "probability", "class 2", "probability 2"]
    assert len(rows) == 3 and rows[1][0] == "image 0" and float(rows[1][2]) >= float(rows[1][4])


def test_a_network_of_ones_own_is_handed_over(tmp_path):
    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", limit_train_batches=2, limit_val_batches=1, **quiet)
    model = Classifier(network(), 10)
    trainer.fit(model, Digits(32))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"network of your own.*zoo\.load\(.*network=module\)"):
        zoo.load(tmp_path / "x.ckpt")
    loaded = zoo.load(tmp_path / "x.ckpt", network=network())
    assert torch.equal(loaded.network[1].weight, model.network[1].weight) and loaded.classes == tuple("0123456789")


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_probabilities_are_float32_whatever_the_weights_are(model, kind):
    images = torch.randn(2, 3, 8, 8)
    plain = [row.probability for row in model.predict(images)]
    model.to(kind)
    assert model.predict_step(images.to(kind), 0).dtype == torch.float32
    assert [row.probability for row in model.predict(images)] == pytest.approx(plain, abs=0.01)
