"""What all tricks share: print, name their state, refuse with advice."""

import pytest
from torch import nn

import callbacks
from callbacks import EMA, Cosine, KnowledgeDistillation, Linear, MixUp, StepDecay
from callbacks.frame.trick import TAXONOMY, Trick, needs_on_loss, needs_range, needs_stages, refuse_second
from tests.callbacks.conftest import Foreign
from tests.conftest import tiny_classifier
from zoo import Classifier, ConvNeXt


class Example(Trick):
    def __init__(self, rate=0.1, where=("a",), network=None):
        self.rate, self.where, self.network = rate, where, network


@pytest.mark.parametrize(
    "trick, text",
    [
        (Example(), "Example()"),
        (Example(0.1, ("a",)), "Example()"),
        (Example(0.2), "Example(rate=0.2)"),
        (Example(where=("b", 3)), "Example(where=('b', 3))"),
        (Example(Linear(0, 1)), "Example(rate=Linear(start=0, end=1, until='1dur'))"),
        (Example(network=nn.Linear(2, 2)), "Example(network=Linear)"),
        (MixUp(alpha=0.2), "MixUp(alpha=0.2)"),
        (StepDecay([1, "0.5dur"]), "StepDecay(milestones=(1, '0.5dur'))"),
        (EMA(Cosine(0.9, 0.99)), "EMA(decay=Cosine(start=0.9, end=0.99, until='1dur'))"),
    ],
)
def test_prints_the_call_that_makes_it(trick, text):
    assert repr(trick) == text


def test_prints_a_teacher_by_its_class():
    assert repr(KnowledgeDistillation(nn.Linear(2, 3), T=2)) == "KnowledgeDistillation(teacher=Linear, T=2)"


def test_arguments_tell_states_apart():
    assert Example(0.2).state_key != Example(0.3).state_key
    assert Example(0.2).state_key == Example(0.2).state_key
    assert Example().state_key != MixUp().state_key


def test_range():
    needs_range(MixUp(), "alpha", 0.5, 0, 1)
    needs_range(MixUp(), "alpha", 0, 0, 1)
    needs_range(MixUp(), "alpha", 1, 0, 1, open_low=True)
    with pytest.raises(ValueError, match=r"MixUp: alpha must be in \(0, 1\], not 0; .* leave MixUp out"):
        needs_range(MixUp(), "alpha", 0, 0, 1, open_low=True)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"alpha must be in \[0, 1\], not {value}"):
            needs_range(MixUp(), "alpha", value, 0, 1)


def test_on_loss_is_asked_for():
    needs_on_loss(Example(), tiny_classifier())
    with pytest.raises(TypeError, match=r"Foreign does not call.*zoo.Classifier\(network\).*calls_on_loss = True"):
        needs_on_loss(Example(), Foreign())


def test_the_advice_works(tiny_data, trainer):
    """A foreign module, mended as the refusal says."""
    import zoo

    class Mended(Foreign):
        calls_on_loss = True

        def training_step(self, batch, batch_idx):
            images, targets = batch
            logits = self.network(images)
            step = zoo.Step(images, targets, logits, nn.functional.cross_entropy(logits, targets))
            for trick in self.trainer.callbacks:
                if hasattr(trick, "on_loss"):
                    trick.on_loss(self, step)
            return step.loss

    tricks = [KnowledgeDistillation(tiny_classifier())]
    trainer(callbacks=tricks).fit(Mended(), tiny_data)


def test_stages():
    model = tiny_classifier()
    assert needs_stages(Example(), model, None) == ["stage1", "stage2"]
    assert needs_stages(Example(), model, ("stage2",)) == ["stage2"]
    with pytest.raises(ValueError, match="did you mean 'stage2' or 'stage1'|did you mean"):
        needs_stages(Example(), model, ("stage3",))
    with pytest.raises(TypeError, match="Example looks at stages, and Classifier names none"):
        needs_stages(Example(), Classifier(nn.Linear(2, 2)), None)


def test_only_one_of_a_kind():
    one, two = Example(), Example(0.2)
    one.claims = two.claims = "do it"
    refuse_second(one, [one, MixUp()])
    with pytest.raises(ValueError, match="Example and Example both do it: take one of them out"):
        refuse_second(one, [one, two])


def test_stages_of_a_network_that_keeps_them_under_that_name():
    model = ConvNeXt("T", num_classes=2, image_size=32)  # its `stages` are modules with timm's keys
    assert needs_stages(Example(), model, None) == ["stage1", "stage2", "stage3", "stage4"]


TAXONOMY_BY_HAND = {
    "MixUp": "data",
    "Dropout": "data",
    "LabelSmoothing": "data",
    "TestTimeAugmentation": "data",
    "Norm": "architecture",
    "StochasticDepth": "architecture",
    "Dice": "error term",
    "Flooding": "error term",
    "RDrop": "error term",
    "KnowledgeDistillation": "error term",
    "ReduceOnPlateau": "optimisation",
    "Kaiming": "optimisation",
    "EarlyStopping": "optimisation",
    "EMA": "optimisation",
    "L1": "penalty",
    "NoBiasDecay": "penalty",
    "SymmetryAttention": "penalty",
    "InitialLoss": None,
    "ShuffledLabels": None,
}


def test_where_a_trick_regularises():
    found = {name: getattr(callbacks, name).taxonomy for name in callbacks.__all__}
    assert {*found.values()} == {*TAXONOMY, None}
    assert {name: found[name] for name in TAXONOMY_BY_HAND} == TAXONOMY_BY_HAND
    rooms = {name: getattr(callbacks, name).__module__.split(".")[1] for name in found}
    assert {name for name in found if found[name] is None} == {n for n in rooms if rooms[n] == "diagnostics"}


def test_taxonomy_comes_from_the_room_unless_a_class_says_it():
    def made(module, base=Trick, **attributes):
        return type("Made", (base,), {"__module__": module, **attributes})

    assert made("callbacks.loss.made").taxonomy == "error term"
    assert made("callbacks.loss.made", taxonomy="data").taxonomy == "data"
    assert made("callbacks.loss.made", taxonomy=None).taxonomy is None
    said = made("callbacks.network.base", taxonomy="optimisation")
    assert made("callbacks.network.made", said).taxonomy == "optimisation"  # as its base says
    assert (
        made("callbacks.diagnostics.made").taxonomy is made("somebody.loss.made").taxonomy is Example.taxonomy is None
    )
