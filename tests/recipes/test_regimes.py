"""The regimes: small images, arms that can be built and trained, right or wrong for every test image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules import CIFAR10
from recipes import data_is_short, small_transformer, time_is_short
from recipes.frame import arms, cifar, records, regime
from recipes.frame.answers import answer, pack, unpack
from recipes.frame.arms import DATA_IS_SHORT, REGIMES, SMALL_TRANSFORMER, dropouts, three_rates
from recipes.frame.cifar import Cifar, SmallCIFAR10, halve
from recipes.frame.regime import NONE, accuracy, build_trial
from tests.recipes.conftest import write_shades

TOKENS = replace(SMALL_TRANSFORMER, images=130)
ARMS = [(one, name) for one in REGIMES for name in one.arms]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two hundred and sixty images to train on or validate, twenty to test."""
    return write_shades(tmp_path_factory.mktemp("images") / "tiny", train=26, test=2)


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr(regime, "VALIDATION_IMAGES", 130)
    monkeypatch.setattr(regime, "TRAINING_IMAGES", 130)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)


# ---- images


def test_a_small_pixel_is_the_mean_of_four():
    large = np.zeros((1, 4, 4, 3), np.uint8)
    large[0, :2, :2, 0] = [[1, 2], [3, 4]]  # 2.5, rounded half up
    large[0, 2:, 2:] = 255
    small = halve(large)
    assert small.shape == (1, 2, 2, 3) and small.dtype == np.uint8
    assert small[0, :, :, 0].tolist() == [[3, 0], [0, 255]] and small[0, 1, 1].tolist() == [255] * 3


def test_small_images_are_made_once_and_kept_whole(folder, monkeypatch):
    data = SmallCIFAR10(folder=folder, val_split=0)
    data.path.unlink(missing_ok=True)
    data.prepare_data()
    images, targets = data.read("test")
    assert images.shape == (20, 16, 16, 3) and targets.bincount().tolist() == [2] * 10
    assert images[2].mean((0, 1)).tolist() == [25, 0, 0]
    assert [path.name for path in folder.glob("*cifar10*") if path.suffix != ".lock"] == ["cifar10-16px.npz"]
    monkeypatch.setattr(SmallCIFAR10, "_make", lambda self: 1 / 0)
    again = SmallCIFAR10(folder=folder, val_split=0)
    again.prepare_data()
    assert np.array_equal(again.read("train")[0], data.read("train")[0])


def test_a_folder_that_cannot_be_written_is_read_anew(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(SmallCIFAR10, "path", property(lambda self: folder / "elsewhere.npz"))
    monkeypatch.setattr(cifar, "_write", refuse)
    assert len(SmallCIFAR10(folder=folder).read("test")[0]) == 20


def test_official_files_become_small_too(monkeypatch, tmp_path):
    def read(self, part):
        return None if part == "val" else (np.full((10, 32, 32, 3), 7, np.uint8), torch.arange(10))

    monkeypatch.setattr(CIFAR10, "prepare_data", lambda self: None)
    monkeypatch.setattr(CIFAR10, "read", read)
    images, targets = SmallCIFAR10(tmp_path).read("train")
    assert images.shape == (10, 16, 16, 3) and (images == 7).all() and targets.tolist() == [*range(10)]


# ---- arms


def test_the_budgets_are_as_written(monkeypatch):
    monkeypatch.setattr(regime, "TRAINING_IMAGES", 45_000)
    data, time, tokens = data_is_short.recipe(), time_is_short.recipe(), small_transformer.recipe()
    assert (data.trainer["max_epochs"], data.arguments["images"]) == (60, 4000)
    assert (time.trainer["max_epochs"], time.arguments["images"]) == (5, 45_000)
    assert data.callbacks[0].warmup_epochs == 3 and time.callbacks[0].warmup_epochs == 0.25
    assert (tokens.trainer["max_epochs"], tokens.arguments["images"]) == (200, 1000)
    assert tokens.model.pos_embed.shape == (1, 17, 96) and len(tokens.model.blocks) == 4
    for one, trained in zip((data, time, tokens), 2 * [("sgd", 5e-4, 0.1)] + [("adamw", 0.05, 2e-3)], strict=True):
        assert one.data.padding == 2
        assert one.trainer["precision"] == "32-true" and one.data.batch_size == 64
        given = one.model.hparams
        assert (given.optimizer, given.weight_decay, given.lr) == trained


def test_arms_with_a_network_of_their_own_have_one_to_be_compared_with():
    """What the trick alone changes is seen against the same network without it."""
    for one in REGIMES:
        for name, arm in one.arms.items():
            if arm.against != NONE and arm.network is not None:
                assert one.arms[arm.against].network is arm.network, name
            if arm.network is not None and name not in one.teachers and arm.against == NONE:
                assert not arm.build(*([None] if arm.taught else [])), name  # itself what others are compared with


@pytest.mark.slow
@pytest.mark.parametrize("case", ARMS, ids=lambda case: f"{case[0].name} {case[1]}")
@pytest.mark.one_in(10)
def test_every_arm_trains(case, folder, monkeypatch):
    """One that the network refuses would end in the queue, hours later."""
    one, name = case
    monkeypatch.setattr(regime, "load_teacher", lambda name, path: one.build_network(name, 0.1))
    batch = {256: 64}.get(one.arms[name].batch, one.arms[name].batch)
    small = {**one.arms, name: one.arms[name]._replace(batch=batch, masked=False)}
    if name in one.teachers:
        pytest.skip("a network of other arms, perhaps deeper")
    images = 130 if name in ("NeuronSpecificDropout", "StepwiseCosine") else 66  # holds some out; ten steps
    tiny = replace(one, images=images, epochs=5, arms=small)
    trial = build_trial(tiny, name, lr=0.001, source=Cifar(folder=folder))
    metrics = trial.run(save=False)
    assert 0 <= accuracy(metrics) <= 1
    assert unpack(trial.answers.text(accuracy(metrics)), 20).sum() == round(20 * accuracy(metrics))


def test_a_schedule_takes_the_place_of_the_cosine():
    for arm, kinds in {
        "StepDecay": ["StepDecay"],
        "OneCycle": ["OneCycle"],
        "ZeroGamma": ["CosineDecay", "ZeroGamma"],
    }.items():
        recipe = build_trial(replace(REGIMES[1], images=130), arm)
        assert [type(trick).__name__ for trick in recipe.callbacks] == kinds
    (schedule,) = build_trial(replace(REGIMES[1], images=130), "no WarmUp").callbacks
    assert schedule.warmup_epochs == 0


def test_a_value_reaches_the_trick_and_the_record(folder):
    tiny = replace(DATA_IS_SHORT, images=130)
    assert build_trial(tiny, "MixUp", 0.7, source=Cifar(folder=folder)).callbacks[1].alpha == 0.7
    assert build_trial(tiny, "MixUp", source=Cifar(folder=folder)).arguments["as"] == "MixUp(alpha=0.5)"
    for budget, arm, teacher in ((tiny, "AttentionTransfer", "teacher"), (TOKENS, "TokenLabeling", "convolutional")):
        with pytest.raises(ValueError, match=f"needs a teacher: train it with the arm '{teacher}"):
            build_trial(budget, arm, source=Cifar(folder=folder))


def test_an_arm_can_have_its_own_network_and_teacher(folder):
    loaded = []

    def load(name, path):
        loaded.append(name)
        return TOKENS.build_network(name, 0.1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regime, "load_teacher", load)
        built = [build_trial(TOKENS, arm, source=Cifar(folder=folder)).model for arm in ("TokenLabeling", "DropHead")]
    assert [type(model).__name__ for model in built] == ["LVViT", "ViT"] and loaded == ["convolutional teacher"]
    assert TOKENS.teachers == {"teacher", "convolutional teacher"}


def test_an_arm_can_start_from_its_teacher(folder, monkeypatch):
    teacher = TOKENS.build_network("teacher", 0.1)
    monkeypatch.setattr(regime, "load_teacher", lambda name, path: teacher)
    first, second = (build_trial(TOKENS, "TokenRatio", source=Cifar(folder=folder), seed=seed) for seed in (0, 1))
    for name, weight in teacher.state_dict().items():
        assert torch.equal(first.model.state_dict()[name], weight), name
    predictors = [trial.model.score_predictor[0].in_conv[1].weight for trial in (first, second)]
    assert not torch.equal(*predictors)


def test_a_choice_looks_at_validation_images_alone(folder):
    tiny = replace(DATA_IS_SHORT, images=130, epochs=1)
    trial = build_trial(tiny, NONE, 0.05, 0.05, source=Cifar(folder=folder), choosing=True)
    metrics = trial.run(record=True, save=False)
    assert "val/acc" in metrics and not any(name.startswith("test/") for name in metrics)
    (line,) = records.read("data_is_short_choices")
    assert line["arguments"]["value"] == 0.05 and "right" not in line
    held = {*trial.data.train_indices.tolist()} & {*trial.data.val_indices.tolist()}
    assert not held and len(trial.data.val_indices) == 130


def test_a_run_is_recorded_with_its_answers(folder):
    tiny = replace(DATA_IS_SHORT, images=130, epochs=1)
    metrics = build_trial(tiny, NONE, 0.1, source=Cifar(folder=folder), seed=3).run(record=True, save=False)
    (line,) = records.read("data_is_short")
    assert line["seed"] == 3 and line["metrics"]["train/acc"] == metrics["train/acc"]
    assert unpack(line["right"], 20).mean() == pytest.approx(metrics["test/acc"])
    assert metrics["masked 0.0"] == pytest.approx(metrics["test/acc"])


# ---- answers


def test_bits_come_back():
    right = np.random.default_rng(0).random(10_000) < 0.7
    assert len(pack(right)) == 4 * -(-1250 // 3)
    assert np.array_equal(unpack(pack(right), 10_000), right)


def test_later_outputs_are_the_answer():
    first, second, third = torch.tensor([[2.0, 0, 0]]), torch.tensor([[0, 2.0, 1.9]]), torch.tensor([[0, 0, 9.0]])
    assert answer([first]).item() == 0
    assert answer([first, second]).item() == 1
    assert answer([first, second, third]).item() == 2  # the mean softmax


# ---- rates


def test_three_rates_are_half_once_and_twice():
    assert three_rates(0.1) == (0.05, 0.1, 0.2)
    assert three_rates(0.4) == (0.2, 0.4, 0.8)
    assert three_rates(0.5) == (0.25, 0.5, 0.75)
    assert three_rates(0.75) == (0.375, 0.75, 0.875)
    assert three_rates(1.0) == (0.25, 0.5, 1.0)


@pytest.mark.parametrize("method", dropouts())
def test_every_dropout_can_be_made_at_its_three_rates(method):
    rates = dropouts()[method].values
    assert 0 < rates[0] < rates[1] < rates[2] <= 1
    assert len({repr(arms.dropout(method, rate)[0]) for rate in rates}) == 3
