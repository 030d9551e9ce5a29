"""A trick's card: gains in its regimes with the noise of the regime, costs, limits; the table of a regime."""

import re
from math import sqrt

import pytest
from scipy import stats

import callbacks
from recipes.command import card, main, tables
from recipes.frame import cards, catalogue, records
from recipes.frame.arms import DATA_IS_SHORT, REGIMES, SMALL_TRANSFORMER, TIME_IS_SHORT
from recipes.frame.errors import UsageError
from recipes.frame.publications import PUBLISHED
from recipes.frame.regime import CHOICE_SEED

STAMP = {"versions": {"torch": "2.9"}, "commit": "abc", "hardware": {"device": "A chip", "threads": 2}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def add(
    regime, arm: str, *accuracies: float, what: str | None = None, precision: str = "bf16-mixed", **metrics
) -> None:
    arguments = {"arm": arm, "as": f"{arm}()" if what is None else what, "value": None, "precision": precision}
    arguments |= {"images": regime.images, "epochs": regime.epochs}
    for seed, accuracy in enumerate(accuracies):
        line = {"arguments": arguments, "seed": seed, "metrics": {"test/acc": accuracy, "train/acc": 0.9, **metrics}}
        records.append(regime.name, {**line, "seconds": 1.0, **STAMP})


def add_both() -> None:
    """Base, MixUp and one more where data is short; where time is short two."""
    add(DATA_IS_SHORT, "none", 0.66, 0.67, 0.665, what="")
    add(DATA_IS_SHORT, "MixUp", 0.69, 0.70, what="MixUp(alpha=0.5)")
    add(DATA_IS_SHORT, "SWA", 0.66, 0.67)
    add(TIME_IS_SHORT, "none", 0.72, 0.722, what="")
    add(TIME_IS_SHORT, "MixUp", 0.68, 0.682)
    add(TIME_IS_SHORT, "StepDecay", 0.69, 0.692)


def test_a_card_says_the_gain_in_both_regimes():
    add_both()
    sd = sqrt((0.00005 + 0.00005 + 0.00005) / 4)  # squares about the three means, 2 + 1 + 1 degrees of freedom
    half = stats.t.ppf(0.975, 4) * sd * sqrt(1 / 2 + 1 / 3)
    found = cards.gain_in(DATA_IS_SHORT, "MixUp")
    assert found.mean == pytest.approx(0.03) and found.half == pytest.approx(half)
    short = card.gain("MixUp", short=True)
    other = 100 * cards.gain_in(TIME_IS_SHORT, "MixUp").half
    assert short == (
        f"where data is short +3.0 ± {100 * half:.1f} (2 seeds), where time is short -4.0 ± {other:.1f} (2 seeds)"
    )
    assert card.gain("MixUp").startswith(short) and "as MixUp(alpha=0.5) and MixUp()" in card.gain("MixUp")


def test_tricks_of_the_base_are_judged_by_the_arm_without():
    add_both()
    assert cards.gain_in(TIME_IS_SHORT, "CosineDecay").mean == pytest.approx(0.03)
    assert card.gain("CosineDecay", short=True).startswith("where time is short +3.0")
    assert "data" not in card.gain("CosineDecay", short=True)


def test_an_arm_is_compared_with_runs_in_its_precision():
    add_both()
    before = cards.noise_of(cards.by_arm(TIME_IS_SHORT))
    add(TIME_IS_SHORT, "none", 0.74, 0.742, what="", precision="32-true")
    add(TIME_IS_SHORT, "OneCycle", 0.75, 0.752, precision="32-true")
    assert cards.gain_in(TIME_IS_SHORT, "OneCycle").mean == pytest.approx(0.01)
    assert cards.gain_in(TIME_IS_SHORT, "StepDecay").mean == pytest.approx(-0.03)
    assert cards.gain_in(TIME_IS_SHORT, "CosineDecay").mean == pytest.approx(0.03)  # the base less StepDecay
    after = cards.noise_of(cards.by_arm(TIME_IS_SHORT))  # each precision around its own mean
    assert after.sd == pytest.approx(before.sd) and after.df == before.df + 2
    heads, rows = cards.table(TIME_IS_SHORT)
    assert [(row[0], row[2][:4], row[-1]) for row in rows[:2]] == [
        ("none", "72.1", "bf16-mixed"),
        ("none", "74.1", "32-true"),
    ]
    add(TIME_IS_SHORT, "no WarmUp", 0.7, precision="16-mixed")
    assert cards.gain_in(TIME_IS_SHORT, "no WarmUp") is None  # nothing to compare it with


def test_an_arm_is_compared_with_its_own_baseline():
    add_both()
    add(TIME_IS_SHORT, "Uniform", 0.70, 0.70)
    add(TIME_IS_SHORT, "Kaiming", 0.73, 0.73)
    assert cards.gain_in(TIME_IS_SHORT, "Kaiming").mean == pytest.approx(0.03)


def test_a_trick_with_its_own_network_is_compared_with_that_network():
    add(SMALL_TRANSFORMER, "none", 0.40, 0.41, what="")
    add(SMALL_TRANSFORMER, "EViT", 0.36, 0.37, what="")
    add(SMALL_TRANSFORMER, "KeepRate", 0.38, 0.39)
    assert card.gain("KeepRate", short=True).startswith("in a small transformer +2.0 ± ")
    rows = {row[0]: row[3] for row in cards.table(SMALL_TRANSFORMER)[1]}
    assert rows["EViT"].startswith("-4.00 ±") and rows["KeepRate"].endswith("(against EViT)")


def test_other_budgets_and_the_teacher_count_for_nothing():
    add_both()
    before = cards.gain_in(DATA_IS_SHORT, "MixUp")
    for seed, epochs in ((0, 3), (CHOICE_SEED, 60)):
        arguments = {"arm": "MixUp", "as": "", "value": 1, "images": 4000, "epochs": epochs, "precision": "bf16-mixed"}
        line = {"arguments": arguments, "seed": seed, "metrics": {"test/acc": 0.9}, "seconds": 1.0, **STAMP}
        records.append("data_is_short", line)
    assert cards.gain_in(DATA_IS_SHORT, "MixUp") == before


def test_one_seed_of_all_has_no_interval():
    add(DATA_IS_SHORT, "none", 0.5)
    add(DATA_IS_SHORT, "CutMix", 0.4)
    assert card.gain("CutMix", short=True) == "where data is short -10.0 (1 seed)"


def test_a_run_that_diverged_is_counted():
    add_both()
    add(DATA_IS_SHORT, "RICAP", 0.7, 0.1, 0.7)
    assert card.gain("RICAP", short=True) == "where data is short 2 of 3 trained"


def test_an_average_is_judged_by_its_own_accuracy():
    add_both()
    add(DATA_IS_SHORT, "EMA", 0.5, 0.5, **{"test/acc_ema0.99": 0.675})
    assert cards.gain_in(DATA_IS_SHORT, "EMA").mean == pytest.approx(0.01)


def test_a_much_noisier_arm_has_an_interval_of_its_own():
    add_both()
    for name in ("Cutout", "CutMix", "GridMask"):
        add(DATA_IS_SHORT, name, 0.66, 0.67, 0.665)
    add(DATA_IS_SHORT, "RICAP", 0.50, 0.75, 0.62)
    quiet, noisy = cards.gain_in(DATA_IS_SHORT, "Cutout"), cards.gain_in(DATA_IS_SHORT, "RICAP")
    assert quiet.half < 0.02 < 0.2 < noisy.half


@pytest.mark.parametrize(("theirs", "ours"), [(2, 3), (3, 2)])
def test_a_noisier_arm_is_paired_by_the_seeds_of_both(theirs, ours):
    add(DATA_IS_SHORT, "none", *(0.66, 0.67, 0.665)[:theirs], what="")
    for name in ("Cutout", "CutMix", "GridMask"):
        add(DATA_IS_SHORT, name, 0.66, 0.67, 0.665)
    add(DATA_IS_SHORT, "RICAP", *(0.50, 0.75, 0.62)[:ours])
    found = cards.gain_in(DATA_IS_SHORT, "RICAP")
    # differences -.16 and .08: half width t sd / sqrt(2)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 1) * 0.12) and (found.seeds, found.trained) == (2, 2)


def test_the_table_is_by_gain_with_intervals_for_all_rows_at_once():
    add_both()
    add(DATA_IS_SHORT, "Dropout", 0.66, 0.665, **{"masked 0.0": 0.66, "masked 0.5": 0.33, "CPU seconds": 12.0})
    heads, rows = cards.table(DATA_IS_SHORT)
    assert [row[0] for row in rows] == ["none", "MixUp", "SWA", "Dropout"] and {len(row) for row in rows} == {
        len(heads)
    }
    mixup = dict(zip(heads, rows[1], strict=True))
    assert mixup["accuracy %"] == "69.50 ± 0.71" and mixup["verdict"] == "better"
    wide = float(mixup["gain in points"].split("± ")[1]) / 100
    assert wide > cards.gain_in(DATA_IS_SHORT, "MixUp").half
    assert rows[2][4] == "undecided" and rows[3][6:8] == ["0.50 ± 0.00", "12 ± 0"]
    text = tables.recipe_result(next(entry for entry in catalogue.recipes() if entry.name == "data_is_short"))
    assert "| MixUp | MixUp(alpha=0.5) | 69.50 ± 0.71 | +3.00 ±" in text


def test_what_was_not_measured_is_said():
    assert card.gain("MixUp").startswith("not measured yet: zoo run data_is_short --arm MixUp or zoo run time_is_short")
    assert card.gain("Checklist").endswith("it looks, and changes nothing")
    assert card.gain("ZeroLastConv").endswith("which ResNet-20's do not")
    assert card.gain("TokenRatio") == "not measured yet: zoo run small_transformer --arm TokenRatio"
    assert card.cost("MixUp").startswith("not measured yet: python benchmarks/tricks.py")
    assert card.gain("MixUp", short=True) == card.cost("MixUp", short=True) == ""


def test_the_cost_is_of_the_last_run():
    for ratio in (1.5, 1.012):
        record = {"arguments": {}, "seed": 0, "metrics": {"MixUp": ratio}, "spread": {"MixUp": 0.004}, "seconds": 1.0}
        records.append("tricks", {**record, **STAMP})
    assert card.cost("MixUp") == "+1.2 ± 0.4 %, of a step of ResNet-20, batch 128 (A chip, 2 threads)"


def test_a_trick_of_boxes_has_its_cost_on_a_detector():
    on_boxes = {"metrics": {"FCOS BoxFlip": 1.012, "FCOS MixUp": 1.5}, "spread": {"FCOS BoxFlip": 0.004}}
    on_images = {"metrics": {"MixUp": 1.02}, "spread": {"MixUp": 0.01}}
    for found in (on_images, on_boxes):
        records.append(
            "tricks", {"arguments": {"boxes": found is on_boxes}, "seed": 0, "seconds": 1.0, **STAMP, **found}
        )
    assert card.cost("BoxFlip").startswith("+1.2 ± 0.4 %, of a step of FCOS over ResNet-20, batch 16 (A chip")
    assert card.cost("MixUp", short=True) == "+2.0 ± 1.0 %"  # of a classifier


def test_dropout_has_its_cost_from_its_own_benchmark():
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


def test_every_trick_has_a_card_or_a_reason():
    every = {*callbacks.__all__, *callbacks.OF_BOXES}
    inside = {name for name in every if any(cards.is_in(regime, name) for regime in REGIMES)}
    assert not inside & cards.NOT_HERE.keys()
    reasons = {name: cards.why_not(name) for name in every - inside}
    assert {name for name, reason in reasons.items() if reason.startswith("for boxes")} == {*callbacks.OF_BOXES}
    assert not [name for name, reason in reasons.items() if "measures it yet" in reason]


def test_cards_name_tricks_that_know_nothing_of_boxes_where_it_matters():
    assert card.limits("MixUp") == "must stand before: RDrop"
    said = card.limits("BoxLoss")
    assert re.search(r"one needs boxes, of which the other knows nothing: \d\d tricks, see the table of pairs$", said)
    assert "must stand before: " in said and "L2" in said


def test_the_card_of_a_trick_without_an_arm_says_so(monkeypatch):
    class Unmeasured(callbacks.MixUp):
        """A trick of somebody's own."""

    monkeypatch.setattr(callbacks, "Unmeasured", Unmeasured, raising=False)
    assert cards.why_not("Unmeasured") == "no arm in recipes/frame/arms.py measures it yet"


def test_published_gains_are_of_tricks():
    assert PUBLISHED.keys() <= {*callbacks.__all__}


def test_the_card_says_where_the_picture_is_and_draws_it(capsys, tmp_path):
    card.main(["L2"])
    assert "zoo card L2 --picture L2.png" in capsys.readouterr().out
    card.main(["L2", "--picture", str(tmp_path / "new" / "l2.svg")])
    assert "l2.svg" in capsys.readouterr().out
    assert (tmp_path / "new" / "l2.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["L2", "--picture"], "usage"),
        (["L2", "--picture", "a.gif"], "not .gif"),
        (["L2", "--picture", "a"], "without a suffix"),
        (["MixUp", "--picture", "a.svg"], "made of pixels"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused(arguments, says):
    with pytest.raises(UsageError, match=says):
        card.main(arguments)
