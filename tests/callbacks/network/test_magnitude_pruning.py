"""Magnitude pruning: the cubic curve, exactly the smallest weights, and zeros that stay until the end."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from callbacks import EMA, MagnitudePruning
from callbacks.network.magnitude_pruning import magnitude_mask, sparsity, sparsity_at, weights_to_prune
from tests.callbacks.conftest import At, Foreign, assert_equal, weights
from tests.conftest import tiny_classifier
from zoo import Classifier, MobileNetV1


def test_the_curve_by_hand():
    """s_f = .8 from step 10 to 30: 0, .8 - .8 / 8 half way, .8 from the end on."""
    assert [sparsity_at(t, 0.8, 10, 30) for t in (0, 9, 10, 20, 30, 99)] == pytest.approx([0, 0, 0, 0.7, 0.8, 0.8])
    assert sparsity_at(5, 0.8, 5, 5) == 0.8


def test_the_curve_never_falls():
    values = [sparsity_at(t, 0.9, 3, 50) for t in range(60)]
    assert values == sorted(values) and max(values) == 0.9


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_masks_are_those_of_torch(share):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3)
    mask = magnitude_mask(layer.weight.detach(), share)
    assert torch.equal(mask, prune.l1_unstructured(layer, "weight", round(share * 288)).weight_mask)


def test_equal_weights_leave_in_the_number_asked_for():
    assert magnitude_mask(torch.ones(10), 0.4).sum() == 6


def test_layers(trainer):
    model = MobileNetV1("0.25", 10, 32)
    depthwise = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    names = weights_to_prune(model)
    assert len(depthwise) == 13 and not {f"{name}.weight" for name in depthwise} & {*names}
    assert "classifier.weight" in names and "conv_stem.weight" in names and not [n for n in names if "bn" in n]


def test_each_layer_ends_as_sparse_as_asked_and_the_rest_trains(tiny_data, trainer):
    model = tiny_classifier()
    run = trainer(callbacks=[MagnitudePruning(0.75, "1st", "4st", every=1)])
    run.fit(model, tiny_data)
    for name, weight in weights_to_prune(model).items():
        assert sparsity([weight]) == pytest.approx(0.75, abs=0.5 / weight.numel()), name
    assert run.callback_metrics["train/sparsity"].item() == pytest.approx(0.75, abs=1e-3)
    assert not [m for m in model.modules() if hasattr(m, "parametrizations")]  # only zeros remain
    assert sparsity([model.network.head.bias, model.network.block1.bn1.weight]) == 0


def test_follows_the_curve_at_every_choice_and_zeros_never_come_back(tiny_data, trainer):
    seen, zeros = [], []

    def look(trainer, model):
        weight = model.network.block2.conv1.weight.detach()
        seen.append(sparsity([weight]))
        zeros.append(weight == 0)

    model = tiny_classifier()
    tricks = [MagnitudePruning(0.8, "2st", "10st", every=4), At("on_train_batch_end", look)]
    trainer(callbacks=tricks, max_epochs=4).fit(model, tiny_data)
    # chosen before steps 3, 7 and 11
    assert seen == pytest.approx([0] * 6 + [0.7] * 4 + [0.8] * 2, abs=1e-3)
    assert all((later | ~earlier).all() for earlier, later in zip(zeros, zeros[1:], strict=False))


def test_the_end_is_a_choice_too_where_it_is_no_multiple(tiny_data, trainer):
    model = tiny_classifier()
    trainer(callbacks=[MagnitudePruning(0.5, "1st", "4st", every=2)]).fit(model, tiny_data)
    assert sparsity([model.network.block2.conv1.weight]) == pytest.approx(0.5, abs=1e-3)


def test_a_resume_knows_what_was_pruned_in_any_module(tiny_data, trainer, tmp_path):
    """A foreign module has no flag `untrained`; its masks are in the trick's state."""

    def run(**fit):
        save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(tmp_path / "first.ckpt"))
        model = Foreign()
        model.network.dropout.p = 0.0
        trick = MagnitudePruning(0.5, "0st", "2st", every=1)
        trainer(callbacks=[trick, save]).fit(model, tiny_data, **fit)
        return weights(model)

    whole = run()
    assert sparsity([whole["network.block2.conv1.weight"]]) == pytest.approx(0.5, abs=1e-3)
    assert_equal(run(ckpt_path=tmp_path / "first.ckpt", weights_only=True), whole)


def test_momentum_does_not_move_what_is_zero_before_an_average_is_taken(tiny_data, trainer):
    """EMA is listed first and must still see the zeros."""
    model, ema = tiny_classifier(optimizer="momentum"), EMA(0.01)
    trainer(callbacks=[ema, MagnitudePruning(0.5, "0st", "1st", every=1)], max_epochs=4).fit(model, tiny_data)
    weight, average = model.network.block2.conv1.weight, ema.average["network.block2.conv1.weight"]
    assert average[weight == 0].abs().max() < 1e-12 < average.abs().max()


def test_a_pruned_network_stays_pruned_in_a_second_fit(tiny_data, trainer):
    model = tiny_classifier()
    trainer(callbacks=[MagnitudePruning(0.5, "0st", "2st", every=1)], max_epochs=1).fit(model, tiny_data)
    zeros = {name: weight.detach() == 0 for name, weight in weights_to_prune(model).items()}
    trainer(callbacks=[MagnitudePruning(0.5, "0st", "2000st", every=1)]).fit(model, tiny_data)
    assert all((weight[zeros[name]] == 0).all() for name, weight in weights_to_prune(model).items())


def test_weights_that_start_at_zero_are_not_taken_for_pruned_ones(tiny_data, trainer):
    model = tiny_classifier()
    nn.init.zeros_(model.network.head.weight)
    trainer(callbacks=[MagnitudePruning(0.5, "1000st", "2000st")], max_epochs=1).fit(model, tiny_data)
    assert sparsity([model.network.head.weight]) == 0


def test_accumulation_counts_optimizer_steps(tiny_data, trainer):
    model = tiny_classifier()
    run = trainer(callbacks=[MagnitudePruning(0.5, "0st", "1st", every=1)], max_epochs=2, accumulate_grad_batches=3)
    run.fit(model, tiny_data)
    assert run.global_step == 2 and sparsity([model.network.block2.conv1.weight]) == pytest.approx(0.5, abs=1e-3)


def test_hooks_leave_the_optimizer_also_when_the_run_fails(tiny_data, trainer):
    def fail(trainer, model):
        raise RuntimeError("as planned")

    run = trainer(callbacks=[MagnitudePruning(), At("on_train_batch_end", fail)])
    with pytest.raises(RuntimeError, match="as planned"):
        run.fit(tiny_classifier(), tiny_data)
    assert all(not o._optimizer_step_post_hooks for o in run.optimizers)


def test_refusals(tiny_data, trainer):
    for wrong in ({"final": 1.0}, {"final": 0.0}, {"every": 0}, {"start": "soon"}):
        with pytest.raises(ValueError, match="final must be|every must be|a time is"):
            MagnitudePruning(**wrong)
    with pytest.raises(TypeError, match="take MagnitudePruning out"):
        MagnitudePruning().setup(trainer(), Classifier(nn.Sequential(nn.Flatten()), num_classes=2), "fit")
    with pytest.raises(ValueError, match="is before start='5st'"):
        trainer(callbacks=[MagnitudePruning(start="5st", end="2st")]).fit(tiny_classifier(), tiny_data)
