import json
from pathlib import Path

import pytest
import torch

from callbacks import TokenRatio
from callbacks.loss.token_ratio import ratio_loss
from tests.callbacks.conftest import SeenSteps
from tests.conftest import TinyTransformer, tiny_classifier
from zoo import DynamicViT
from zoo.dynamic_vit import Predictor, decide, gumbel_noise

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "dynamicvit.json").read_text())["losses"]


def test_term_is_the_equation():
    kept = torch.tensor(ORACLE["D"])
    assert ratio_loss(kept, ORACLE["rho"]).item() == pytest.approx(ORACLE["L_ratio"], abs=1e-8)


def test_term_by_hand():
    """One predictor, with target 1/2, keeps all patches of one image and half of another: (.25 + 0) / 2."""
    assert ratio_loss([torch.tensor([[1.0, 1], [1, 0]])], [0.5]).item() == pytest.approx(0.125)


def test_adds_its_weight_times_the_term(tiny_data, trainer):
    seen, before = [SeenSteps(), SeenSteps()], []
    seen[0].on_loss = lambda model, step: before.append(step.loss.item())
    torch.manual_seed(0)
    run = trainer(callbacks=[seen[0], TokenRatio(3.0), seen[1]], max_epochs=1)
    run.fit(tiny_classifier(network=TinyTransformer), tiny_data)
    for step, loss in zip(seen[1].steps, before, strict=True):
        assert step.loss.item() - loss == pytest.approx(3 * ratio_loss(step.extras["kept"], (0.5,)).item(), abs=1e-5)


def test_drives_the_shares_to_their_targets():
    """Three predictors in a row on fixed patches; at first, each keeps about half of the remaining ones."""
    torch.manual_seed(0)
    patches, ratios = torch.randn(4, 64, 16), (0.7, 0.49, 0.343)
    predictors = torch.nn.ModuleList(Predictor(16) for _ in ratios)
    optimizer = torch.optim.AdamW(predictors.parameters(), lr=0.01)
    for _ in range(60):
        kept = [torch.ones(4, 64)]
        for predictor in predictors:
            log_pi = predictor(patches, kept[-1])
            kept.append(decide(log_pi, gumbel_noise(log_pi)) * kept[-1])
        optimizer.zero_grad()
        (2 * ratio_loss(kept[1:], ratios)).backward()
        optimizer.step()
    shares = [D.mean().item() for D in kept[1:]]
    assert shares == pytest.approx(ratios, abs=0.08)


def test_aims_at_the_models_own_ratios():
    with torch.device("meta"):
        model = DynamicViT("Ti", num_classes=10, image_size=32, keep=0.8)
    assert model.ratios == pytest.approx((0.8, 0.64, 0.512))
    model.keep = 0.5
    assert model.ratios == (0.5, 0.25, 0.125)


def test_refuses_a_network_without_decisions(tiny_model, tiny_data, trainer):
    with pytest.raises(
        TypeError, match="needs decisions which patches stay, and TinyNetwork has none: take DynamicViT"
    ):
        trainer(callbacks=[TokenRatio()]).fit(tiny_model, tiny_data)
    with pytest.raises(ValueError, match="weight must be in"):
        TokenRatio(0.0)
