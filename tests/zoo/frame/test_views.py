"""Several views an image: evaluation and prediction against a plain loop over images and views."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from callbacks import EMA
from datamodules import ImageData
from zoo import Classifier
from zoo.frame.outputs import over_views

K, V = 7, 5


def network():
    """With batch norm, whose statistics must not see the views as a batch; logits far apart, so that it matters."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, K))


def views_loader(n=12, batch_size=5):
    torch.manual_seed(1)
    images, targets = 15 * torch.randn(n, V, 3, 8, 8), torch.arange(n) % K
    batches = [list(pair) for pair in zip(images.split(batch_size), targets.split(batch_size), strict=True)]
    return DataLoader(batches, batch_size=None), images, targets


@torch.no_grad()
def mean_softmax(model, images):
    """One image at a time, one view at a time."""
    model.eval()
    return torch.stack(
        [torch.stack([model(view[None]).double().softmax(1)[0] for view in image]).mean(0) for image in images]
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_scores_are_those_of_a_loop(channels_last, trainer):
    model = Classifier(network(), channels_last=channels_last)
    loader, images, targets = views_loader()
    run = trainer()
    for stage, evaluate in (("val", run.validate), ("test", run.test)):
        scores = evaluate(model, loader, verbose=False)[0]
        expected = mean_softmax(model, images)
        loss = F.nll_loss(expected.log(), targets)
        top5 = (expected.topk(5).indices == targets[:, None]).any(1).double().mean()
        assert scores[f"{stage}/loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert scores[f"{stage}/acc"] == pytest.approx((expected.argmax(1) == targets).double().mean().item())
        assert scores[f"{stage}/top5"] == pytest.approx(top5.item())


def test_the_mean_is_of_softmaxes_not_of_logits(trainer):
    model = Classifier(network())
    _, images, _ = views_loader()
    expected = mean_softmax(model, images)
    with torch.no_grad():
        of_logits = torch.stack([model(view) for view in images.unbind(1)]).mean(0).softmax(1)
    assert (expected - of_logits).abs().max() > 0.1  # else this test could not tell them apart
    torch.testing.assert_close(over_views(model, images).softmax(1).double(), expected, atol=1e-6, rtol=1e-5)


def test_predicts_the_mean(trainer):
    model = Classifier(network())
    loader, images, _ = views_loader()
    predicted = torch.cat(trainer().predict(model, loader))
    torch.testing.assert_close(predicted.double(), mean_softmax(model, images), atol=1e-6, rtol=1e-5)
    assert predicted.dtype == torch.float32


def test_one_view_is_the_image_and_equal_views_change_nothing():
    model = Classifier(network()).eval()
    _, images, _ = views_loader()
    image = images[:, 0]
    alone = model(image).log_softmax(1)
    torch.testing.assert_close(over_views(model, image), model(image))
    for count in (1, 4):
        torch.testing.assert_close(over_views(model, image[:, None].expand(-1, count, -1, -1, -1)), alone)


def test_a_view_that_is_sure_of_something_else_leaves_the_loss_finite():
    """Softmaxes underflow at logits of 200, their logarithms do not: mean of 1 and 0 is 1/2."""
    logits = torch.tensor([[0.0, 500.0], [500.0, 0.0]])
    images = torch.arange(2.0).view(1, 2, 1, 1, 1)
    result = over_views(lambda view: logits[view.flatten().long()], images)
    torch.testing.assert_close(result, torch.full((1, 2), 0.5).log())
    sure = over_views(lambda view: logits[:1].expand(len(view), -1), images)
    assert F.cross_entropy(sure, torch.tensor([0])) == 500


def test_training_refuses_views(trainer):
    loader, _, _ = views_loader()
    with pytest.raises(ValueError, match="images must be float .N, C, H, W."):
        trainer(max_epochs=1).fit(Classifier(network()), loader)


def test_small_and_large_stems_are_told_apart_by_the_views(trainer):
    loader, _, _ = views_loader()
    model = Classifier(network(), image_size=224)
    with pytest.raises(ValueError, match="8 x 8 px, but this Classifier has the ImageNet stem"):
        trainer().validate(model, loader, verbose=False)


# ---- from the data module's bytes


class Crops(ImageData):
    """Test images of two crops and their mirror images, as bytes."""

    classes, image_size, mean, std = tuple("abcdefg"), 8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)

    def test_dataloader(self):
        torch.manual_seed(0)
        images = torch.randint(0, 256, (10, 4, 3, 8, 8), dtype=torch.uint8)
        batches = [[images[i : i + 4], torch.arange(10)[i : i + 4] % K] for i in range(0, 10, 4)]
        return DataLoader(batches, batch_size=None)

    def setup(self, stage=None):
        pass


def by_hand(images):
    mean, std = torch.tensor(Crops.mean).view(3, 1, 1), torch.tensor(Crops.std).view(3, 1, 1)
    return (images / 255 - mean) / std


def test_views_are_normalised_on_arrival():
    data = Crops()
    for images, targets in data.test_dataloader():
        result = data.on_after_batch_transfer([images, targets], 0)
        torch.testing.assert_close(result[0], by_hand(images), atol=1e-5, rtol=1e-5)
        assert result[0].dtype == torch.float32 and result[1] is targets


def test_the_trainer_scores_bytes(trainer):
    model, data = Classifier(network()), Crops()
    scores = trainer().test(model, data, verbose=False)[0]
    images, targets = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    expected = mean_softmax(model, by_hand(images))
    assert scores["test/loss"] == pytest.approx(F.nll_loss(expected.log(), targets).item(), rel=1e-4)
    assert scores["test/acc"] == pytest.approx((expected.argmax(1) == targets).double().mean().item())


def test_all_views_are_drawn():
    data = Crops()
    images, targets = next(iter(data.test_dataloader()))
    for batch in ([images, targets], data.on_after_batch_transfer([images, targets], 0)):
        axes = data.show_batch(6, batch).axes
        pictures = [axis.images[0].get_array() for axis in axes if axis.images]
        assert len(pictures) == 6
        for picture, image in zip(pictures, images.flatten(0, 1), strict=False):
            assert (picture == image.permute(1, 2, 0).numpy()).all()
        assert [axis.get_title() for axis in axes[:6]] == ["a", "a", "a", "a", "b", "b"]


class Foreign(L.LightningModule):
    """A module that is not ours, with the lines that the protocols' documentation gives."""

    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x):
        return self.network(x)

    def predict_step(self, batch, batch_idx):
        images = batch[0]
        return torch.stack([self(x).softmax(1) for x in images.unbind(1)]).mean(0)


def test_a_module_of_another_averages_by_itself(trainer):
    model = Foreign()
    loader, images, _ = views_loader()
    predicted = torch.cat(trainer().predict(model, loader))
    torch.testing.assert_close(predicted.double(), mean_softmax(model, images), atol=1e-6, rtol=1e-5)


def test_the_average_sees_views_too(trainer):
    """With decay 0 the average is the model itself."""
    loader, images, targets = views_loader()
    model, ema = Classifier(network(), K), EMA(1e-9)
    ema.average = {key: value.clone() for key, value in model.state_dict().items()}
    run = trainer(callbacks=[ema])
    run.validate(model, loader, verbose=False)
    scores = run.callback_metrics
    torch.testing.assert_close(scores["val/loss_ema1e-09"], scores["val/loss"])
    assert scores["val/acc_ema1e-09"] == scores["val/acc"]
