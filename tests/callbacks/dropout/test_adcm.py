"""ADCM: attention and masks by hand, draws, evaluation, and the modules where it is added."""

import pytest
import torch
from torch import nn

import zoo
from callbacks import ADCM
from callbacks.dropout.adcm import AttentionDropout, mask
from tests.conftest import tiny_classifier


def module(c=20, p=0.3):
    torch.manual_seed(0)
    new = AttentionDropout(c, p)
    for conv in (new.reduce, new.spread):
        nn.init.normal_(conv.weight, std=0.3)
    return new


def test_those_of_more_attention_stay_more_often():
    """Two of the weights 1, 2, 3, 4 are drawn: exact probabilities .2345, .4413, .6083, .7159."""
    torch.manual_seed(0)
    s = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(20000, 4)
    masks = mask(s, torch.rand(20000, 4), 2)
    assert torch.equal(masks.sum(1), torch.full((20000,), 2.0))
    expected = torch.tensor([0.2345, 0.4413, 0.6083, 0.7159])
    torch.testing.assert_close(masks.mean(0), expected, rtol=0, atol=0.015)


def test_evaluation_by_hand():
    """Compute channel by channel and pixel by pixel; nothing is drawn."""
    new, x = module(4).eval(), torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        y = new(x)
        for i, image in enumerate(x):
            a = image.relu().flatten(1)
            pools = [image.mean((1, 2)), image.amax((1, 2)), (a**2).sum(1) / a.sum(1)]
            s = torch.sigmoid(sum(new.excite(new.squeeze(pool).relu()) for pool in pools))
            image = torch.stack([channel * weight for channel, weight in zip(image, s, strict=True)])
            at = torch.sigmoid(new.spread(new.reduce(image[None])))[0, 0]
            torch.testing.assert_close(y[i], image * at)
    assert torch.equal(new(x), new(x))


def test_training_drops_the_share_of_channels_and_of_pixels():
    new, x = module(20, 0.3), torch.rand(6, 20, 5, 5) + 0.1
    y = new.train()(x)
    channels, pixels = y.abs().sum((2, 3)) > 0, y.abs().sum(1) > 0
    assert torch.equal(channels.sum(1), torch.full((6,), 14))  # ceil(.7 20)
    assert torch.equal(pixels.flatten(1).sum(1), torch.full((6,), 18))  # ceil(.7 25)
    assert len({tuple(row.tolist()) for row in channels}) > 1  # each example has its own
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in new.parameters())


def test_what_stays_is_weighed_as_in_evaluation(monkeypatch):
    """p is so small that nothing is dropped, and stochastic pooling is as in evaluation."""
    new, x = module(20, 1e-6), torch.randn(2, 20, 5, 5)
    expected = new.eval()(x)
    mean = new.draw_activation(x.flatten(2).relu())
    monkeypatch.setattr(AttentionDropout, "draw_activation", lambda self, a: mean)
    assert torch.equal(new.train()(x), expected)


def test_stochastic_pooling_draws_in_proportion():
    new, a = module(1), torch.tensor([0.0, 1.0, 3.0]).expand(8000, 1, 3)
    drawn = new.train().draw_activation(a)
    assert drawn.shape == (8000, 1) and {*drawn.flatten().tolist()} == {1.0, 3.0}
    assert (drawn == 3).float().mean().item() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(new.eval().draw_activation(a[:1]), torch.tensor([[10 / 4]]))


@pytest.mark.parametrize("training", [True, False])
def test_dead_and_single_maps(training):
    for x in (torch.zeros(2, 20, 4, 4), -torch.ones(2, 20, 4, 4), torch.rand(2, 20, 1, 1)):
        with torch.autocast("cpu", torch.bfloat16):
            y = module().train(training)(x.bfloat16())
        assert y.isfinite().all() and y.shape == x.shape
    assert module(1).train(training)(torch.rand(2, 1, 3, 3)).shape == (2, 1, 3, 3)


def test_behind_the_last_two_stages_and_the_old_names_stay(trainer, tiny_data):
    model = tiny_classifier()
    before = {*model.state_dict()}
    trainer(callbacks=[ADCM(0.5)], max_epochs=1).fit(model, tiny_data, tiny_data)
    assert before < {*model.state_dict()}
    assert model.network.block1.adcm.reduce.in_channels == 8 and model.network.block2.adcm.p == 0.5
    x = torch.randn(2, 3, 8, 8)
    block = model.network.block1.eval()
    with torch.no_grad():
        plain = block.relu(block.bn1(block.conv1(x)) + block.downsample(x))
        assert torch.equal(block(x), block.adcm(plain))


def test_in_a_sequential_stage_it_runs_once(trainer):
    model = zoo.ResNet("20", num_classes=10, image_size=8)
    ADCM(where="stage2").setup(trainer(), model, "fit")
    stage, x = model.stages["stage2"].eval(), torch.randn(2, 16, 8, 8)
    assert type(stage) is nn.Sequential and type(stage[-1]) is AttentionDropout
    with torch.no_grad():
        assert torch.equal(stage(x), stage.adcm(stage[:-1](x)))


def test_refusals(trainer, tiny_data):
    for bad in ({"p": 0}, {"p": 1}, {"p": 1.5}, {"where": "input"}, {"where": "classifier"}):
        with pytest.raises(ValueError, match="ADCM"):
            ADCM(**bad)
    with pytest.raises(TypeError, match="acts on maps"):
        trainer(callbacks=[ADCM(where="network.head")]).fit(tiny_classifier(), tiny_data)
    with pytest.raises(ValueError, match="both add attention with dropout"):
        trainer(callbacks=[ADCM(), ADCM(0.2)]).fit(tiny_classifier(), tiny_data)
