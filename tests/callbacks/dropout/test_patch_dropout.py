import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from callbacks import AttentionPatchDropout, Linear, PatchDropout
from callbacks.dropout.patch_dropout import drop_patches, fraction_now
from tests.callbacks.conftest import hooks
from zoo import Classifier, DeiT, PatchSlimming, ResNet, ViT
from zoo.layers.token_classifier import TokenRow

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "patchdropout.json").read_text())
TIMM = {"img_size": 8, "patch_size": 1, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 10}


@pytest.fixture(autouse=True)
def nano(monkeypatch):
    """A variant of width 8, small enough for a test."""
    for model in (ViT, DeiT):
        row = next(iter(model.variants.values()))
        monkeypatch.setitem(model.variants, "nano", replace(row, width=8, depth=2, heads=2))


def test_drops_what_the_authors_code_drops():
    tokens = torch.tensor(ORACLE["input"])[None]
    left = drop_patches(tokens, torch.tensor([ORACLE["random"]["r"]]), ORACLE["params"]["keep_rate"], 1)
    torch.testing.assert_close(left[0], torch.tensor(ORACLE["expected"]["output"]))


def test_as_many_as_the_authors_keep():
    for row in ORACLE["keep_counts"]:
        patches, count = row["L"], max(1, row["official_int_L_times_keep"])
        assert drop_patches(torch.zeros(1, patches, 1), torch.rand(1, patches), row["keep_rate"], 0).shape[1] == count


def test_every_patch_has_the_same_chance_and_an_image_its_own_draw():
    torch.manual_seed(0)
    tokens = torch.arange(9.0)[None, :, None].expand(4000, -1, -1)
    left = drop_patches(tokens, torch.rand(4000, 8), 0.5, 1)[:, 1:, 0]
    fraction = torch.stack([(left == i).any(1).float().mean() for i in range(1, 9)])
    torch.testing.assert_close(fraction, torch.full((8,), 0.5), rtol=0, atol=0.03)
    assert len({tuple(row) for row in left.tolist()}) > 60  # of 70


def lengths(trainer, data, model, vit, trick, **arguments):
    """Return the numbers of tokens in the first block, in training and in evaluation."""
    seen, before = {True: [], False: []}, hooks(model)
    handle = vit.blocks[0].register_forward_hook(
        lambda block, inputs, output: seen[block.training].append(inputs[0].shape[1])
    )
    trainer(callbacks=[trick], **{"num_sanity_val_steps": 0} | arguments).fit(model, data, data)
    handle.remove()
    assert hooks(model) == before
    return seen[True], seen[False]


@pytest.mark.parametrize("make", [ViT, DeiT])
def test_on_our_models_the_tokens_before_the_patches_stay(make, trainer, tiny_data):
    model, prefix = make("nano", num_classes=10, image_size=8), make.prefix
    first = []
    handle = model.blocks[0].register_forward_pre_hook(lambda block, inputs: first.append(inputs[0][:, :prefix]))
    training, evaluation = lengths(trainer, tiny_data, model, model, PatchDropout(0.25))
    handle.remove()
    assert {*training} == {prefix + 16} and {*evaluation} == {prefix + 64}
    assert all((tokens == tokens[:1]).all() for tokens in first)  # equal in every image


@pytest.mark.parametrize("kind", [timm.models.VisionTransformer, timm.models.deit.VisionTransformerDistilled])
def test_on_timms(kind, trainer, tiny_data):
    network = kind(**TIMM)
    model, prefix = Classifier(network), network.num_prefix_tokens
    training, evaluation = lengths(trainer, tiny_data, model, network, PatchDropout(0.5))
    assert prefix == (2 if "Distilled" in kind.__name__ else 1)
    assert {*training} == {prefix + 32} and {*evaluation} == {prefix + 64}


def test_a_share_for_each_batch(trainer, tiny_data):
    model = ViT("nano", num_classes=10, image_size=8)
    training, _ = lengths(trainer, tiny_data, model, model, PatchDropout((0.5, 1.0)))
    assert len({*training}) > 3 and min(training) >= 33 and max(training) <= 65


def test_shares_are_uniform():
    torch.manual_seed(0)
    shares = torch.tensor([fraction_now((0.5, 1.0), None) for _ in range(5000)])
    assert shares.min() >= 0.5 and shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.75, abs=0.01)  # the paper's; the authors' code .875
    assert shares.var().item() == pytest.approx(0.25 / 12, rel=0.1)


def test_a_schedule(trainer, tiny_data):
    model = ViT("nano", num_classes=10, image_size=8)
    training, _ = lengths(trainer, tiny_data, model, model, PatchDropout(Linear(1.0, 0.5, until="4st")))
    assert training == [65, 57, 49, 41, 33, 33]


def test_refuses_fixed_maps_and_windows(trainer, tiny_data):
    swin = Classifier(timm.models.SwinTransformer(img_size=32, window_size=4, embed_dim=8, num_heads=(1, 1, 1, 1)))
    for model in (ResNet("20", num_classes=10, image_size=8), swin):
        with pytest.raises(TypeError, match="has none: its maps or windows are of a fixed size"):
            trainer(callbacks=[PatchDropout()]).fit(model, tiny_data)


@pytest.mark.parametrize("trick", [PatchDropout, AttentionPatchDropout])
def test_refuses_a_slim_network(trick, trainer, tiny_data, monkeypatch):
    """Its blocks keep certain patches, so it is refused; before slimming, the network is accepted."""
    monkeypatch.setitem(PatchSlimming.variants, "nano", TokenRow(8, 4, 2))
    whole = PatchSlimming("nano", num_classes=10, image_size=8)
    with pytest.raises(TypeError, match=f"PatchSlimming is slim, .* take {trick.__name__} out"):
        trainer(callbacks=[trick()]).fit(whole.slim([[*range(65)], [*range(9)], [0], [0]]), tiny_data)
    trainer(callbacks=[trick()], max_epochs=1).fit(whole, tiny_data)


@pytest.mark.parametrize("keep", [0.0, 1.5, (0.0, 1.0), (0.5, 1.1), Linear(0, 1)])
def test_refuses_a_share_out_of_range(keep):
    with pytest.raises(ValueError, match="keep must be in"):
        PatchDropout(keep)
