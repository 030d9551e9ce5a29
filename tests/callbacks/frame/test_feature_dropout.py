"""Contract of every method of `FeatureDropout`, and the modules, steps and frequency of its action."""

import functools
import inspect
import zlib

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import callbacks
from callbacks.frame.feature_dropout import ANY, KINDS, FeatureDropout
from callbacks.frame.masks import largest_mask, ranks, round_half_even, scale_by_count
from tests.callbacks.conftest import At, assert_equal, hooks, weights
from tests.conftest import TinyNetwork, build_trick, tiny_classifier
from zoo import Classifier

ALONE = {"ClusteringDropConnect", "DropConnect", "GuidedDropout"}  # cannot act without their layers
KINDS_OF = [n for n in callbacks.__all__ if issubclass(getattr(callbacks, n), FeatureDropout) and n not in ALONE]
every = pytest.mark.parametrize("name", KINDS_OF)
# methods whose output is not the features times a mask of zeros and one number
NO_MASK = {"GaussianDropout", "HeuristicDropout", "SpectralDropout", "UniformDropout"}


def method(name):
    return getattr(callbacks, name)()


def features(name, n=4):
    """Return features >= 0, as after a ReLU, some of them zero."""
    torch.manual_seed(0)
    kinds = getattr(callbacks, name).acts_on
    shape = (n, 12, 8, 8) if 4 in kinds else (n, 12)
    return torch.randn(shape).relu()


@every
def test_zero_constant_and_single_features(name):
    trick, x = method(name), features(name)
    single = [x[:, :1], x[:1], x[:, :, :1, :1], x[:, :1, :1, :1], x[..., :2]] if x.ndim == 4 else [x[:, :1], x[:1]]
    for given in (x, x * 0, x * 0 + 1, -x, *single):
        for p in (0.01, 0.3):
            y = trick.drop(given, p)
            assert y.shape == given.shape and y.isfinite().all()
            assert given.any() or not y.any()  # zeros give zeros


@every
def test_in_bf16_as_in_float32_but_for_rounding(name):
    trick, x = method(name), features(name).bfloat16().float()
    torch.manual_seed(1)
    exact = trick.drop(x, 0.3)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        y = trick.drop(x.bfloat16(), 0.3)
    assert y.dtype == torch.bfloat16 and y.isfinite().all()
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.02)


@every
def test_gradient_goes_through_what_is_kept(name):
    if name in NO_MASK:
        return
    trick, x = method(name), features(name) + 0.1
    x.requires_grad_()
    y = trick.drop(x, 0.3)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    torch.testing.assert_close(x.grad, (y / x).detach())  # no gradient through the mask


@every
def test_memory_format_stays(name):
    x = features(name)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
        assert method(name).drop(x, 0.3).is_contiguous(memory_format=torch.channels_last)


@every
def test_repeats_under_checkpointing(name):
    """Recomputation in the backward pass draws the same mask."""
    trick, x = method(name), features(name) + 0.1
    x.requires_grad_()
    torch.manual_seed(1)
    checkpoint(lambda v: trick.drop(v, 0.3) ** 2, x, use_reentrant=False).sum().backward()
    got, x.grad = x.grad, None
    torch.manual_seed(1)
    (trick.drop(x, 0.3) ** 2).sum().backward()
    assert torch.equal(got, x.grad)


@every
def test_refuses_features_of_another_kind(name):
    kinds = getattr(callbacks, name).acts_on
    for n in set(ANY) - set(kinds):
        with pytest.raises(ValueError, match=f"{name} acts on .*'spot' gives {KINDS[n].split()[0]}"):
            method(name)._at("spot", torch.ones((2,) * n), 1.0)


@every
def test_refuses_what_is_no_tensor(name):
    with pytest.raises(ValueError, match=f"{name} acts on .*'spot' gives tuple: choose other modules"):
        method(name)._at("spot", (torch.ones(2, 2),), 1.0)


@every
def test_refuses_rates_and_participations_out_of_range(name):
    kind = getattr(callbacks, name)
    bad = [{"participation": 0}, {"participation": 2}]
    if "p" in inspect.signature(kind).parameters:
        bad += [{"p": 0}, {"p": 1}, {"p": -0.1}, {"p": callbacks.Linear(0, 1)}]
    for arguments in bad:
        with pytest.raises(ValueError, match=f"{name}: "):
            kind(**arguments)


@every
def test_leaves_nothing_even_after_an_exception(name, trainer, tiny_data):
    model = tiny_classifier()

    def stop(trainer, model):
        assert hooks(model) > 0
        raise KeyError("stop")

    with pytest.raises(KeyError):
        trainer(callbacks=[build_trick(name), At("on_train_batch_end", stop)]).fit(model, tiny_data)
    assert hooks(model) == 0


# ---- the mechanism


class Half(FeatureDropout):
    """Multiply all features by 1/2: easy to recognise."""

    acts_on = ANY

    def multiplier(self, x, p):
        return torch.full((1,), p)


class Seen(L.Callback):
    """Record the rate of a trick at each step; None if it does not act."""

    def __init__(self, trick):
        self.trick, self.rates = trick, []

    def on_train_batch_end(self, *_):
        self.rates.append(self.trick._now if self.trick._acts else None)


BLOCKS = {"stage1": "network.block1", "stage2": "network.block2", "pool": "network.maxpool"}


def outputs(model, seen):
    """Record the last outputs of modules and the last input of the head."""
    for module in map(model.get_submodule, BLOCKS.values()):
        module.register_forward_hook(lambda m, i, y: seen.update({m: y}))
    model.network.head.register_forward_pre_hook(lambda m, i: seen.update({m: i[0]}))


def before_and_after(trick, trainer, data):
    """Train one step, and return features before the trick's hooks and after them."""
    model, before, after = tiny_classifier(), {}, {}
    outputs(model, before)
    look = At("on_train_start", lambda trainer, model: outputs(model, after))
    trainer(callbacks=[trick, look], max_steps=1, max_epochs=1).fit(model, data)
    return model.network, before, after


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, ("block1", "block2")),
        ("stage2", ("block2",)),
        (("network.block2",), ("block2",)),
        (["stage1", "network.maxpool"], ("block1", "maxpool")),
        ("classifier", ("head",)),
    ],
    ids=str,
)
def test_where_it_acts(where, expected, trainer, tiny_data):
    network, before, after = before_and_after(Half(0.5, where), trainer, tiny_data)
    for name in ("block1", "block2", "maxpool", "head"):
        module = getattr(network, name)
        assert torch.equal(after[module], before[module] * (0.5 if name in expected else 1))


def test_on_the_input(trainer, tiny_data):
    model, seen = tiny_classifier(), []
    model.network.block1.conv1.register_forward_pre_hook(lambda m, i: seen.append(i[0]))
    trainer(callbacks=[Half(0.5, "input")], max_epochs=1, limit_train_batches=1).fit(model, tiny_data, tiny_data)
    plain = next(iter(tiny_data))[0]
    assert torch.equal(seen[-4], plain * 0.5) and torch.equal(seen[-3], plain)  # trained, then validated, on the same


def test_a_rate_moves_and_a_share_of_the_steps_is_that_of_magnified_weight_decay(trainer, tiny_data):
    from callbacks.frame.chance import is_drawn

    trick = Half(callbacks.Linear(0.1, 0.7), participation=0.5)
    seen = Seen(trick)
    trainer(callbacks=[trick, seen], max_epochs=10).fit(tiny_classifier(), tiny_data)
    expected = [0.1 + 0.6 * i / 30 if is_drawn(0, i, 0.5) else None for i in range(30)]
    assert seen.rates == pytest.approx(expected)
    assert 5 < seen.rates.count(None) < 25


SOON = {"HeuristicDropout", "SpatialDropout"}  # in the default suite; of the others, half are tried, and are slow
MOVED = [name for name in [*KINDS_OF, "DropConnect", "GuidedDropout"] if name in SOON or zlib.crc32(name.encode()) % 2]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in SOON else [pytest.mark.slow]) for n in MOVED],
)
@pytest.mark.one_in(2)
def test_a_schedule_that_moves_is_not_compiled_anew_at_every_step(name, trainer, tiny_data, monkeypatch):
    """It also trains to the same weights as without compiling."""
    compiled, ends = [], []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(Classifier, "compile", functools.partialmethod(Classifier.compile, backend=count))
    torch._dynamo.reset()
    kind, rising = getattr(callbacks, name), callbacks.Linear(0.1, 0.5)
    arguments = inspect.signature(kind).parameters
    on = {"p": callbacks.Linear(0.25, 0.5) if name == "BiasedDropout" else rising} if "p" in arguments else {}
    on |= {"participation": 1.0} if "participation" in arguments else {}
    for compiles in (False, True):
        torch.manual_seed(0)
        model = tiny_classifier(compile=compiles)
        trainer(callbacks=[kind(**on)], max_epochs=4).fit(model, tiny_data)
        ends.append(weights(model))
    assert 0 < len(compiled) <= 2  # 12 steps: the first, and one for any rate
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["SpatialDropout", "StochasticDepth", "AutoDropout"])
def test_behind_a_batch_norm_it_is_the_same_in_place(kind):
    """The outputs and gradients equal those after an identity layer, where a new tensor is made."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Identity(), nn.ReLU(), nn.Conv2d(8, 2, 1))
    x, found = torch.randn(4, 3, 10, 10), []
    for place in (1, 2):
        seen, trick = [], getattr(callbacks, kind)()
        trick._acts, trick._now = True, 0.5
        handles = [network[place].register_forward_hook(lambda m, given, y, seen=seen: seen.append(y))]
        handles.append(trick.register_hook(str(place), network[place], 1.0))
        handles.append(network[place].register_forward_hook(lambda m, given, y, seen=seen: seen.append(y)))
        torch.manual_seed(1)
        y = network(x)
        found.append([y.detach(), *torch.autograd.grad(y.square().sum(), list(network.parameters()))])
        before, after = seen
        assert not after.all() and (before is after) == (place == 1)
        for handle in handles:
            handle.remove()
    assert all(map(torch.equal, *found))


def test_refuses_names_that_are_not_there(trainer, tiny_data):
    with pytest.raises(ValueError, match="no 'stage3' for where; did you mean 'stage"):
        trainer(callbacks=[Half(0.5, "stage3")]).fit(tiny_classifier(), tiny_data)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 16)), num_classes=10)
    with pytest.raises(TypeError, match="gives 10 classes"):
        trainer(callbacks=[Half(0.5, "classifier")]).fit(model, tiny_data)
    with pytest.raises(TypeError, match="names none: name modules, where="):
        trainer(callbacks=[Half(0.5)]).fit(Classifier(TinyNetwork(), num_classes=10), tiny_data)


def test_resumes_with_its_own_draws():
    trick = Half(0.5)
    trick.load_state_dict({"seed": 7})
    assert trick.state_dict() == {"seed": 7}


def test_places_in_a_row_of_equal_ones_the_first_before():
    assert ranks(torch.tensor([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])).tolist() == [[3, 0, 1, 2], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("count", "least", "found"),
    [(2.0, 0, 2), (0.3 * 10, 0, 3), (2.99, 0, 2), (3 - 1.5e-6, 0, 2), (0.5, 1, 1), (9, 0, 4)],
)
def test_the_largest_are_as_many_as_are_whole(count, least, found):
    got = largest_mask(torch.tensor([[4.0, 1.0, 3.0, 2.0]]), count, least)
    assert got.sum() == found and got[0, [0, 2, 3, 1][:found]].all()


@pytest.mark.parametrize("count", [0.4, 0.5, 1.5, 1.6, 2.5, 6.4])
def test_nearest_is_pythons_round(count):
    assert round_half_even(count, torch.zeros(1)).item() == round(count)


# ---- ranks of a run on several machines


ONCE = {
    "ADL": {},
    "StructuralDropout": {"p": 0.9, "where": ("stage1", "stage2")},
    "StochasticDepth": {"per": "batch"},
    "DropConnect": {"per": "batch"},
    "GuidedDropout": {},
}


@pytest.mark.parametrize("name", ONCE)
def test_what_is_drawn_once_for_a_batch_is_drawn_once_for_all_ranks(name, trainer, tiny_data):
    """Draws of `torch.rand` differ between ranks, shared draws do not. Other steps and modules have other draws."""
    seen = []
    for rank in (1, 2):
        trick, drawn = getattr(callbacks, name)(**ONCE[name]), []
        common = trick.shared_draws

        def look(x, *shape, common=common, drawn=drawn):
            drawn.append(common(x, *shape))
            return drawn[-1]

        trick.shared_draws = look
        torch.manual_seed(0)
        reseed = At("on_train_batch_start", lambda t, m, rank=rank: torch.manual_seed(rank))
        trainer(callbacks=[reseed, trick]).fit(tiny_classifier(), tiny_data)
        seen.append(torch.stack(drawn))
        assert trick._shared is None  # afterwards, torch's generator draws
    assert torch.equal(*seen)
    assert len(seen[0].view(len(seen[0]), -1).unique(dim=0)) == len(seen[0]) >= 6


def test_two_tricks_have_other_draws(trainer, tiny_data):
    tricks, numbers = [callbacks.StructuralDropout(p, where="stage1") for p in (0.8, 0.9)], []
    tricks += [callbacks.ADL(where="stage1")]
    look = At("on_train_start", lambda t, m: numbers.extend(n for trick in tricks for n in trick._numbers.values()))
    trainer(callbacks=[*tricks, look], max_epochs=1).fit(tiny_classifier(), tiny_data)
    assert len({*numbers}) == len(numbers) == 3


def test_accumulated_batches_are_one(trainer, tiny_data):
    trick, drawn = callbacks.StructuralDropout(0.9), []
    look = At("on_train_batch_end", lambda t, m: drawn.append(trick._shared.item()))
    trainer(callbacks=[trick, look], accumulate_grad_batches=3, max_epochs=2).fit(tiny_classifier(), tiny_data)
    assert len(drawn) == 6 and len({*drawn[:3]}) == len({*drawn[3:]}) == 1 and drawn[0] != drawn[3]


def test_by_count_of_all_and_of_nothing():
    kept = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert torch.equal(scale_by_count(kept), kept * 4 / 3)
    assert torch.equal(scale_by_count(kept * 0), kept * 0)


@every
def test_evaluation_is_the_plain_network_to_the_bit(name, trainer, tiny_data):
    model, plain, now = tiny_classifier(), [], []
    images = next(iter(tiny_data))[0]

    def look(trainer, model):
        assert hooks(model) > 0
        now.append(model(images))
        plain.append(model_without_hooks(model)(images))

    trainer(callbacks=[build_trick(name), At("on_validation_end", look)], max_epochs=1).fit(model, tiny_data, tiny_data)
    assert torch.equal(now[-1], plain[-1])


def model_without_hooks(model):
    copy = tiny_classifier().eval()
    copy.load_state_dict(model.state_dict())
    return copy


def test_the_same_seed_the_same_run(trainer, tiny_data):
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        model = tiny_classifier()
        trainer(callbacks=[callbacks.SpatialDropout(0.3)]).fit(model, tiny_data)
        ends.append(weights(model))
    assert_equal(*ends)


class Looks(FeatureDropout):
    """Record the context in which the mask is made."""

    def __init__(self, p=0.5, where=None, participation=1.0):
        super().__init__(p, where, participation)
        self.seen = []

    def multiplier(self, x, p):
        weight = torch.ones(1, requires_grad=True)
        self.seen.append((x.requires_grad, (x * weight).requires_grad, torch.is_autocast_enabled("cpu")))
        return torch.ones_like(x)


def test_a_mask_is_made_without_gradient_or_autocast():
    trick, x = Looks(), torch.randn(2, 3, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = trick.drop(x, 0.5)
    assert trick.seen == [(False, False, False)] and y.requires_grad


def steps_of(seed, trainer, data):
    """Return the steps at which a method acts, and the keys of its shared draws."""
    L.seed_everything(seed, verbose=False)
    trick, found = callbacks.ADL(0.5, where=("stage1",), participation=0.5), []
    look = At("on_train_batch_end", lambda *_: found.append((trick._acts, trick._acts and trick._shared.item())))
    trainer(callbacks=[trick, look], max_epochs=5).fit(tiny_classifier(), data)
    return found


def test_another_seed_acts_at_other_steps_with_other_draws(trainer, tiny_data):
    first, again, other = (steps_of(seed, trainer, tiny_data) for seed in (3, 3, 4))
    assert first == again
    assert [acts for acts, _ in first] != [acts for acts, _ in other]
    assert not {key for _, key in first if key is not False} & {key for _, key in other if key is not False}
