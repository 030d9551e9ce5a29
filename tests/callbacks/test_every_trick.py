"""What every trick owes, over `callbacks.__all__`: a new one is tested here without a line of its own."""

import copy
import inspect

import lightning.pytorch.cli as cli
import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch.tuner import Tuner
from torch import nn

import callbacks
from callbacks.frame.pairs import refusal
from callbacks.frame.schedule import Schedule
from callbacks.frame.trick import Trick
from recipes.command.lightning import Parser
from tests.callbacks.conftest import At, Foreign, SeenBatches, assert_equal, hooks, weights
from tests.conftest import NEEDED, TEACHERS, build_trick, empty_folder, tiny_classifier, tiny_network
from zoo import Classifier, ResNet
from zoo.frame.classifier import changes_loss

every = pytest.mark.parametrize("name", callbacks.__all__)

# another instance of the same trick, told apart by its arguments; those that are not here take none
OTHERS = {
    "ChannelOrder": {"p": 1.0},
    "MultiScale": {"scale": (0.5, 1.5), "every": 1, "multiple": 2},
    "ProgressiveResizing": {"scale": 0.5},
    "Calibration": {"bins": 5},
    "Checklist": {"steps": 2},
    "DeadUnits": {"fraction": 0.9},
    "FitVerdict": {"tau": 0.5},
    "GradientFlow": {"low": 0.0, "high": 10.0},
    "InitialLoss": {"tolerance": 2.0},
    "LearningRateRange": {"steps": 20, "low": 1e-05},
    "OverfitSamples": {"samples": 3, "steps": 5},
    "UpdateRatio": {"every": 2, "high": 1.0},
    "AccumulationSchedule": {"epochs": (0, 1), "factors": (2, 1)},
    "Activation": {"kind": "prelu"},
    "AdaptiveGradientClipping": {"factor": callbacks.Linear(0.01, 0.1), "eps": 0.01},
    "AttentionPatchDropout": {"rate": (0.0, 0.5), "where": 2, "drop": "low", "tau": 0.0},
    "AttentionTransfer": {"stages": ("stage1",), "beta": 10.0, "mapping": "max"},
    "AuxiliaryHeads": {"stages": ("stage1", "stage2"), "weight": callbacks.Linear(0.3, 0)},
    "BinaryCrossEntropy": {"threshold": None, "sum_classes": True, "smoothing": 0.1},
    "CachedLogits": {"path": empty_folder(), "T": 2.0},
    "CircleLoss": {"weight": 0.01, "m": 0.4, "gamma": 80.0, "form": "pair"},
    "ClassBalanced": {"beta": 0.9, "counts": (7,) * 10},
    "ConfidencePenalty": {"weight": callbacks.Linear(0, 0.5)},
    "CosineDecay": {"warmup_epochs": 0.5, "end": 0.01},
    "CutMix": {"alpha": callbacks.Linear(1, 0.5), "p": 0.5},
    "Cutout": {"side": 3},
    "Dice": {"smooth": 0.1},
    "DropHead": {"p": 0.5},
    "EMA": {"decay": 0.5},
    "EarlyStopping": {"metric": "val/acc", "mode": "max", "patience": 3, "min_delta": 0.001},
    "ExpertBalance": {"weight": 1.0},
    "Flooding": {"b": 0.5},
    "FocalLoss": {"gamma": 0.5, "alpha": (0.5, 1.5) * 5},
    "GatingDropout": {"p": callbacks.Linear(0, 1), "kind": "gate-expert"},
    "FrozenBatchNorm": {"affine": True},
    "GradualUnfreezing": {"every": "2st", "ratio": 10},
    "GradientAttentionTransfer": {"beta": callbacks.Linear(1, 0)},
    "GradientCentralization": {"conv_only": True},
    "GradientClipping": {"limit": callbacks.Linear(2.0, 0.1), "kind": "value"},
    "GridMask": {"d1": 2, "d2": 5, "ratio": 0.5, "rotate": 1, "mode": 0, "p": 0.7},
    "Hints": {"stages": ("stage2",), "pretrain": "1ep"},
    "Kaiming": {"mode": "fan_out"},
    "KeepRate": {"start": 0, "until": "1dur"},
    "KnowledgeDistillation": {"T": callbacks.Cosine(4, 1), "weight": 0.5},
    "L1": {"weight": callbacks.Linear(0, 1e-3)},
    "L2": {"weight": 0.01},
    "LabelSmoothing": {"eps": callbacks.Steps(0, {"1ep": 0.2}), "formulation": "paper"},
    "LayerDecay": {"decay": 0.5},
    "LinearScaling": {"base": 128},
    "MagnifiedWeightDecay": {"probability": callbacks.Linear(0, 0.5), "factor": 3.0},
    "MixUp": {"alpha": 0.2},
    "MixUpOrCutMix": {"mixup_alpha": 0.2, "switch": callbacks.Linear(0, 1), "p": callbacks.Steps(1, {"0.9dur": 0})},
    "Mosaic": {"margin": 0.0, "p": 1.0},
    "Norm": {"kind": "batch_renorm"},
    "OneCycle": {"pct_start": 0.4, "div": 10, "final_div": 100, "momentum": None},
    "Orthogonality": {"weight": callbacks.Steps(1e-3, {"0.5dur": 0}), "kind": "srip"},
    "PatchDropout": {"keep": (0.5, 1.0)},
    "PolyakAveraging": {"start": "2st"},
    "PolynomialDecay": {"power": 2, "warmup_epochs": 0.5},
    "RDrop": {"weight": callbacks.Linear(0, 1)},
    "RICAP": {"beta": callbacks.Linear(0.3, 1)},
    "RandomErasing": {"p": 0.25, "scale": (0.02, 0.33), "r1": 0.4, "fill": "mean", "formulation": "timm"},
    "ReduceOnPlateau": {"mode": "max", "gamma": 0.5, "patience": 2, "threshold": 0.01, "warmup_epochs": 0.5},
    "SWA": {"start": 1, "every": "2st", "lr_factor": 0.2, "anneal": 0},
    "SpatialPyramidPooling": {"levels": (3, 1), "image_size": 8},
    "SquareRootScaling": {"base": 128},
    "SnapshotEnsemble": {"cycles": 3, "last": 2},
    "ShuffledLabels": {"patience": 1},
    "MagnitudePruning": {"final": 0.5, "start": "0st", "end": "3st", "every": 1},
    "Slimming": {"weight": callbacks.Linear(0, 1e-3)},
    "TestTimeAugmentation": {"shift": 1},
    "SelfDistillation": {"decay": 0.5, "weight": callbacks.Linear(0, 10)},
    "SymmetryAttention": {"beta": 0.5},
    "TokenDistillation": {"logits": 0.0, "tokens": callbacks.Linear(1, 0)},
    "TokenLabeling": {"weight": callbacks.Linear(1, 0), "formulation": "code", "mix_token": False},
    "TokenRatio": {"weight": 5.0},
    "SubtreeDropout": {"p": callbacks.Linear(0, 0.3)},
    "Tversky": {"alpha": 0.5, "beta": 1.0, "smooth": 0.1},
    "ZeroGamma": {"image_size": 8},
    "ZeroLastConv": {"image_size": 8},
    "Specialist": {"classes": (1, 2), "weight": callbacks.Linear(0, 1), "T": 2.0, "fraction": 0.3},
    "StepDecay": {"milestones": (1, "0.7dur"), "gamma": 0.5, "warmup_epochs": 0.5},
    "StepThenCosine": {"milestones": (1,), "gamma": 0.5, "cosine_from": "1.5ep", "warmup_kind": "multiplier"},
    "StepwiseCosine": {"every": "1st", "warmup_epochs": 0.5, "warmup_kind": "constant"},
    "WarmUp": {"epochs": 0.5, "kind": "constant"},
    "WarmRestarts": {"first": "2st", "multiply": 1, "warmup_epochs": 0.5},
    "Dropout": {"p": callbacks.Linear(0, 0.5), "where": ("network.block1", "stage2"), "form": "2014"},
    "GaussianDropout": {"p": 0.2, "where": "input", "participation": callbacks.Linear(0, 1)},
    "UniformDropout": {"p": 0.1, "where": "input", "participation": 0.5},
    "SpatialDropout": {"p": callbacks.Linear(0, 0.2), "where": ("stage1",), "participation": 0.5},
    "DropBlock": {"p": 0.2, "block_size": 2, "shared": True, "where": ("stage1",), "participation": 0.5},
    "ProbDropBlock": {"p": 0.2, "block_size": 2, "shared": True, "where": ("stage1",), "participation": 0.5},
    "WeightedChannelDropout": {"p": 0.5, "q": 1.0, "rescale": "inverse", "where": ("stage1",), "participation": 0.5},
    "ChannelDropBlock": {"p": callbacks.Linear(0, 0.3), "metric": "cosine", "where": ("stage1",), "participation": 0.5},
    "FocusedDropout": {"low": 0.2, "high": 0.9, "where": ("stage2",), "participation": 1.0},
    "CorrDrop": {
        "p": 0.3,
        "kind": "channel",
        "block_size": 2,
        "temperature": 0.1,
        "where": ("stage2",),
        "participation": 0.5,
    },
    "ADL": {"p": 0.5, "theta": 0.9, "where": ("stage2",), "participation": 0.5},
    "BiasedDropout": {"p": 0.4, "d": 0.1, "where": ("stage1",), "participation": 0.5},
    "CrossmapDropout": {"p": 0.2, "where": ("stage2",), "participation": 0.5},
    "HeuristicDropout": {"p": 0.3, "k": 1.0, "laplace": False, "where": ("stage2",), "participation": 0.5},
    "SpectralDropout": {"p": 0.3, "tau": 1.0, "dims": "all", "where": ("stage2",), "participation": 0.5},
    "StructuralDropout": {"p": 0.9, "low": 2, "step": 2, "where": ("stage2",), "participation": 0.5},
    "DropConnect": {"p": 0.2, "where": ("network.block2.conv1",), "per": "batch", "participation": 0.5},
    "NeuronSpecificDropout": {"p": 0.4, "absolute": True, "held": None, "where": ("stage2",), "participation": 0.5},
    "GuidedDropout": {
        "p": 0.4,
        "kind": "top-k",
        "active": 0.5,
        "where": ("network.block2.conv1",),
        "participation": 0.5,
    },
    "ADCM": {"p": 0.3, "where": ("network.block2",), "image_size": 8},
    "AutoDropout": {
        "policy": (callbacks.Pattern(1, 1), callbacks.Pattern(1, 1, 1, residual=True)),
        "participation": 0.5,
    },
    "ClusteringDropout": {
        "low": 0.2,
        "high": 0.5,
        "clusters": 2,
        "every": 1,
        "decay": 0.5,
        "where": ("stage2",),
        "participation": 0.5,
    },
    "Maxout": {"k": 3, "where": ("network.block2.conv1",)},
    "StochasticDepth": {"p": callbacks.Linear(0, 0.5), "rule": "constant", "per": "batch", "participation": 0.5},
}
# Those that change the network for good: `tests/callbacks/network/test_surgery.py` has what they owe.
SURGERY = ("ADCM", "Activation", "GuidedDropout", "Maxout", "Norm", "SpatialPyramidPooling", "StochasticPooling")


def build_other(name):
    arguments = OTHERS.get(name, {})
    teacher = {"teacher": tiny_classifier(width=5, network=tiny_network(name))} if name in TEACHERS else {}
    return getattr(callbacks, name)(**teacher, **arguments)


def fitted(trainer, name, data, model=None, **arguments):
    """A run with the trick, after `fit`; it ended with finite weights that moved."""
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


# ---- it trains


@every
def test_trains_and_validates(name, tiny_data, trainer):
    run = fitted(trainer, name, tiny_data)
    assert {"train/loss", "val/loss", "val/acc"} <= run.callback_metrics.keys()
    assert run.global_step == 6


@every
def test_under_accumulation(name, tiny_data, trainer):
    assert fitted(trainer, name, tiny_data, accumulate_grad_batches=2).global_step == 4


@every
def test_in_bf16(name, tiny_data, trainer):
    model = fresh(name)
    fitted(trainer, name, tiny_data, model, precision="bf16-mixed")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@every
def test_in_channels_last(name, tiny_data, trainer):
    fitted(trainer, name, tiny_data, fresh(name, channels_last=True))


def trained_weights(trainer, name, data, model):
    torch.manual_seed(0)
    trainer(callbacks=[build_trick(name)]).fit(model, data, data)
    return weights(model)


@every
def test_compiled_is_the_same(name, tiny_data, trainer, monkeypatch):
    """Dynamo with torch's kernels: what it traces must see every hook and every change that a trick makes."""
    monkeypatch.setattr(Classifier, "compile", lambda self: nn.Module.compile(self, backend="eager"))
    eager = trained_weights(trainer, name, tiny_data, fresh(name))
    compiled = trained_weights(trainer, name, tiny_data, fresh(name, compile=True))
    assert eager.keys() == compiled.keys()
    for key, value in eager.items():
        torch.testing.assert_close(compiled[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_by_inductor(tiny_data, trainer):
    """One trick of hooks on the network and an average of its weights: aot_eager above traces every trick's graphs."""
    fitted(trainer, "AttentionTransfer", tiny_data, fresh("AttentionTransfer", compile=True))
    fitted(trainer, "EMA", tiny_data, fresh("EMA", compile=True))


# ---- it acts on training only


@every
def test_evaluation_is_as_without_it(name, tiny_data, trainer):
    """In a test some log scores of their own beside the model's."""
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
def test_a_test_after_training_is_of_the_plain_network(name, tiny_data, trainer):
    trick, model = build_trick(name), fresh(name)
    run = trainer(callbacks=[trick])
    run.fit(model, tiny_data, tiny_data)
    scores, plain = (r.test(model, tiny_data, verbose=False)[0] for r in (run, trainer()))
    assert {key: scores[key] for key in plain} == plain


@every
def test_validation_in_a_fit_is_of_the_plain_network_on_the_plain_batches(name, tiny_data, trainer):
    """The loss that is logged is the cross-entropy of a copy of the network, without trainer or tricks."""
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
def test_the_data_set_is_not_changed(name, tiny_data, trainer):
    before = [(image.clone(), target.clone()) for image, target in tiny_data.dataset]
    fitted(trainer, name, tiny_data)
    for (image, target), (old_image, old_target) in zip(tiny_data.dataset, before, strict=True):
        assert torch.equal(image, old_image) and torch.equal(target, old_target)


# ---- it leaves nothing behind

PLAIN = {}


def plain_after_fit(name, data, trainer):
    """The trick's network after a fit without it: once for all tricks."""
    kind = tiny_network(name)
    if kind not in PLAIN:
        PLAIN[kind] = fresh(name)
        trainer().fit(PLAIN[kind], data, data)
    return PLAIN[kind]


@every
def test_leaves_the_model_as_a_plain_one(name, tiny_data, trainer):
    model, plain, trick = fresh(name), plain_after_fit(name, tiny_data, trainer), build_trick(name)
    trainer(callbacks=[trick]).fit(model, tiny_data, tiny_data)
    assert vars(model).keys() == vars(plain).keys()
    assert all(p.requires_grad for p in model.parameters())
    if name not in SURGERY:
        assert model.state_dict().keys() == plain.state_dict().keys()
        assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]
    assert hooks(model) == 0
    if name in TEACHERS:
        assert hooks(trick.teacher) == 0


@every
def test_same_object_in_a_second_fit(name, tiny_data, trainer):
    trick, ends = build_trick(name), []
    for _ in range(2):
        model = fresh(name)
        torch.manual_seed(0)  # initialisations draw in `setup`
        trainer(callbacks=[trick]).fit(model, tiny_data, tiny_data)
        ends.append(weights(model))
        assert hooks(model) == 0
    assert_equal(*ends)


@every
def test_goes_on_in_a_second_fit_of_the_same_model(name, tiny_data, trainer):
    model, trick = fresh(name), build_trick(name)
    trainer(callbacks=[trick]).fit(model, tiny_data, tiny_data)
    trained, start = weights(model), {}
    look = At("on_train_start", lambda trainer, model: start.update(weights(model)))
    trainer(callbacks=[trick, look]).fit(model, tiny_data, tiny_data)
    assert_equal(start, trained)


@every
def test_after_the_learning_rate_finder(name, tiny_data, trainer):
    """The finder trains, restores its own checkpoint, and must not leave marks on what comes after."""
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
    straight = trainer(callbacks=[build_trick(name), save])
    straight.fit(fresh(name), tiny_data, tiny_data)
    content = torch.load(file, weights_only=True)
    assert content["hyper_parameters"] == dict(straight.lightning_module.hparams)
    resumed = trainer(callbacks=[build_trick(name)])
    resumed.fit(fresh(name), tiny_data, tiny_data, ckpt_path=file, weights_only=True)
    assert_equal(weights(resumed.lightning_module), weights(straight.lightning_module))
    settings = [
        [{k: v for k, v in group.items() if k != "params"} for group in run.optimizers[0].param_groups]
        for run in (straight, resumed)
    ]
    assert settings[0] == settings[1]


@every
def test_training_arguments_survive_a_file(name, tiny_data, trainer, tmp_path):
    training = {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.05, "optimizer_options": {"betas": (0.8, 0.9)}}
    run = trainer(callbacks=[build_trick(name)], max_epochs=1)
    run.fit(fresh(name, **training), tiny_data)
    run.save_checkpoint(tmp_path / "file.ckpt")
    again = Classifier.load_from_checkpoint(tmp_path / "file.ckpt", network=fresh(name).network)
    assert {key: again.hparams[key] for key in training} == training


# ---- its words


@every
@pytest.mark.parametrize("build", [build_trick, build_other])
def test_prints_as_the_call_that_makes_it(name, build):
    trick = build(name)
    if name in TEACHERS:
        assert repr(trick).startswith(f"{name}(teacher=Classifier")
        return
    again = eval(repr(trick), vars(callbacks))
    assert type(again) is type(trick) and vars(again) == vars(trick)


def as_written(value):
    """As YAML has it: lists for tuples, a schedule by its class."""
    if isinstance(value, Schedule):
        return {"class_path": f"callbacks.{type(value).__name__}", "init_args": as_written(vars(value))}
    if hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, dict):
        return {name: as_written(v) for name, v in value.items()}
    return [as_written(v) for v in value] if isinstance(value, tuple) else value


def ways(name, teacher):
    """The arguments that a trick needs, and those of `OTHERS`."""
    needed = NEEDED.get(name, {}) | ({"path": empty_folder()} if name == "CachedLogits" else {})
    found = [needed, *([OTHERS[name]] if name in OTHERS else [])]
    return [{"teacher": teacher, **arguments} if name in TEACHERS else arguments for arguments in found]


def configured(file, content):
    """The tricks that `zoo fit --config` makes of a file with this content, and what it prints as configuration."""
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
    """name -> for each of `ways`: the arguments, the trick made of them, and that made of the configuration printed."""
    folder, found = tmp_path_factory.mktemp("yaml"), {}
    model = ResNet("20", num_classes=10, image_size=8)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "model": "ResNet"}
    torch.save({**content, "pytorch-lightning_version": "2.6.0"}, folder / "teacher.ckpt")
    asked = [(name, a) for name in callbacks.__all__ for a in ways(name, str(folder / "teacher.ckpt"))]
    for start in range(0, len(asked), 30):  # many at once are read faster than each alone, or all
        part = asked[start : start + 30]
        tricks = [{"class_path": f"callbacks.{name}", "init_args": as_written(a)} for name, a in part]
        network = {"class_path": "zoo.ResNet", "init_args": {"variant": "20", "num_classes": 10, "image_size": 8}}
        config = {"model": network, "trainer": {"accelerator": "cpu", "logger": False, "callbacks": tricks}}
        there, printed = configured(folder / "run.yaml", yaml.safe_dump(config))
        back, _ = configured(folder / "printed.yaml", printed)
        for (name, arguments), *made in zip(part, there, back, strict=True):
            found.setdefault(name, []).append((arguments, *made))
    return found


@every
def test_goes_through_yaml_and_back(name, through_yaml):
    kind = getattr(callbacks, name)
    for arguments, there, back in through_yaml[name]:
        direct = kind(**arguments)
        for made in (there, back):
            assert type(made) is kind
            for argument in inspect.signature(kind).parameters:
                assert getattr(made, argument) == getattr(direct, argument)
        assert repr(back) == repr(there)  # the key of its state
    arguments, there, _ = through_yaml[name][0]
    assert repr(there) == repr(kind(**arguments))


@every
def test_every_argument_is_an_attribute_and_documented(name):
    kind = getattr(callbacks, name)
    trick, doc = build_trick(name), inspect.getdoc(kind)
    for argument in inspect.signature(kind).parameters:
        assert hasattr(trick, argument)
        assert f"\n    {argument}: " in doc
    assert issubclass(kind, Trick)


@every
def test_two_of_a_kind(name, tiny_data, trainer):
    run = trainer(callbacks=[build_trick(name), build_other(name)])
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


def test_the_lists_above_are_complete():
    takes_arguments = {n for n in callbacks.__all__ if len(inspect.signature(getattr(callbacks, n)).parameters)}
    assert OTHERS.keys() == takes_arguments
