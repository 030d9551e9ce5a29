"""PCA whitening: uncorrelated pixels of variance 1, instead of a normalisation of each colour.

Paper:    Learning Multiple Layers of Features from Tiny Images (Krizhevsky; 2009), appendix A (ZCA, rotated back)
          https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
Code:     the course notes of CS231n, https://cs231n.github.io/neural-networks-2/
Equation: x in [0, 1]^D, D = 3 H W;  covariance of the training images C = U diag(s) U^T
          PCA: y = diag(s + epsilon)^(-1/2) U^T (x - mean);  ZCA: U y, the whitened image nearest to the image
Shapes:   uint8 (N, 3, H, W) -> float32 (N, 3, H, W)
Defaults: ZCA, because a convolution needs an image; epsilon 1e-5, the course's
Differs:  nothing
"""

import torch
from torch import Tensor

LARGEST = 64  # side in pixels: the covariance of 64 x 64 takes 1.2 GB, and its eigenvectors many minutes
CHUNK = 512


class Whitening:
    """A fitted linear map from images to whitened ones, which the data module applies on the device.

        data.whitening = Whitening.fit(data)

    It is fitted on the training images without augmentation. A model's checkpoints keep the mean and the matrix (38 MB
    for colour images of 32 pixels), so that `predict` and an export with preprocessing apply them. A resumed run does
    not take them from there: fit again, on the same split, before a resume.

    Args:
        mean: (D,), of pixels in [0, 1].
        matrix: (D, D), multiplied with (image - mean).
        inverse: (D, D), of `matrix`.
    """

    def __init__(self, mean: Tensor, matrix: Tensor, inverse: Tensor):
        self.mean, self.matrix, self.inverse = mean, matrix, inverse

    @classmethod
    def fit(cls, data, epsilon: float = 1e-5, zca: bool = True) -> "Whitening":
        """Fit to the training images of a data module.

        Args:
            data: an `ImageData` of images of up to 64 pixels.
            epsilon: > 0, added to the variances: a larger one amplifies noise less; variances are further below 1.
            zca: rotate back, so that the result is an image; False gives the coordinates in order of rising variance.

        Raises:
            ValueError: the images are too large or no bytes, or epsilon is not positive.
        """
        if data.scale is not None:
            raise ValueError("whitening takes images of bytes: leave out scale, or use mean and std")
        if data.image_size > LARGEST:
            raise ValueError(
                f"whitening takes images of up to {LARGEST} pixels, got {data.image_size}: use mean and std"
            )
        if epsilon <= 0:
            raise ValueError(f"epsilon must be > 0, got {epsilon}")
        if data.train_set is None:
            data.prepare_data()
            data.setup("fit")
        mean, covariance = moments(data.train_set.without_augmentation(), data.train_indices)
        variances, vectors = torch.linalg.eigh(covariance)
        deviations = (variances.clamp(min=0) + epsilon).sqrt()
        matrix, inverse = vectors.T / deviations[:, None], vectors * deviations
        if zca:
            matrix, inverse = vectors @ matrix, inverse @ vectors.T
        return cls(mean.float(), matrix.float(), inverse.float())

    def __call__(self, images: Tensor) -> Tensor:
        """Whiten uint8 (N, 3, H, W) to float32 (N, 3, H, W), on the images' device."""
        if self.mean.device != images.device:
            self.mean, self.matrix = self.mean.to(images.device), self.matrix.to(images.device)
        whitened = (images.flatten(1).float() / 255 - self.mean) @ self.matrix.T
        return whitened.view(images.shape).contiguous(memory_format=torch.channels_last)

    def undo(self, images: Tensor) -> Tensor:
        """Return whitened float (N, 3, H, W) as uint8 (N, 3, H, W)."""
        pixels = images.flatten(1).float() @ self.inverse.to(images.device).T + self.mean.to(images.device)
        return (pixels * 255).round().clamp(0, 255).byte().view(images.shape)

    def plain(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps: `mean` and `matrix`."""
        return {"mean": self.mean.cpu(), "matrix": self.matrix.cpu()}

    def __repr__(self) -> str:
        return f"Whitening({len(self.mean)} dimensions)"


def moments(images, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D), float64, of the pixels in [0, 1] of the images `indices`."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for chunk in indices.split(CHUNK):
        pixels, _ = images.__getitems__([(0, index) for index in chunk.tolist()])
        pixels = pixels.flatten(0, -4).flatten(1).double() / 255  # each view counts as an image
        count, total, squares = count + len(pixels), total + pixels.sum(0), squares + pixels.T @ pixels
    mean = total / count
    return mean, squares / count - mean.outer(mean)
