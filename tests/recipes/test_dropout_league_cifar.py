"""The league: three rates and the best of them, ties, the table, and all of it end to end on a few images."""

import json

import pytest
from lightning import seed_everything

import callbacks
from callbacks import DropBlock, FocusedDropout, Linear, MagnifiedWeightDecay
from recipes import dropout_league_cifar
from recipes.command import tables
from recipes.frame import catalogue, records
from recipes.frame.league import best_rate, half_masked, league, three_rates, verdict
from recipes.frame.records import Summary
from tests.recipes.conftest import write_shades

STAMP = {"versions": {"torch": "2.9"}, "commit": "abc", "hardware": {"device": "A chip", "threads": 1}}
NAME = dropout_league_cifar.NAME


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")


# ---- rates


def test_three_rates_are_half_once_and_twice():
    assert three_rates(0.1) == (0.05, 0.1, 0.2)
    assert three_rates(0.4) == (0.2, 0.4, 0.8)
    assert three_rates(0.5) == (0.25, 0.5, 0.75)
    assert three_rates(0.75) == (0.375, 0.75, 0.875)
    assert three_rates(1.0) == (0.25, 0.5, 1.0)


def test_the_best_rate_is_that_of_the_best_validation_and_of_equal_ones_the_smallest():
    assert best_rate({0.05: 0.60, 0.1: 0.62, 0.2: 0.61}) == 0.1
    assert best_rate({0.2: 0.62, 0.1: 0.62, 0.05: 0.61}) == 0.1


@pytest.mark.parametrize("method", dropout_league_cifar.METHODS)
def test_every_method_can_be_made_at_its_three_rates(method):
    rates = dropout_league_cifar.rates(method)
    assert 0 < rates[0] < rates[1] < rates[2] <= 1
    tricks = [dropout_league_cifar.made(method, rate)[0] for rate in rates]
    assert {type(trick) for trick in tricks} == {getattr(callbacks, method)}
    assert len({repr(trick) for trick in tricks}) == 3
    assert repr(getattr(callbacks, method)()) in [repr(trick) for trick in tricks]


def test_the_rate_of_a_schedule_is_its_end_and_without_a_rate_it_is_the_share():
    (blocks,) = dropout_league_cifar.made("DropBlock", 0.2)
    assert isinstance(blocks, DropBlock) and blocks.p == Linear(0, 0.2)
    focused, decay = dropout_league_cifar.made("FocusedDropout", 0.05)
    assert isinstance(focused, FocusedDropout) and focused.participation == 0.05
    assert isinstance(decay, MagnifiedWeightDecay) and decay.probability == 0.05  # at the same steps
    (hole,) = dropout_league_cifar.made("Cutout", 0.25)
    assert hole.side == 0.25 and dropout_league_cifar.rates("Cutout") == (0.25, 0.5, 0.75)
    assert {"ADCM", "Dropout", "ProbDropBlock"} <= {*dropout_league_cifar.METHODS}
    assert dropout_league_cifar.made("none", 0.0) == []


# ---- ties


def test_a_difference_of_two_standard_errors_is_a_tie():
    plain = Summary(0.60, 0.03, 9)  # standard error .01
    ours = Summary(0.63, 0.04, 16)  # .01: of the difference .0141
    gain, error, word = verdict(ours, plain)
    assert (gain, error) == (pytest.approx(0.03), pytest.approx(0.0002**0.5))
    assert word == "better"
    assert verdict(ours._replace(mean=0.628), plain)[2] == "tie"
    assert verdict(ours._replace(mean=0.572), plain)[2] == "tie"
    assert verdict(ours._replace(mean=0.571), plain)[2] == "worse"
    assert verdict(Summary(0.9, float("nan"), 1), plain)[2] == "?"


# ---- the table


def a_run(method: str, seed: int, accuracy: float, half: float = 0.3, epochs: int = 12, **other) -> dict:
    arguments = {"method": method, "as": "" if method == "none" else f"{method}()", "epochs": epochs}
    metrics = {"test/acc": accuracy, "train/acc": 0.9, "masked 0.0": accuracy, "masked 0.5": half}
    return {"arguments": arguments, "seed": seed, "metrics": metrics, "seconds": 1.0, **STAMP, **other}


def test_the_table_by_hand():
    runs = [a_run("none", seed, accuracy) for seed, accuracy in enumerate((0.59, 0.60, 0.61))]
    runs += [a_run("Dropout", seed, accuracy) for seed, accuracy in enumerate((0.64, 0.65, 0.66))]
    runs += [a_run("DropBlock", seed, accuracy) for seed, accuracy in enumerate((0.60, 0.61, 0.62))]
    heads, rows = league(runs)
    assert [row[0] for row in rows] == ["Dropout", "DropBlock", "none"]
    # standard errors .01 / sqrt(3) each
    first = ["Dropout", "Dropout()", "0.6500 ± 0.0100", "+0.0500 ± 0.0082", "better", "0.900", "0.46", "3"]
    assert rows[0] == first and len(heads) == len(first)
    assert rows[1][3:5] == ["+0.0100 ± 0.0082", "tie"]
    assert rows[2][3:5] == ["", ""]
    assert half_masked(runs[0]["metrics"]) == pytest.approx(0.3 / 0.59)


def test_the_table_has_one_budget_and_says_what_is_missing():
    runs = [a_run("none", 0, 0.5, epochs=1), a_run("none", 0, 0.6), a_run("Dropout", 0, 0.7)]
    _, rows = league(runs)
    assert [row[:5] for row in rows] == [
        ["Dropout", "Dropout()", "0.7000 (1 run)", "+0.1000", "?"],
        ["none", "", "0.6000 (1 run)", "", ""],
    ]
    assert league([a_run("Dropout", 0, 0.7)])[1][0][3:5] == ["", "?"]


def test_the_tables_are_made_of_it():
    for run in (a_run("none", 0, 0.6), a_run("Dropout", 0, 0.7)):
        records.append(NAME, run)
    text = tables.recipe_result(next(entry for entry in catalogue.recipes() if entry.name == NAME))
    assert "| Dropout | Dropout() | 0.7000 (1 run) | +0.1000 | ? |" in text
    assert "- Arguments: epochs=12" in text


# ---- the run


def test_what_is_recorded_is_not_run_again(monkeypatch):
    budget = {"images": 5000, "epochs": 12, "root": None, "folder": None}
    monkeypatch.setattr(dropout_league_cifar, "held", lambda *_: None)
    monkeypatch.setattr(dropout_league_cifar.Recipe, "run", lambda *_, **__: 1 / 0)
    one = dropout_league_cifar.recipe("Dropout", 0.25, seed=2, **budget)
    records.append(NAME, a_run("Dropout", 2, 0.7) | {"arguments": json.loads(json.dumps(one.arguments))})
    assert dropout_league_cifar.run("Dropout", 0.25, 2, True, **budget)["test/acc"] == 0.7
    for rate, seed in ((0.5, 2), (0.25, 1)):  # another rate, another seed
        with pytest.raises(ZeroDivisionError):
            dropout_league_cifar.run("Dropout", rate, seed, True, **budget)


def test_an_unknown_method_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="did you mean 'DropBlock'"):
        dropout_league_cifar.main(methods=["DropBlok"])


@pytest.mark.slow
def test_the_league_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dropout_league_cifar, "TRAINING_IMAGES", 200)
    monkeypatch.setattr(dropout_league_cifar, "VALIDATION_IMAGES", 50)
    folder = write_shades(tmp_path / "tiny", train=20, test=2)
    ran = []
    whole = dropout_league_cifar.Recipe.run
    monkeypatch.setattr(dropout_league_cifar.Recipe, "run", lambda self, **k: (ran.append(k), whole(self, **k))[1])
    arguments = {"methods": ["Dropout"], "images": 150, "epochs": 2, "folder": folder, "seeds": 2, "record": True}
    dropout_league_cifar.main(**arguments)
    assert [call["test"] for call in ran] == [True, True, False, False, False, True, True]
    rates = records.read(f"{NAME}_rates")
    assert [run["seed"] for run in rates] == [dropout_league_cifar.RATE_SEED] * 3
    assert all("val/acc" in run["metrics"] and "test/acc" not in run["metrics"] for run in rates)
    best = max(rates, key=lambda run: run["metrics"]["val/acc"])["metrics"]["val/acc"]
    runs = records.read(NAME)
    assert [(run["arguments"]["method"], run["seed"]) for run in runs] == [
        ("none", 0),
        ("none", 1),
        ("Dropout", 0),
        ("Dropout", 1),
    ]
    chosen = {run["arguments"]["as"]: run["metrics"]["val/acc"] for run in rates}
    assert chosen[runs[-1]["arguments"]["as"]] == best
    for run in runs:
        assert run["metrics"]["masked 0.0"] == pytest.approx(run["metrics"]["test/acc"], abs=0.11)  # bf16 there
    assert "Dropout" in capsys.readouterr().out
    ran.clear()
    dropout_league_cifar.main(**arguments)  # goes on where it was stopped: at the end
    assert ran == [] and len(records.read(NAME)) == 4
    seed_everything(0, verbose=False)
