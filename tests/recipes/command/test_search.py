"""Search: ranges by hand, draws, stages, grids, and a real one on digits."""

import math

import pytest

from recipes import digits_resnet20
from recipes.command import search as search_module
from recipes.command.search import Range, Trial, parse_choice, search
from recipes.frame.errors import UsageError

pytest.importorskip("optuna")


def test_choices_by_hand():
    assert parse_choice("lr=1e-3..1") == ("lr", Range(0.001, 1.0))
    assert parse_choice("optimizer=sgd,adamw") == ("optimizer", ["sgd", "adamw"])
    assert parse_choice("batch_size=32,64") == ("batch_size", [32, 64])
    for wrong in ("lr", "lr=", "lr=1..0.1", "lr=0..1", "lr=a..b"):
        with pytest.raises(UsageError):
            parse_choice(wrong)


def test_a_finer_range_is_a_tenth_in_the_logarithm():
    wide = Range(1e-4, 1.0)
    low, high = wide.around(0.01, 1)
    assert math.log(high / low) == pytest.approx(math.log(1e4) / 10)
    assert math.sqrt(low * high) == pytest.approx(0.01)
    assert wide.around(0.9, 1).high == 1.0  # never beyond the first range


@pytest.fixture
def peak(monkeypatch):
    """In the place of training: an accuracy that is highest at lr = .02; what was tried."""
    tried = []

    def accuracy(build, values, epochs):
        tried.append(values)
        return -abs(math.log(values["lr"] / 0.02))

    monkeypatch.setattr(search_module, "_accuracy", accuracy)
    return tried


def test_draws_are_uniform_in_the_logarithm_and_each_stage_is_nearer(peak):
    found = search(None, {"lr": Range(1e-4, 1.0)}, trials=40, stages=2)
    coarse, fine = ([math.log10(values["lr"]) for values in part] for part in (peak[:40], peak[40:]))
    assert min(coarse) < -3 and max(coarse) > -1 and abs(sum(coarse) / 40 + 2) < 0.6
    assert max(fine) - min(fine) <= 0.4 + 1e-9
    assert found == sorted(found, key=lambda t: -t.accuracy) and len(found) == 80
    assert abs(math.log10(found[0].values["lr"] / 0.02)) < 0.1
    assert peak != search(None, {"lr": Range(1e-4, 1.0)}, trials=40, seed=1)


def test_a_grid_has_every_point_once(peak):
    found = search(None, {"lr": Range(0.01, 1.0), "optimizer": ["sgd", "adamw"]}, grid=True)
    points = {(round(t.values["lr"], 6), t.values["optimizer"]) for t in found}
    assert points == {(lr, o) for lr in (0.01, 0.1, 1.0) for o in ("sgd", "adamw")} and len(found) == 6


def test_it_goes_on_where_it_stopped(peak, tmp_path):
    space = {"lr": Range(1e-4, 1.0)}
    search(None, space, trials=3, stages=1, storage=tmp_path / "trials.db")
    found = search(None, space, trials=5, stages=1, storage=tmp_path / "trials.db")
    assert len(peak) == 5 and len(found) == 5


def test_an_unknown_name_is_told():
    with pytest.raises(UsageError, match="no argument of the recipe or of its model 'rate'"):
        search(digits_resnet20.recipe, {"rate": [0.1]}, trials=1, stages=1)


@pytest.mark.slow
def test_on_digits(capsys):
    search_module.main(["digits_resnet20", "--space", "lr=1e-4,0.4", "weight_decay=1e-4", "--grid", "--epochs", "3"])
    best, worst = capsys.readouterr().out.splitlines()
    assert "lr=0.4" in best and "lr=0.0001" in worst and "weight_decay=0.0001" in best


def test_the_words_of_the_command():
    with pytest.raises(UsageError, match="usage: zoo search"):
        search_module.main(["digits_resnet20"])
    with pytest.raises(UsageError, match="no recipe 'digits'"):
        search_module.main(["digits", "--space", "lr=1,2"])
    assert Trial({"lr": 1}, 0.5).accuracy == 0.5


def test_policies_of_autodropout(monkeypatch, tmp_path):
    """In the place of training, an accuracy that is highest where nothing is dropped."""
    tried = []

    def validated(recipe, epochs):
        (trick,) = (callback for callback in recipe.callbacks if type(callback).__name__ == "AutoDropout")
        tried.append(trick.policy)
        return -sum(pattern.size for pattern in trick.policy)

    monkeypatch.setattr(search_module, "_validate", validated)
    arguments = {"places": 2, "largest": 3, "epochs": 1, "storage": tmp_path / "file"}
    found = search_module.search_dropout(digits_resnet20.recipe, 5, **arguments)
    assert [trial.accuracy for trial in found] == sorted(
        (-sum(p.size for p in policy) for policy in tried), reverse=True
    )
    assert sorted(trial.values["policy"] for trial in found) == sorted(tried) and len({*tried}) > 2
    assert all(0 <= p.size <= 3 and 1 <= p.repeat <= 4 for policy in tried for p in policy)
    assert len(search_module.search_dropout(digits_resnet20.recipe, 7, **arguments)) == 7 and len(tried) == 7  # goes on


@pytest.mark.slow
def test_policies_of_autodropout_on_digits():
    (best, worst) = search_module.search_dropout(digits_resnet20.recipe, 2, epochs=3)
    assert 0 <= worst.accuracy <= best.accuracy <= 1 and best.values["policy"] != worst.values["policy"]
