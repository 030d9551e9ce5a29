"""Resume with another optimizer or other groups of parameters: one line that says which trick came or went."""

import pytest

from callbacks import EMA, LayerDecay, MixUp, NoBiasDecay
from tests.conftest import tiny_classifier


@pytest.fixture
def resume(tmp_path, trainer, tiny_data):
    """`resume(before, after, ...)`: trains an epoch with some tricks, goes on with others."""

    def resume(before, after, first=None, then=None, change=lambda model: None):
        run = trainer(callbacks=before, max_epochs=1)
        run.fit(tiny_classifier(**first or {}), tiny_data)
        run.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
        model = tiny_classifier(**then or {})
        change(model)
        trainer(callbacks=after, max_epochs=2).fit(model, tiny_data, ckpt_path=tmp_path / "last.ckpt")

    return resume


def test_another_optimizer_is_told(resume):
    with pytest.raises(ValueError, match="state of optimizer='sgd', the model has 'adamw': take the same, or begin"):
        resume([], [], then={"optimizer": "adamw"})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([], [NoBiasDecay()], r"have 5 \+ 7 parameters, those of the checkpoint 12; NoBiasDecay\(\) is new: resume"),
        ([NoBiasDecay(), MixUp()], [MixUp()], r"NoBiasDecay\(\) is missing: resume with"),
        (
            [NoBiasDecay()],
            [LayerDecay(0.5)],
            r"NoBiasDecay\(\) is missing; LayerDecay\(decay=0.5\) is new: resume with",
        ),
    ],
)
def test_a_trick_that_came_or_went_is_named(resume, before, after, said):
    with pytest.raises(ValueError, match=said):
        resume(before, after)


def test_layers_that_are_trained_now_are_told(resume):
    def freeze(model):
        model.network.head.bias.requires_grad_(False)

    with pytest.raises(ValueError, match="have 11 parameters, those of the checkpoint 12; other layers are trained: "):
        resume([], [], change=freeze)


def test_what_leaves_the_groups_as_they_were_may_change(resume):
    resume([NoBiasDecay()], [NoBiasDecay(), EMA(0.5)])
