"""What CONTRIBUTING shows works: each of its examples is loaded as the file that it names, and used."""

import gc
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import lightning as L
import pytest
import torch

import zoo
from callbacks import CosineDecay
from recipes.frame.catalogue import field
from tests.zoo import test_every_model
from tests.zoo.test_every_model import dynamo as dynamo  # a fixture
from zoo.frame.classifier import MODELS

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
FILES = {m[1]: m[2] for m in re.finditer(r"```python\n# (\S+\.py)\n(.*?)```", TEXT, re.DOTALL)}
QUIET = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)


@pytest.fixture
def load(monkeypatch):
    """Load one example as a module under the name that its path gives it."""

    modules = []

    def loaded(path):
        module = ModuleType(path.removesuffix(".py").replace("/", "."))
        modules.append(module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(FILES[path], path, "exec"), module.__dict__)
        return module

    yield loaded
    MODELS.pop("LeNet", None)
    for module in modules:
        vars(module).clear()
    gc.collect()  # else the command line, which looks for subclasses, would find classes that no module has


def fit(model, data, tricks):
    L.seed_everything(1, verbose=False)
    trainer = L.Trainer(max_epochs=4, accelerator="cpu", callbacks=tricks, **QUIET)
    trainer.fit(model, data)
    return trainer.callback_metrics


def test_every_example_is_used_here():
    assert {*FILES} == {
        "callbacks/data/gaussian_noise.py",
        "tests/callbacks/data/test_gaussian_noise.py",
        "zoo/lenet.py",
        "tests/zoo/test_lenet.py",
        "datamodules/stripes.py",
        "recipes/digits_label_smoothing.py",
    }


def test_an_example_that_is_in_the_zoo_is_its_file():
    here = {path: file for path in FILES if (file := Path(__file__).parents[1] / path).exists()}
    assert {*here} == {"callbacks/data/gaussian_noise.py", "tests/callbacks/data/test_gaussian_noise.py"}
    for path, file in here.items():
        assert FILES[path] == file.read_text(), path


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("tests/")])
def test_the_tests_shown_pass(load, path):
    load(path.removeprefix("tests/").replace("test_", ""))
    tests = [test for name, test in vars(load(path)).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


@pytest.mark.parametrize("path", [path for path in FILES if path.split("/")[0] in ("callbacks", "zoo")])
def test_six_fields(load, path):
    doc = load(path).__doc__
    names = ["Paper", "Code", "Block" if path.startswith("zoo") else "Equation", "Shapes", "Defaults", "Differs"]
    assert all(field(doc, name) for name in names)


def test_the_trick_the_model_and_the_data_go_together(load):
    noise, lenet = load("callbacks/data/gaussian_noise.py"), load("zoo/lenet.py")
    stripes = load("datamodules/stripes.py")
    model = lenet.LeNet("5", num_classes=2, lr=0.05)
    assert list(model.stages) == ["stage1", "stage2", "stage3"]
    metrics = fit(model, stripes.Stripes(), [CosineDecay(), noise.GaussianNoise(0.05)])
    assert metrics["val/acc"] > 0.7  # of two classes
    assert repr(noise.GaussianNoise(0.5)) == "GaussianNoise(sigma=0.5)"


CONTRACT = {name: test for name, test in vars(test_every_model).items() if name.startswith("test_")}
QUICK = ("near_chance", "by_heart", "each_other", "shrink", "hides", "plain", "round_trip", "copies")


@pytest.mark.parametrize(
    "rule",
    [pytest.param(n, marks=[] if any(word in n for word in QUICK) else pytest.mark.slow) for n in CONTRACT],
)
def test_the_model_keeps_the_contract_of_the_members(load, rule, request, monkeypatch):
    """Each test of every model, as that of a member whose line stands in `zoo/__init__.py`."""
    monkeypatch.setattr(zoo, "LeNet", load("zoo/lenet.py").LeNet, raising=False)
    given = {"name": "LeNet", "pixels": 64, "backend": "aot_eager"}
    names = inspect.signature(CONTRACT[rule]).parameters
    CONTRACT[rule](**{name: given[name] if name in given else request.getfixturevalue(name) for name in names})


def test_the_recipe_runs(load):
    recipe = load("recipes/digits_label_smoothing.py").recipe(epochs=2)
    metrics = recipe.run(save=False)
    assert 0 <= metrics["test/acc"] <= 1 and torch.isfinite(torch.tensor(metrics["train/loss"]))
