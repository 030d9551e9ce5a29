"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes and shoes, 28 x 28 pixels.

Paper: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao, Rasul, Vollgraf; 2017),
       https://arxiv.org/abs/1708.07747
"""

import torchvision

from datamodules.frame.idx import IdxData


class FashionMNIST(IdxData):
    """Fashion-MNIST: 60,000 + 10,000 grey images of clothes and shoes, 28 x 28 pixels, in 10 classes.

    They get three equal channels, or one with `channels=1`. By default they are not augmented. The official idx files
    are read, compressed or not, and checked. They are searched in `root` and in Debian's package
    `dataset-fashion-mnist`, installed or unpacked into `root`; missing files are downloaded (31 MB).
    """

    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    confusions = {  # Zhang, Sabuncu 2018, https://arxiv.org/abs/1805.07836
        "Ankle boot": "Sneaker", "Sneaker": "Sandal", "Pullover": "Shirt", "Coat": "Dress", "Dress": "Coat"
    }  # fmt: skip
    reader = torchvision.datasets.FashionMNIST
    mean, std = (0.2860,), (0.3530,)  # over all pixels of the training images, measured
    elsewhere = ("/usr/share/datasets/fashion-mnist",)
    checksums = {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }
