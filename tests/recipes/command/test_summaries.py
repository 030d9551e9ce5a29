"""Short tables: verdicts are counted, surprises are found, the rest is left out."""

import pytest

from recipes.command import summaries
from recipes.frame import records


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def add(name: str, seed: int, metrics: dict, **arguments) -> None:
    run = {"arguments": arguments, "seed": seed, "metrics": metrics, "seconds": 1.0}
    records.append(name, run | {"hardware": {"device": "A chip", "threads": 1}, "versions": {}, "commit": "abc"})


def short(seed: int, arm: str, accuracy: float) -> None:
    budget = {"arm": arm, "as": arm, "value": None, "lr": 0.1, "images": 4000, "epochs": 60, "precision": "32-true"}
    add("data_is_short", seed, {"test/acc": accuracy, "test/loss": 1.0}, **budget)


def test_nothing_was_run():
    assert summaries.verdicts() == "not measured yet" and summaries.surprises() == "Nothing so far."
    assert summaries.dozen().startswith("Runs recorded: 0.")


def test_verdicts_are_counted():
    for seed, (with_l2, without) in enumerate([(87.1, 82.3), (87.2, 82.2), (87.0, 82.1)]):
        add("papers", seed, {"last": with_l2, "best": with_l2}, row="nielsen_l2", arm="L2")
        add("papers", seed, {"last": without - 3, "best": without - 3}, row="nielsen_l2", arm="none")
    (line,) = [line for line in summaries.verdicts().splitlines() if "nielsen_l2`" in line]
    assert line.endswith("| `nielsen_l2` | 1 | 2 | 0 | 3 |")  # of L2; of none, and so of the difference
    rows = summaries.surprises().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| `nielsen_l2`: none (best)", "| `nielsen_l2`: L2 - none (best)"]


def test_the_dozen_and_what_is_worse():
    for seed in range(3):
        short(seed, "none", 0.66 + 0.001 * seed)
        short(seed, "MixUp", 0.69 + 0.001 * seed)
        short(seed, "CutMix", 0.60 + 0.001 * seed)
    table, _, said = summaries.dozen().rpartition("\n\n")
    rows = table.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| MixUp", "| CutMix"] and "| +3.0 ± 0.2 (3 seeds) |" in rows[0]
    assert said.startswith("Runs recorded: 9.")
    (worse,) = summaries.surprises().splitlines()[2:]
    assert worse.startswith("| `CutMix` where data is short | better | -6.00 ± ")


def test_a_step_that_is_worse():
    for seed in range(3):
        for rung, accuracy in {"baseline": 0.50, "+ cosine": 0.60, "+ mixup": 0.55 + 0.01 * (seed == 0)}.items():
            add("digits_ladder", seed, {"test/acc": accuracy + 0.001 * seed}, rung=rung)
    (worse,) = summaries.surprises().splitlines()[2:]
    assert worse.startswith("| `digits_ladder`: + mixup, after + cosine | better | -4.67 ± ")
