"""The gradient by the images: of classes of images and of pixels, by hand where the logits are the images."""

import torch
from torch.nn.functional import one_hot

from callbacks.frame.input_gradient import gradient_distance, input_gradient


def test_of_an_image_it_does_not_depend_on_the_batch():
    """dL/dz = softmax(z) - onehot(y)."""
    torch.manual_seed(1)
    images, targets = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 2, 1, 1])
    J = input_gradient(images * 1.0, targets, images)
    torch.testing.assert_close(J, images.softmax(1) - one_hot(targets, 3))
    torch.testing.assert_close(input_gradient(images * 1.0, targets, images, scale=1024.0), J)


def test_of_pixels_it_is_of_their_mean():
    """The loss of an image is the mean over its 2 x 5 pixels."""
    torch.manual_seed(1)
    images, targets = torch.randn(4, 3, 2, 5, requires_grad=True), torch.randint(3, (4, 2, 5))
    J = input_gradient(images * 1.0, targets, images)
    torch.testing.assert_close(J, (images.softmax(1) - one_hot(targets, 3).movedim(-1, 1)) / 10)


def test_distance_by_hand():
    J, other = torch.zeros(2, 1, 1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 1, 1, 2)
    assert gradient_distance(J, other) == (25 + 1) / 2 / 2
