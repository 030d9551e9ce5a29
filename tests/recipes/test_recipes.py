"""Each recipe: its header, its command, what it puts on, and that it trains."""

import importlib
import inspect

import pytest
import torch
from PIL import Image

from callbacks import CosineDecay, LinearScaling
from recipes import cifar10_families, cifar10_resnet20, digits_ladder, digits_resnet20
from recipes.command import run
from recipes.frame import catalogue
from recipes.frame.cifar import Cifar
from recipes.frame.recipe import Recipe
from zoo import ResNet

ENTRIES = catalogue.recipes()
FIELDS = ("Paper", "Command", "Data", "Settings", "Result")


@pytest.fixture
def teacher(monkeypatch):
    """In the place of one that takes a minute to train."""
    monkeypatch.setattr(digits_ladder, "teacher", lambda: ResNet("20", num_classes=10, image_size=8))


def on(rung):
    return digits_ladder.recipe(rung).callbacks


@pytest.fixture
def folder(tmp_path):
    """Ten classes of 32x32 images: 130 to train, 10 to test."""
    for part, count in (("train", 13), ("test", 1)):
        for shade in range(10):
            (tmp_path / "tiny" / part / str(shade)).mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (32, 32), (20 * shade, i, i))
                image.save(tmp_path / "tiny" / part / str(shade) / f"{i}.png")
    return tmp_path / "tiny"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_header_has_its_fields_in_order(entry):
    heads = [line.split(":")[0] for line in entry.doc.splitlines() if line[:1].strip()]
    assert [head for head in heads if head in FIELDS] == list(FIELDS)
    assert "arxiv.org/abs/" in catalogue.field(entry.doc, "Paper")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_command_in_the_header_is_one_that_parses(entry):
    command = catalogue.field(entry.doc, "Command").split()
    assert command[:3] == ["zoo", "run", entry.name]
    chosen = run.parse(importlib.import_module(f"recipes.{entry.name}"), entry.name, command[3:])
    assert chosen["record"] is True


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_every_argument_is_explained(entry):
    build = importlib.import_module(f"recipes.{entry.name}").recipe
    for name in inspect.signature(build).parameters:
        assert f"    {name}: " in build.__doc__
    assert inspect.signature(build).return_annotation is Recipe


def test_the_demo_has_seven_tricks_that_come_out_one_by_one():
    recipe = digits_resnet20.recipe()
    assert "  always  ExactResume, GracefulStop\n" in str(recipe)
    assert '<td style="text-align:left">ExactResume, GracefulStop</td>' in recipe._repr_html_()
    assert len({type(trick) for trick in recipe.callbacks}) == 7
    for trick in list(recipe.callbacks):
        recipe = recipe.without(type(trick))
    assert recipe.callbacks == []


@pytest.mark.slow
def test_the_demo_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert digits_resnet20.recipe(seed=7).run(save=False)["test/acc"] > 0.98


def test_the_same_seed_makes_the_same_network():
    first, again, other = (digits_resnet20.recipe(seed=seed).model.fc.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_each_rung_has_one_trick_more(teacher):
    rungs = [{type(trick).__name__ for trick in on(rung)} for rung in digits_ladder.RUNGS]
    new = [sorted(above - below) for below, above in zip([set(), *rungs], rungs, strict=False)]
    assert new == [
        ["StepDecay"],
        ["LinearScaling"],
        ["ZeroGamma"],
        ["NoBiasDecay"],
        ["CosineDecay"],
        ["LabelSmoothing"],
        ["MixUp"],
        ["KnowledgeDistillation"],
    ]
    assert "StepDecay" not in rungs[4]


def test_warm_up_begins_with_linear_scaling():
    for rung in digits_ladder.RUNGS[:7]:
        schedule, *others = on(rung)
        assert (schedule.warmup_epochs > 0) == any(isinstance(trick, LinearScaling) for trick in others)
        assert isinstance(schedule, CosineDecay) == (digits_ladder.RUNGS.index(rung) >= 4)


@pytest.mark.slow
@pytest.mark.whole  # `test_bag_of_tricks_cifar.py` trains a ladder too
def test_the_whole_ladder_trains(teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits_ladder.main(seeds=1, epochs=3, workers=0)
    said = capsys.readouterr().out
    assert all(f"{rung}, seed 0: 0." in said or f"{rung}, seed 0: 1." in said for rung in digits_ladder.RUNGS)


def test_families_are_counted_as_published():
    assert cifar10_families.recipe("ShuffleNetV2").count() == {"parameters": 352_042, "MACs": 10_902_016}


def test_cifar_is_as_published():
    recipe = cifar10_resnet20.recipe()
    assert recipe.trainer["max_steps"] == 64_000
    (schedule,) = recipe.callbacks
    assert [float(time.removesuffix("dur")) * 64_000 for time in schedule.milestones] == [32_000, 48_000]
    assert recipe.model.hparams.optimizer == "momentum" and recipe.model.hparams.weight_decay == 1e-4
    assert recipe.data.batch_size == 128 and recipe.data.val_split == 0
    assert recipe.data.padding == 4 and recipe.data.flip


def test_a_budget_shortens_run_and_schedule_together(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = cifar10_resnet20.recipe(budget=8 / 64_000, source=Cifar(folder=folder))
    metrics = recipe.run()
    assert recipe.watch.rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    assert recipe.arguments == {"budget": 8 / 64_000, "images": "tiny", "precision": "32-true"}
    assert 0 <= metrics["test/acc"] <= 1


@pytest.mark.parametrize("budget", [0, 1.5, -1])
def test_a_budget_is_a_share(budget):
    with pytest.raises(ValueError, match=r"in \(0, 1\], got"):
        cifar10_resnet20.recipe(budget=budget)
