"""Base class of all tricks: printing, the key of the state, errors with advice."""

import contextlib
import inspect
import typing
from types import SimpleNamespace

import pytest
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import nn

import callbacks
from callbacks import EMA, Cosine, KnowledgeDistillation, Linear, MixUp, StepDecay
from callbacks.frame.model_needs import HasModule, WholeWeights, stage_names
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pair_needs import Claims
from callbacks.frame.trick import TAXONOMY, Trick
from tests.callbacks.conftest import Foreign, hooks
from tests.conftest import build_trick, tiny_classifier
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


def test_the_key_is_made_once_a_run(tiny_data, trainer):
    made = []

    class Counted(Example):
        def __repr__(self):
            made.append(1)
            return super().__repr__()

    counts = []
    for epochs in (1, 3):
        made.clear()
        trick = Counted(0.2)
        trainer(callbacks=[trick], max_epochs=epochs).fit(tiny_classifier(), tiny_data)
        counts.append(len(made))
    assert counts[0] == counts[1] > 0
    trick.rate = 0.3
    assert trick.state_key == "Counted(rate=0.3)"  # the run is over


class Declares(Trick):
    needs = (
        Range("alpha", 0, 1, open_low=True),
        Range("p", 0, 1, off_at_low=True),
        Range("low", 0, "high"),
        Choice("kind", ("a", "b")),
    )

    def __init__(self, alpha=0.5, p=0.5, low=1, high: float | None = 2, kind="a"):
        self.alpha, self.p, self.low, self.high, self.kind = alpha, p, low, high, kind


@pytest.mark.parametrize(
    "arguments",
    [{}, {"alpha": 1}, {"p": 1}, {"p": Linear(0, 1)}, {"low": 2}, {"low": 0}, {"alpha": (0.1, 1)}, {"alpha": None}],
)
def test_arguments_in_their_ranges(arguments):
    trick = Declares(**arguments)
    assert {name: getattr(trick, name) for name in arguments} == arguments


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"alpha": 0}, r"Declares: alpha must be in \(0, 1\], not 0; to train without it, leave Declares out"),
        ({"alpha": -0.1}, r"alpha must be in \(0, 1\], not -0.1$"),
        ({"alpha": 1.1}, "alpha must be in"),
        ({"alpha": float("nan")}, "alpha must be in"),
        ({"alpha": (0.1, 2)}, "not 2"),
        ({"alpha": Linear(0, 1)}, r"alpha must be in \(0, 1\], not 0"),
        ({"p": 0}, r"p must be in \(0, 1\], not 0; to train without it"),
        ({"p": Linear(0, 1.5)}, r"p must be in \[0, 1\], not 1.5"),
        ({"low": 3}, r"low must be in \[0, 2\], not 3"),
        ({"kind": "aa"}, "Declares has no 'aa'; did you mean 'a'"),
    ],
)
def test_arguments_out_of_their_ranges(arguments, says):
    with pytest.raises(ValueError, match=says):
        Declares(**arguments)


def test_arguments_are_checked_before_anything_is_made():
    made = []

    class Heavy(Declares):
        def __init__(self, alpha=0.5):
            made.append(alpha)

    with pytest.raises(ValueError, match="Heavy: alpha must be in"):
        Heavy(2)
    assert not made and Heavy(1).needs == Declares.needs
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
        Heavy(beta=1)


def test_a_subclass_adds_to_the_needs_of_its_bases_and_narrows_them():
    class Narrow(Declares):
        needs = (Range("alpha", 0, 0.5), Claims("do it"))

    assert Narrow.needs == (Range("alpha", 0, 0.5), *Declares.needs[1:], Claims("do it"))
    assert Narrow(0).alpha == 0
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 0.5\], not 1"):
        Narrow(1)


def test_signatures_stay_explicit():
    assert [*inspect.signature(Declares).parameters] == ["alpha", "p", "low", "high", "kind"]
    assert typing.get_type_hints(Declares.__init__)["high"] == float | None


def test_hooks_end_with_the_run_also_by_an_exception(tiny_data, trainer):
    class Hooks(Trick):
        def on_fit_start(self, trainer, model):
            self.keep_hooks(model.network.head.register_forward_hook(self.hook))

        def hook(self, *_):
            if self.fails:
                raise ZeroDivisionError

        def leave(self, trainer, model):
            self.left = hooks(model)

    trick, model = Hooks(), tiny_classifier()
    for trick.fails in (False, True):
        trick.left = None
        with pytest.raises(ZeroDivisionError) if trick.fails else contextlib.nullcontext():
            trainer(callbacks=[trick], num_sanity_val_steps=0).fit(model, tiny_data)
        assert trick.left == 0


class Changes(Example):
    def on_loss(self, model, step):
        step.loss = step.loss * 2


def test_on_loss_is_asked_for(trainer):
    Changes().setup(trainer(), tiny_classifier(), "fit")
    Example().setup(trainer(), Foreign(), "fit")
    with pytest.raises(TypeError, match=r"Foreign does not call.*zoo.Classifier\(network\).*calls_on_loss = True"):
        Changes().setup(trainer(), Foreign(), "fit")


def test_the_advice_works(tiny_data, trainer):
    """A foreign module works after the change that the error message asks for."""
    import zoo

    class Mended(Foreign):
        calls_on_loss = True

        def training_step(self, batch, batch_idx):
            images, targets = batch
            logits = self.network(images)
            step = zoo.Step(images, targets, logits, nn.functional.cross_entropy(logits, targets))
            for trick in self.trainer.callbacks:
                if isinstance(trick, zoo.LossTrick):
                    trick.on_loss(self, step)
            return step.loss

    tricks = [KnowledgeDistillation(tiny_classifier())]
    trainer(callbacks=tricks).fit(Mended(), tiny_data)


def test_stages():
    model = tiny_classifier()
    assert stage_names(Example(), model, None) == ["stage1", "stage2"]
    assert stage_names(Example(), model, ("stage2",)) == ["stage2"]
    with pytest.raises(ValueError, match="did you mean 'stage2' or 'stage1'"):
        stage_names(Example(), model, ("stage3",))
    with pytest.raises(TypeError, match="Example looks at stages, and Classifier names none"):
        stage_names(Example(), Classifier(nn.Linear(2, 2)), None)


def test_a_network_without_the_module_is_refused_with_the_cure(trainer):
    class OnNorms(Example):
        needs = (HasModule(lambda module: isinstance(module, nn.GroupNorm), "acts on group norms", "take Norm too"),)

    OnNorms().setup(trainer(), Classifier(nn.Sequential(nn.GroupNorm(3, 3), nn.Linear(2, 2))), "validate")
    with pytest.raises(TypeError, match="OnNorms acts on group norms, and TinyNetwork has none: take Norm too"):
        OnNorms().setup(trainer(), tiny_classifier(), "validate")


def test_only_one_of_a_kind(trainer):
    class Only(Example):
        needs = (Claims("do it"),)

    one, two = Only(), Only(0.2)
    one.setup(trainer(callbacks=[one, MixUp()]), tiny_classifier(), "fit")
    with pytest.raises(ValueError, match="Only and Only both do it: take one of them out"):
        one.setup(trainer(callbacks=[one, two]), tiny_classifier(), "fit")


def test_stages_of_a_network_that_keeps_them_under_that_name():
    model = ConvNeXt("T", num_classes=2, image_size=32)  # its `stages` are modules with timm's keys
    assert stage_names(Example(), model, None) == ["stage1", "stage2", "stage3", "stage4"]


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
    assert made("callbacks.network.made", said).taxonomy == "optimisation"  # inherited from its base
    assert (
        made("callbacks.diagnostics.made").taxonomy is made("somebody.loss.made").taxonomy is Example.taxonomy is None
    )


WHOLE = sorted(name for name in callbacks.__all__ if getattr(callbacks, name).whole_weights)
IN_PARTS = sorted(name for name in callbacks.__all__ if getattr(callbacks, name).reads_weights)


@pytest.mark.parametrize("strategy", [ModelParallelStrategy(), FSDPStrategy()], ids=lambda s: type(s).__name__)
def test_a_strategy_that_keeps_weights_in_parts_is_refused_by_name(strategy, tiny_model):
    run = SimpleNamespace(strategy=strategy, callbacks=[])
    fsdp2 = isinstance(strategy, ModelParallelStrategy)
    assert {"Hints", "LearningRateRange", "SymmetryAttention"} <= {*WHOLE}
    assert {"EMA", "SWA", "L2", "SnapshotEnsemble", "AdaptiveGradientClipping"} <= {*IN_PARTS} - {*WHOLE}
    for name in WHOLE if fsdp2 else WHOLE + IN_PARTS:
        kind = getattr(callbacks, name)
        need = next(need for need in kind.needs if isinstance(need, WholeWeights))
        with pytest.raises(TypeError, match=f"{name} needs whole weights, and {type(strategy).__name__} keeps a part"):
            need.check_run(build_trick(name), run, tiny_model)
    with contextlib.nullcontext() if fsdp2 else pytest.raises(TypeError, match="EMA .* take ModelParallelStrategy or"):
        EMA().setup(run, tiny_model, "fit")
    MixUp().setup(run, tiny_model, "fit")
