import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from callbacks import DropHead, VShape
from callbacks.dropout.drop_head import head_scales
from tests.callbacks.conftest import At, hooks
from tests.closed_form import fill
from tests.conftest import TinyTransformer, tiny_classifier
from zoo import Classifier, ResNet
from zoo.layers.attention import Attention

DATA = Path(__file__).parents[2] / "data"
ORACLE = json.loads((DATA / "drophead.json").read_text())
VIT = json.loads((DATA / "drophead_vit.json").read_text())


def test_scales_by_hand():
    scales = head_scales(torch.tensor([[0.3, 0.1, 0.2, 0.9], [0.1, 0.15, 0.05, 0.0]]), 0.2)
    expected = torch.tensor(
        [[4 / 3, 0, 4 / 3, 4 / 3], [0, 4, 0, 0]]
    )  # all heads of the second row would be dropped: the largest is kept
    torch.testing.assert_close(scales, expected)


def test_output_is_the_equation():
    mask = torch.tensor([ORACLE["random"]["head_mask"]], dtype=torch.float32)
    y = torch.tensor(ORACLE["input"]) * head_scales(mask, 0.5)[0, :, None, None]
    torch.testing.assert_close(y, torch.tensor(ORACLE["expected"]["output"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Attention, timm.layers.Attention])
def test_attention_without_some_heads(kind, monkeypatch):
    """Our attention and timm's, hooked as in a fit, give the reference's numbers for its draws."""
    attn = kind(8, 4, qkv_bias=True).double()
    with torch.no_grad():
        for i, p in enumerate(attn.parameters()):
            p.copy_(fill(*p.shape, s=0.1 + i, a=0.3))
    x, trick = fill(2, 3, 8, s=0.4, a=1), DropHead(0.5)
    plain = torch.tensor(VIT["out_no_drop"], dtype=torch.float64)
    torch.testing.assert_close(attn(x), plain, rtol=0, atol=1e-8)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.tensor(VIT["keep"], dtype=torch.float64))
    trick.on_fit_start(None, attn)
    trick._now = 0.5
    torch.testing.assert_close(attn(x), torch.tensor(VIT["out"], dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(attn.eval()(x), plain, rtol=0, atol=1e-8)
    trick.teardown(None, attn, "fit")
    assert hooks(attn) == 0


@pytest.mark.parametrize(("heads", "p"), [(3, 0.2), (4, 0.5), (3, 0.95)])
def test_the_expected_scale_is_one_and_no_example_loses_all(heads, p):
    torch.manual_seed(0)
    scales = head_scales(torch.rand(20_000, heads), p)
    torch.testing.assert_close(scales.sum(1), torch.full((20_000,), float(heads)))
    torch.testing.assert_close(scales.mean(0), torch.ones(heads), rtol=0, atol=0.05)
    kept = 1 - p + p**heads / heads  # a head is kept by its draw, or as the last one
    assert (scales > 0).float().mean().item() == pytest.approx(kept, abs=0.01)


@pytest.mark.parametrize("low", ["20st", "0.2dur"])
def test_v_shaped_schedule(low):
    made = ORACLE["schedule"]
    schedule, run = (
        VShape(made["p_start"], made["p_end"], low),
        {"train_dataloader": [], "estimated_stepping_batches": 100, "limit_train_batches": 1.0},
    )
    values = {
        step: schedule.now(SimpleNamespace(global_step=int(step), callbacks=[], **run)) for step in made["values"]
    }
    assert values == pytest.approx(made["values"], abs=1e-9)
    assert DropHead().p == VShape(0.2, 0.2, "0.2dur")


def test_the_rate_follows_the_schedule(trainer, tiny_data):
    trick, seen = DropHead(VShape(0.4, 0.8, "2st")), []
    look = At("on_train_batch_start", lambda trainer, model: seen.append(trick._now))
    trainer(callbacks=[trick, look], limit_val_batches=0).fit(tiny_classifier(network=TinyTransformer), tiny_data)
    assert seen == pytest.approx([0.4, 0.2, 0, 0.2, 0.4, 0.6])


def test_every_layer_and_example_has_a_draw_of_its_own(trainer, tiny_data):
    model, scales = tiny_classifier(network=TinyTransformer), []
    for block in model.network.blocks:
        block.attn.heads_out.register_forward_hook(Ratio(scales))
    run = trainer(callbacks=[Unit(), DropHead(0.5)], max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    run.fit(model, tiny_data)
    assert len(scales) == 4
    assert len({tuple(layer.flatten().tolist()) for layer in scales}) > 1
    assert len({tuple(row) for layer in scales for row in layer.tolist()}) > 1


class Ratio:
    """A hook before DropHead's that sets the heads' outputs to 1, so that DropHead's outputs are its scales."""

    def __init__(self, scales):
        self.scales = scales

    def __call__(self, module, inputs, output):
        return torch.ones_like(output)


class Unit(At):
    """Record the outputs of `heads_out`, by a hook on the projection."""

    def __init__(self):
        super().__init__("on_fit_start", self.look)

    def look(self, trainer, model):
        for block in model.network.blocks:
            ratio = next(iter(block.attn.heads_out._forward_hooks.values()))
            block.attn.proj.register_forward_pre_hook(
                lambda m, inputs, ratio=ratio: ratio.scales.append(inputs[0][:, 0, :: inputs[0].shape[2] // 2].detach())
            )


def test_on_timms(trainer, tiny_data):
    torch.manual_seed(0)
    options = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 2, "num_heads": 2, "num_classes": 10}
    model, zeros = Classifier(timm.models.VisionTransformer(**options)), []
    model.network.blocks[0].attn.proj = Seen(8, zeros)
    trainer(callbacks=[DropHead(0.5)], max_epochs=4, limit_val_batches=0).fit(model, tiny_data)
    assert 0.2 < torch.cat(zeros).float().mean() < 0.55  # p - p^H / H = .375 of the heads
    assert hooks(model) == 0


class Seen(nn.Linear):
    """An output projection that records which heads are 0."""

    def __init__(self, width, zeros):
        super().__init__(width, width)
        self.zeros = zeros

    def forward(self, x):
        self.zeros.append((x.unflatten(-1, (2, -1)) == 0).all(-1).all(1))
        return super().forward(x)


def test_refusals(trainer, tiny_data):
    with pytest.raises(TypeError, match="DropHead drops heads of attention, and ResNet has none"):
        trainer(callbacks=[DropHead()]).fit(ResNet("20", num_classes=10, image_size=8), tiny_data)
    for p in (0, 1.5, -0.1, VShape(1.2, 0)):
        with pytest.raises(ValueError, match="DropHead: p must be in"):
            DropHead(p)
