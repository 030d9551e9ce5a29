"""Pages that are written from the code: what they hold, and that markdown reads docstrings as they are meant."""

import functools
import json
import warnings
from pathlib import Path

import lightning
import pytest
import timm
from builder import api, models, notebooks, tricks
from builder.text import prose, table
from markdown_it import MarkdownIt
from timm import create_model

import callbacks
import zoo
from callbacks.frame.trick import TAXONOMY
from recipes.frame import catalogue

TRICKS = {entry.name: entry for entry in catalogue.every_trick()}


@pytest.mark.parametrize(
    "text",
    [
        "a * b * c",
        "x_i and y_i",
        "p < 1, q > 0",
        "[0, 1](x)",
        "# no head",
        "`code_of_mine` * `b`",
        "$5 and $6",
        "a ~ b",
    ],
)
def test_prose_is_read_as_it_was_written(text):
    inline = MarkdownIt("commonmark").parseInline(prose(text))[0].children
    assert "".join(token.content for token in inline) == text.replace("`", "")
    assert {token.type for token in inline} <= {"text", "text_special", "code_inline"}


def test_addresses_are_links_without_the_stop_behind_them():
    assert prose("see https://arxiv.org/abs/1_2.") == "see <https://arxiv.org/abs/1_2>."


def test_a_table_of_a_class_is_a_directive():
    assert table(["a"], [["1"]], "filterable").splitlines()[:2] == ["````{table}", ":class: filterable"]


def test_a_search_finds_a_trick_by_its_paper():
    page = tricks.page(TRICKS["MixUp"])
    title = "mixup: Beyond Empirical Risk Minimization"
    assert page.startswith(f"# MixUp\n\n```{{index}} ! single: {title}\n```\n")
    assert title in page.split("```", 2)[2] and "arxiv.org/abs/1710.09412" in page
    assert tricks.page(TRICKS["Checklist"]).startswith("# Checklist\n\nRun")  # no paper of its own


@pytest.mark.parametrize("name", ["MixUp", "NaNGuard", "DropBlock", "KnowledgeDistillation"])
def test_a_trick_has_fields_equation_example_arguments_and_code(name):
    page = tricks.page(TRICKS[name])
    assert page.startswith(f"# {name}\n") and page.count("$$") == 2
    heads = [line.strip("*") for line in page.splitlines() if line.startswith("**")]
    assert heads[:6] == ["Paper", "Code", "Equation", "Shapes", "Defaults", "Differs"]
    assert f".. autoclass:: callbacks.{name}" in page and f"callbacks=[{name}(" in page and "literalinclude" in page


def test_every_trick_stands_in_the_taxonomy():
    table = tricks.gallery().split("## What they regularise through")[1].split("```")[0]
    assert all(table.count(f"[{name}]({name}.md)") == 1 for name in TRICKS)
    assert {line.split(" | ")[0].strip("| ") for line in table.splitlines()[4:-1]} >= {*TAXONOMY}


def test_notebooks_are_pages_as_they_are_committed_and_their_pictures_have_words():
    made = dict(notebooks.pages())
    sources = {f"notebooks/{path.name}" for path in notebooks.NOTEBOOKS.glob("*.ipynb")}
    assert {*made} == sources | {"notebooks/index.md"} and len(sources) > 8
    cells = [cell for name in sources for cell in json.loads(made[name])["cells"] if cell["cell_type"] == "code"]
    assert all(len(cell["metadata"]["mystnb"]["image"]["alt"]) > 20 for cell in cells)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert "## [Dropout museum](07_dropout_museum.ipynb)\n\nSee what each" in made["notebooks/index.md"]


def test_a_model_says_how_far_its_logits_are_from_the_reference():
    words = models.against_reference("AlexNet")
    assert "the logits of AlexNet-owt differ from those of\n`alexnet` of torchvision" in words
    assert models.against_reference("NIN") == ""  # no library has it


def test_published_accuracies_are_of_variants_that_there_are():
    published = json.loads(models.PUBLISHED.read_text())
    for model, rows in published.items():
        assert {*rows} <= {*getattr(zoo, model).variants}
    assert models.published_accuracies(zoo.ConvNeXt, "T") == "82.1 % (ImageNet; README of facebookresearch/ConvNeXt)"


def test_the_example_of_a_newcomer_trains(monkeypatch, tmp_path):
    page = Path(notebooks.__file__).parents[1].joinpath("start.md").read_text()
    code = page.split("## MixUp with a timm model")[1].split("```python\n")[1].split("```")[0]
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    cut = {"fast_dev_run": 1, "accelerator": "cpu", "devices": 1} | quiet
    monkeypatch.setattr(lightning, "Trainer", functools.partial(lightning.Trainer, **cut))
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create_model("test_resnet", **options))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scope: dict = {}
        exec(code, scope)
    assert scope["trainer"].global_step == 1


def test_every_public_name_has_a_place():
    for package in (zoo, callbacks):
        shared = {name for name, _ in api.exports(package)}
        assert not shared & set(package.__all__)
        assert {*shared, *api.members_of(package.__name__)} >= set(package.__all__)
    assert {"Classifier", "load", "Model"} <= {name for name, _ in api.exports(zoo)}
