"""AutoDropout: the paper's figure, patterns rotated and sheared by hand, where they act, and a search's draws."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import callbacks
import zoo
from callbacks import AutoDropout, Pattern
from callbacks.dropout.auto_dropout import multiplier, propose, scale
from callbacks.frame.pattern import offsets, tile_mask
from tests.callbacks.conftest import At
from tests.conftest import tiny_classifier

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "dropout" / "autodropout.json").read_text())


def drawn(pattern, shape, at=(0, 0)):
    return tile_mask(torch.tensor(at), pattern, shape)


def picture(text):
    return torch.tensor([[float(c == ".") for c in line] for line in text.split()])


def test_figure_2_of_the_paper():
    pattern = Pattern(**{name: tuple(pair) for name, pair in ORACLE["params"].items()})
    expected, offset = ORACLE["expected"], torch.tensor(ORACLE["random"]["offset"])
    mask = tile_mask(offset, pattern, (14, 20))
    assert torch.equal(mask, torch.tensor(expected["mask"], dtype=torch.float))
    factors = scale(mask[None, None])
    assert (factors == 0).sum() == expected["dropped"]
    assert factors.max().item() == pytest.approx(expected["scale"], abs=1e-6)


def test_a_quarter_turn_of_an_odd_pattern_by_hand():
    """Three tiles in a column become three in a row; five by three becomes three by five."""
    column = Pattern(1, (1, 0), (3, 1))
    assert torch.equal(drawn(column, (7, 7), (1, 3)), 1 - torch.eye(7)[3] * torch.tensor([[0, 1, 0, 1, 0, 1, 0]]).T)
    turned = drawn(column._replace(rotate=90), (7, 7), (1, 3))
    assert torch.equal(turned, drawn(column, (7, 7), (1, 3)).T)
    for degrees in (180, 360):
        assert torch.equal(drawn(column._replace(rotate=degrees), (7, 7), (1, 3)), drawn(column, (7, 7), (1, 3)))
    block = Pattern((5, 3), 0, 1)
    assert torch.equal(drawn(block._replace(rotate=90), (9, 9), (2, 3)), drawn(block, (9, 9), (2, 3)).T)


def test_turned_by_little_it_keeps_its_area_and_its_middle():
    pattern = Pattern(15, 0, 1)
    for degrees in (10, 30, 45):
        mask = drawn(pattern._replace(rotate=degrees), (40, 40), (12, 12))
        rows, columns = (mask == 0).nonzero().float().mean(0).tolist()
        assert (mask == 0).sum().item() == pytest.approx(225, rel=0.05)
        assert rows == pytest.approx(19, abs=0.1) and columns == pytest.approx(19, abs=0.1)


def test_clockwise():
    """A horizontal bar is rotated: its right end moves down."""
    mask = drawn(Pattern((1, 9), 0, 1, rotate=45), (11, 11), (5, 1))
    assert mask[3, 3] == 0 and mask[7, 7] == 0 and mask[3, 7] == 1 and mask[7, 3] == 1


def test_sheared_by_hand():
    """shear_x = 1 moves each row by its distance from the middle one, to the right below it."""
    mask = drawn(Pattern((3, 1), 0, 1, shear_x=1.0), (3, 5), (0, 2))
    assert torch.equal(mask, picture(".#... ..#.. ...#."))
    mask = drawn(Pattern((1, 3), 0, 1, shear_y=1.0), (5, 3), (2, 0))
    assert torch.equal(mask, picture(".#... ..#.. ...#.").T)


def test_limits():
    assert drawn(Pattern(0), (4, 4)).all() and drawn(Pattern((0, 3)), (4, 4)).all()  # nothing is dropped
    everything = multiplier(torch.ones(2, 3, 4, 4), Pattern(9, 0, 1))
    assert not everything.any() and everything.isfinite().all()
    one = drawn(Pattern(2, 5, 1), (4, 4), (1, 1))  # a single tile, as DropBlock's: the stride has no effect
    assert torch.equal(one, picture(".... .##. .##. ...."))
    assert torch.equal(drawn(Pattern(1, 0, 2), (4, 4), (1, 1)), one)  # tiles without gaps are one tile
    assert not drawn(Pattern(2, 1, 3), (2, 2)).any() and drawn(Pattern(2, 3, 2), (2, 2), (-3, -3)).all()  # in the gap


@pytest.mark.parametrize(("extent", "lowest", "highest"), [(3, 0, 4), (7, 0, 0), (9, -2, 0)])
def test_places_are_even_and_inside(extent, lowest, highest):
    torch.manual_seed(0)
    u = torch.rand(3000, 1, 2)
    u[:2] = torch.tensor([[[0.0, 0.0]], [[1 - 2**-24, 1 - 2**-24]]])
    found = offsets(u, Pattern(extent, 0, 1), (7, 7))
    assert torch.equal(found[0], torch.full((1, 2), lowest)) and torch.equal(found[1], torch.full((1, 2), highest))
    counts = torch.bincount((found[..., 0] - lowest).flatten(), minlength=highest - lowest + 1)
    assert len(counts) == highest - lowest + 1
    assert (counts / 3000 - 1 / len(counts)).abs().max() < 0.03


def test_scale_is_of_each_example_and_channels_share_or_not():
    torch.manual_seed(0)
    x = torch.ones(64, 5, 6, 6)
    for shared, channels in ((True, 1), (False, 5)):
        scale = multiplier(x, Pattern(2, 0, 1, shared=shared))
        assert scale.shape == (64, channels, 6, 6)
        torch.testing.assert_close(scale.mean((1, 2, 3)), torch.ones(64))  # sums to Size(m)
        torch.testing.assert_close(scale.max(), torch.tensor(36 / 32))
        places = {tuple(row.tolist()) for row in (scale == 0).flatten(2)[0]}
        assert len(places) == (1 if shared else len(places)) and (shared or len(places) > 1)


def test_neighbours_on_tokens():
    torch.manual_seed(0)
    pattern = Pattern((2, 7), (1, 7), (3, 7), rotate=30, shear_x=0.5)
    scale = multiplier(torch.ones(50, 12, 4), pattern)
    assert scale.shape == (50, 12, 1)
    dropped = (scale == 0).squeeze(2)
    expected = torch.tensor([True, True, False, True, True, False, True, True])
    for row in dropped:
        begin = int(row.float().argmax())
        assert torch.equal(row[begin : begin + 8], expected) and row.sum() == 6
    assert multiplier(torch.ones(50, 12, 4), pattern._replace(shared=False)).shape == (50, 12, 4)


def test_acts_behind_the_norm_of_each_branch_and_on_the_shortcut_if_asked():
    model = zoo.ResNet("20", num_classes=10)
    ends = [name for name, _ in AutoDropout().named_modules(model)]
    assert len(ends) == 9 and all(name.endswith(".bn2") for name in ends)
    assert all(isinstance(module, torch.nn.BatchNorm2d) for _, module in AutoDropout().named_modules(model))
    policy = (Pattern(residual=True), *[Pattern(1)] * 8)
    assert [n for n, _ in AutoDropout(policy).named_modules(model)] == [ends[0].removesuffix(".bn2"), *ends[1:]]
    with pytest.raises(ValueError, match="2 patterns for 9 modules"):
        AutoDropout((Pattern(), Pattern())).named_modules(model)
    with pytest.raises(TypeError, match="no residual block"):
        AutoDropout().named_modules(zoo.VGG("11", 10, 32))
    with pytest.raises(ValueError, match="more branches"):
        AutoDropout(Pattern(residual=True)).named_modules(zoo.ViT("Ti/16", num_classes=10, image_size=32))


def test_each_place_has_its_own_pattern(trainer, tiny_data):
    seen = {}

    def look(trainer, model):
        for name in ("block1", "block2"):
            bn = getattr(model.network, name).bn1
            bn.register_forward_hook(lambda m, i, y, name=name: seen.setdefault(name, y.detach()))

    policy = (Pattern(1, 0, 1), Pattern((2, 1), 0, 1))
    trick = AutoDropout(policy)
    trainer(callbacks=[trick, At("on_train_start", look)], max_epochs=1, max_steps=1).fit(tiny_classifier(), tiny_data)
    assert [int((seen[name] == 0).sum((2, 3)).unique()) for name in ("block1", "block2")] == [1, 2]


@pytest.mark.parametrize(
    "bad", [Pattern(-1), Pattern(1, -1), Pattern(1, 1, 0), Pattern(shear_x=2.0, shear_y=0.5), (Pattern(), Pattern(-1))]
)
def test_refuses_patterns_that_cannot_be(bad):
    with pytest.raises(ValueError, match="AutoDropout: needs size, stride >= 0"):
        AutoDropout(bad)
    with pytest.raises(ValueError, match="name the blocks themselves"):
        AutoDropout(Pattern(residual=True), where="stage1")


def fixed(**values):
    """Return a trial that suggests these values, or else the lowest."""
    suggest = lambda name, low, *_, **__: values.get(name, low if not isinstance(low, list) else low[0])  # noqa: E731
    return SimpleNamespace(suggest_int=suggest, suggest_float=suggest, suggest_categorical=suggest)


def test_what_a_trial_proposes():
    assert propose(fixed(size=3, rotate=15.0)) == Pattern(3, 0, 1, 15.0, 0.0, 0.0, False)
    assert propose(fixed(residual=True), shortcuts=True).residual and not propose(fixed(residual=True)).residual
    policy = propose(fixed(**{"1.size": 2, "1.shared": True}), modules=2)
    assert policy == (Pattern(0, 0, 1, shared=False), Pattern(2, 0, 1, shared=True))
    assert callbacks.AutoDropout(policy).policy == policy
