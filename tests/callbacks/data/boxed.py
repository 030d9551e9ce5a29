"""Images of black with one white rectangle, and whether a box still fits what is white."""

import torch

SIZE = (24, 36)  # H, W


def rectangles(*boxes, size=SIZE):
    """A batch `[images, targets]`: image i has the rectangle boxes[i], of class i, in white."""
    images, targets = torch.zeros(len(boxes), 3, *size), []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        images[i, :, y1:y2, x1:x2] = 1
        targets.append({"boxes": torch.tensor([[x1, y1, x2, y2]]).float(), "labels": torch.tensor([i])})
    return [images, targets]


def white(image):
    """The smallest box around the pixels that are at least half white."""
    at = (image[0] >= 0.5).nonzero()
    y1, x1 = at.amin(0).tolist()
    y2, x2 = (at.amax(0) + 1).tolist()
    return [x1, y1, x2, y2]


def fits(image, box, by=0.0):
    """Whether a box is the one around what is white, up to some pixels."""
    return (torch.tensor(white(image)).float() - box).abs().max() <= by
