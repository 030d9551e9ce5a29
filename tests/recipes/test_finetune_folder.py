"""Fine-tuning: the four corners of the advice, what is written, and a way to predictions without a look into source."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.classification import MulticlassCalibrationError

import zoo
from callbacks import FrozenBatchNorm, GradualUnfreezing
from recipes.command.finetune import main
from recipes.finetune_folder import load_pretrained, plan, recipe
from recipes.frame.errors import UsageError
from recipes.frame.mistakes import Answers, confusion, reliability, worst_pairs
from zoo import ResNet
from zoo.frame.exact_resume import ExactResume
from zoo.frame.graceful_stop import GracefulStop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    draws = np.random.default_rng(5)
    for name, low in (("dark", 0), ("light", 160)):
        (root / name).mkdir()
        for i in range(20):
            image = draws.integers(low, low + 90, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("images", "similar", "unfreeze", "norms"),
    [(20, True, "0.3dur", True), (20, False, "0.3dur", True), (400, True, 1, True), (400, False, None, False)],
)
def test_the_four_corners(images, similar, unfreeze, norms):
    chosen = plan(images, similar)
    assert (chosen.unfreeze, chosen.freeze_norms) == (unfreeze, norms)


def test_a_checkpoint_gets_a_new_head_and_keeps_the_rest(folder, tmp_path, trained):
    model = load_pretrained(str(trained), 2)
    old = zoo.load(trained)
    assert model.num_classes == 2 and torch.equal(model.conv1.weight, old.conv1.weight)
    assert model.fc.weight.shape[0] == 2 and model.preprocessing == old.preprocessing
    one = recipe(folder, str(trained), epochs=1)
    kinds = [type(callback) for callback in one.callbacks]
    assert GradualUnfreezing in kinds and FrozenBatchNorm in kinds
    assert tuple(one.data.mean) == pytest.approx(old.preprocessing.mean)


class Stopped(GracefulStop):
    """As after a Ctrl-C in the first batch."""

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        trainer.should_stop = self.interrupted = True


@pytest.mark.slow
def test_what_ctrl_c_stopped_goes_on_as_it_says(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recipes.command.finetune.tell", lambda one, save: ends.append(one.watch.images))
    ends = []
    options = [str(folder), "--model", "ResNet:20", "--image_size", "8", "--epochs", "2", "--batch_size", "8"]
    with monkeypatch.context() as patch:
        patch.setattr("zoo.frame.classifier.ALWAYS", (ExactResume, Stopped))
        with pytest.raises(SystemExit) as end:
            main([*options, "--save", "out"])
    assert end.value.code == 130
    assert "go on with --resume out/last.ckpt" in capsys.readouterr().out
    main([*options, "--save", "out", "--resume", "out/last.ckpt"])
    assert ends == [2 * 32]  # images of both epochs, those before the stop included


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of ResNet-20 on digits."""
    from recipes import digits_resnet20

    path = tmp_path_factory.mktemp("trained")
    digits_resnet20.recipe(epochs=3, batch_size=256).run(save=path, test=False)
    return path / "model.ckpt"


def test_from_a_folder_to_predictions(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(
        [
            str(folder),
            "--model",
            "ResNet:20",
            "--image_size",
            "8",
            "--epochs",
            "4",
            "--batch_size",
            "8",
            "--save",
            "out",
        ]
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.ckpt", "model.onnx", "report.png", "confusion.png", "reliability.png", "mistakes.png"} <= names
    assert "zoo predict out/model.ckpt PHOTOS --csv" in capsys.readouterr().out
    rows = zoo.load(tmp_path / "out" / "model.ckpt").predict(folder)
    assert len(rows) == 40 and {row.label for row in rows} <= {"dark", "light"}
    right = sum(row.label == row.file.split("/")[-2] for row in rows)
    assert right >= 30


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "x"], "name the folder"),
        (["nowhere"], "there is no folder nowhere"),
        ([".", "--modell", "x"], "modell"),
    ],
)
def test_wrong_words_are_one_line(arguments, words):
    with pytest.raises(UsageError, match=words):
        main(arguments)


def test_another_source_is_said():
    with pytest.raises(ValueError, match=r"give timm:NAME, a file \.ckpt, or Model:variant"):
        load_pretrained("resnet18", 2)
    assert isinstance(load_pretrained("ResNet:18", 3), ResNet)


def test_confusions_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    matrix = confusion(probabilities, torch.tensor([0, 1, 1, 1]))
    assert matrix.tolist() == [[1, 0], [2, 1]]
    assert worst_pairs(matrix, ("cat", "dog")) == ["dog taken for cat (2 of 3)"]


def test_reliability_by_hand_and_by_torchmetrics():
    p = torch.tensor([[0.95, 0.05], [0.92, 0.08], [0.3, 0.7], [0.4, 0.6]])
    found = reliability(Answers(p, torch.tensor([0, 1, 1, 0]), torch.empty(0), torch.empty(0)))
    assert found.images.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 2]  # a bin holds its upper end
    assert found.accuracy[[5, 6, 9]].tolist() == [0, 1, 0.5]
    torch.testing.assert_close(found.confidence[[5, 6, 9]], torch.tensor([0.6, 0.7, 0.935]), check_dtype=False)
    assert found.error == pytest.approx((0.6 + 0.3 + 2 * 0.435) / 4)
    torch.manual_seed(5)
    p, y = torch.randn(500, 7).mul(2).softmax(1), torch.randint(7, (500,))
    theirs = MulticlassCalibrationError(7, n_bins=10)(p, y)
    assert reliability(Answers(p, y, torch.empty(0), torch.empty(0))).error == pytest.approx(theirs.item(), abs=1e-5)
