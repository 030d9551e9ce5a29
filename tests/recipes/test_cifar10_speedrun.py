"""The 94 % recipe: numbers of the authors' program, the whitened layer by its definition, and the six views by hand."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import normalize

import zoo.frame.muon
from callbacks import LabelSmoothing, PolynomialDecay
from datamodules import Arrays
from recipes import cifar10_speedrun
from recipes.frame.cifar import Cifar
from recipes.frame.speedrun import CifarNet, SixViews, WhitenedPatches, whitening_filters
from tests.recipes.test_recipes import folder  # noqa: F401 - a fixture
from zoo import Classifier

N = 4  # images a step
# After each of four steps, the first two with a learning whitening bias, of KellerJordan/cifar10-airbench at f1c599c,
# airbench94_muon.py, all of it in float64, from the same weights and images: loss of the batch / N; the sums of weight
# times cosine (see `probe`) of the first filters, the last ones, the head, the whitening bias and the last norm's bias.
ORACLE = [
    [2.30995489179, -5.15823166581, -0.871230194247, 31.9324474337, 0.73519688415, 0.0039246729386],
    [2.28149747397, -6.08657426417, -1.2943208894, 31.8989101897, 0.740893822719, 0.00373490804026],
    [1.99622822071, -5.9933683186, -0.506203768442, 31.9056946403, 0.740893822719, 0.0057453240258],
    [1.93315485407, -5.71092799557, -0.0254462779777, 31.9009114111, 0.740893822719, 0.0059284261159],
]


def images() -> torch.Tensor:
    """Waves of other lengths and directions: (2 N, 3, 32, 32) float64."""
    i, c, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (2 * N, 3, 32, 32)), indexing="ij")
    return torch.sin((i + 1) * y / 9 + c) + torch.cos((7 - i) * x / 11 - 2 * c)


def probe(weight: torch.Tensor) -> float:
    return (weight.detach().flatten() * torch.arange(weight.numel(), dtype=torch.float64).cos()).sum().item()


PROBED = ("layers.1.conv1.weight", "layers.3.conv2.weight", "head.weight", "whiten.bias", "layers.3.norm2.bias")


class Look(L.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        weights = dict(model.network.named_parameters())
        self.seen.append([outputs["loss"].item(), *(probe(weights[name]) for name in PROBED)])


def test_four_steps_are_the_authors(trainer, monkeypatch):
    """In float64 they stay together; in float32 the last bit would grow to the size of the weights in 20 steps."""
    monkeypatch.setattr(zoo.frame.muon, "PRECISION", torch.float64)
    torch.manual_seed(11)
    options = {"matrix_lr": 0.67 * N, "vector_lr": 0.053 * N}
    training = {"optimizer": "filtermuon", "lr": 0.24, "weight_decay": 2e-6 * N, "optimizer_options": options}
    model = Classifier(CifarNet(), num_classes=10, **training)
    model.untrained = False  # so that the first layer is not whitened: signs of eigenvectors differ between machines
    look, batches = Look(), [[x, (torch.arange(N) + 3 * i) % 10] for i, x in enumerate(images().split(N))]
    tricks = [WhitenedPatches(bias_epochs=1), PolynomialDecay(power=1), LabelSmoothing(0.2), look]
    run = trainer(callbacks=tricks, max_epochs=2, precision="64-true")
    run.fit(model, DataLoader(batches, batch_size=None))
    seen, expected = (torch.tensor(rows, dtype=torch.float64) for rows in (look.seen, ORACLE))
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)


def test_whitened_patches_are_uncorrelated():
    torch.manual_seed(2)
    x = torch.nn.functional.interpolate(torch.randn(40, 3, 5, 7), size=(20, 28), mode="bilinear")
    filters = whitening_filters(x, eps=0.0)
    responses = torch.nn.functional.conv2d(x, filters).movedim(1, 0).flatten(1)
    covariance = responses[:12] @ responses[:12].T / responses.shape[1]
    torch.testing.assert_close(covariance, torch.eye(12), rtol=0, atol=1e-2)
    assert torch.equal(filters[12:], -filters[:12])
    norms = filters[:12].flatten(1).norm(dim=1)
    assert (norms.diff() < 0).all()  # eigenvalues rise


@pytest.fixture
def data():
    torch.manual_seed(3)
    pixels = torch.randint(0, 256, (24, 32, 32, 3), dtype=torch.uint8)
    return Arrays(pixels, torch.arange(24) % 10, batch_size=12, val_split=0)


def test_a_new_network_is_whitened_on_the_normalised_training_images_and_a_trained_one_is_not(data, trainer):
    for untrained in (True, False):
        model = Classifier(CifarNet(), num_classes=10)
        model.untrained, before = untrained, model.network.whiten.weight.clone()
        trainer(callbacks=[WhitenedPatches(images=10)], max_epochs=0).fit(model, data)
        plain = torch.from_numpy(data.train_set.images[data.train_indices[:10]]).movedim(3, 1)
        normal = normalize(plain / 255, list(data.mean), list(data.std))
        expected = whitening_filters(normal, 5e-4).abs() if untrained else before.abs()
        torch.testing.assert_close(model.network.whiten.weight.abs(), expected, rtol=1e-3, atol=1e-4)


def test_six_views_by_hand():
    """Logits of the pixel at (1, 0): of the image, its mirror image, and both moved."""
    x = torch.arange(9.0).view(1, 1, 3, 3)
    pixel = lambda views: views[:, :, 1, 0]  # noqa: E731
    # rows: 0 1 2 / 3 4 5 / 6 7 8; moved down and right 4 3 4 / 1 0 1 / 4 3 4, up and left 4 5 4 / 7 8 7 / 4 5 4
    assert SixViews().mean_logits(pixel, x).item() == 0.25 * (3 + 5) + 0.125 * (1 + 1) + 0.125 * (7 + 7)


@pytest.mark.slow
def test_one_epoch_on_tiny_images(folder, tmp_path, monkeypatch):  # noqa: F811 - the fixture
    monkeypatch.chdir(tmp_path)
    metrics = cifar10_speedrun.recipe(epochs=1, batch=26, source=Cifar(folder=folder)).run(save=False)
    assert {"test/acc", "test/acc_tta"} <= metrics.keys()
    assert metrics["train/loss"] < 2.303  # chance
