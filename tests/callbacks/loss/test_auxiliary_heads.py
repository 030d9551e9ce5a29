"""Auxiliary heads: their logits, their training, their term of the loss, and files of the model without them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from callbacks import EMA, AuxiliaryHeads, FocalLoss, Linear
from callbacks.loss.auxiliary_heads import Heads, pool, widths_of
from callbacks.loss.focal import focal_loss
from tests.callbacks.conftest import At, SeenSteps, hooks, weights
from tests.conftest import tiny_classifier
from zoo import Classifier, LossTrick, ResNet, Step, ViT


def test_means_over_positions():
    torch.manual_seed(0)
    maps, tokens = torch.randn(2, 3, 4, 5), torch.randn(2, 7, 3)
    torch.testing.assert_close(pool(maps), maps.flatten(2).mean(2))
    torch.testing.assert_close(pool(tokens), tokens.sum(1) / 7)


def test_heads_by_hand_and_in_no_state():
    heads = Heads({"a": 3, "b.0": 2}, 4)
    x = {"a": torch.randn(5, 3, 2, 2), "b.0": torch.randn(5, 6, 2)}
    for i, (z, (name, width)) in enumerate(zip(heads(x), (("a", 3), ("b.0", 2)), strict=True)):
        weight, bias = getattr(heads, f"weight{i}"), getattr(heads, f"bias{i}")
        assert weight.shape == (4, width) and weight.abs().max() <= width**-0.5 and weight.std() > 0.3 * width**-0.5
        torch.testing.assert_close(z, pool(x[name]) @ weight.T + bias)
    whole = nn.Sequential(nn.Linear(2, 2), heads)
    assert whole.state_dict().keys() == {"0.weight", "0.bias"} and len([*whole.parameters()]) == 6
    whole.load_state_dict(whole.state_dict())


@pytest.mark.parametrize(
    "model, size, expected",
    [
        (tiny_classifier(), 8, [8, 16]),
        (ResNet("20", num_classes=10, image_size=32), 32, [16, 32, 64]),
        (ViT("Ti/16", num_classes=10, image_size=32), 32, [192] * 4),
    ],
    ids=["tiny", "resnet", "vit"],
)
def test_widths_leave_the_model_as_it_was(model, size, expected):
    before, state = [module.training for module in model.modules()], weights(model)
    found = widths_of(model, [*model.stages], size)
    assert [*found.values()][: len(expected)] == expected
    assert [module.training for module in model.modules()] == before and hooks(model) == 0
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


@pytest.mark.parametrize("focal", [False, True])
def test_counts_in_whichever_loss_is_trained(tiny_model, tiny_data, trainer, focal):
    steps, trick = SeenSteps(), AuxiliaryHeads(("stage1", "stage2"), Linear(0, 0.6))
    tricks = [*([FocalLoss(2.0)] if focal else []), trick, steps]
    trainer(callbacks=tricks).fit(tiny_model, tiny_data)
    assert len(steps.steps) == 6
    for i, step in enumerate(steps.steps):
        y = F.one_hot(step.targets, 10)
        loss = [focal_loss(z, y) if focal else F.cross_entropy(z, step.targets) for z in (step.logits, *aux(step))]
        assert len(loss) == 3 and [weight for weight, _ in step.extras["aux"]] == pytest.approx([0.1 * i] * 2)
        torch.testing.assert_close(step.loss, loss[0] + 0.1 * i * (loss[1] + loss[2]))


def aux(step):
    return [z for _, z in step.extras["aux"]]


def test_heads_are_trained_and_reach_the_stage(tiny_model, tiny_data, trainer):
    """With one head, on stage 1, and no gradient from the network's own loss, stage 1 learns and later ones do not."""
    of_heads = SeenSteps()

    def on_loss(model, step):
        step.loss = step.loss - F.cross_entropy(step.logits, step.targets)

    of_heads.on_loss = on_loss
    trick, grads = AuxiliaryHeads(("stage1",), 1.0), {}
    look = At(
        "on_before_optimizer_step",
        lambda trainer, model: grads.update({n: p.grad.abs().max().item() for n, p in model.named_parameters()}),
    )
    trainer(callbacks=[trick, of_heads, look], max_epochs=1).fit(tiny_model, tiny_data)
    assert grads["auxiliary_heads.weight0"] > 0 and grads["network.block1.conv1.weight"] > 0
    assert grads["network.block2.conv1.weight"] < 1e-6 and grads["network.head.weight"] < 1e-6
    fresh = Heads({"stage1": 8}, 10)
    assert not torch.equal(trick.state_dict()["weight0"], fresh.weight0)


def test_all_but_the_last_stage_by_default(tiny_model, tiny_data, trainer):
    steps = SeenSteps()
    trainer(callbacks=[AuxiliaryHeads(), steps], max_epochs=1).fit(tiny_model, tiny_data)
    assert len(aux(steps.steps[0])) == 1


@pytest.mark.parametrize("weights_only", [False, True])
def test_files_and_averages_of_the_model_are_without_them(tiny_data, trainer, tmp_path, weights_only):
    file, trick = tmp_path / "file.ckpt", AuxiliaryHeads()
    save = At("on_train_epoch_end", lambda t, _: t.save_checkpoint(file, weights_only))
    run = trainer(callbacks=[trick, EMA(0.5), save], max_epochs=1)
    run.fit(tiny_classifier(), tiny_data)
    content = torch.load(file, weights_only=True)
    plain = tiny_classifier().state_dict().keys()
    assert content["state_dict"].keys() == plain and content["averages"]["EMA(0.5)"].keys() == plain
    Classifier.load_from_checkpoint(file, network=tiny_classifier().network, strict=True)
    if not weights_only:
        state = content["callbacks"][trick.state_key]
        assert all(torch.equal(value, state[name]) for name, value in trick.state_dict().items())


def test_a_file_written_after_the_fit_has_them_too(tiny_data, trainer, tmp_path):
    first, trick = trainer(callbacks=[AuxiliaryHeads()], max_epochs=1), AuxiliaryHeads()
    first.fit(tiny_classifier(), tiny_data)
    first.save_checkpoint(tmp_path / "file.ckpt")
    seen = {}
    look = At("on_train_start", lambda t, m: seen.update({n: v.clone() for n, v in trick.state_dict().items()}))
    trainer(callbacks=[trick, look]).fit(tiny_classifier(), tiny_data, ckpt_path=tmp_path / "file.ckpt")
    kept = next(c for c in first.callbacks if isinstance(c, AuxiliaryHeads)).state_dict()
    assert kept.keys() == seen.keys() and all(torch.equal(kept[name], seen[name]) for name in kept)


class Careless(Classifier):
    """A module that calls its network instead of itself."""

    def training_step(self, batch, batch_idx):
        logits = self.network(batch[0])
        step = Step(*batch, logits, F.cross_entropy(logits, batch[1]))
        for trick in self.trainer.callbacks:
            if isinstance(trick, LossTrick):
                trick.on_loss(self, step)
        return step.loss


def test_refusals(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="weight must be"):
        AuxiliaryHeads(weight=0)
    with pytest.raises(ValueError, match="did you mean 'stage"):
        trainer(callbacks=[AuxiliaryHeads(("stage3",))]).fit(tiny_model, tiny_data)
    one = Classifier(tiny_model.network, stages={"stage1": "block1"})
    with pytest.raises(ValueError, match="one stage, which has a head already"):
        trainer(callbacks=[AuxiliaryHeads()]).fit(one, tiny_data)
    careless = Careless(tiny_model.network, stages={"stage1": "block1", "stage2": "block2"})
    with pytest.raises(TypeError, match="must call the model as `self"):
        trainer(callbacks=[AuxiliaryHeads()]).fit(careless, tiny_data)
    assert hooks(careless) == 0 and not hasattr(careless, "auxiliary_heads")
