"""`zoo predict`: checkpoints and photographs in, a table or a CSV out, one line for what is wrong."""

import csv

import lightning as L
import numpy as np
import pytest
from PIL import Image

from datamodules import Digits
from recipes.command.predict import main
from recipes.frame.errors import UsageError
from zoo import ResNet


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", limit_train_batches=2, limit_val_batches=1, **quiet)
    trainer.fit(ResNet("20", num_classes=10, image_size=8), Digits(32))
    trainer.save_checkpoint(folder / "a.ckpt")
    trainer.fit(ResNet("20", num_classes=10, image_size=8, lr=0.5), Digits(32))
    trainer.save_checkpoint(folder / "b.ckpt")
    (folder / "photos").mkdir()
    for i in range(3):
        Image.fromarray(np.full((12, 10), 80 * i, np.uint8)).save(folder / "photos" / f"{i}.png")
    return folder


def test_a_table(files, capsys):
    main([str(files / "a.ckpt"), str(files / "photos"), "--top", "2"])
    out = capsys.readouterr().out
    assert "probability" in out and out.count("%") == 6


def test_a_csv_of_the_mean_of_two_models(files, capsys):
    def run(*models):
        main([*[str(files / f"{m}.ckpt") for m in models], str(files / "photos"), "--csv", str(files / "x.csv")])
        rows = list(csv.reader((files / "x.csv").read_text().splitlines()))[1:]
        return [{name: float(p) for name, p in zip(row[1::2], row[2::2], strict=True)} for row in rows]

    a, b, both = run("a"), run("b"), run("a", "b")
    assert len(both) == 3
    for one, two, mean in zip(a, b, both, strict=True):
        shared = one.keys() & two.keys() & mean.keys()
        assert shared
        for name in shared:
            assert mean[name] == pytest.approx((one[name] + two[name]) / 2, abs=2e-6)


def test_ten_crops_differ_from_one(files, capsys):
    rows = []
    for views in ("center", "10-crop"):
        main(
            [str(files / "a.ckpt"), str(files / "photos" / "1.png"), "--ensemble", views, "--csv", str(files / "y.csv")]
        )
        rows.append((files / "y.csv").read_text())
    assert rows[0].count("\n") == rows[1].count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo.jpg"], "at least one checkpoint"),
        (["a.ckpt"], "one photograph or folder"),
        (["a.ckpt", "x", "--top", "0"], "1 or more"),
        (["a.ckpt", "x", "--tops", "1"], "usage: zoo predict"),
    ],
)
def test_wrong_words_are_one_line(arguments, words):
    with pytest.raises(UsageError, match=words):
        main(arguments)


def test_an_absent_file_is_named(files):
    with pytest.raises(FileNotFoundError, match=r"no file .*c\.ckpt"):
        main([str(files / "c.ckpt"), str(files / "photos")])
    with pytest.raises(FileNotFoundError, match="no picture or folder"):
        main([str(files / "a.ckpt"), "nowhere"])


def test_a_file_that_is_no_photograph_is_named_with_the_option_that_leaves_it_out(files, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"broken\.jpg cannot be read .* with --skip-unreadable$"):
        main([str(files / "a.ckpt"), str(tmp_path)])
