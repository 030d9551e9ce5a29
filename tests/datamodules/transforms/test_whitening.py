"""Whitening of the digits: the covariance afterwards, against scikit-learn, and in the data module."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from datamodules import Digits
from datamodules.transforms import Whitening
from datamodules.transforms.whitening import moments


@pytest.fixture(scope="module")
def digits():
    data = Digits(batch_size=1000, val_split=0.2)
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def pixels(digits):
    """uint8 (n, 3, 8, 8): the images to train on, as they are."""
    return digits.train_set.without_augmentation().__getitems__([(0, i) for i in digits.train_indices.tolist()])[0]


def test_pixels_have_no_correlation_afterwards(digits, pixels):
    """Variances are 1, or 0 where there were none: the digits are grey, so two thirds; all but two within 1/2 %."""
    whitened = Whitening.fit(digits, epsilon=1e-7)(pixels)
    assert whitened.shape == pixels.shape and whitened.dtype == torch.float32
    assert whitened.is_contiguous(memory_format=torch.channels_last)
    flat = whitened.flatten(1).double()
    assert flat.mean(0).abs().max() < 1e-3
    variances = torch.linalg.eigvalsh(flat.T @ flat / len(flat))
    rank = (variances > 0.5).sum()
    assert 55 < rank <= 64 and variances[-rank + 2 :].sub(1).abs().max() < 5e-3 and variances[:-rank].max() < 1e-3


def test_coordinates_are_scikit_learns(digits, pixels):
    coordinates = Whitening.fit(digits, epsilon=1e-12, zca=False)(pixels).flatten(1).double().flip(1)[:, :30].numpy()
    flat = pixels.flatten(1).double().numpy() / 255
    theirs = PCA(30, whiten=True, svd_solver="full").fit_transform(flat) * np.sqrt(len(flat) / (len(flat) - 1))
    np.testing.assert_allclose(np.abs(coordinates), np.abs(theirs), atol=2e-3)  # an eigenvector has no sign


def test_epsilon_is_added_to_the_variance(digits, pixels):
    flat = pixels.flatten(1).double() / 255
    covariance = flat.T.cov(correction=0)
    whitened = Whitening.fit(digits, epsilon=0.1)(pixels).flatten(1).double().T.cov(correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    torch.testing.assert_close(
        whitened, vectors @ torch.diag(values / (values + 0.1)) @ vectors.T, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("zca", [True, False])
def test_is_undone(zca, digits, pixels):
    whitening = Whitening.fit(digits, zca=zca)
    assert torch.equal(whitening.undo(whitening(pixels)), pixels)


def test_only_training_images_count(digits, pixels):
    whitening = Whitening.fit(digits)
    torch.testing.assert_close(whitening.mean.double(), pixels.flatten(1).double().mean(0) / 255, atol=1e-6, rtol=0)


def test_views_count_as_images():
    """The set gives two views of each of four images."""

    class Set:
        def __getitems__(self, items):
            return [torch.stack([views[i] for _, i in items]), None]

    views = torch.randint(0, 256, (4, 2, 3, 2, 2), dtype=torch.uint8)
    mean, covariance = moments(Set(), torch.arange(4))
    flat = views.flatten(0, 1).flatten(1).double() / 255
    torch.testing.assert_close(mean, flat.mean(0))
    torch.testing.assert_close(covariance, flat.T.cov(correction=0))


def test_the_data_module_applies_it():
    data = Digits(batch_size=20)
    data.whitening = Whitening.fit(data)  # sets the data up
    batch = next(iter(data.train_dataloader()))
    images, targets = data.on_after_batch_transfer(batch, 0)
    torch.testing.assert_close(images, data.whitening(batch[0]))
    assert images.dtype == torch.float32 and targets is batch[1]
    views = torch.stack([batch[0], batch[0].flip(3)], 1)
    torch.testing.assert_close(data.on_after_batch_transfer([views, targets], 0)[0][:, 0], images)
    shown = [axis.images[0].get_array() for axis in data.show_batch(4, [images, targets]).axes]
    for picture, image in zip(shown, batch[0], strict=False):
        assert np.array_equal(picture, image.permute(1, 2, 0).numpy())


def test_refuses(digits):
    with pytest.raises(ValueError, match="epsilon must be > 0"):
        Whitening.fit(digits, epsilon=0)
    large = Digits()
    large.image_size = 224
    with pytest.raises(ValueError, match="up to 64 pixels, got 224"):
        Whitening.fit(large)
