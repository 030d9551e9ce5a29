"""Kind "sizes": the images of a run whose size a trick changes, at steps from its first to its last."""

from callbacks.frame.pictures.apart import apart, fit, fresh
from callbacks.frame.pictures.batch import Seen, small_network
from callbacks.frame.pictures.photographs import batch, picture_of, sheet
from callbacks.frame.trick import Trick
from zoo.frame.figures import Sheet

EPOCHS, SHOWN, SIDE = 12, 6, 128


def draw(trick: Trick) -> Sheet:
    """Draw one photograph at six times of a run, in its own pixels."""
    seen = Seen()
    with apart():
        fit(small_network(), batch(SIDE), [fresh(trick), seen], 4, EPOCHS)
    at = [round(i * (len(seen.batches) - 1) / (SHOWN - 1)) for i in range(SHOWN)]
    images = [seen.batches[i][0][k % 3] for k, i in enumerate(at)]
    under = [f"{image.shape[-1]} px" for image in images]
    page = sheet([[picture_of(image) for image in images]], [""], [under])
    return Sheet(page, f"Images of {SIDE} pixels at six times of a run of {EPOCHS} epochs, as {trick!r} resizes them.")
