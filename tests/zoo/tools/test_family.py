"""The family of the models: years as the papers have them, an arrow from the older to the younger, every model once."""

import re
import shutil

import pytest

import zoo
from zoo.frame.classifier import MODELS
from zoo.tools.diagrams.family import BUILDS_ON, family, root, year
from zoo.tools.diagrams.write import draw, write_diagrams


def test_years_of_the_papers():
    kinds = (zoo.MLP, zoo.ConvNet, zoo.AlexNet, zoo.ResNet, zoo.MobileNetV1, zoo.Swin, zoo.ConvNeXt)
    assert [year(kind) for kind in kinds] == [1986, 1998, 2012, 2016, 2017, 2021, 2022]


def test_a_paper_without_a_year_is_refused():
    with pytest.raises(ValueError, match="Odd: its file's Paper field has no year"):
        year(type("Odd", (), {"__module__": "builtins"}))


def test_every_model_builds_on_an_older_one():
    for name, older in BUILDS_ON.items():
        assert all(year(MODELS[other]) <= year(MODELS[name]) for other in older), name
    assert {root(name) for name in BUILDS_ON} == {"MLP", "UNet", "ViT"}


def test_every_model_stands_in_its_year():
    rows = re.findall(r"\{rank=same; (\d+); (.*)\}", family().source)
    found = {name: int(year) for year, names in rows for name in re.findall(r'"(\w+)"', names)}
    assert found == {name: year(kind) for name, kind in MODELS.items()}
    assert family().source.count('" -> "') == sum(map(len, BUILDS_ON.values()))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
def test_files_for_a_site(tmp_path, monkeypatch):
    few = {name: MODELS[name] for name in ("ResNet", "ViT")}
    monkeypatch.setattr("zoo.tools.diagrams.write.MODELS", few)
    written = write_diagrams(tmp_path / "made")
    assert {name: path.name for name, path in written.items()} == {
        "ResNet": "ResNet.svg",
        "ViT": "ViT.svg",
        "family": "family.svg",
    }
    assert written["ResNet"].read_text() == draw("ResNet").svg + "\n"
    written["ViT"].write_text("old")
    before = written["ResNet"].stat().st_mtime_ns
    write_diagrams(tmp_path / "made")
    assert written["ResNet"].stat().st_mtime_ns == before and written["ViT"].read_text() == draw("ViT").svg + "\n"
