import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from callbacks import TokenLabeling
from callbacks.frame.score_maps import compress, expand, relabel, score_maps
from callbacks.loss.token_labeling import mix_labels, token_loss
from zoo import LVViT, ResNet, ViT
from zoo.lvvit import box

WHOLE = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def test_loss_by_hand():
    """Two tokens and a class of two logits each: (0, log 3) is 1/4, 3/4. Labels: second; first; half and half."""
    z = torch.tensor([0.0, math.log(3)])
    y_tok = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    loss = token_loss(z[None], z.expand(1, 2, 2), torch.tensor([[0.0, 1.0]]), y_tok, 0.5)
    a, b = -math.log(1 / 4), -math.log(3 / 4)
    assert loss.item() == pytest.approx(b + 0.5 * (a + (a + b) / 2) / 2)


def test_without_its_weight_it_is_the_plain_cross_entropy():
    logits, tokens, y = torch.randn(3, 5), torch.randn(3, 4, 5), torch.tensor([1, 0, 4])
    y_tok = torch.randn(3, 4, 5).softmax(-1)
    loss = token_loss(logits, tokens, F.one_hot(y, 5).float(), y_tok, 0.0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, y))


def test_mixed_labels_are_the_authors_pasted_back_logits():
    """The authors paste the logits of mixed patches back and keep the labels: the sum is the same."""
    x, y = torch.randn(4, 64, 5), torch.randn(4, 64, 5).softmax(-1)
    mixed = box(8, torch.tensor(0.75), torch.tensor([4, 3]))
    y_cls, y_tok = mix_labels(y[:, 0], y, mixed)
    back = torch.where(mixed.view(-1, 1), x.flip(0), x)
    expected = F.cross_entropy(back.flatten(0, 1), y.flatten(0, 1))
    torch.testing.assert_close(token_loss(x[:, 0], x, y[:, 0], y_tok, 1) - F.cross_entropy(x[:, 0], y[:, 0]), expected)
    torch.testing.assert_close(y_cls, 0.75 * y[:, 0] + 0.25 * y[:, 0].flip(0))  # 16 of 64 cells


# ---- in training


class Recorded(TokenLabeling):
    """Record the last step."""

    def on_loss(self, model, step):
        super().on_loss(model, step)
        self.step = step


def batches(*tensors, n: int = 4):
    items = list(zip(*tensors, strict=True))
    return DataLoader(
        items, batch_size=n, collate_fn=lambda rows: [torch.stack(column) for column in zip(*rows, strict=True)]
    )


@pytest.fixture
def student():
    torch.manual_seed(0)
    model = LVViT("T", num_classes=6, image_size=32, lr=1e-3)
    model.blocks = model.blocks[:2]
    model.stage_paths = {}
    return model


@pytest.mark.parametrize("mix_token", [False, True])
@pytest.mark.parametrize("formulation", ["paper", "code"])
def test_step_with_a_teacher(formulation, mix_token, student, trainer):
    images, y = torch.randn(4, 3, 32, 32), torch.tensor([5, 1, 0, 3])
    teacher = ResNet("20", num_classes=6, image_size=32)
    trick = Recorded(teacher, formulation=formulation, mix_token=mix_token)
    trainer(callbacks=[trick], max_epochs=1).fit(student, batches(images, y))
    step, scores = trick.step, score_maps(teacher.eval(), images)
    y_tok = scores.softmax(1).flatten(2).transpose(1, 2)
    y_cls = F.one_hot(y, 6).float() if formulation == "paper" else scores.mean((2, 3)).softmax(1)
    mixed = step.extras["mixed"]
    assert (mixed is not None) == mix_token
    if mix_token:
        share = mixed.float().mean()
        y_cls = (1 - share) * y_cls + share * y_cls.flip(0)
        y_tok = torch.where(mixed.view(-1, 1), y_tok.flip(0), y_tok)
    of_tokens = -(y_tok * step.extras["token_logits"].log_softmax(-1)).sum(-1).mean()
    expected = F.cross_entropy(step.extras["class"], y_cls) + 0.5 * of_tokens
    torch.testing.assert_close(step.loss, expected)
    torch.testing.assert_close(step.targets, y_cls)
    assert not student.mix_token  # as it was


def test_step_with_maps_that_come_with_the_batch(student, trainer):
    images, y, scores = torch.randn(4, 3, 32, 32), torch.tensor([5, 1, 0, 3]), torch.randn(4, 6, 9, 9)
    crops = torch.rand(4, 4) / 2 + 0.1
    trick = Recorded(mix_token=False)
    trainer(callbacks=[trick], max_epochs=1).fit(student, batches(images, y, compress(scores), crops))
    y_tok = relabel(expand(compress(scores), 6), crops, 8)
    expected = token_loss(
        trick.step.extras["class"], trick.step.extras["token_logits"], F.one_hot(y, 6).float(), y_tok, 0.5
    )
    torch.testing.assert_close(trick.step.loss, expected)


@pytest.mark.slow
def test_it_learns_what_the_maps_say(student, trainer):
    """The halves of an image have two colours; only the maps give the class of each colour."""
    left = torch.randn(16, 3, 1, 1)
    images = torch.cat([left.expand(-1, -1, 32, 16), -left.expand(-1, -1, 32, 16)], 3)
    kind = (left[:, 0, 0, 0] > 0).long()
    scores = torch.full((16, 6, 2, 2), -4.0)
    scores[torch.arange(16), kind, :, 0] = scores[torch.arange(16), 1 - kind, :, 1] = 4.0
    student.hparams.optimizer, student.hparams.lr = "adamw", 2e-3
    data = batches(images, kind, compress(scores), WHOLE.expand(16, 4), n=16)
    trainer(callbacks=[TokenLabeling()], max_epochs=25).fit(student, data)
    student.train()
    said = student(images)[1]["token_logits"].argmax(-1).view(16, 8, 8)
    right = (said[:, :, :3] == kind.view(-1, 1, 1)).float().mean() + (
        said[:, :, 5:] == 1 - kind.view(-1, 1, 1)
    ).float().mean()
    assert right / 2 > 0.9


@pytest.mark.parametrize(
    ("trick", "model", "error", "match"),
    [
        (lambda: TokenLabeling(), lambda: ViT("Ti/16", num_classes=6, image_size=32), TypeError, "take LVViT"),
        (lambda: TokenLabeling(), None, ValueError, r"needs batches \[images, targets, maps, crops\]"),
        (lambda: TokenLabeling(ResNet("20", 7, image_size=32)), None, ValueError, "the teacher knows 7 classes"),
        (lambda: TokenLabeling(weight=0.0), None, ValueError, "weight must be in"),
        (lambda: TokenLabeling(formulation="text"), None, ValueError, "TokenLabeling has no 'text'"),
    ],
)
def test_refusals(trick, model, error, match, student, trainer):
    with pytest.raises(error, match=match):
        run = trainer(callbacks=[trick()], max_epochs=1)
        run.fit(model() if model else student, batches(torch.randn(2, 3, 32, 32), torch.tensor([0, 1])))
