"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 pixels.

Paper: Gradient-Based Learning Applied to Document Recognition (LeCun, Bottou, Bengio, Haffner; Proc. IEEE 1998),
       https://doi.org/10.1109/5.726791
"""

import torchvision

from datamodules.frame.idx import IdxData


class MNIST(IdxData):
    """MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 pixels, in 10 classes.

    They get three equal channels, or one with `channels=1`. By default they are not augmented: a mirrored digit is not
    a digit. The official idx files are read, compressed or not, and checked; missing files are downloaded (12 MB).
    """

    classes = tuple("0123456789")
    reader = torchvision.datasets.MNIST
    mean, std = (0.1307,), (0.3081,)  # over all pixels of the training images, measured
    checksums = {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
