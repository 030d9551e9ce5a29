"""Test-time augmentation: the views by hand, the mean of their softmaxes, and unchanged plain scores."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from callbacks import EMA, TestTimeAugmentation
from callbacks.network.test_time_augmentation import views_of
from tests.callbacks.conftest import Foreign
from tests.conftest import tiny_classifier


def test_flip_by_hand():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    views = views_of(image, flip=True, shift=0)
    assert views.shape == (1, 2, 1, 2, 2)
    assert views[0, 0, 0].tolist() == [[1, 2], [3, 4]] and views[0, 1, 0].tolist() == [[2, 1], [4, 3]]


def test_shifts_by_hand():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    views = views_of(image, flip=False, shift=1)[0, :, 0].tolist()
    assert views[0] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert views[1] == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]  # down and right: the first row and column are reflected ones
    assert views[2] == [[4, 5, 4], [1, 2, 1], [4, 5, 4]]
    assert views[3] == [[4, 3, 4], [7, 6, 7], [4, 3, 4]] and views[4] == [[4, 5, 4], [7, 8, 7], [4, 5, 4]]


def test_shifted_crops_are_those_of_torchvisions_ten_crop():
    from torchvision.transforms.v2 import TenCrop

    images = torch.randn(2, 3, 6, 6)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    *corners, centre = TenCrop(6)(padded)[:5]
    expected = torch.stack([centre, *corners], 1)
    assert torch.equal(views_of(images, flip=False, shift=2), expected)
    both = views_of(images, flip=True, shift=2)
    assert torch.equal(both, torch.cat([expected, expected.flip(-1)], 1))


def one_batch(images):
    return DataLoader([[images, torch.arange(4)]], batch_size=None)


def literal(model, data, flip, shift):
    """Return loss and accuracy over the data, by the mean softmax, view by view."""
    probabilities, targets = [], []
    with torch.no_grad():
        for images, labels in data:
            views = views_of(images, flip, shift).unbind(1)
            probabilities.append(sum(model(view).softmax(1) for view in views) / len(views))
            targets.append(labels)
    p, y = torch.cat(probabilities), torch.cat(targets)
    return F.nll_loss(p.log(), y).item(), (p.argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("flip, shift, suffix", [(True, 0, ""), (True, 1, "_shift1"), (False, 2, "_shift2_unflipped")])
def test_scores_are_those_of_the_mean_softmax(tiny_model, tiny_data, trainer, flip, shift, suffix):
    plain = trainer().test(tiny_model, tiny_data, verbose=False)[0]
    scores = trainer(callbacks=[TestTimeAugmentation(flip, shift)]).test(tiny_model, tiny_data, verbose=False)[0]
    assert {k: v for k, v in scores.items() if "tta" not in k} == plain
    loss, accuracy = literal(tiny_model.eval(), tiny_data, flip, shift)
    assert scores[f"test/loss_tta{suffix}"] == pytest.approx(loss, rel=1e-5)
    assert scores[f"test/acc_tta{suffix}"] == pytest.approx(accuracy)
    assert scores[f"test/loss_tta{suffix}"] != plain["test/loss"]
    assert f"test/top5_tta{suffix}" in scores


def test_a_symmetric_image_changes_nothing(tiny_model, trainer, tiny_data):
    images = torch.randn(4, 3, 8, 4)
    batch = one_batch(torch.cat([images, images.flip(-1)], -1))
    scores = trainer(callbacks=[TestTimeAugmentation()]).test(tiny_model, batch, verbose=False)[0]
    assert scores["test/loss_tta"] == pytest.approx(scores["test/loss"], rel=1e-5)


def test_views_that_the_data_gives_are_augmented_each(tiny_model, trainer):
    views = torch.randn(4, 3, 3, 8, 8)
    both = torch.cat([views, views.flip(-1)], 1)
    once = trainer(callbacks=[TestTimeAugmentation()]).test(tiny_model, one_batch(views), verbose=False)[0]
    again = trainer().test(tiny_model, one_batch(both), verbose=False)[0]
    assert once["test/loss_tta"] == pytest.approx(again["test/loss"], rel=1e-5)


def test_several_at_once_and_beside_an_average(tiny_model, tiny_data, trainer):
    tricks = [TestTimeAugmentation(), TestTimeAugmentation(shift=1), EMA(0.5)]
    run = trainer(callbacks=tricks, max_epochs=1)
    run.fit(tiny_model, tiny_data)
    scores = run.test(tiny_model, tiny_data, verbose=False)[0]
    assert {"test/acc", "test/acc_tta", "test/acc_tta_shift1", "test/acc_ema0.5"} <= scores.keys()


def test_prediction_is_the_mean_over_views(tiny_model, tiny_data, trainer):
    predicted = torch.cat(trainer(callbacks=[TestTimeAugmentation()]).predict(tiny_model, tiny_data))
    with torch.no_grad():
        expected = [(tiny_model.eval()(x).softmax(1) + tiny_model(x.flip(-1)).softmax(1)) / 2 for x, _ in tiny_data]
    torch.testing.assert_close(predicted, torch.cat(expected))


def test_a_foreign_module_is_scored_but_predicts_as_it_does(tiny_data, trainer):
    model = Foreign()
    type(model).test_step = type(model).validation_step
    try:
        scores = trainer(callbacks=[TestTimeAugmentation()]).test(model, tiny_data, verbose=False)[0]
    finally:
        del type(model).test_step
    assert scores["test/loss_tta"] == pytest.approx(literal(model.eval(), tiny_data, True, 0)[0], rel=1e-5)


def test_in_bf16_the_views_are_too(tiny_data, trainer):
    """For symmetric images, plain and augmented scores are bit-identical only if both have one precision."""
    model, seen = tiny_classifier(), []
    model.network.head.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    trainer(callbacks=[TestTimeAugmentation()], precision="bf16-mixed").test(model, tiny_data, verbose=False)
    assert len(seen) == 9 and set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("arguments", [{"flip": False}, {"shift": -1}])
def test_refuses_no_views(arguments):
    with pytest.raises(ValueError, match="needs flip or a shift"):
        TestTimeAugmentation(**arguments)


def test_refuses_shifts_beyond_the_image(tiny_model, tiny_data, trainer):
    with pytest.raises(ValueError, match="needs larger images"):
        trainer(callbacks=[TestTimeAugmentation(shift=8)]).test(tiny_model, tiny_data, verbose=False)
