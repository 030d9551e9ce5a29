"""Every two tricks train together, in both orders; those that cannot say why."""

from itertools import permutations

import pytest
import torch

import callbacks
from tests.conftest import build_trick, tiny_classifier, tiny_network

PAIRS = list(permutations(callbacks.__all__, 2))
TAKE_PATCHES_OUT = ("AttentionPatchDropout", "PatchDropout")
PATCH_BY_PATCH = {
    "TokenDistillation": "takes the student's out",
    "TokenLabeling": "some were dropped: take out what drops them",
}


def refusal(first: str, second: str) -> str | None:
    """Why two tricks cannot train together in this order, as a part of what is said; None: they can."""
    one, two = getattr(callbacks, first), getattr(callbacks, second)
    if one.claims and one.claims == two.claims:
        return f"both {one.claims}: take one of them out"
    if two.replaces_loss and hasattr(one, "on_loss") and not one.replaces_loss:
        return f"list it before {first}"
    for dropping, labeling in ((first, second), (second, first)):
        if dropping in TAKE_PATCHES_OUT and labeling in PATCH_BY_PATCH:
            return PATCH_BY_PATCH[labeling]
    return None


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_tricks(pair, tiny_data, trainer):
    torch.manual_seed(0)
    model = tiny_classifier(network=tiny_network(*pair))
    tricks = [build_trick(name) for name in pair]
    run = trainer(callbacks=tricks, max_epochs=1, limit_train_batches=2, limit_val_batches=1)
    if why := refusal(*pair):
        with pytest.raises(ValueError, match=why):
            run.fit(model, tiny_data, tiny_data)
        return
    run.fit(model, tiny_data, tiny_data)
    assert run.global_step == 2
    assert run.callback_metrics["val/loss"].isfinite()
    assert all(p.isfinite().all() for p in model.parameters())
