import json
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F

from callbacks import PatchDropout, TokenDistillation
from callbacks.distillation.knowledge import soft_loss
from callbacks.distillation.token import token_loss
from tests.callbacks.conftest import SeenSteps, hooks
from tests.closed_form import fill
from tests.conftest import TinyNetwork, TinyTransformer, tiny_classifier
from zoo import Classifier, DynamicViT, ViT

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "dynamicvit.json").read_text())["losses"]


def test_terms_are_those_of_the_authors_code():
    kept = torch.tensor(ORACLE["D"][-1])
    tokens = token_loss(fill(2, 5, 4, s=0.2), fill(2, 5, 4, s=0.9), kept).item()
    assert tokens == pytest.approx(ORACLE["L_distill_code_mean_over_elements"], abs=1e-7)
    assert 4 * tokens == pytest.approx(ORACLE["L_distill_eq13_sum_over_channels"], abs=1e-6)
    z, v = fill(2, 6, s=0.5, a=2), fill(2, 6, s=1.5, a=2)
    assert soft_loss(z, v, 1.0).item() == pytest.approx(ORACLE["KL_code_teacher_to_student"], abs=1e-6)
    total = F.cross_entropy(z, torch.tensor([1, 4])).item() + 0.5 * soft_loss(z, v, 1.0).item() + 0.5 * tokens
    assert total + 2 * ORACLE["L_ratio"] == pytest.approx(ORACLE["total_with_code_forms"], abs=1e-6)


def test_dropped_tokens_do_not_count_and_none_gives_nothing():
    t, theirs = torch.zeros(1, 2, 3), torch.tensor([[[2.0] * 3, [100.0] * 3]])
    assert token_loss(t, theirs, torch.tensor([[1.0, 0.0]])).item() == 4
    assert token_loss(t, theirs, torch.zeros(1, 2)).item() == 0
    assert token_loss(t, theirs).item() == (4 + 10_000) / 2


def fit(trainer, data, teacher, student, **arguments):
    before, seen = [], SeenSteps()
    first = SeenSteps()
    first.on_loss = lambda model, step: before.append(step.loss.item())
    trick = TokenDistillation(teacher, **arguments)
    trainer(callbacks=[first, trick, seen], max_epochs=1).fit(student, data)
    return seen.steps, before


def test_adds_both_terms_with_the_teachers_patches(tiny_data, trainer):
    """The teacher's tokens are its last norm's, without the class token, masked by the student's decisions."""
    torch.manual_seed(0)
    teacher, student = tiny_classifier(network=TinyTransformer), tiny_classifier(network=TinyTransformer)
    steps, before = fit(trainer, tiny_data, teacher, student, logits=2.0, tokens=3.0)
    net, out = teacher.network.eval(), []
    handle = net.norm.register_forward_hook(lambda norm, inputs, output: out.append(output[:, 1:]))
    for step, loss in zip(steps, before, strict=True):
        v, kept = net(step.images), step.extras["kept"][-1]
        terms = 2 * soft_loss(step.logits, v, 1.0) + 3 * token_loss(step.extras["tokens"], out.pop(), kept)
        assert step.loss.item() - loss == pytest.approx(terms.item(), 1e-4)
    handle.remove()
    assert hooks(teacher) == 0


def test_a_copy_of_the_student_teaches_nothing(trainer, tiny_data):
    """For a DynamicViT that keeps all patches also in training, both terms are 0."""
    torch.manual_seed(0)
    student = DynamicViT("Ti", num_classes=10, image_size=8, lr=1e-9)
    for predictor in student.score_predictor:
        predictor.out_conv[4].bias.data = torch.tensor([50.0, -50.0])
    teacher = ViT("Ti/16", num_classes=10, image_size=8)
    state = {k: v for k, v in student.state_dict().items() if not k.startswith("score_predictor")}
    teacher.load_state_dict(state)
    steps, before = fit(trainer, tiny_data, teacher, student)
    assert [step.loss.item() for step in steps] == pytest.approx(before, abs=1e-5)


def test_the_last_decision_counts(tiny_data, trainer):
    """Of several predictors' masks, the last is used: here it keeps nothing, so no token is compared."""

    def decide(model, step):
        kept = step.extras["kept"][-1]
        step.extras["kept"] = [torch.ones_like(kept), torch.zeros_like(kept)]
        before.append(step.loss.item())

    torch.manual_seed(0)
    before, first, seen = [], SeenSteps(), SeenSteps()
    first.on_loss = decide
    trick = TokenDistillation(tiny_classifier(network=TinyTransformer), logits=0.0, tokens=3.0)
    student = tiny_classifier(network=TinyTransformer)
    trainer(callbacks=[first, trick, seen], max_epochs=1).fit(student, tiny_data)
    assert [step.loss.item() for step in seen.steps] == before


@pytest.mark.parametrize("more", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "none"])
def test_timms_vit_teaches_too(trainer, tiny_data, more):
    options = {"img_size": 8, "patch_size": 2, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 10}
    teacher = Classifier(timm.models.VisionTransformer(**options, **more))
    steps, before = fit(trainer, tiny_data, teacher, tiny_classifier(network=TinyTransformer))
    assert all(step.loss.item() > loss for step, loss in zip(steps, before, strict=True))


@pytest.mark.parametrize(
    ("teacher", "student", "more", "error", "match"),
    [
        (TinyNetwork, TinyTransformer, [], TypeError, "compares a ViT's patches, and TinyNetwork has none"),
        (TinyTransformer, TinyNetwork, [], TypeError, "does not return its tokens: take DynamicViT"),
        (TinyTransformer, TinyTransformer, [PatchDropout()], ValueError, "and PatchDropout takes some out"),
    ],
)
def test_refusals(teacher, student, more, error, match, trainer, tiny_data):
    trick = TokenDistillation(tiny_classifier(network=teacher))
    with pytest.raises(error, match=match):
        trainer(callbacks=[trick, *more]).fit(tiny_classifier(network=student), tiny_data)
    assert hooks(trick.teacher) == 0


def test_defaults():
    trick = TokenDistillation(TinyTransformer())
    assert (trick.logits, trick.tokens, trick.normalization) == (0.5, 0.5, None)
