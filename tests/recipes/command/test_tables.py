"""Tables against numbers that can be checked with pencil and paper, and the rewriting of files."""

import pytest

from recipes.command import tables
from recipes.frame import catalogue, records

DOC = "Something.\n\nCommand:  zoo run x --record\nData:     ten images\nPublished: 0.95, table 1\n"
ENTRY = catalogue.Entry("x", "", "Something.", DOC)
STAMP = {"versions": {"torch": "2.9"}, "commit": "abc", "hardware": {"device": "A chip", "threads": 2}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def add(seed: int, accuracy: float, seconds: float = 10.0, **arguments) -> None:
    record = {"arguments": arguments, "seed": seed, "metrics": {"test/acc": accuracy}, "seconds": seconds}
    records.append("x", {**record, **STAMP})


def test_a_row_by_hand():
    add(0, 0.90, 10, rung="a", epochs=3)
    add(1, 0.94, 12, rung="a", epochs=3)
    add(0, 0.50, 20, rung="b", epochs=3)
    text = tables.recipe_result(ENTRY)
    # deviations .02 and .02: sqrt((.0004 + .0004) / 1)
    assert "| a | 0.9200 ± 0.0283 | 11.0 ± 1.4 | 2 |" in text
    assert "| b | 0.5000 (1 run) | 20.0 (1 run) | 1 |" in text
    assert text.startswith("| rung | test/acc | seconds | seeds |")  # epochs are the same everywhere: no column


def test_what_the_runs_share_stands_below():
    add(0, 0.9, epochs=3)
    text = tables.recipe_result(ENTRY)
    for line in (
        "- Published: 0.95, table 1",
        "- Data: ten images",
        "- Command: zoo run x --record",
        "- Arguments: epochs=3",
        "- Hardware: A chip, 2 threads",
        "- Versions: torch 2.9",
        "- Commit: abc",
    ):
        assert line in text.splitlines()


def test_without_runs_the_table_says_so():
    assert tables.recipe_result(ENTRY).startswith("not measured yet")


def test_planted_faults_are_counted_and_what_no_test_notices_is_listed():
    for number, (file, first, now, changes, reason) in enumerate(
        [
            ("zoo/a.py", 1, 1, 1, None),
            ("zoo/b.py", 0, 1, 1, None),
            ("zoo/c.py", 0, 0, 0, "the tensor has no gradient"),
            ("datamodules/d.py", 0, 0, 1, None),
        ]
    ):
        arguments = {"number": number, "file": file, "line": 7, "kind": "sign", "old": "a | b", "new": "a + b"}
        metrics = {"caught_first": first, "caught": now, "changes": changes}
        record = {"arguments": arguments, "seed": 5, "metrics": metrics, "seconds": 1.0, **STAMP}
        records.append("planted_faults", record | ({"reason": reason} if reason else {}))
    lines = tables.planted_faults().splitlines()
    assert "| `zoo/` | 3 | 1 | 2 | 1 | 2 |" in lines and "| all | 4 | 1 | 3 | 1 | 2 |" in lines
    assert "| sign: `a \\| b` -> `a + b` | `zoo/c.py:7` | the tensor has no gradient |" in lines
    assert "| sign: `a \\| b` -> `a + b` | `datamodules/d.py:7` | not noticed |" in lines
    assert "- Seed: 5" in lines and not any("zoo/b.py" in line for line in lines)


def test_blocks_are_rewritten_and_nothing_else(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table: models -->\nold\n<!-- /table -->\nafter\n")
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "x.py"
    recipe.write_text(f'"""{DOC}Result:\nold\n"""\n\ncode = """\nResult:\nmine\n"""\n')
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(catalogue, "recipes", lambda: [ENTRY])
    monkeypatch.setitem(tables.TABLES, "models", lambda: "new")
    texts = dict(tables.render())
    assert texts[readme] == "before\n<!-- table: models -->\nnew\n<!-- /table -->\nafter\n"
    assert texts[recipe] == f'"""{DOC}Result:\n{tables.recipe_result(ENTRY)}\n"""\n\ncode = """\nResult:\nmine\n"""\n'


def test_field_joins_its_lines():
    doc = "Line.\n\nPaper:    One (A; 2015)\n          two\nData:     three\n"
    assert catalogue.field(doc, "Paper") == "One (A; 2015) two"
    assert catalogue.field(doc, "Nothing") == ""


def test_catalogue_follows_imports_to_the_class():
    entries = {entry.name: entry for entry in catalogue.every_trick()}
    assert entries["MixUp"].room == "data" and entries["MixUp"].doc.startswith("mixup:")
    assert entries["LabelSmoothing"].room == "loss"


def test_tricks_by_where_they_regularise():
    rows = {line.split(" | ")[0]: line for line in tables.taxonomy().splitlines()[2:]}
    assert [*rows] == ["| data", "| architecture", "| error term", "| penalty", "| optimisation", "| none"]
    assert rows["| error term"].startswith("| error term | $E$ | ") and "`Flooding`" in rows["| error term"]
    names = [name for row in rows.values() for name in row.split(" | ")[2].removesuffix(" |").split(", ")]
    assert sorted(names) == sorted(f"`{entry.name}`" for entry in catalogue.every_trick())
