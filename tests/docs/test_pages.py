"""Pages that are written from the code: what they hold, and that markdown reads docstrings as they are meant."""

import pytest
from builder import api, tricks
from builder.text import prose, table
from markdown_it import MarkdownIt

import callbacks
import zoo
from recipes.frame import catalogue

TRICKS = {entry.name: entry for entry in catalogue.tricks()}


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
    assert "mixup: Beyond Empirical Risk Minimization" in page and "arxiv.org/abs/1710.09412" in page


@pytest.mark.parametrize("name", ["MixUp", "NaNGuard", "DropBlock", "KnowledgeDistillation"])
def test_a_trick_has_fields_equation_example_arguments_and_code(name):
    page = tricks.page(TRICKS[name])
    assert page.startswith(f"# {name}\n") and page.count("$$") == 2
    heads = [line.strip("*") for line in page.splitlines() if line.startswith("**")]
    assert heads[:6] == ["Paper", "Code", "Equation", "Shapes", "Defaults", "Differs"]
    assert f".. autoclass:: callbacks.{name}" in page and f"callbacks=[{name}(" in page and "literalinclude" in page


def test_every_public_name_has_a_place():
    for package in (zoo, callbacks):
        shared = {name for name, _ in api.exports(package)}
        assert not shared & set(package.__all__)
        assert {*shared, *api.members_of(package.__name__)} >= set(package.__all__)
    assert {"Classifier", "load", "Model"} <= {name for name, _ in api.exports(zoo)}
