"""`zoo compare`: tricks from text, arms from options, the recipe's own options."""

import argparse
from pathlib import Path

import pytest

from callbacks import EMA, CutMix, DropBlock, Linear, MixUp
from recipes.command import compare as command
from recipes.command.configs import FromConfig
from recipes.command.main import UsageError
from recipes.frame import records
from recipes.frame.compare import Plus
from recipes.frame.compare_result import Comparison
from tests.recipes.frame.test_compare import tiny


def test_a_trick_is_written_as_the_call_that_makes_it():
    assert repr(command.parse_trick("CutMix(0.5)")) == repr(CutMix(0.5))
    assert repr(command.parse_trick("MixUp")) == repr(MixUp())
    assert command.parse_trick("DropBlock(Linear(0, 0.2), block_size=3)").p == Linear(0, 0.2)
    assert isinstance(command.parse_trick("DropBlock(p=0.2)"), DropBlock)


@pytest.mark.parametrize(
    "text", ["CutMix(", "open('x')", "CutMix(__import__('os'))", "Linear(0, 1)", "3", "CutMix(alpha=-1)"]
)
def test_nothing_else_is_a_trick(text):
    with pytest.raises(UsageError):
        command.parse_trick(text)


def test_a_misspelt_trick_gets_the_nearest():
    with pytest.raises(UsageError, match="CutMix"):
        command.parse_trick("CutMxi(1.0)")


def options(**given) -> argparse.Namespace:
    return argparse.Namespace(**{"without": [], "plus": [], "each": False, **given})


def test_all_that_is_asked_for_is_one_arm():
    ((name, arm),) = command.changes(options(without=["EMA"], plus=["CutMix(0.5)"]), []).items()
    assert name == "without EMA, plus CutMix(alpha=0.5)"
    assert [type(trick).__name__ for trick in arm(tiny()).callbacks] == ["CutMix"]
    assert command.changes(options(), []) == {}


def test_each_is_an_arm_for_each_change():
    arms = command.changes(options(each=True, plus=["CutMix"]), [EMA(0.9), MixUp()])
    assert [*arms] == ["without EMA", "without MixUp", "plus CutMix()"]
    assert [*command.changes(options(each=True, without=["EMA"]), [EMA(0.9), MixUp()])] == ["without EMA"]


def test_copies_are_added_so_that_no_two_runs_share_a_trick():
    arm = Plus([MixUp()])
    first, second = arm(tiny()).callbacks[-1], arm(tiny()).callbacks[-1]
    assert first is not second and first is not arm.plus[0]


def test_the_command_hands_on_what_it_was_given(monkeypatch, tmp_path, capsys):
    called = {}

    def compare(base, arms, seeds, **given):
        called.update(base=base, arms=arms, seeds=seeds, **given)
        return Comparison([], "", tmp_path)

    monkeypatch.setattr(command, "compare", compare)
    command.main(["digits_resnet20", "--epochs", "4", "--without", "EMA", "--seeds", "3", "--workers", "2"])
    assert called["base"](seed=2).arguments["epochs"] == 4 and called["base"](seed=2).seed == 2
    assert [*called["arms"]] == ["as it is", "without EMA"] and (called["seeds"], called["workers"]) == (3, 2)
    with pytest.raises(UsageError, match="did you mean digits_resnet20"):
        command.main(["digits_resnet2"])
    with pytest.raises(UsageError):
        command.main(["digits_resnet20", "--epohcs", "4"])


CONFIG = """
model: {class_path: ResNet, init_args: {variant: "20", num_classes: 10, image_size: 8, lr: LR}}
data: {class_path: Digits, init_args: {batch_size: 64}}
trainer: {max_epochs: 1, limit_train_batches: 2, logger: null, callbacks: [{class_path: callbacks.MixUp}]}
"""


def test_config_files_are_arms(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # LightningCLI 2.6 calls a method under its old name
    files = []
    for lr in ("0.1", "0.001"):
        files.append(str(tmp_path / f"lr{lr}.yaml"))
        Path(files[-1]).write_text(CONFIG.replace("LR", lr))
    command.main([*files, "--seeds", "2", "--workers", "0", "--folder", str(tmp_path / "runs")])
    runs = records.read("compare")
    assert {(run["arguments"]["arm"], run["seed"]) for run in runs} == {
        (file, seed) for file in files for seed in (0, 1)
    }
    assert len({run["metrics"]["test/acc"] for run in runs}) > 1
    recipe = FromConfig(Path(files[1]))(seed=3)
    assert recipe.model.hparams.lr == 0.001 and recipe.seed == 3 and [type(t) for t in recipe.callbacks] == [MixUp]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.yaml"], "two config files"),
        (["a.yaml", "b.yaml", "--plus", "MixUp"], "are for recipes"),
        (["a.yaml", "digits_resnet20"], "compared with config files"),
        (["a.yaml", "b.yaml"], "there is no config .*--print_config"),
    ],
)
def test_what_config_files_do_not_go_with(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        command.main(arguments)


def test_a_file_that_is_not_a_config(tmp_path):
    (tmp_path / "a.yaml").write_text("3")
    with pytest.raises(UsageError, match="not a config of `zoo fit`"):
        FromConfig(tmp_path / "a.yaml")()
