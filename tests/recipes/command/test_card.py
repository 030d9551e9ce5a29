"""A trick's card: gains seed by seed, costs, limits."""

import pytest
import torch
from torch.utils.data import DataLoader

import callbacks
from recipes import trick_cards
from recipes.command import card, main
from recipes.frame import records
from recipes.frame.published import PUBLISHED
from zoo import ResNet

STAMP = {"versions": {"torch": "2.9"}, "commit": "abc", "hardware": {"device": "A chip", "threads": 2}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def add(trick: str, seed: int, accuracy: float, **arguments) -> None:
    record = {"arguments": {"trick": trick, "as": f"{trick}()", "epochs": 10, **arguments}, "seed": seed}
    records.append("trick_cards", {**record, "metrics": {"test/acc": accuracy}, "seconds": 1.0, **STAMP})


def test_the_gain_is_the_mean_of_the_differences_of_equal_seeds():
    for seed, plain, mixed in ((0, 0.50, 0.53), (1, 0.60, 0.61)):
        add("none", seed, plain)
        add("MixUp", seed, mixed)
    add("MixUp", 2, 0.99)  # nothing to compare it with
    add("MixUp", 0, 0.99, epochs=20)  # nor this
    mean, std, n = trick_cards.gain("MixUp")
    assert (mean, n) == (pytest.approx(0.02), 2)
    assert std == pytest.approx(0.02 / 2**0.5)  # of .03 and .01
    assert card.gain("MixUp", short=True) == "+0.0200 ± 0.0141 (2 seeds)"


def test_an_average_is_judged_by_its_own_accuracy():
    assert trick_cards.accuracy({"test/acc": 0.5, "test/acc_ema0.99": 0.6, "test/loss": 1.0}) == 0.6
    assert trick_cards.accuracy({"test/acc": 0.5, "test/loss": 1.0}) == 0.5


def test_a_single_seed_has_no_spread():
    add("none", 0, 0.5)
    add("CutMix", 0, 0.4)
    assert card.gain("CutMix", short=True) == "-0.1000 (1 seed)"


def test_what_was_not_measured_is_said():
    assert card.gain("MixUp").startswith("not measured yet: zoo run trick_cards")
    assert card.gain("Checklist").endswith("it looks, and changes nothing")
    assert card.gain("ZeroLastConv").endswith("which ResNet-20's do not")
    assert "token_reduction_cifar" in card.gain("TokenRatio")
    assert card.cost("MixUp").startswith("not measured yet: python benchmarks/tricks.py")
    assert card.gain("Dropout").startswith("not measured by") and card.gain("Dropout", short=True) == ""
    assert card.gain("MixUp", short=True) == card.cost("MixUp", short=True) == ""


def test_the_cost_is_of_the_last_run():
    for ratio in (1.5, 1.012):
        record = {"arguments": {}, "seed": 0, "metrics": {"MixUp": ratio}, "spread": {"MixUp": 0.004}, "seconds": 1.0}
        records.append("tricks", {**record, **STAMP})
    assert card.cost("MixUp") == "+1.2 ± 0.4 %, of a step of ResNet-20, batch 128 (A chip, 2 threads)"


def test_dropout_has_its_gain_from_the_league_and_its_cost_from_its_own_benchmark():
    for method, seed, accuracy in (("none", 0, 0.5), ("none", 1, 0.6), ("Dropout", 0, 0.4), ("Dropout", 1, 0.4)):
        record = {"arguments": {"method": method, "as": f"{method}(p=0.2)", "epochs": 8}, "seed": seed}
        metrics = {"test/acc": accuracy, "train/acc": 0.7, "masked 0.0": 0.5, "masked 0.5": 0.3}
        records.append("dropout_league_cifar", {**record, "metrics": metrics, "seconds": 1.0, **STAMP})
    assert card.gain("Dropout", short=True) == "-0.1500 ± 0.0500 (2 seeds)"  # sqrt(.05^2 + .05^2) / sqrt(2)
    assert "as Dropout(p=0.2) (worse at two standard errors)" in card.gain("Dropout")
    for name, found in (("ResNet-20 Dropout", "+1.2 ± 0.4 %"), ("ResNet-20 ADL a stage", "+1.2 ± 0.4 % a stage")):
        record = {"arguments": {}, "seed": 0, "metrics": {name: 1.012}, "spread": {name: 0.004}, "seconds": 1.0}
        records.append("dropout", {**record, **STAMP, "own": {name: 1.008}})
        assert card.cost(name.split()[1], short=True) == found
        assert card.cost(name.split()[1]).startswith(f"{found}, 0.8 % in its own calls, of a step")


def test_the_command_prints_paper_gain_and_limits(capsys):
    card.main(["LabelSmoothing"])
    out = capsys.readouterr().out
    assert "Equation:" in out and "\nGain:" in out and "must stand before: AttentionTransfer" in out
    assert "\nFound:    no number that we could read at its source" in out
    card.main(["CutMix"])
    assert "\nFound:    ResNet-50 on ImageNet, 300 epochs: top-1 error 23.68 to 21.40" in capsys.readouterr().out
    for wrong in ([], ["MixUp", "CutMix"], ["Mixup"]):
        with pytest.raises(main.UsageError):
            card.main(wrong)


@pytest.mark.parametrize("trick", trick_cards.TRICKS)
def test_every_card_names_a_trick_of_its_kind(trick, monkeypatch):
    from tests.conftest import tiny_classifier

    monkeypatch.setattr(trick_cards, "teacher", tiny_classifier)
    assert type(trick_cards.TRICKS[trick]()) is getattr(callbacks, trick)


@pytest.mark.parametrize("trick", trick_cards.TRICKS)
def test_every_card_can_be_measured(trick, monkeypatch, trainer):
    """On the card's own network: one that it refuses would end the run of all others."""
    network, images = ResNet("20", num_classes=10, image_size=32), torch.randn(2, 3, 32, 32)
    monkeypatch.setattr(trick_cards, "teacher", lambda: network)
    data = DataLoader([[images, torch.tensor([0, 1])]], batch_size=None, collate_fn=list)
    on = trick_cards.with_schedule(trick_cards.TRICKS[trick]())
    if trick in ("LinearScaling", "SquareRootScaling"):
        data = DataLoader(list(zip(images, torch.tensor([0, 1]), strict=True)), batch_size=2)
    run = trainer(callbacks=on, max_epochs=4, limit_val_batches=0)
    run.fit(ResNet("20", num_classes=10, image_size=32), data)
    assert run.global_step >= 2


def test_every_trick_has_a_card_or_a_reason():
    assert not trick_cards.TRICKS.keys() & trick_cards.NOT_HERE.keys()
    reasons = {name: trick_cards.why_not(name) for name in set(callbacks.__all__) - trick_cards.TRICKS.keys()}
    tokens = {name for name, reason in reasons.items() if reason.startswith("for transformers")}
    assert tokens == {"ExpertBalance", "TokenDistillation", "TokenLabeling", "TokenRatio"}
    assert PUBLISHED.keys() <= {*callbacks.__all__}


def test_a_schedule_takes_the_place_of_the_cosine():
    assert [type(c).__name__ for c in trick_cards.recipe("StepDecay").callbacks] == ["StepDecay"]
    assert [type(c).__name__ for c in trick_cards.recipe("MixUp").callbacks] == ["CosineDecay", "MixUp"]
