"""Frame of initialisations: weights are drawn once, in untrained networks only."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from callbacks import Kaiming, Xavier
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.callbacks.network.conftest import FANS, wide
from tests.conftest import TinyNetwork, tiny_classifier
from zoo import Classifier, ResNet

TRICKS = [Xavier, Kaiming]


@pytest.mark.parametrize("trick", TRICKS)
def test_biases_are_zero_and_norms_stay(trainer, trick):
    model = wide()
    trick().setup(trainer(), model, "fit")
    network = model.network
    assert all((network[i].bias == 0).all() for i in FANS)
    assert all((p == 0.7).all() for i in (1, 4) for p in network[i].parameters())


@pytest.mark.parametrize("trick", TRICKS)
def test_draws_again_for_a_new_network_and_differently(trainer, trick):
    first, second = wide(), wide()
    for model in (first, second):
        trick().setup(trainer(), model, "fit")
    assert not torch.equal(first.network[0].weight, second.network[0].weight)


# ---- untrained networks only


def start_of_fit(trainer, trick, model, data, **arguments):
    """Return the weights at the first training batch."""
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
