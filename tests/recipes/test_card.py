"""A trick's card: gains seed by seed, costs, limits."""

import pytest

import callbacks
from recipes import _card, _cli, _results, trick_cards

STAMP = {"versions": {"torch": "2.9"}, "commit": "abc", "hardware": {"device": "A chip", "threads": 2}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(_results, "RESULTS", tmp_path)


def add(trick: str, seed: int, accuracy: float, **arguments) -> None:
    record = {"arguments": {"trick": trick, "as": f"{trick}()", "epochs": 10, **arguments}, "seed": seed}
    _results.append("trick_cards", {**record, "metrics": {"test/acc": accuracy}, "seconds": 1.0, **STAMP})


def test_the_gain_is_the_mean_of_the_differences_of_equal_seeds():
    for seed, plain, mixed in ((0, 0.50, 0.53), (1, 0.60, 0.61)):
        add("none", seed, plain)
        add("MixUp", seed, mixed)
    add("MixUp", 2, 0.99)  # nothing to compare it with
    add("MixUp", 0, 0.99, epochs=20)  # nor this
    mean, std, n = trick_cards.gain("MixUp")
    assert (mean, n) == (pytest.approx(0.02), 2)
    assert std == pytest.approx(0.02 / 2**0.5)  # of .03 and .01
    assert _card.gain("MixUp", short=True) == "+0.0200 ± 0.0141 (2 seeds)"


def test_an_average_is_judged_by_its_own_accuracy():
    assert trick_cards.accuracy({"test/acc": 0.5, "test/acc_ema0.99": 0.6, "test/loss": 1.0}) == 0.6
    assert trick_cards.accuracy({"test/acc": 0.5, "test/loss": 1.0}) == 0.5


def test_a_single_seed_has_no_spread():
    add("none", 0, 0.5)
    add("CutMix", 0, 0.4)
    assert _card.gain("CutMix", short=True) == "-0.1000 (1 seed)"


def test_what_was_not_measured_is_said():
    assert _card.gain("MixUp").startswith("not measured yet: zoo run trick_cards")
    assert _card.gain("DropHead").startswith("not among the tricks")
    assert _card.cost("MixUp") == "not measured yet: python benchmarks/tricks.py"
    assert _card.gain("MixUp", short=True) == _card.cost("MixUp", short=True) == ""


def test_the_cost_is_of_the_last_run():
    for ratio in (1.5, 1.012):
        record = {"arguments": {}, "seed": 0, "metrics": {"MixUp": ratio}, "seconds": 1.0}
        _results.append("tricks", {**record, **STAMP})
    assert _card.cost("MixUp") == "+1.2 % of a step of ResNet-20, batch 128 (A chip, 2 threads)"


def test_the_command_prints_paper_gain_and_limits(capsys):
    _card.main(["LabelSmoothing"])
    out = capsys.readouterr().out
    assert "Equation:" in out and "\nGain:" in out and "must stand before: AttentionTransfer" in out
    for wrong in ([], ["MixUp", "CutMix"], ["Mixup"]):
        with pytest.raises(_cli.UsageError):
            _card.main(wrong)


@pytest.mark.parametrize("trick", trick_cards.TRICKS)
def test_every_card_names_a_trick_of_its_kind(trick, monkeypatch):
    from tests.conftest import tiny_classifier

    monkeypatch.setattr(trick_cards, "teacher", tiny_classifier)
    assert type(trick_cards.TRICKS[trick]()) is getattr(callbacks, trick)


def test_a_schedule_takes_the_place_of_the_cosine():
    assert [type(c).__name__ for c in trick_cards.recipe("StepDecay").callbacks] == ["StepDecay"]
    assert [type(c).__name__ for c in trick_cards.recipe("MixUp").callbacks] == ["CosineDecay", "MixUp"]
