"""A recipe taken apart, run, saved, reloaded and written down."""

import csv
import io
import json
import os
import signal
from dataclasses import replace

import lightning as L
import pytest
import torch
import yaml
from rich.console import Console
from torch.utils.data import DataLoader, TensorDataset

import zoo
from callbacks import EarlyStopping, InitialLoss, MixUp
from callbacks.frame.diagnostic import Diagnostic
from recipes.frame import records
from recipes.frame.history import Watch
from recipes.frame.mistakes import Confusions
from recipes.frame.page import page
from recipes.frame.recipe import Recipe
from recipes.frame.regime import Trial
from tests.conftest import TinyNetwork
from zoo import Classifier, ResNet
from zoo.frame.describe import describe

FILES = {"run.yaml", "metrics.csv", "hparams.yaml", "model.ckpt", "last.ckpt", "report.png"}


class Louder(L.Callback):
    def __init__(self, gain: float = 1.0):
        self.gain = gain


class Softer(L.Callback):
    pass


class TinyData(L.LightningDataModule):
    """Thirty-two images of 8x8, half of them bright."""

    classes = ("dark", "bright")

    def __init__(self, batch_size: int = 8):
        super().__init__()
        self.batch_size = batch_size

    def loader(self) -> DataLoader:
        targets = torch.arange(32) % 2
        images = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + targets[:, None, None, None]
        return DataLoader(TensorDataset(images, targets), self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = loader


def make(seed: int = 0, epochs: int = 1, callbacks=()) -> Recipe:
    L.seed_everything(seed, workers=True, verbose=False)
    model = ResNet("20", num_classes=2, image_size=8, lr=0.01)
    trainer = {"max_epochs": epochs, "accelerator": "cpu"}
    return Recipe("tiny", model, TinyData(), list(callbacks), trainer, seed, {"epochs": epochs})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")


def test_without_takes_out_and_says_so():
    recipe = make(callbacks=[Louder(2.0), Softer()])
    rest = recipe.without(Louder)
    assert [type(c) for c in rest.callbacks] == [Softer]
    assert [type(c) for c in recipe.callbacks] == [Louder, Softer]  # a new recipe; the old one is as it was
    assert rest.arguments == {"epochs": 1, "without": ["Louder"]}


def test_without_names_what_is_on():
    with pytest.raises(ValueError, match="tiny does not use Softer; it uses: Louder"):
        make(callbacks=[Louder()]).without(Softer)


def test_plus_adds_at_the_end_and_says_so():
    more = make(callbacks=[Louder()]).plus(Softer(), Louder(3.0))
    assert [type(c) for c in more.callbacks] == [Louder, Softer, Louder]
    assert more.arguments["plus"] == ["Softer()", "Louder(gain=3.0)"]


def test_describe_shows_what_is_not_at_its_default():
    assert describe(Louder()) == "Louder()"
    assert describe(Louder(0.5)) == "Louder(gain=0.5)"
    assert describe(ResNet("20", num_classes=2, lr=0.5)) == "ResNet(variant='20', num_classes=2, image_size=32, lr=0.5)"


def test_print_shows_model_data_tricks_and_trainer():
    text = str(make(callbacks=[Louder(2.0)]))
    for part in ("ResNet(variant='20'", "TinyData()", "Louder(gain=2.0)", "max_epochs=1"):
        assert part in text


def test_run_gives_metrics_and_time():
    metrics = make(epochs=2).run()
    assert {"val/acc", "test/acc", "test/loss", "seconds", "images/s"} <= set(metrics)
    assert metrics["images/s"] * metrics["seconds"] == pytest.approx(2 * 32)
    assert 0 < metrics["seconds"] < 60


def test_the_seed_makes_the_run():
    one = make(1, callbacks=[MixUp()]).run()["test/loss"]
    again, other = (
        make(1, callbacks=[MixUp()]),
        make(2, callbacks=[MixUp()]),
    )  # built last: seed 2 is now the global one
    assert again.run()["test/loss"] == one != other.run()["test/loss"]


def test_a_trained_recipe_does_not_run_again():
    recipe = make(callbacks=[Softer()])
    recipe.run(test=False)
    for used in (recipe, recipe.without(Softer)):  # they share the model
        with pytest.raises(RuntimeError, match="trained already"):
            used.run()


def test_curves_have_a_point_an_epoch_and_a_rate_a_batch():
    recipe = make(epochs=3)
    recipe.run(test=False)
    assert recipe.history.curve("val/acc")[0] == [1, 2, 3]
    assert recipe.history.curve("train/loss")[0] == [1, 2, 3]
    assert recipe.watch.rates == [0.01] * 12


def test_save_writes_the_trained_model_and_the_report(tmp_path):
    recipe = make()
    recipe.run(save=tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert recipe.check_reload(tmp_path / "out" / "model.ckpt") == 0


def test_a_file_of_another_model_is_found_out(tmp_path):
    make(seed=1).run(save=tmp_path / "one", test=False)
    with pytest.raises(RuntimeError, match="its logits differ"):
        make(seed=2).check_reload(tmp_path / "one" / "model.ckpt")


def test_resume_goes_on_with_clock_and_rates(tmp_path):
    class Stop(L.Callback):
        def on_train_epoch_end(self, trainer, model):
            trainer.should_stop = True

    make(epochs=3, callbacks=[Stop()]).run(save=tmp_path, test=False)
    recipe = make(epochs=3)
    recipe.run(resume=tmp_path / "last.ckpt", test=False)
    assert recipe.history.curve("train/loss")[0] == [2, 3]
    assert recipe.watch.images == 3 * 32
    assert len(recipe.watch.rates) == 12


def test_the_clock_goes_on_where_it_stood():
    watch = Watch()
    watch.load_state_dict({"seconds": 100.0, "images": 5, "rates": [0.1]})
    watch.on_train_start(None, None)
    watch.on_train_end(None, None)
    assert 100 < watch.seconds < 101


def test_record_writes_one_line():
    metrics = make(seed=5).run(record=True)
    (line,) = (records.RESULTS / "tiny.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert (record["seed"], record["arguments"], record["metrics"]) == (5, {"epochs": 1}, metrics)


def test_records_name_the_device_of_the_run(monkeypatch):
    monkeypatch.setattr(records, "hardware", lambda device="unknown": {"device": device, "threads": 1})
    recipe = make()
    recipe.record(recipe.run())
    recipe.device, recipe.choosing = "cuda:0", True
    Trial._append(recipe, {"seconds": 1.0, "test/acc": 0.5})
    assert [line["hardware"]["device"] for line in records.read("tiny")] == ["cpu", "cuda:0"]


def test_a_run_stopped_by_ctrl_c_is_neither_tested_nor_recorded():
    class CtrlC(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            os.kill(os.getpid(), signal.SIGINT)

    recipe = make(callbacks=[CtrlC()])
    metrics = recipe.run(record=True)
    assert recipe.stopped and "test/acc" not in metrics
    assert not records.RESULTS.exists()


def test_a_run_that_stops_early_is_tested_and_recorded():
    recipe = make(epochs=5, callbacks=[EarlyStopping(None, patience=1, min_delta=100)])
    metrics = recipe.run(record=True)
    assert not recipe.stopped and "test/acc" in metrics
    assert len((records.RESULTS / "tiny.jsonl").read_text().splitlines()) == 1


def test_a_network_of_the_recipes_own_is_saved_compared_and_recorded(tmp_path):
    recipe = make()
    recipe.model = Classifier(TinyNetwork(), 10)
    metrics = recipe.run(save=tmp_path / "out", record=True)
    assert "test/acc" in metrics and (tmp_path / "out" / "report.png").exists()
    assert len((records.RESULTS / "tiny.jsonl").read_text().splitlines()) == 1
    again = zoo.load(tmp_path / "out" / "model.ckpt", network=TinyNetwork())
    assert torch.equal(again.network.head.weight, recipe.model.network.head.weight)


def test_after_early_stopping_the_metrics_are_those_of_the_restored_weights(tmp_path, capsys):
    """A high loss is called better, so that the first validation is the best."""
    recipe = make(epochs=9, callbacks=[EarlyStopping("val/loss", "max", patience=2)])
    metrics = recipe.run(save=tmp_path)
    losses = recipe.history.curve("val/loss")[1]
    best = losses.index(max(losses))
    assert best == len(losses) - 3 and losses[best] > losses[-1]
    assert metrics["val/loss"] == pytest.approx(losses[best], rel=1e-5)
    assert metrics["val/acc"] == pytest.approx(recipe.history.curve("val/acc")[1][best])


def test_a_finished_run_is_resumed_to_its_end(tmp_path):
    first = make(epochs=2).run(save=tmp_path)
    again = make(epochs=2).run(resume=tmp_path / "last.ckpt")
    assert again["test/acc"] == first["test/acc"]
    assert 0.2 * first["seconds"] < again["seconds"] <= first["seconds"]  # up to the checkpoint of the last epoch


@pytest.mark.parametrize(
    ("other", "words"), [({"seed": 1}, "seed 0 there and 1 here"), ({"epochs": 3}, "epochs 1 there and 3 here")]
)
def test_another_run_is_not_gone_on_with(tmp_path, other, words):
    make().run(save=tmp_path, test=False)
    with pytest.raises(ValueError, match=words):
        make(**other).run(resume=tmp_path / "last.ckpt")


def test_a_checkpoint_of_no_recipe_is_not_gone_on_with(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="not a checkpoint of a recipe"):
        make().run(resume=tmp_path / "other.ckpt")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        make().run(resume=tmp_path / "absent.ckpt")


def test_a_run_has_a_folder_of_its_own_unless_it_is_told_not_to(tmp_path):
    make().run(save=False)
    assert not (tmp_path / "runs").exists()
    for _ in range(2):
        make().run(test=False)
    folders = [*(tmp_path / "runs" / "tiny").iterdir()]
    assert len(folders) == 2 and all({path.name for path in folder.iterdir()} == FILES for folder in folders)


def test_a_run_tells_what_it_was(tmp_path):
    make(callbacks=[MixUp(0.3), MixUp(0.4)], seed=3).run(save=tmp_path / "out", test=False)
    found = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert (found["name"], found["seed"], found["arguments"]) == ("tiny", 3, {"epochs": 1})
    assert found["model"]["ResNet"]["lr"] == 0.01 and found["data"] == {"TinyData": {"batch_size": 8}}
    assert found["tricks"] == {"MixUp": {"alpha": 0.3}, "MixUp_2": {"alpha": 0.4}}
    assert found["trainer"] == {"max_epochs": 1, "accelerator": "cpu"}
    assert found["versions"] == records.versions() and found["commit"] == records.commit()
    logged = yaml.safe_load((tmp_path / "out" / "hparams.yaml").read_text())  # by Lightning, for any logger
    assert logged["lr"] == 0.01 and logged["data"] == found["data"]
    assert found["tricks"].items() <= logged["tricks"].items()


def rows(path, name):
    with open(path, newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def test_metrics_and_rates_are_written(tmp_path):
    recipe = make(epochs=2)
    recipe.trainer["log_every_n_steps"] = 100  # more than the run has
    recipe.run(save=tmp_path / "out", test=False)
    path = tmp_path / "out" / "metrics.csv"
    assert rows(path, "val/acc") == list(zip([3, 7], recipe.history.curve("val/acc")[1], strict=True))
    assert rows(path, "lr-SGD") == [(0, 0.01), (4, 0.01)]


def test_the_metrics_of_a_resumed_run_are_those_of_one_that_was_not_stopped(tmp_path):
    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step == 6:
                raise RuntimeError("power cut")

    make(epochs=3).run(save=tmp_path / "whole", test=False)
    recipe = make(epochs=3, callbacks=[Stop()])
    recipe.trainer["log_every_n_steps"] = 1  # so that rows of the lost half epoch are written
    with pytest.raises(RuntimeError, match="power cut"):
        recipe.run(save=tmp_path / "cut", test=False)
    again = make(epochs=3)
    again.run(resume=tmp_path / "cut" / "last.ckpt", test=False)
    for name in ("train/loss", "val/loss"):
        assert rows(tmp_path / "cut" / "metrics.csv", name) == rows(tmp_path / "whole" / "metrics.csv", name)
    steps = [step for step, _ in rows(tmp_path / "cut" / "metrics.csv", "train/loss_step")]
    assert sorted(set(steps)) == steps


def test_a_new_run_in_an_old_folder_begins_a_new_file(tmp_path):
    for _ in range(2):
        make().run(save=tmp_path / "out", test=False)
    assert len(rows(tmp_path / "out" / "metrics.csv", "val/loss")) == 1


def test_off_a_terminal_an_epoch_is_a_line(capsys):
    make(epochs=2).run(test=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("trains on the CPU in 32-true")
    lines = [line for line in said if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    for word in ("train/loss 0.", "train/acc ", "val/acc ", "val/loss ", "lr-SGD 0.01", " s"):
        assert word in lines[0]


def test_a_run_ends_with_a_page(capsys):
    make(epochs=4).run()
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("found the cross-entropy of the first batch is", "ln K is 0.693", "val/loss", "of 32 images"):
        assert words in text


def test_a_run_that_keeps_nothing_says_nothing(capsys):
    make().run(save=False)
    assert capsys.readouterr().out == ""


def test_watching_changes_no_bit():
    one, other = make(1, 2, [MixUp()]), make(1, 2, [MixUp()])
    other.seed = one.seed = 1
    one.run(save=False, test=False)
    other.run(test=False)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_findings_of_the_users_own_diagnostics_are_on_the_page(capsys, monkeypatch):
    monkeypatch.setattr(Diagnostic, "quiet", False)
    with pytest.warns(UserWarning, match="InitialLoss"):
        make(callbacks=[InitialLoss(tolerance=1e-6)]).run(test=False)
    text = capsys.readouterr().out
    assert text.count("of the first batch") == 1 and "LOOK" in text


def test_page_shows_metrics_time_and_tricks():
    console = Console(width=100, record=True, file=io.StringIO())
    counts = Confusions()
    counts.matrix = torch.tensor([[5, 2], [0, 3]])
    metrics = {"test/acc": 0.9912, "seconds": 2.5, "images/s": 1234.5}
    console.print(page("tiny", metrics, [Louder(2.0)], [counts], ("dark", "bright")))
    text = console.export_text()
    for part in ("0.9912", "2.5 s", "1,23", "Louder(gain=2.0)", "dark taken for bright (2 of 7)", "2 of 10 images"):
        assert part in text


def test_confusions_of_a_sanity_check_are_of_no_training():
    counts, recipe = Confusions(), make()
    recipe.trainer |= {"check_val_every_n_epoch": 2, "num_sanity_val_steps": 2}
    replace(recipe, callbacks=[counts]).run(save=False, test=False)
    assert counts.matrix is None


def test_confusions_are_those_of_the_evaluation(tmp_path):
    recipe, counts = make(), Confusions()
    metrics = replace(recipe, callbacks=[counts]).run(save=False)
    assert counts.matrix.sum() == 32 and counts.matrix.sum(1).tolist() == [16, 16]
    assert counts.matrix.diag().sum().item() / 32 == pytest.approx(metrics["test/acc"])
