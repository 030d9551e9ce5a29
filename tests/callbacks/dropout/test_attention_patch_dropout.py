import json
import math
from itertools import permutations
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from callbacks import AttentionPatchDropout
from callbacks.dropout.attention_patch_dropout import choose, class_attention
from tests.callbacks.conftest import hooks
from tests.conftest import TinyTransformer, tiny_classifier
from zoo import Classifier, DynamicViT, EViT, ResNet
from zoo.layers.attention import Attention

DATA = Path(__file__).parents[2] / "data"
ORACLE = json.loads((DATA / "attention_patch_dropout.json").read_text())
DRAWS = json.loads((DATA / "attention_token_drop.json").read_text())
TIMM = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 4, "num_heads": 2, "num_classes": 10}


@pytest.mark.parametrize(
    ("mode", "drop", "tau"),
    [
        ("keep_high_topk", "low", 0),
        ("drop_high_topk", "high", 0),
        ("sample_keep_prob_prop_to_score(Gumbel top-k)", "low", 1),
    ],
)
def test_modes(mode, drop, tau):
    scores, u = torch.tensor(ORACLE["score"]), torch.tensor(ORACLE["uniforms"])
    assert choose(scores, u, 4, drop, tau).tolist() == ORACLE["keep_index"][mode]


def test_what_the_other_form_drops_is_what_low_would_keep():
    """The other form draws the dropped patches in proportion to a, instead of the kept ones in proportion to 1 / a."""
    scores, u = torch.tensor(ORACLE["score"]), torch.tensor(ORACLE["uniforms"])
    gone = choose(scores, u, 2, "low", 1).tolist()
    kept = [[i for i in range(6) if i not in row] for row in gone]
    assert kept == ORACLE["keep_index"]["sample_drop_prob_prop_to_score"]


@pytest.mark.parametrize("tau", ["0.5", "1.0", "4.0"])
@pytest.mark.parametrize(("drop", "name"), [("low", "keep_important"), ("high", "drop_important")])
def test_draws(tau, drop, name):
    """Compare the kept patches for given noise, and their frequencies over many draws with exact probabilities."""
    scores, made = torch.tensor([DRAWS["input"]["attention"]]), DRAWS["expected"]["by_temperature"][tau][name]
    u = (-(-torch.tensor([DRAWS["random"]["gumbel"]])).exp()).exp()
    assert choose(scores, u, 3, drop, float(tau)).tolist() == [made["kept"]]
    torch.manual_seed(0)
    index = choose(scores.expand(20_000, -1), torch.rand(20_000, 5), 3, drop, float(tau))
    share = torch.zeros(20_000, 5).scatter(1, index, 1.0).mean(0)
    torch.testing.assert_close(share, torch.tensor(made["inclusion_probability"]), rtol=0, atol=0.015)


def test_its_limit_is_patch_dropout():
    """At tau = infinity the scores do not matter, not even where they are 0."""
    u = torch.rand(3, 9)
    index = choose(torch.tensor([0.0, 1, *[0.5] * 7]).expand(3, -1), u, 4, "high", math.inf)
    assert torch.equal(index, u.topk(4).indices.sort(1).values)


@pytest.mark.parametrize("kind", [Attention, timm.layers.Attention])
def test_scores_are_the_class_tokens_row_of_the_map(kind):
    torch.manual_seed(0)
    ours = Attention(12, 3)
    attn, x = kind(12, 3, qkv_bias=True), torch.randn(2, 7, 12)
    attn.load_state_dict(ours.state_dict())
    scores = class_attention(attn.qkv(x), attn, 2)
    torch.testing.assert_close(scores, ours.map(x)[:, :, 0, 2:].mean(1))
    assert not scores.requires_grad


def look(trainer, data, trick, model, network):
    """Return the tokens after each block, in training and in evaluation, and the inputs of the blocks after `where`."""
    seen = {True: [], False: []}
    handles = [
        block.register_forward_hook(lambda block, inputs, output: seen[block.training].append(inputs[0].shape[1]))
        for block in network.blocks
    ]
    trainer(callbacks=[trick], max_epochs=1, num_sanity_val_steps=0).fit(model, data, data)
    for handle in handles:
        handle.remove()
    assert hooks(model) == 0
    return seen


@pytest.mark.parametrize("make", ["ours", "timm"])
def test_tokens_go_after_the_block(make, trainer, tiny_data):
    torch.manual_seed(0)
    model = tiny_classifier(network=TinyTransformer)
    if make == "timm":
        model = Classifier(timm.models.VisionTransformer(**TIMM))
    seen = look(trainer, tiny_data, AttentionPatchDropout(0.3, where=2), model, model.network)
    assert seen[True] == [17, 17, 13, 13] * 3  # 16 - floor(4.8)
    assert seen[False] == [17] * 12


@pytest.mark.parametrize(("drop", "gone"), [("high", 5), ("low", 2)])
def test_the_patch_that_is_looked_at_most_or_least_goes(drop, gone, trainer, tiny_data):
    """The class token's query matches one patch's key, and is opposite to another's."""
    model = tiny_classifier(network=TinyTransformer)
    block, left = model.network.blocks[0], []
    model.network.patch_drop = Marked()
    block.norm1 = nn.Identity()
    nn.init.zeros_(block.attn.qkv.weight)
    nn.init.zeros_(block.attn.qkv.bias)
    block.attn.qkv.bias.data[:4] = 1.0  # queries of the first head
    block.attn.qkv.weight.data[8:12, 0] = 5.0  # its keys: the first channel
    model.network.blocks[1].register_forward_pre_hook(lambda b, inputs: b.training and left.append(inputs[0][0, :, 1]))
    trick = AttentionPatchDropout(1 / 16, where=1, drop=drop, tau=0)
    trainer(callbacks=[trick], max_epochs=1, limit_train_batches=1, limit_val_batches=0).fit(model, tiny_data)
    marks = (left[0] / 1000).round().int().tolist()
    assert marks == [i for i in range(17) if i != gone + 1]


class Marked(nn.Module):
    """Tokens that carry their position; the sixth patch gets the most attention, the third the least."""

    def forward(self, tokens):
        tokens = torch.zeros_like(tokens)
        tokens[:, 6, 0], tokens[:, 3, 0] = 1.0, -1.0
        tokens[..., 1] = 1000.0 * torch.arange(tokens.shape[1])
        return tokens


def test_refusals(trainer, tiny_data):
    pooled = timm.models.VisionTransformer(**TIMM, class_token=False, global_pool="avg")
    chooses = "chooses its patches itself"
    for model, error, match in (
        (ResNet("20", num_classes=10, image_size=8), TypeError, "maps or windows are of a fixed size"),
        (EViT("Ti", num_classes=10, image_size=8), TypeError, chooses),
        (DynamicViT("Ti", num_classes=10, image_size=8), TypeError, chooses),
        (Classifier(pooled), TypeError, "asks the class token, and VisionTransformer has none"),
    ):
        with pytest.raises(error, match=match):
            trainer(callbacks=[AttentionPatchDropout()]).fit(model, tiny_data)
    with pytest.raises(ValueError, match="where=9, but there are blocks 1 to 4"):
        trainer(callbacks=[AttentionPatchDropout(where=9)]).fit(tiny_classifier(network=TinyTransformer), tiny_data)


@pytest.mark.parametrize("arguments", [{"rate": 0}, {"rate": 1.0}, {"rate": (0.1, 1.0)}, {"tau": -1}, {"drop": "all"}])
def test_refuses_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match="AttentionPatchDropout"):
        AttentionPatchDropout(**arguments)


def test_every_order_of_four_patches_by_their_scores():
    for order in permutations([0.1, 0.2, 0.3, 0.4]):
        kept = choose(torch.tensor([order]), torch.rand(1, 4), 2, "low", 0)[0].tolist()
        assert {order[i] for i in kept} == {0.3, 0.4} and kept == sorted(kept)
