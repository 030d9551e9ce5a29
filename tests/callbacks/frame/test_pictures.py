"""Pictures of tricks: a contract over every trick, and what single kinds draw against formulas by hand."""

import copy
import io
import math
import os
import random
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import callbacks
from callbacks import L2, CosineDecay, Dropout, FocalLoss, LayerDecay, MixUp, StepDecay, StochasticDepth, Trick
from callbacks.frame.pictures import features, loss, photographs, rates
from callbacks.frame.pictures.apart import apart, fresh
from recipes.frame import gallery
from recipes.frame.gallery import example, write

QUICK = (
    "AccumulationSchedule", "AdaptiveGradientClipping", "BoxFlip", "BoxLoss", "Calibration", "ChannelOrder",
    "CosineDecay", "DropBlock", "DropConnect", "EarlyStopping", "FrozenBatchNorm", "KnowledgeDistillation", "L2",
    "LabelSmoothing", "LinearScaling", "Maxout", "PatchDropout", "ProgressiveResizing", "ShuffledLabels", "Slimming",
    "StochasticDepth", "StochasticPooling", "SWA", "TestTimeAugmentation", "ZeroGamma",
)  # fmt: skip
# One function draws all tricks of a kind, so that one of each kind will do, by a hash that new tricks do not change; a
# trick that names no kind draws itself. `make site` draws them all.
EVERY = [*callbacks.__all__, *callbacks.OF_BOXES]


def kind(name: str) -> str:
    return getattr(callbacks, name).picture or name


ONE_EACH = {kind(name): name for name in sorted(EVERY, key=lambda name: zlib.crc32(name.encode()))}
CHOSEN = sorted(ONE_EACH[each] for each in ONE_EACH.keys() - {*map(kind, QUICK)})
some = pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in CHOSEN)])


def states() -> tuple:
    """All random states of the process, and its environment."""
    numpy = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2], dict(os.environ)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=float)


@some
@pytest.mark.one_in(16)
def test_a_trick_draws_itself(name, tmp_path, monkeypatch):
    """Not empty, the same each time, and without a trace in the trick, the random states and the folder."""
    monkeypatch.chdir(tmp_path)
    trick = example(name)
    before, made = dict(vars(trick)), repr(trick)
    torch.manual_seed(7)
    then = states()
    picture = trick.draw()
    assert states() == then
    assert {key: value is before[key] for key, value in vars(trick).items()} == dict.fromkeys(before, True)
    assert repr(trick) == made and not [*tmp_path.iterdir()]
    seen = pixels(picture._repr_png_())
    assert seen.std() > 3 and (abs(seen - np.median(seen)) > 20).mean() > 0.005
    assert picture.caption[0].isupper() and picture.suffix in (".svg", ".webp")
    torch.manual_seed(8)
    assert trick.draw().data() == picture.data()


def test_another_argument_is_another_picture():
    assert MixUp(1.0).draw().data() != MixUp(0.1).draw().data()
    assert L2(1e-3).draw().data() != L2(1e-4).draw().data()


def test_a_trick_without_a_kind_says_what_to_do():
    class Plain(Trick):
        def __init__(self):
            pass

    with pytest.raises(NotImplementedError, match="names no kind of picture"):
        Plain().draw()


def test_a_trick_of_the_users_own_that_changes_the_batch_draws_itself():
    class Darker(Trick):
        changes_batch = True

        def __init__(self, by: float = 0.5):
            self.by = by

        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            batch[0] = batch[0] - self.by

    assert "Darker(by=0.9)" in Darker(0.9).draw().caption


# ---- kinds


def test_rates_are_those_of_the_formula():
    found, total = rates.read(CosineDecay()), rates.EPOCHS * rates.STEPS
    expected = [(1 + math.cos(math.pi * t / total)) / 2 for t in range(total)]
    for series in found.rates["lr"].values():
        assert series == pytest.approx(expected)


def test_curves_of_equal_rates_are_one_and_keep_the_depth():
    lines = rates.apart_from(rates.read(LayerDecay(0.5)).rates["lr"])
    assert {name: values[0] for name, values in lines.items()} == {
        "stage1": 0.125,
        "stage2": 0.25,
        "stage3": 0.5,
        "head": 1.0,
    }
    assert len(rates.apart_from(rates.read(StepDecay()).rates["lr"])) == 1


def test_the_loss_is_that_of_the_trick():
    focal, seen = FocalLoss(), {}
    with apart():
        sweep = loss.Sweep(trick := fresh(focal), 3)
        loss.fit(loss.small_network(), photographs.batch(8), [trick, sweep])
    for i, z in enumerate(loss.LOGITS):
        logits = torch.tensor([[0.0, z, 0.0]], dtype=torch.float32, requires_grad=True)
        p = logits.softmax(1)[0, 1]
        value = -((1 - p) ** focal.gamma) * p.log()
        seen[i] = value.item()
        (slope,) = torch.autograd.grad(value, logits)
        assert sweep.found[1][1][i] == pytest.approx(slope[0, 1].item(), abs=1e-5)
    assert sweep.found[1][0] == pytest.approx([*seen.values()], abs=1e-5)


def test_masks_of_dropout_are_zero_or_one_over_the_rest():
    with apart(3):
        trick = fresh(Dropout(0.75), where="stage1")
        trick.drop = recorder = features.Recorder(trick)
        features.fit(features.network(), photographs.batch(features.SIDE), [trick], 1)
    ((before, after),) = recorder.calls
    assert sorted({round(v, 3) for v in (after / before).unique().tolist()}) == [0.0, 4.0]


def test_edges_see_the_direction_of_an_edge():
    x = torch.zeros(1, 3, 21, 15)
    x[..., 7:] = 1.0
    strongest = features.Edges()(x)[0, :8].amax((1, 2))
    assert strongest.argmax() == 0 and strongest[4] < 0.05  # from dark to bright, rightward; not leftward


def test_photographs_are_three_and_stay_as_they_are():
    images, targets = photographs.batch()
    assert images.shape == (3, 3, 224, 224) and targets.tolist() == [0, 1, 2]
    kept = photographs.photographs().clone()
    MixUp(1.0).draw()
    assert torch.equal(photographs.photographs(), kept)
    assert 0.5 < images.std() < 2


def test_stochastic_depth_shows_every_block():
    with apart():
        picture = StochasticDepth(0.5).draw()
    assert "ResNet" in picture.caption


def test_dead_units_shows_a_run_in_which_units_die():
    assert "look:" in callbacks.DeadUnits().draw().caption


def test_apart_restores_the_seed_of_the_environment(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "12")
    with apart(3):
        assert os.environ["PL_GLOBAL_SEED"] == "3"
        a = torch.rand(3)
    assert os.environ["PL_GLOBAL_SEED"] == "12"
    with pytest.raises(ZeroDivisionError), apart(3):
        torch.testing.assert_close(torch.rand(3), a, rtol=0, atol=0)
        raise ZeroDivisionError
    assert os.environ["PL_GLOBAL_SEED"] == "12"


def test_a_drawn_trick_can_be_copied_and_used():
    trick = MixUp(0.3)
    trick.draw()
    assert repr(copy.deepcopy(trick)) == "MixUp(alpha=0.3)"


# ---- the gallery


def test_a_file_is_written_only_where_it_changed(tmp_path):
    files = {name: write(name, tmp_path / "new") for name in ("L2", "MixUp")}
    assert {name: path.name for name, path in files.items()} == {"L2": "L2.svg", "MixUp": "MixUp.webp"}
    stamp = files["MixUp"].stat().st_mtime_ns
    files["L2"].write_text("old")
    assert {name: write(name, tmp_path / "new") for name in files} == files
    assert "MixUp(" in files["MixUp"].with_suffix(".txt").read_text()
    assert files["L2"].read_text().startswith("<svg")
    assert files["MixUp"].stat().st_mtime_ns == stamp


def test_cross_entropy_is_the_curve_without():
    step = loss.step_of(2, torch.tensor(1.5))
    assert step.logits.tolist() == [[0.0, 0.0, 1.5]]
    torch.testing.assert_close(step.loss, F.cross_entropy(torch.tensor([[0.0, 0.0, 1.5]]), torch.tensor([2])))


def test_a_trick_shows_its_card_in_a_notebook():
    page = L2(1e-3)._repr_html_()
    assert "L2(weight=0.001)" in page and "Paper:" in page and "data:image/svg+xml;base64," in page


def test_a_trick_without_a_picture_still_shows_its_card():
    class Plain(Trick):
        def __init__(self):
            pass

    assert "<img" not in Plain()._repr_html_() and "Plain()" in Plain()._repr_html_()


@pytest.mark.parametrize("classes", [2, 10])
def test_a_loss_with_a_number_for_each_class_draws_itself(classes):
    picture = FocalLoss(alpha=tuple(1.0 + k for k in range(classes))).draw()
    assert f"the other {classes - 1} logits" in picture.caption


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EVERY if getattr(callbacks, name).examples])
@pytest.mark.one_in(24)
def test_a_trick_draws_its_examples(name):
    """A notebook shows a trick by its picture, so that no arguments may raise an error."""
    plain = example(name)
    for arguments in type(plain).examples:
        given = {"teacher": plain.teacher} if getattr(plain, "teacher", None) is not None else {}
        trick = type(plain)(**{**given, **gallery.NEEDED.get(name, {}), **arguments})
        assert len(trick.draw().data()) > 500
