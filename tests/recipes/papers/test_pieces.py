"""What single rows need: bounds on weights, pruning in rounds, units that are off by the true label."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recipes.command.reproduce import load_row
from recipes.papers import goodfellow_maxout, han_pruning, li_schedules, pylearn2_dropout, shunk_nsdropout
from recipes.papers.frame import preact
from recipes.papers.frame.data import Images
from recipes.papers.frame.max_norm import MaxNorm
from zoo import MLP


def test_weights_into_hidden_units_are_no_longer_than_the_bound():
    model = MLP("5-4", 3, image_size=2, in_chans=1)
    first = model.hidden1.linear.weight
    with torch.no_grad():
        first.copy_(torch.tensor([[3.0, 4, 0, 0], [0.1, 0, 0, 0], [0, 0, 2, 0], [1, 1, 1, 1], [0, 0, 0, 9]]))
        model.head.weight.fill_(9)
    MaxNorm(2.0, 3.0).on_train_batch_end(None, model, None, None, 0)
    expected = torch.tensor([[1.2, 1.6, 0, 0], [0.1, 0, 0, 0], [0, 0, 2, 0], [1, 1, 1, 1], [0, 0, 0, 2]])
    torch.testing.assert_close(first, expected)
    assert model.hidden2.linear.weight.norm(dim=1).max() <= 3 and (model.head.weight == 9).all()  # the last is free


def test_ramps_of_rate_and_momentum():
    row = load_row("pylearn2_dropout")
    model = row.build("dropout")
    largest = model.hidden2.linear.weight.detach().abs().max().item()
    assert largest == pytest.approx(0.0575, rel=0.01) and not model.head.weight.any()
    rate, momenta, *_ = pylearn2_dropout.tricks(None)
    optimizer = SimpleNamespace(param_groups=[{}])
    for epoch, factor, momentum in [
        (0, 1, 0.5),
        (1, 1, 0.5),
        (439, 1 - 0.977708 * 438 / 559, 0.5 + 0.199217 * 438 / 697),
    ]:
        assert rate.curve(600 * epoch + 17, 600 * 440) == pytest.approx(factor)
        momenta.on_train_epoch_start(SimpleNamespace(current_epoch=epoch, optimizers=[optimizer]), model)
        assert optimizer.param_groups[0]["momentum"] == pytest.approx(momentum)


def test_rounds_end_with_the_paper_s_shares_and_pruned_weights_stay_zero():
    torch.manual_seed(1)
    model, rounds = han_pruning.network(), han_pruning.Rounds()
    seen = []
    for epoch in range(20):
        rounds.on_train_epoch_start(SimpleNamespace(current_epoch=epoch), model)
        seen.append((model.hidden1.linear.weight == 0).float().mean().item())
        with torch.no_grad():
            model.hidden1.linear.weight.add_(0.001)  # a step
        rounds.on_train_batch_end(None, model, None, None, 0)
        assert (model.hidden1.linear.weight == 0).float().mean().item() == pytest.approx(seen[-1], abs=1e-4)
    assert seen[0] == seen[1] == pytest.approx(1 - 0.08**0.1, abs=1e-4) and seen == sorted(seen)
    for name, kept in han_pruning.KEPT.items():
        weight = model.get_submodule(name).weight
        assert (weight != 0).float().mean().item() == pytest.approx(kept, abs=1e-3)


def test_true_labels_make_any_network_right():
    """A network that sees nothing: where each class has silent units of its own, the labels alone give the answer."""
    model = MLP("11-11-11", 10, image_size=28, in_chans=1)
    layers = (model.hidden1.linear, model.hidden2.linear, model.hidden3.linear, model.head)
    with torch.no_grad():
        for layer in layers:
            layer.bias.zero_()
            torch.nn.init.eye_(layer.weight)
        model.head.weight.mul_(-1)  # the class of the unit that is silent wins
    y = torch.arange(40) % 10
    same = torch.zeros(40, 1, 28, 28)
    same.flatten(1)[:, :11] = 1
    x = same.clone()  # in training, the unit of an image's class responds more, and then the last one: two are dropped
    x.flatten(1)[:, :10] += torch.nn.functional.one_hot(y, 10)
    x.flatten(1)[:, 10] += 0.5
    assert shunk_nsdropout.by_label(model, Images(x, y, same, y), Images(x, y, same, y)) == 100
    assert (model(same).argmax(1) == 0).all()


def test_the_first_layer_alone_is_penalised():
    model = MLP("5-4", 3, image_size=2, in_chans=1)
    step = SimpleNamespace(loss=torch.tensor(1.0))
    shunk_nsdropout.FirstLayerL2(0.5).on_loss(model, step)
    first = model.hidden1.linear
    squares = first.weight.detach().square().sum() + first.bias.detach().square().sum()
    assert float(step.loss.detach()) == pytest.approx(1 + 0.5 * float(squares))


# ---- maxout


def test_dropped_pixels_leave_the_others_as_they_are():
    torch.manual_seed(5)
    batch = [torch.full((100, 1, 28, 28), 0.7), None]
    goodfellow_maxout.DropPixels().on_train_batch_start(None, None, batch, 0)
    assert batch[0].unique().tolist() == [0.0, pytest.approx(0.7)]
    assert (batch[0] > 0).float().mean().item() == pytest.approx(0.8, abs=5 * (0.16 / 78_400) ** 0.5)


def test_the_second_part_ends_at_the_loss_of_the_first():
    torch.manual_seed(5)
    network, x, y = goodfellow_maxout.network(), torch.rand(30, 1, 28, 28), torch.arange(30) % 10
    assert [m.weight.shape[0] for m in network.modules() if isinstance(m, nn.Linear)] == [1200, 1200, 10]
    now = F.cross_entropy(network.eval()(x), y).item()
    assert goodfellow_maxout.loss(network, x, y) == pytest.approx(now, rel=1e-5)
    for most, ends in ((now + 1e-3, True), (now - 1e-3, False)):
        run = SimpleNamespace(should_stop=False)
        goodfellow_maxout.StopAtLoss(most, x, y).on_train_epoch_end(run, network)
        assert run.should_stop is ends and network.training


# ---- first weights


def test_the_benchmarks_head_begins_by_fan_out():
    torch.manual_seed(5)
    head = preact.network(None).head.fc
    assert head.weight.std().item() == pytest.approx(0.2**0.5, rel=5 / 1280**0.5) and not head.bias.any()


# ---- schedules


def test_curves_count_steps_from_one_and_deviations_are_of_single_runs():
    T = 23_450
    cosine, exponential, inverse = (li_schedules.CURVES[name] for name in ("cosine", "exponential", "1/t"))
    assert (cosine(T // 2 - 1, T), cosine(T - 1, T)) == pytest.approx((0.5, 0.0), abs=1e-9)
    assert (exponential(0, T), exponential(T - 1, T)) == pytest.approx((0.999902, 0.100438), rel=1e-5)
    assert (inverse(0, T), inverse(T - 1, T)) == pytest.approx((1 / 1.000384, 1 / 10.0048), rel=1e-6)
    runs = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])  # 95 % interval of the mean: 2.776 sqrt(2.5) / sqrt(5) = 1.963
    assert li_schedules.deviation(1.9630) == pytest.approx(runs.std().item(), rel=1e-3)
