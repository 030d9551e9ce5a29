"""Xavier and Kaiming: the variance that the papers ask for, drawn once, on fresh networks only."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import Kaiming, Xavier
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier, ResNet

TRICKS = [Xavier, Kaiming]


def wide() -> Classifier:
    """Layers large enough for statistics, of every kind that is drawn."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 128, 5), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 64, 3, groups=4), nn.LayerNorm([64, 2, 2]),
        nn.Flatten(), nn.Linear(256, 100), nn.Linear(100, 10),
    ]  # fmt: skip
    for layer in layers:
        for p in layer.parameters():
            nn.init.constant_(p, 0.7)
    return Classifier(nn.Sequential(*layers))


FANS = {0: (75, 3200), 3: (288, 576), 6: (256, 100), 7: (100, 10)}  # k^2 C_in / groups, k^2 C_out


@pytest.fixture
def drawn(tiny_data, trainer):
    """`drawn(trick)`: the wide network's layers, as the trick left them."""

    def draw(trick):
        model = wide()
        torch.manual_seed(1)
        trick.setup(trainer(), model, "fit")
        return model.network

    return draw


@pytest.mark.parametrize("layer", FANS)
def test_xavier_is_uniform_within_its_bound(drawn, layer):
    w = drawn(Xavier())[layer].weight
    bound = (6 / sum(FANS[layer])) ** 0.5
    assert w.abs().max() <= bound
    assert w.abs().max() > 0.99 * bound
    assert w.std().item() == pytest.approx(bound / 3**0.5, rel=0.06)
    assert w.mean().item() == pytest.approx(0, abs=4 * bound / w.numel() ** 0.5)


@pytest.mark.parametrize("layer", FANS)
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_kaiming_is_normal_with_its_variance(drawn, mode, layer):
    w = drawn(Kaiming(mode))[layer].weight
    std = (2 / FANS[layer][mode == "fan_out"]) ** 0.5
    assert w.std().item() == pytest.approx(std, rel=0.06)
    assert (w.abs() < std).float().mean().item() == pytest.approx(0.683, abs=0.05)  # normal, not uniform


def test_kaiming_takes_fan_in_by_default(drawn):
    assert torch.equal(drawn(Kaiming())[0].weight, drawn(Kaiming("fan_in"))[0].weight)


@pytest.mark.parametrize("trick", TRICKS)
def test_biases_are_zero_and_norms_stay(drawn, trick):
    network = drawn(trick())
    assert all((network[i].bias == 0).all() for i in FANS)
    assert all((p == 0.7).all() for i in (1, 4) for p in network[i].parameters())


def test_kaiming_keeps_the_variance_of_signals(trainer):
    model = Classifier(
        nn.Sequential(*[m for _ in range(8) for m in (nn.Linear(400, 400), nn.ReLU())], nn.Linear(400, 9))
    )
    torch.manual_seed(1)
    Kaiming().setup(trainer(), model, "fit")
    x = torch.randn(100, 400)
    with torch.no_grad():
        before, after = x.square().mean(), model.network[:-2](x).square().mean()  # the last linear layer's outputs
    assert (after / before).item() == pytest.approx(2, rel=0.35)


@pytest.mark.parametrize("trick", TRICKS)
def test_draws_again_for_a_new_network_and_differently(trainer, trick):
    first, second = wide(), wide()
    for model in (first, second):
        trick().setup(trainer(), model, "fit")
    assert not torch.equal(first.network[0].weight, second.network[0].weight)


# ---- fresh networks only


def start_of_fit(trainer, trick, model, data, **arguments):
    """The weights at the first training batch."""
    seen = {}
    look = At("on_train_start", lambda trainer, model: seen.update(weights(model)))
    trainer(callbacks=[trick, look], **{"max_epochs": 1, **arguments}).fit(model, data)
    return seen


@pytest.mark.parametrize("trick", TRICKS)
def test_a_fresh_network_starts_drawn(tiny_model, tiny_data, trainer, trick):
    before = weights(tiny_model)
    after = start_of_fit(trainer, trick(), tiny_model, tiny_data)
    assert not torch.equal(before["network.head.weight"], after["network.head.weight"])


@pytest.mark.parametrize("make", [tiny_classifier, Foreign])
@pytest.mark.parametrize("trick", TRICKS)
def test_a_second_fit_goes_on(tiny_data, trainer, trick, make):
    model = make()
    start_of_fit(trainer, trick(), model, tiny_data)
    trained = weights(model)
    assert_equal(start_of_fit(trainer, trick(), model, tiny_data), trained)


@pytest.mark.parametrize("trick", TRICKS)
def test_loaded_weights_stay(tiny_data, trainer, trick, tmp_path):
    torch.manual_seed(0)
    ResNet("20", num_classes=10).export(tmp_path / "weights.safetensors")
    model = ResNet("20", num_classes=10, weights=tmp_path / "weights.safetensors")
    loaded = weights(model)
    assert_equal(start_of_fit(trainer, trick(), model, tiny_data), loaded)


@pytest.mark.parametrize("trick", TRICKS)
def test_weights_of_a_checkpoint_stay(tiny_model, tiny_data, trainer, trick, tmp_path):
    run = trainer(max_epochs=1)
    run.fit(tiny_model, tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    model = Classifier.load_from_checkpoint(tmp_path / "file.ckpt", network=TinyNetwork())
    loaded = weights(model)
    assert_equal(loaded, weights(tiny_model))
    assert_equal(start_of_fit(trainer, trick(), model, tiny_data), loaded)


@pytest.mark.parametrize("trick", TRICKS)
def test_a_resumed_run_starts_where_it_stopped(tiny_model, tiny_data, trainer, trick, tmp_path):
    run = trainer(callbacks=[trick()], max_epochs=1)
    run.fit(tiny_model, tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    seen = {}
    look = At("on_train_start", lambda trainer, model: seen.update(weights(model)))
    run = trainer(callbacks=[trick(), look])
    run.fit(tiny_classifier(), tiny_data, ckpt_path=tmp_path / "file.ckpt")
    assert_equal(seen, weights(tiny_model))


@pytest.mark.parametrize("trick", TRICKS)
def test_evaluation_draws_nothing(tiny_model, tiny_data, trainer, trick):
    before = weights(tiny_model)
    trainer(callbacks=[trick()]).validate(tiny_model, tiny_data, verbose=False)
    assert_equal(weights(tiny_model), before)


def test_same_seed_same_weights(tiny_data, trainer):
    starts = []
    for _ in range(2):
        L.seed_everything(3, verbose=False)
        starts.append(start_of_fit(trainer, Kaiming(), tiny_classifier(), tiny_data))
    assert_equal(*starts)


def test_starts_near_chance(trainer):
    torch.manual_seed(0)
    model = ResNet("20", num_classes=10)
    Xavier().setup(trainer(), model, "fit")
    loss = F.cross_entropy(model(torch.randn(64, 3, 16, 16)), torch.randint(10, (64,)))
    assert loss.item() == pytest.approx(2.303, abs=1.0)


def test_refuses_two_draws(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="both draw the weights"):
        trainer(callbacks=[Kaiming(), Xavier()]).fit(tiny_model, tiny_data)


def test_refuses_another_mode():
    with pytest.raises(ValueError, match="fan_in"):
        Kaiming("fan")
