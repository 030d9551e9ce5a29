"""Every two tricks train together, in both orders; those that cannot say why."""

from itertools import permutations

import pytest
import torch

import callbacks
from tests.conftest import build_trick, tiny_classifier, tiny_network

PAIRS = list(permutations(callbacks.__all__, 2))

# in this order in the list -> the reason, as the refusal gives it
REFUSED = {
    ("CosineDecay", "StepDecay"): "both set the learning rate: take one of them out",
    ("StepDecay", "CosineDecay"): "both set the learning rate: take one of them out",
    ("Kaiming", "Xavier"): "both draw the weights: take one of them out",
    ("Xavier", "Kaiming"): "both draw the weights: take one of them out",
    # smoothing replaces the cross-entropy, and what was added to it
    ("AttentionTransfer", "LabelSmoothing"): "list it before AttentionTransfer",
    ("KnowledgeDistillation", "LabelSmoothing"): "list it before KnowledgeDistillation",
    # patch by patch, where patches are missing
    ("TokenDistillation", "PatchDropout"): "PatchDropout takes the student's out",
    ("PatchDropout", "TokenDistillation"): "PatchDropout takes the student's out",
    ("TokenDistillation", "AttentionPatchDropout"): "AttentionPatchDropout takes the student's out",
    ("AttentionPatchDropout", "TokenDistillation"): "AttentionPatchDropout takes the student's out",
    ("TokenDistillation", "LabelSmoothing"): "list it before TokenDistillation",
    ("ExpertBalance", "LabelSmoothing"): "list it before ExpertBalance",
    ("ExpertBalance", "TokenLabeling"): "list it before ExpertBalance",
    ("TokenLabeling", "LabelSmoothing"): "list it before TokenLabeling",
    ("TokenRatio", "LabelSmoothing"): "list it before TokenRatio",
    # and so does token labeling
    ("AttentionTransfer", "TokenLabeling"): "list it before AttentionTransfer",
    ("KnowledgeDistillation", "TokenLabeling"): "list it before KnowledgeDistillation",
    ("TokenDistillation", "TokenLabeling"): "list it before TokenDistillation",
    ("TokenRatio", "TokenLabeling"): "list it before TokenRatio",
    # patches without labels
    ("PatchDropout", "TokenLabeling"): "some were dropped: take out what drops them",
    ("TokenLabeling", "PatchDropout"): "some were dropped: take out what drops them",
    ("AttentionPatchDropout", "TokenLabeling"): "some were dropped: take out what drops them",
    ("TokenLabeling", "AttentionPatchDropout"): "some were dropped: take out what drops them",
}


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_tricks(pair, tiny_data, trainer):
    torch.manual_seed(0)
    model = tiny_classifier(network=tiny_network(*pair))
    tricks = [build_trick(name) for name in pair]
    run = trainer(callbacks=tricks, max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    if pair in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[pair]):
            run.fit(model, tiny_data, tiny_data)
        return
    run.fit(model, tiny_data, tiny_data)
    assert run.global_step == 2
    assert run.callback_metrics["val/loss"].isfinite()
    assert all(p.isfinite().all() for p in model.parameters())


def test_every_refusal_is_tried():
    assert set(REFUSED) <= set(PAIRS)
