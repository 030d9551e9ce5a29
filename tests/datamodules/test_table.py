"""Tables: which image has which labels and belongs to which part; and whole runs with several labels an image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

import zoo
from callbacks import EMA, BinaryCrossEntropy, CutMix, LabelSmoothing, MixUp
from datamodules import Arrays, Table
from zoo import Classifier, ResNet

COLOURS = ("red", "green", "blue")
OPTIONS = {"image_size": 8, "num_workers": 0, "transform": ["center-crop"]}


def painted(bits) -> np.ndarray:
    """uint8 (8, 8, 3): the colours that the bits say are bright."""
    return np.broadcast_to(np.array(bits, np.uint8) * 255, (8, 8, 3)).copy()


@pytest.fixture
def table(tmp_path):
    """48 images of three colours each on or off: 32 to train, 8 to validate, 8 to test; labels in two ways."""
    lines = ["path,red,green,blue,names,split,name"]
    for i in range(48):
        bits = [i >> k & 1 for k in range(3)]
        Image.fromarray(painted(bits)).save(tmp_path / f"{i}.png")
        names = "|".join(name for name, bit in zip(COLOURS, bits, strict=True) if bit)
        part = "train" if i < 32 else "valid" if i < 40 else "test"
        lines.append(f"{i}.png,{','.join(map(str, bits))},{names},{part},{'ab'[bits[0]]}")
    path = tmp_path / "photos.csv"
    path.write_text("\n".join(lines))
    return path


def targets(data, part: str) -> torch.Tensor:
    data.setup()
    return getattr(data, f"{part}_set").targets


def test_one_label_an_image(table):
    data = Table(table, label="name", split="split", **OPTIONS)
    assert targets(data, "train").tolist() == [i & 1 for i in range(32)] and data.classes == ("a", "b")
    assert len(data.val_set) == 8 and targets(data, "test").dtype == torch.int64 and not data.multi_label


def test_a_tilde_is_the_home_folder(table, monkeypatch):
    monkeypatch.setenv("HOME", str(table.parent))
    assert Table("~/photos.csv", label="name", **OPTIONS).root == table.parent


def test_columns_and_names_say_the_same(table):
    columns = Table(table, label=COLOURS, split="split", **OPTIONS)
    names = Table(table, label="names", split="split", separator="|", **OPTIONS)
    wanted = torch.tensor([[i >> k & 1 for k in range(3)] for i in range(32)]).float()
    assert torch.equal(targets(columns, "train"), wanted)
    assert names.classes == tuple(sorted(COLOURS))
    assert torch.equal(targets(names, "train"), wanted[:, [COLOURS.index(name) for name in names.classes]])
    assert columns.class_counts.tolist() == [16, 16, 16]


def test_without_parts_the_split_has_each_label_in_proportion(table):
    data = Table(table, label=COLOURS, val_split=12, **OPTIONS)
    found = targets(data, "train")
    assert len(data.val_indices) == 12 and data.test_set is None
    assert found[data.val_indices].sum(0).min() >= 4  # half of them, give or take


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (("path,", "pth,"), {}, "has no column 'path': did you mean 'pth'"),
        (("valid", "vald"), {}, r"line 34: split='vald', not train, val or test"),
        (("3.png", "3.jpg"), {}, "images are not there"),
        (("3.png,1,1,0", "3.png,1,2,0"), {}, "line 5: green='2', not 0 or 1"),
        (("3.png,1,1,0,red|green,train,b", "3.png,1,1,0,,train,"), {"label": "name"}, "3.png has no name"),
        (("2.png", "1.png"), {}, "images are listed twice"),
    ],
)
def test_a_wrong_table_says_where(table, change, options, words):
    table.write_text(table.read_text().replace(*change))
    with pytest.raises(ValueError, match=words):
        Table(table, **{"label": COLOURS, "split": "split", **OPTIONS, **options})


# ---- several labels


def linear() -> Classifier:
    """One pass over the means of the colours; it has to learn three decisions apart."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    return Classifier(network, 3, lr=0.3, in_chans=3)


def test_a_model_learns_three_decisions_and_knows_them_again(table, trainer, tmp_path):
    data = Table(table, 8, label=COLOURS, split="split", **OPTIONS)
    model, run = linear(), trainer(max_epochs=20, callbacks=[EMA(0.5)])
    run.fit(model, data)
    assert run.callback_metrics["train/acc"] == run.callback_metrics["val/mAP_ema0.5"] == 1
    (scores,) = run.test(model, data, verbose=False)
    assert scores["test/mAP"] == scores["test/f1"] == scores["test/acc"] == 1 and scores["test/loss"] < 0.2
    run.save_checkpoint(tmp_path / "model.ckpt")
    again = zoo.load(tmp_path / "model.ckpt", network=linear().network)
    (row,) = again.predict(painted((1, 0, 1)))
    assert again.multi_label and {*row.classes[:2]} == {"red", "blue"} and min(row.probabilities[:2]) > 0.8
    assert row.probabilities[2] < 0.2


def test_scores_are_torchmetrics_and_the_loss_is_the_mean_of_decisions(trainer):
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (40, 8, 8, 3), np.uint8), generator.integers(0, 2, (40, 3))
    data, model = Arrays(images, labels, 7, test=(images, labels)), linear()
    (scores,) = trainer().test(model, data, verbose=False)
    data.setup()
    batch = data.on_after_batch_transfer(data.test_set.__getitems__(list(range(40))), 0)
    logits, wanted = model.eval()(batch[0]).detach(), torch.from_numpy(labels)
    p = logits.sigmoid()
    assert scores["test/mAP"] == pytest.approx(multilabel_average_precision(p, wanted, 3).item(), abs=1e-5)
    assert scores["test/f1"] == pytest.approx(multilabel_f1_score(p, wanted, 3).item(), abs=1e-5)
    by_hand = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean().item()
    assert scores["test/loss"] == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("trick", [LabelSmoothing(0.1), CutMix()], ids=["LabelSmoothing", "CutMix"])
def test_tricks_of_one_label_refuse(trick, table, trainer):
    data = Table(table, 8, label=COLOURS, split="split", **OPTIONS)
    with pytest.raises(TypeError, match=f"{type(trick).__name__} needs one label an image, and the data"):
        trainer(max_epochs=1, callbacks=[trick]).fit(linear(), data)


def test_tricks_of_several_labels_train(table, trainer):
    data = Table(table, 8, label=COLOURS, split="split", **OPTIONS)
    trainer(max_epochs=1, callbacks=[MixUp(0.2), BinaryCrossEntropy(None)]).fit(linear(), data)
    trainer(max_epochs=1).fit(ResNet("20", num_classes=3, image_size=8), data)


def test_labels_that_are_none_are_refused():
    images = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="targets .4, 3. with several labels per image must be 0 or 1"):
        Arrays(images, np.full((4, 3), 2))
    with pytest.raises(ValueError, match="must have targets of one kind"):
        Arrays(images, np.zeros((4, 3), int), test=(images, np.zeros(4, int)))
