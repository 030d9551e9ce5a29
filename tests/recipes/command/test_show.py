"""`zoo show`: the numbers are those of the model, whole, in a pipe; wrong names are told with near ones."""

import subprocess
import sys

import pytest
import torch

import zoo
from recipes.command import main
from recipes.frame import catalogue


@pytest.fixture
def show(monkeypatch, capsys):
    """`zoo show` with these arguments: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["zoo", "show", *arguments])
        try:
            main.main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return code, *capsys.readouterr()

    return run


def cells(out: str, first: str) -> list[str]:
    """The row that starts with this cell."""
    (row,) = (line for line in out.splitlines() if line.split("  ")[0] == first)
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def test_alexnet_as_the_lecture_has_it(show):
    code, out, _ = show("AlexNet", "owt", "--image-size", "227")
    assert code == 0
    assert "AlexNet('owt'), images of 227 x 227 px, 1000 classes" in out.splitlines()
    assert cells(out, "stage2") == [
        "stage2",
        "192 x 27 x 27",
        "8",
        "51",
        "307,392",
        "223,948,800",
        "1,275.75",
    ]  # pool 1, conv, ReLU
    assert cells(out, "total")[:3] == ["total", "61,100,840", "716,767,232"]
    assert cells(out, "features.0") == ["features.0", "Conv2d", "64 x 56 x 56", "23,296", "72,855,552", "784.00"]
    assert cells(out, "classifier.1") == ["classifier.1", "Linear", "4096", "37,752,832", "37,748,736", "16.00"]


def test_all_fields_and_every_layer_are_there(show):
    out = show("ResNet", "20", "--num-classes", "10")[1]
    for field in ("Paper:", "Code:", "Block:", "Shapes:", "Defaults:", "Differs:"):
        assert any(line.startswith(field) for line in out.splitlines())
    with torch.device("meta"):
        layers = [n for n, m in zoo.ResNet("20", num_classes=10).named_modules() if n and not any(m.children())]
    shown = {line.split()[0] for line in out.splitlines() if line}
    assert set(layers) - shown == {"maxpool"}  # the identity
    assert cells(out, "total")[1] == "269,722"


@pytest.mark.slow
def test_gates_see_everything(show):
    assert "whole image" in cells(show("SENet", "18", "--image-size", "32")[1], "stage1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Restnet"], "no model 'Restnet'; did you mean ResNet"),
        (["ResNet", "21"], "no variant of ResNet '21'; did you mean 32 or 20 or 18?"),
        (["ResNet", "50d"], "no variant of ResNet '50d'; did you mean 50-D"),
        ([], "MODEL; usage: zoo show MODEL [VARIANT]"),
        (["ResNet", "--image-size", "x"], "--image-size: invalid int value: 'x'"),
        (["ResNet", "--image-size", "0"], "--image-size must be 1 or more, got 0"),
        (["ResNet", "20", "--image-size", "224"], "ResNet-20 is for images of up to 64 px, got image_size=224"),
    ],
)
def test_wrong_names_are_one_line(show, arguments, said):
    code, out, err = show(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("zoo: ") and err.count("\n") == 1 and said in err


@pytest.mark.slow
def test_a_narrow_pipe_cuts_nothing():
    command = [sys.executable, "-m", "recipes.command.main", "show", "VGG", "19"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=catalogue.ROOT, env={"COLUMNS": "20"}, check=True)
    assert "143,667,240" in run.stdout and "…" not in run.stdout
