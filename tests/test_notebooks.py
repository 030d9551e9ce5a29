"""README, notebooks, docs and recipes use public names only, and a data module's picture is shown without pyplot."""

import ast
import base64
import importlib.util
import io
import json
import logging
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from callbacks import Calibration
from datamodules import Digits
from recipes.frame import mistakes
from recipes.frame.notebook import LOGGERS, silence

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("zoo", "callbacks", "datamodules", "recipes")
PRIVATE = re.compile(r"^_(?!_)")
SOURCES = sorted([*(ROOT / "notebooks").glob("[0-9]*.py"), *(ROOT / "recipes").rglob("*.py")])
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
FOUND = mistakes.Answers(torch.eye(3), torch.tensor([0, 1, 1]), torch.rand(1, 3, 8, 8), torch.tensor([2]))
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def calibration():
    trick = Calibration()
    trick.confusion = torch.eye(3, dtype=torch.int64)
    return trick.draw()


FIGURES = {
    "show_batch": lambda: Digits(batch_size=4, num_workers=0).show_batch(),
    "calibration": calibration,
    "confusion": lambda: mistakes.draw_confusion(FOUND, ("a", "b", "c")),
    "reliability": lambda: mistakes.draw_reliability(FOUND),
    "worst": lambda: mistakes.draw_worst(FOUND, ("a", "b", "c")),
}


def node(values):
    import nbformat

    return nbformat.from_dict(values)


def private_imports(code: str) -> list[str]:
    """List the underscore names that code imports from our packages."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [path for path in imported if path.split(".")[0] in PACKAGES and is_private(path)]
    return found


def private_attributes(code: str) -> list[str]:
    """List the underscore attributes of anything but `self` and `cls`."""
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr)]
    return [ast.unparse(node) for node in nodes if ast.unparse(node.value) not in ("self", "cls")]


def is_private(path: str) -> bool:
    """Return whether a part of a dotted name begins with one underscore."""
    return any(PRIVATE.match(part) for part in path.split("."))


def test_private_names_are_found():
    assert private_imports(
        "from zoo._base import A\nfrom zoo import _b\nimport callbacks._c\nfrom torch import _C"
    ) == [
        "zoo._base.A",
        "zoo._b",
        "callbacks._c",
    ]
    assert private_attributes("self._a; trick._rates; x.__doc__") == ["trick._rates"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources_import_public_names(path):
    assert private_imports(path.read_text()) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_import_public_names(path):
    text = path.read_text()
    assert [name for code in EXAMPLE.findall(text) for name in private_imports(code)] == []
    assert re.findall(rf"\b(?:{'|'.join(PACKAGES)})(?:[./]\w+)*[./]_(?!_)\w+", text) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_use_public_names_and_are_quiet(path):
    code = path.read_text()
    assert private_attributes(code) == []
    first_cell = code.split("\n# %%\n")[1]
    assert first_cell.startswith("from recipes.frame.notebook import silence\n\nquiet = silence()")


def test_silence(monkeypatch):
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        quiet = silence()
        warnings.warn("nobody sees this", UserWarning, stacklevel=1)
        try:
            assert not logging.getLogger("lightning.pytorch.trainer").isEnabledFor(logging.WARNING)
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
    trainer = Trainer(**quiet, accelerator="cpu")
    assert trainer.logger is None and trainer.progress_bar_callback is None and not trainer.checkpoint_callbacks


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_figures_are_shown_without_pyplot(draw):
    assert draw()._repr_png_().startswith(b"\x89PNG")


def test_no_figure_is_plain():
    """A plain `Figure` that is returned is not shown by a fresh kernel."""
    plain = re.compile(r"-> \"?Figure\b")
    found = {
        p.relative_to(ROOT).as_posix()
        for k in PACKAGES
        for p in (ROOT / k).rglob("*.py")
        if plain.search(p.read_text())
    }
    assert found <= {
        "datamodules/frame/boxes.py",
        "datamodules/frame/show.py",
        "datamodules/frame/image_data.py",
        "zoo/frame/figures.py",
    }


# ---- notebooks/make.py


@pytest.fixture(scope="module")
def make():
    for name in ("jupytext", "nbclient", "nbformat"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install .[notebooks]")
    spec = importlib.util.spec_from_file_location("make_of_notebooks", ROOT / "notebooks" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_what_their_sources_gave(make, path):
    assert [*make.faults(path)] == []


@pytest.fixture
def source(make, tmp_path):
    """A small notebook with outputs."""
    path = tmp_path / "01_small.py"
    path.write_text("# %% [markdown]\n# Words\n\n# %%\n1 + 1\n")
    made = make.notebook(path)
    made.cells[1].execution_count = 1
    made.cells[1].outputs = [output("execute_result", {"text/plain": "2"})]
    path.with_suffix(".ipynb").write_text(json.dumps(made))
    return path


def output(kind, data):
    metadata = {"metadata": {}} | ({"execution_count": 1} if kind == "execute_result" else {})
    return {"output_type": kind, "data": data, **metadata}


def test_a_changed_source_is_found(make, source):
    assert [*make.faults(source)] == []
    source.write_text(source.read_text().replace("1 + 1", "1 + 2"))
    assert [*make.faults(source)] == ["its cells are not those of the .py"]
    there = json.loads(source.with_suffix(".ipynb").read_text())
    there["cells"][1]["source"] = "1 + 2"
    source.with_suffix(".ipynb").write_text(json.dumps(there))
    assert [*make.faults(source)] == ["its outputs are of other cells"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/usr/lib/python3/site-packages/x.py:3", "a path"),
        ("saved to /" + "home/me/run", "a path"),
        ("UserWarning: no workers", "a warning"),
        ("GPU available: False", "chatter"),
        ("100%|#####| 3/3 [00:01, 2.1it/s]", "a progress bar"),
        ("<Thing at 0x7f6f0677d750>", "an address"),
    ],
)
def test_unwanted_outputs_are_found(make, text, what):
    for seen in (
        output("execute_result", {"text/plain": text}),
        output("display_data", {"text/html": f"<p>{text}</p>"}),
        {"output_type": "stream", "name": "stdout", "text": text},
    ):
        assert any(what in problem for problem in make.unwanted(node(seen)))


def test_wanted_outputs_pass(make):
    text = "runs/photos/model.ckpt: 93.1 %, https://example.org/" + "home/x, a/usr/b"
    assert [*make.unwanted(node({"output_type": "stream", "name": "stdout", "text": text}))] == []
    assert [*make.unwanted(node({"output_type": "stream", "name": "stderr", "text": "x"}))]
    assert [*make.unwanted(node(output("display_data", {"image/svg+xml": "<svg/>"})))]


def test_pictures_become_small_and_words_beside_them_go(make, source):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    flat = np.zeros((40, 60, 4), dtype=np.uint8)  # transparent: white on the page
    for pixels, kind in ((noise, "image/jpeg"), (flat, "image/png")):
        Image.fromarray(pixels).save(file := io.BytesIO(), "png")
        png = base64.b64encode(file.getvalue()).decode()
        made = make.notebook(source)
        words = output("execute_result", {"text/plain": "Text(0.5, 0, 'epoch')"})
        figure = output("display_data", {"image/png": png, "text/plain": "<Figure>"})
        page = output("display_data", {"text/html": f'<img src="data:image/png;base64,{png}"/>'})
        made.cells[1].outputs = [node(one) for one in (words, figure, page)]
        make.tidy(made)
        left = made.cells[1].outputs
        assert len(left) == 2 and kind in left[0].data and f"data:{kind};base64," in left[1].data["text/html"]
        small = Image.open(io.BytesIO(base64.b64decode(left[0].data[kind]))).convert("RGB")
        assert small.size == (60, 40)
    assert small.getpixel((3, 3)) == (255, 255, 255)
