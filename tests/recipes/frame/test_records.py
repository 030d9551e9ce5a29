"""results/: what a line holds, which lines count, and the summary against pencil and paper."""

import json
import math

import pytest

from recipes.frame import records
from recipes.frame.records import append, groups, read, summary


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def run(seed: int, accuracy: float, **arguments) -> dict:
    return {"arguments": arguments, "seed": seed, "metrics": {"test/acc": accuracy}, "seconds": 1.5}


def test_a_line_says_what_on_what_and_with_what():
    append("x", run(3, 0.9, budget=0.5))
    record = json.loads((records.RESULTS / "x.jsonl").read_text())
    assert record["arguments"] == {"budget": 0.5} and record["seed"] == 3 and record["metrics"] == {"test/acc": 0.9}
    assert set(record["hardware"]) == {"device", "threads"}
    assert set(record["versions"]) == {"python", "torch", "lightning", "timm"}
    assert "commit" in record


def test_no_line_names_the_machine():
    import platform

    text = json.dumps(append("x", run(0, 0.9)))
    assert platform.node() not in text and str(records.HERE) not in text


def test_a_record_that_cannot_be_repeated_is_refused():
    with pytest.raises(ValueError, match="needs seconds, seed"):
        append("x", {"arguments": {}, "metrics": {}})


def test_a_seed_run_again_counts_once():
    for accuracy in (0.1, 0.9):
        append("x", run(0, accuracy))
    append("x", run(1, 0.5))
    append("x", {**run(0, 0.7), "hardware": {"device": "another", "threads": 1}})
    assert [r["metrics"]["test/acc"] for r in read("x")] == [0.9, 0.5, 0.7]


def test_groups_differ_by_seed_alone():
    for seed in (0, 1):
        for rung in ("a", "b"):
            append("x", run(seed, 0.5, rung=rung))
    assert [[(r["arguments"]["rung"], r["seed"]) for r in g] for g in groups(read("x"))] == [
        [("a", 0), ("a", 1)],
        [("b", 0), ("b", 1)],
    ]


def test_nothing_measured_is_no_lines():
    assert read("never") == []


def test_summary_by_hand():
    mean, std, n = summary([1.0, 2.0, 6.0])
    assert (mean, n) == (3.0, 3)
    assert std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))  # n - 1 below


def test_one_run_has_no_spread():
    assert math.isnan(summary([0.5]).std)


def test_summary_of_nothing_says_what_to_do():
    with pytest.raises(ValueError, match="--record"):
        summary([])
