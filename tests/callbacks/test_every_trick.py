"""Contract of every trick, over `callbacks.__all__`: new tricks are tested here without a line of their own.

What needs no run is tested of the tricks of boxes too; their runs are in `test_tricks_of_boxes.py`.
"""

import copy
import functools
import inspect
from types import SimpleNamespace

import lightning.pytorch.cli as cli
import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch.tuner import Tuner

import callbacks
from callbacks.frame.feature_dropout import FeatureDropout
from callbacks.frame.needs import Choice, Range
from callbacks.frame.pairs import refusal
from callbacks.frame.schedule import Schedule
from callbacks.frame.trick import Trick
from recipes.command.lightning import Parser
from tests.callbacks.conftest import At, Foreign, SeenBatches, assert_equal, hooks, weights
from tests.conftest import (
    TEACHERS,
    build_trick,
    empty_folder,
    make_trainer,
    needed,
    quiet,
    tiny_classifier,
    tiny_images,
    tiny_network,
)
from zoo import Classifier, ResNet
from zoo.frame.step import changes_loss

every = pytest.mark.parametrize("name", callbacks.__all__, scope="module")  # all tests of a trick, then of the next
WITH_BOXES = [*callbacks.__all__, *callbacks.OF_BOXES]
with_boxes = pytest.mark.parametrize("name", WITH_BOXES, scope="module")

# Tricks that change the network permanently: their contract is in `tests/callbacks/network/test_surgery.py`.
SURGERY = (
    "ADCM", "Activation", "DilatedConvolutions", "GuidedDropout", "Maxout", "Norm", "SpatialPyramidPooling",
    "StochasticPooling",
)  # fmt: skip


def build_other(name):
    """Return the trick with its first example's arguments."""
    teacher = {"teacher": tiny_classifier(width=5, network=tiny_network(name))} if name in TEACHERS else {}
    return getattr(callbacks, name)(**{**teacher, **needed(name), **next(iter(getattr(callbacks, name).examples), {})})


def fitted(trainer, name, data, model=None, **arguments):
    """Fit with the trick, check that the weights moved and are finite, and return the trainer."""
    model = model or fresh(name)
    before = weights(model)
    run = trainer(callbacks=[build_trick(name)], **arguments)
    run.fit(model, data, data)
    after = weights(model)
    assert all(value.isfinite().all() for value in after.values())
    assert any(not torch.equal(before[key], after[key]) for key in before)
    return run


def fresh(name, **training):
    torch.manual_seed(0)
    return tiny_classifier(network=tiny_network(name), **training)


@pytest.fixture(scope="module")
def fit(name):
    """A plain fit with the trick, for all tests that look at its end alone: they must not train it further."""
    data = tiny_images()
    before = [(image.clone(), target.clone()) for image, target in data.dataset]
    make = functools.partial(make_trainer, quiet(empty_folder()), num_sanity_val_steps=2)
    run = fitted(make, name, data)
    trick = next(t for t in run.callbacks if type(t).__name__ == name)
    logged = {*run.callback_metrics}
    return SimpleNamespace(
        run=run, model=run.lightning_module, trick=trick, logged=logged, data=data, images_before=before
    )


# ---- it trains


@every
def test_trains_and_validates(name, fit):
    assert {"train/loss", "val/loss", "val/acc"} <= fit.logged
    assert fit.run.global_step == 6


@every
def test_under_accumulation_in_bf16_and_channels_last(name, tiny_data, trainer):
    model = fresh(name, channels_last=True)
    run = fitted(trainer, name, tiny_data, model, precision="bf16-mixed", accumulate_grad_batches=2)
    assert run.global_step == 4
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.slow
@every
@pytest.mark.one_in(3)
def test_in_true_precision(name, tiny_data, trainer):
    """Weights and images have 16 or 64 bits."""
    for precision, kind in {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}.items():
        model = fresh(name, lr=0.01)
        fitted(trainer, name, tiny_data, model, precision=precision, max_epochs=1)
        assert {p.dtype for p in model.parameters()} == {kind}


def trained_weights(trainer, name, data, model):
    torch.manual_seed(0)
    trainer(callbacks=[build_trick(name)]).fit(model, data, data)
    return weights(model)


# Those that act in the compiled network, and some that change batches, losses, weights or steps around it.
# tests/callbacks/frame/test_feature_dropout.py compares the other methods of dropout, under a schedule that moves.
AROUND = {"EMA", "GradientClipping", "LabelSmoothing", "MixUp", "OneCycle", "ProgressiveResizing", "SWA"}
INSIDE = ("callbacks.distillation", "callbacks.dropout", "callbacks.network")
COMPILED = [
    name
    for name in callbacks.__all__
    if name in {*AROUND, "DropBlock", "StochasticDepth"}
    or getattr(callbacks, name).__module__.startswith(INSIDE)
    and not issubclass(getattr(callbacks, name), FeatureDropout)
]


ALWAYS = {"Activation", "DropBlock", "EMA", "KnowledgeDistillation", "MixUp", "OneCycle", "StochasticDepth"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in ALWAYS)) for n in COMPILED], scope="module"
)
@pytest.mark.one_in(3)
def test_compiled_is_the_same(name, tiny_data, trainer, monkeypatch):
    """Trace with dynamo and torch's kernels: the graphs must contain every hook and change of a trick."""
    monkeypatch.setattr(Classifier, "compile", functools.partialmethod(Classifier.compile, backend="eager"))
    eager = trained_weights(trainer, name, tiny_data, fresh(name))
    compiled = trained_weights(trainer, name, tiny_data, fresh(name, compile=True))
    assert eager.keys() == compiled.keys()
    for key, value in eager.items():
        torch.testing.assert_close(compiled[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_by_inductor(tiny_data, trainer):
    """Compile one trick with hooks; the test above traces the graphs of all that act in the network."""
    fitted(trainer, "AttentionTransfer", tiny_data, fresh("AttentionTransfer", compile=True))


# ---- it acts on training only


@every
def test_evaluation_is_as_without_it(name, tiny_data, trainer):
    """Some tricks log scores of their own in a test, beside the model's."""
    results = []
    for tricks in ([], [build_trick(name)]):
        model, run = fresh(name), trainer(callbacks=tricks)
        before = weights(model)
        found = run.validate(model, tiny_data, verbose=False)[0] | run.test(model, tiny_data, verbose=False)[0]
        assert_equal(weights(model), before)
        assert hooks(model) == 0
        results.append(found)
    assert {"val/loss", "val/acc", "test/loss", "test/acc"} <= results[0].keys()
    assert {key: results[1][key] for key in results[0]} == results[0]
    assert all(key.startswith("test/") for key in results[1].keys() - results[0].keys())


@every
def test_a_test_after_training_is_of_the_plain_network(name, fit, trainer):
    scores, plain = (run.test(fit.model, fit.data, verbose=False)[0] for run in (fit.run, trainer()))
    assert {key: scores[key] for key in plain} == plain


@every
def test_validation_in_a_fit_is_of_the_plain_network_on_the_plain_batches(name, tiny_data, trainer):
    """The logged loss is the cross-entropy of a copy of the network, without trainer or tricks."""
    plain, seen = [], SeenBatches()

    def score(trainer, model):
        network = copy.deepcopy(model.network).eval()
        for module in network.modules():
            module._forward_hooks.clear()
        logits = torch.cat([network(images) for images, _ in tiny_data])
        plain.append(F.cross_entropy(logits, torch.cat([targets for _, targets in tiny_data])).item())

    look, logged = At("on_validation_start", score), []
    record = At("on_validation_end", lambda trainer, _: logged.append(trainer.callback_metrics["val/loss"].item()))
    run = trainer(callbacks=[build_trick(name), look, seen, record], num_sanity_val_steps=0)
    run.fit(fresh(name), tiny_data, tiny_data)
    assert logged == pytest.approx(plain, rel=1e-5)
    for (images, targets), (theirs, labels) in zip(seen.val, [*tiny_data] * 2, strict=True):
        assert torch.equal(images, theirs) and torch.equal(targets, labels)


@every
def test_the_data_set_is_not_changed(name, fit):
    for (image, target), (old_image, old_target) in zip(fit.data.dataset, fit.images_before, strict=True):
        assert torch.equal(image, old_image) and torch.equal(target, old_target)


# ---- it leaves nothing behind

PLAIN = {}


def plain_after_fit(name, data, trainer):
    """Fit the trick's network without the trick; cached for all tricks."""
    kind = tiny_network(name)
    if kind not in PLAIN:
        PLAIN[kind] = fresh(name)
        trainer().fit(PLAIN[kind], data, data)
    return PLAIN[kind]


@every
def test_leaves_the_model_as_a_plain_one(name, fit, tiny_data, trainer):
    model, plain = fit.model, plain_after_fit(name, tiny_data, trainer)
    assert vars(model).keys() == vars(plain).keys()
    assert all(p.requires_grad for p in model.parameters())
    if name not in SURGERY:
        assert model.state_dict().keys() == plain.state_dict().keys()
        assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    assert hooks(model) == 0
    if name in TEACHERS:
        assert hooks(fit.trick.teacher) == 0


@every
def test_same_object_in_a_second_fit_and_a_third_that_goes_on(name, tiny_data, trainer):
    """Another model in the second fit ends as the first did; in the third that model begins where it ended."""
    trick, ends = build_trick(name), []
    for _ in range(2):
        model = fresh(name)
        torch.manual_seed(0)  # initialisations draw in `setup`
        trainer(callbacks=[trick]).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
        assert hooks(model) == 0
    assert_equal(*ends)
    start = {}
    look = At("on_train_start", lambda trainer, model: start.update(weights(model)))
    trainer(callbacks=[trick, look], max_epochs=1).fit(model, tiny_data, tiny_data)
    assert_equal(start, ends[1])


@pytest.mark.slow
@every
@pytest.mark.one_in(3)
def test_after_the_learning_rate_finder(name, tiny_data, trainer):
    """The finder trains and restores its own checkpoint; it must not change the fit that follows."""
    model = fresh(name)
    run = trainer(callbacks=[build_trick(name)])
    torch.manual_seed(0)
    finder = Tuner(run).lr_find(model, tiny_data, num_training=5, update_attr=False)
    assert len(finder.results["loss"]) == 5
    start = {}
    run.callbacks.append(At("on_train_start", lambda trainer, model: start.update(weights(model))))
    run.fit(model, tiny_data)
    plain = fresh(name)
    torch.manual_seed(0)
    expected = {}
    look = At("on_train_start", lambda trainer, model: expected.update(weights(model)))
    again = trainer(callbacks=[build_trick(name), look])
    again.fit(plain, tiny_data)
    assert_equal(start, expected)
    assert_equal(weights(model), weights(plain))


# ---- files


@every
def test_file_is_plain_and_a_resumed_run_ends_with_the_same_bits(name, tiny_data, trainer, tmp_path):
    file = tmp_path / "file.ckpt"
    save = At("on_train_epoch_end", lambda t, _: t.current_epoch or t.save_checkpoint(file))
    training = {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.05, "optimizer_options": {"betas": (0.8, 0.9)}}
    straight = trainer(callbacks=[build_trick(name), save])
    straight.fit(fresh(name, **training), tiny_data, tiny_data)
    content = torch.load(file, weights_only=True)
    assert content["hyper_parameters"] == dict(straight.lightning_module.hparams)
    again = Classifier.load_from_checkpoint(file, network=fresh(name).network)
    assert {key: again.hparams[key] for key in training} == training
    resumed = trainer(callbacks=[build_trick(name)])
    resumed.fit(fresh(name, **training), tiny_data, tiny_data, ckpt_path=file, weights_only=True)
    assert_equal(weights(resumed.lightning_module), weights(straight.lightning_module))
    settings = [
        [{k: v for k, v in group.items() if k != "params"} for group in run.optimizers[0].param_groups]
        for run in (straight, resumed)
    ]
    assert settings[0] == settings[1]


# ---- arguments from files


@with_boxes
@pytest.mark.parametrize("build", [build_trick, build_other])
def test_prints_as_the_call_that_makes_it(name, build):
    trick = build(name)
    if name in TEACHERS:
        assert repr(trick).startswith(f"{name}(teacher=Classifier")
        return
    again = eval(repr(trick), vars(callbacks))
    assert type(again) is type(trick) and vars(again) == vars(trick)


def as_written(value):
    """Convert an argument to its form in YAML: lists for tuples, a schedule by its class."""
    if isinstance(value, Schedule):
        return {"class_path": f"callbacks.{type(value).__name__}", "init_args": as_written(vars(value))}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, dict):
        return {name: as_written(v) for name, v in value.items()}
    return [as_written(v) for v in value] if isinstance(value, tuple) else value


def ways(name, teacher):
    """Return the arguments that a trick needs, and each example's."""
    base = needed(name) | ({"teacher": teacher} if name in TEACHERS else {})
    return [base, *(base | example for example in getattr(callbacks, name).examples)]


def configured(file, content):
    """Return the tricks that `zoo fit --config` makes from this content, and the configuration that it prints."""
    file.write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of a name in Lightning, and of skip_none
        patch.setattr("sys.argv", ["zoo"])
        options = {"run": False, "save_config_callback": None, "seed_everything_default": False}
        made = cli.LightningCLI(parser_class=Parser, args=["--config", str(file)], **options)
        printed = made.parser.dump(made.config, skip_none=False)
    return [trick for trick in made.trainer.callbacks if isinstance(trick, Trick)], printed


@pytest.fixture(scope="module")
def through_yaml(tmp_path_factory):
    """`through_yaml(name)`: a tuple for each of `ways`: arguments, their trick, that of the printed configuration.

    Ten names at once are read faster than each alone, or all; of two processes each reads those that it tests.
    """
    folder, found = tmp_path_factory.mktemp("yaml"), {}
    model = ResNet("20", num_classes=10, image_size=8)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "class": "ResNet"}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, folder / "teacher.ckpt")

    def read(name):
        if name not in found:
            first = WITH_BOXES.index(name) // 10 * 10
            read_all(WITH_BOXES[first : first + 10])
        return found[name]

    def read_all(names):
        asked = [(name, a) for name in names for a in ways(name, str(folder / "teacher.ckpt"))]
        tricks = [{"class_path": f"callbacks.{name}", "init_args": as_written(a)} for name, a in asked]
        network = {"class_path": "zoo.ResNet", "init_args": {"variant": "20", "num_classes": 10, "image_size": 8}}
        config = {"model": network, "trainer": {"accelerator": "cpu", "logger": False, "callbacks": tricks}}
        there, printed = configured(folder / "run.yaml", yaml.safe_dump(config))
        back, _ = configured(folder / "printed.yaml", printed)
        for (name, arguments), *made in zip(asked, there, back, strict=True):
            found.setdefault(name, []).append((arguments, *made))

    return read


@with_boxes
def test_goes_through_yaml_and_back(name, through_yaml):
    kind = getattr(callbacks, name)
    for arguments, there, back in through_yaml(name):
        direct = kind(**arguments)
        for made in (there, back):
            assert type(made) is kind
            for argument in inspect.signature(kind).parameters:
                assert getattr(made, argument) == getattr(direct, argument)
        assert repr(back) == repr(there)  # the key of its state
    arguments, there, _ = through_yaml(name)[0]
    assert repr(there) == repr(kind(**arguments))


@with_boxes
def test_every_argument_is_an_attribute_and_documented(name):
    kind = getattr(callbacks, name)
    trick, doc = build_trick(name), inspect.getdoc(kind)
    for argument in inspect.signature(kind).parameters:
        assert hasattr(trick, argument)
        assert f"\n    {argument}: " in doc
    assert issubclass(kind, Trick)


@every
def test_two_of_a_kind(name, tiny_data, trainer):
    two = [build_trick(name), build_other(name)]
    if name == "CrossMiniBatchNorm":  # no argument tells their states apart, so that Lightning refuses them first
        with pytest.raises(RuntimeError, match="more than one stateful callback of type `CrossMiniBatchNorm`"):
            trainer(callbacks=two)
        return
    run = trainer(callbacks=two)
    if why := refusal(getattr(callbacks, name), getattr(callbacks, name)):
        assert why.startswith(f"{name} and {name} both ")
        with pytest.raises(ValueError, match=why):
            run.fit(fresh(name), tiny_data)
    else:
        run.fit(fresh(name), tiny_data, tiny_data)
        assert run.global_step == 6


@every
def test_foreign_module_works_or_is_told_what_to_add(name, tiny_data, trainer):
    model, trick = Foreign(tiny_network(name)), build_trick(name)
    run = trainer(callbacks=[trick])
    if changes_loss(type(trick)):
        with pytest.raises(TypeError, match="calls_on_loss = True on the class"):
            run.fit(model, tiny_data, tiny_data)
    else:
        if (
            "where" in inspect.signature(type(trick)).parameters and trick.where is None
        ):  # no stages there: the modules must be named
            with pytest.raises(TypeError, match="where="):
                run.fit(model, tiny_data, tiny_data)
            run = trainer(callbacks=[type(trick)(where=("network.block1", "network.block2"))])
        before = weights(model)
        run.fit(model, tiny_data, tiny_data)
        assert run.global_step == 6
        assert not torch.equal(before["network.head.weight"], model.network.head.weight)


@with_boxes
def test_a_trick_with_arguments_has_an_example_of_others(name):
    kind = getattr(callbacks, name)
    taken = inspect.signature(kind).parameters
    assert bool(kind.examples) == bool(taken)
    for example in kind.examples:
        assert example and example.keys() <= taken.keys()
        assert any(value != taken[argument].default for argument, value in example.items())


def ranges(kind):
    """Return a value below and one above each declared range, by argument. Check that each argument exists."""
    found = []
    for need in kind.needs:
        if isinstance(need, Range) and need.argument in inspect.signature(kind).parameters:
            low = 0 if isinstance(need.low, str) else need.low
            found.append((need.argument, low - 1))
            if not isinstance(need.high, str) and need.high < float("inf"):
                found.append((need.argument, need.high + 1))
    return found


@with_boxes
def test_refuses_what_is_out_of_the_declared_ranges(name):
    kind = getattr(callbacks, name)
    teacher = {"teacher": tiny_classifier()} if name in TEACHERS else {}
    for argument, value in ranges(kind):
        with pytest.raises(ValueError, match=f"{name}: {argument} must be in"):
            kind(**(teacher | needed(name) | {argument: value}))


@with_boxes
def test_declares_ranges_of_arguments_that_there_are(name):
    kind = getattr(callbacks, name)
    arguments = {a for base in kind.__mro__ if issubclass(base, Trick) for a in inspect.signature(base).parameters}
    assert {need.argument for need in kind.needs if isinstance(need, Range | Choice)} <= arguments
